/*
 * Replies by version: RFC 1928 section 6, or SOCKS4's two codes; and encapsulated, where the
 * client's side is (RFC 1961 section 5). The one place that knows which a client gets. Owns
 * nothing.
 */
#include "worker/reply.h"

#include <errno.h>

#include "common/socks.h"
#include "common/socks4.h"
#include "worker/session.h"

_Static_assert(SOCKS4_REPLY_LEN <= SOCKS_REPLY_MAX, "one buffer holds either");

size_t
reply_make(struct session *s, enum reason why, const struct addrport *bnd, uint8_t out[REPLY_MAX])
{
	struct protected *p = s->protected[CLIENT];
	uint8_t clear[SOCKS_REPLY_MAX], *reply = p != NULL ? clear : out;
	bool ok = why == REASON_NONE;
	size_t len;

	if (s->hs->socks == SOCKS4_VERSION)
		len = socks4_reply(reply, ok ? SOCKS4_CD_GRANTED : SOCKS4_CD_REJECTED, bnd);
	else
		len = socks_reply(reply, ok ? SOCKS_REP_OK : socks_rep_of(why), bnd);
	return p != NULL ? protected_seal(p, clear, len, out) : len;
}

bool
reply_send(struct session *s, enum reason why, const struct addrport *bnd)
{
	uint8_t reply[REPLY_MAX];
	size_t len = reply_make(s, why, bnd, reply);

	if (len > 0)
		return session_send(s, reply, len);
	session_close(s, REASON_GENERAL, EIO);
	return false;
}
