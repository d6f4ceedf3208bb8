/*
 * Method negotiation, RFC 1928 section 3: the policy chooses among what the client offers.
 */
#include "common/rules.h"
#include "common/socks.h"
#include "common/socks4.h"
#include "worker/handshake.h"
#include "worker/session.h"
#include "worker/worker.h"

static uint32_t
offered(const struct socks_greeting *g)
{
	uint32_t methods = 0;

	for (unsigned i = 0; i < g->nmethods; i++) {
		if (g->methods[i] == SOCKS_METHOD_NONE)
			methods |= METHOD_BIT(METHOD_NONE);
		else if (g->methods[i] == SOCKS_METHOD_PASSWORD)
			methods |= METHOD_BIT(METHOD_PASSWORD);
		else if (g->methods[i] == SOCKS_METHOD_GSSAPI)
			methods |= METHOD_BIT(METHOD_GSSAPI);
	}
	return methods;
}

static enum step
choose(struct session *s, uint32_t methods)
{
	static const uint8_t wire[METHOD_COUNT] = {
		[METHOD_NONE] = SOCKS_METHOD_NONE,
		[METHOD_PASSWORD] = SOCKS_METHOD_PASSWORD,
		[METHOD_GSSAPI] = SOCKS_METHOD_GSSAPI,
	};
	const struct policy *p = s->w->policy;
	enum method m = rules_method(p->img, p->open_methods, &s->hs->client.a, methods);
	uint8_t reply[2] = { SOCKS_VERSION, SOCKS_METHOD_REFUSED };

	if (m >= METHOD_COUNT) {
		session_turn_away(s, REASON_NO_METHOD, methods, reply, sizeof(reply));
		return STEP_OVER;
	}
	reply[1] = wire[m];
	if (!session_send(s, reply, sizeof(reply)))
		return STEP_OVER;
	s->hs->method = (uint8_t)m;
	session_set_state(s, m == METHOD_NONE ? SESSION_REQUEST : SESSION_AUTH);
	return STEP_AGAIN;
}

enum step
greeting_step(struct session *s)
{
	struct socks_greeting g;

	if (s->hs->in_len > 0 && s->hs->in[0] == SOCKS4_VERSION)
		return socks4_step(s);
	ssize_t n = socks_greeting(s->hs->in, s->hs->in_len, &g);

	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD) {
		session_turn_away(s, REASON_VERSION, g.version, NULL, 0);
		return STEP_OVER;
	}
	uint32_t methods = offered(&g);
	handshake_take(s, (size_t)n);
	return choose(s, methods);
}
