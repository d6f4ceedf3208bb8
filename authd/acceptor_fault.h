/*
 * What GSSAPI's and libkrb5's errors mean for the audit trail.
 */
#ifndef AUTHD_ACCEPTOR_FAULT_H
#define AUTHD_ACCEPTOR_FAULT_H

#include <gssapi/gssapi.h>

#include "common/msg.h"

/* Of a context that was refused; the mechanism's own code is looked at first. */
enum verdict_code acceptor_fault(OM_uint32 major, OM_uint32 minor, gss_OID mech);

#endif
