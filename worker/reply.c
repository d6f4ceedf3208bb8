/*
 * Replies by version: RFC 1928 section 6, or SOCKS4's two codes. The one place that knows which a
 * client gets. Owns nothing.
 */
#include "worker/reply.h"

#include "common/socks.h"
#include "common/socks4.h"
#include "worker/session.h"

_Static_assert(SOCKS4_REPLY_LEN <= SOCKS_REPLY_MAX, "one buffer holds either");

bool
reply_send(struct session *s, enum reason why, const struct addrport *bnd)
{
	uint8_t reply[SOCKS_REPLY_MAX];
	size_t len;

	if (s->hs->socks == SOCKS4_VERSION)
		len = socks4_reply(
		    reply, why == REASON_NONE ? SOCKS4_CD_GRANTED : SOCKS4_CD_REJECTED, bnd);
	else
		len =
		    socks_reply(reply, why == REASON_NONE ? SOCKS_REP_OK : socks_rep_of(why), bnd);
	return session_send(s, reply, len);
}
