/*
 * authd's role `initiator`: authenticates this gateway to upstreams. It has the credentials, and no
 * connection: tokens and passwords leave by the worker that asked.
 */
#ifndef AUTHD_INITIATOR_H
#define AUTHD_INITIATOR_H

#include "common/msg.h"

/* All of the role, after INIT. The exit status. */
int initiator_main(const struct msg_init *init);

#endif
