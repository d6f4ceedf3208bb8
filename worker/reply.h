/*
 * The reply to a request, in the version of the protocol that the client speaks.
 */
#ifndef WORKER_REPLY_H
#define WORKER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/msg.h"
#include "common/socks.h"
#include "worker/protected.h"

struct session;

/* Octets: encapsulated, if the client's side is. */
#define REPLY_MAX (GSS_HEADER + SOCKS_REPLY_MAX + PROTECTED_OVERHEAD)

/* Makes a reply as reply_send does; its length, or 0: libcrypto failed. */
size_t reply_make(
    struct session *s, enum reason why, const struct addrport *bnd, uint8_t out[REPLY_MAX]);
/* Sends a reply: REASON_NONE is success, with this BND.ADDR and BND.PORT; any other reason is a
 * failure. False: the client is gone, and the session ended. */
bool reply_send(struct session *s, enum reason why, const struct addrport *bnd);

#endif
