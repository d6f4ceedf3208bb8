/*
 * The reply to a request, in the version of the protocol that the client speaks.
 */
#ifndef WORKER_REPLY_H
#define WORKER_REPLY_H

#include <stdbool.h>

#include "common/addr.h"
#include "common/msg.h"

struct session;

/* Sends a reply: REASON_NONE is success, with this BND.ADDR and BND.PORT; any other reason is a
 * failure. False: the client is gone, and the session ended. */
bool reply_send(struct session *s, enum reason why, const struct addrport *bnd);

#endif
