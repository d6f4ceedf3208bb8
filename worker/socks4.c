/*
 * SOCKS4 and 4a: one message is greeting and request. There is no authentication in it, so only a
 * rule that needs none can serve it; USERID is a claim, recorded and never believed. From the
 * request on a session is like any other's. Trusts no octet of the message.
 */
#include "common/socks4.h"

#include <string.h>

#include "common/rules.h"
#include "worker/handshake.h"
#include "worker/request.h"
#include "worker/session.h"
#include "worker/worker.h"

/* The refusal of those that get no further; what they send is drained, so that it arrives. */
static enum step
refuse(struct session *s, enum reason why, uint32_t detail)
{
	static const struct addrport none;
	uint8_t reply[SOCKS4_REPLY_LEN];

	session_turn_away(s, why, detail, reply, socks4_reply(reply, SOCKS4_CD_REJECTED, &none));
	return STEP_OVER;
}

enum step
socks4_step(struct session *s)
{
	const uint32_t none = METHOD_BIT(METHOD_NONE);
	const struct policy *p = s->w->policy;
	struct handshake *hs = s->hs;
	struct socks4_request r;

	/* Looked at again with each piece: the policy in force decides, as it does for SOCKS5. */
	if (!p->img->socks4)
		return refuse(s, REASON_VERSION, SOCKS4_VERSION);
	if (rules_method(p->img, p->open_methods, &hs->client.a, none) != METHOD_NONE)
		return refuse(s, REASON_NO_METHOD, none);
	ssize_t n = socks4_request(hs->in, hs->in_len, &r);
	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD)
		return refuse(s, REASON_PROTOCOL, 0);
	hs->socks = SOCKS4_VERSION;
	hs->method = METHOD_NONE;
	hs->claim_len = r.claim_len;
	memcpy(hs->claim, r.claim, r.claim_len);
	session_set_state(s, SESSION_REQUEST);
	return request_start(s, &r.asked, (size_t)n);
}
