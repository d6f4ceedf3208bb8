/*
 * The sandboxes of authd's roles: their tables of system calls. `threads` is for the caller to fill
 * in, in a copy.
 */
#ifndef AUTHD_FILTER_H
#define AUTHD_FILTER_H

#include "common/sandbox.h"

extern const struct sandbox password_sandbox;
extern const struct sandbox pam_sandbox;
extern const struct sandbox initiator_sandbox;
extern const struct sandbox acceptor_sandbox;

#endif
