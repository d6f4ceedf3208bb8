/*
 * The request, RFC 1928 section 4, and its reply, section 6. Decides by one policy image from the
 * first pass over the rules to the end; trusts no octet of the request.
 */
#include "worker/request.h"

#include <string.h>

#include "common/image.h"
#include "common/socks.h"
#include "worker/bind.h"
#include "worker/handshake.h"
#include "worker/link.h"
#include "worker/race.h"
#include "worker/relay.h"
#include "worker/reply.h"
#include "worker/session.h"
#include "worker/udp.h"
#include "worker/upstream.h"
#include "worker/worker.h"

enum rules_answer
request_rules(const struct session *s, const struct addr *target, uint32_t *rule)
{
	const struct handshake *hs = s->hs;
	struct query q = { .known = KNOW_ALL,
		.method = hs->method,
		.level = hs->level,
		.command = hs->command,
		.port = hs->asked.port,
		.source = hs->client.a,
		.user = hs->user,
		.user_len = hs->user_len,
		.groups = hs->groups,
		.groups_len = hs->groups_len };

	if (hs->norm_len > 0) {
		q.name = hs->norm;
		q.name_len = hs->norm_len;
	}
	if (target != NULL)
		q.target = *target;
	else
		q.known &= ~KNOW_ADDR;
	return rules_eval(hs->policy->img, &q, rule);
}

/* One deadline for look-up and attempts: that of the rule, as far as it is known. */
static void
arm_connect(struct session *s, uint32_t rule)
{
	const struct image *img = s->hs->policy->img;
	uint32_t ms = rules_rule(img, rule)->timeout_connect;

	deadline_arm(s->w->loop, &s->deadline, ms != 0 ? ms : img->timeout_connect);
}

/* A rule with `via`: one of its upstreams is asked for the same. */
static void
start_via(struct session *s, const struct addr *a, uint32_t rule)
{
	s->hs->dest = (struct addrport){ .port = s->hs->asked.port };
	if (a != NULL)
		s->hs->dest.a = addr_dial(a);
	arm_connect(s, rule);
	upstream_start(s, rule);
}

static void
start_bind(struct session *s, const struct addr *a, uint32_t rule)
{
	arm_connect(s, rule);
	bind_address(s, a, rule);
}

/* The rules are asked of the very address that will be connected to. */
static void
decide_address(struct session *s, const struct addr *a)
{
	bool bind = s->hs->command == COMMAND_BIND;
	struct addr dialled = addr_dial(a);
	uint32_t rule;

	if (bind && addr_is_any(a)) {
		/* Who will come is not known: a rule that may pass some peer will do, and each that
		 * comes is judged by its own address. */
		if (request_rules(s, NULL, &rule) == RULES_BLOCK)
			session_fail(s, REASON_RULES, 0, rule);
		else if (rules_via(s->hs->policy->img, rule))
			start_via(s, a, rule);
		else
			start_bind(s, a, rule);
		return;
	}
	if (request_rules(s, &dialled, &rule) != RULES_PASS) {
		session_fail(s, REASON_RULES, 0, rule);
		return;
	}
	if (rules_via(s->hs->policy->img, rule)) {
		start_via(s, a, rule);
		return;
	}
	if (bind) {
		start_bind(s, a, rule);
		return;
	}
	arm_connect(s, rule);
	race_address(s, &dialled, rule);
}

/* The first pass: what cannot be allowed is not looked up. */
static void
decide_name(struct session *s)
{
	uint32_t rule;

	if (request_rules(s, NULL, &rule) == RULES_BLOCK) {
		session_fail(s, REASON_RULES, 0, rule);
		return;
	}
	if (rules_via(s->hs->policy->img, rule)) {
		start_via(s, NULL, rule);
		return;
	}
	arm_connect(s, rule);
	if (s->hs->command == COMMAND_BIND)
		bind_name(s);
	else
		race_name(s);
}

static void
decide(struct session *s)
{
	struct handshake *hs = s->hs;
	struct addr a = hs->asked.a;

	if (hs->command_raw == SOCKS_CMD_UDP && hs->socks == SOCKS_VERSION) {
		if (hs->command == COMMAND_UDP)
			udp_associate(s);
		else
			session_fail(s, REASON_ATYP, 0, RULE_NONE);
		return;
	}
	if (hs->command_raw != SOCKS_CMD_CONNECT && hs->command_raw != SOCKS_CMD_BIND) {
		session_fail(s, REASON_COMMAND, 0, RULE_NONE);
		return;
	}
	if (hs->name_len > 0) {
		/* A literal is an address whatever field it came in; another spelling of one is no
		 * name that could be looked up. */
		if (!name_is_address(hs->name, hs->name_len, &a)) {
			int n = name_normalise(hs->name, hs->name_len, hs->norm);
			if (n > 0) {
				hs->norm_len = (uint8_t)n;
				decide_name(s);
			} else {
				session_fail(s, REASON_NO_NAME, 0, RULE_NONE);
			}
			return;
		}
		if (a.family == ADDR_NONE) {
			session_fail(s, REASON_NO_NAME, 0, RULE_NONE);
			return;
		}
	}
	if (a.family == ADDR_NONE) {
		session_fail(s, REASON_ATYP, 0, RULE_NONE);
		return;
	}
	decide_address(s, &a);
}

/* A command without an address that could be read is told as its number alone. */
static enum command
command_of(const struct session *s, const struct socks_request *r)
{
	if (r->addr.family == ADDR_NONE && r->name_len == 0)
		return COMMAND_NONE;
	switch (r->cmd) {
	case SOCKS_CMD_CONNECT:
		return COMMAND_CONNECT;
	case SOCKS_CMD_BIND:
		return COMMAND_BIND;
	case SOCKS_CMD_UDP:
		return s->hs->socks == SOCKS_VERSION ? COMMAND_UDP : COMMAND_NONE;
	default:
		return COMMAND_NONE;
	}
}

enum step
request_start(struct session *s, const struct socks_request *r, size_t n)
{
	struct handshake *hs = s->hs;

	hs->policy = link_policy_hold(s->w);
	hs->command = command_of(s, r);
	hs->command_raw = r->cmd;
	hs->asked.a = r->addr;
	hs->asked.port = r->port;
	hs->name_len = r->name_len;
	if (r->name_len > 0)
		memcpy(hs->name, r->name, r->name_len);
	handshake_take(s, n);
	session_decided(s);
	session_set_state(s, SESSION_CONNECT);
	decide(s);
	return s->state == SESSION_CONNECT ? STEP_WAIT : STEP_OVER;
}

/* Octets that are no request at all; a reply only to one who speaks version 5. */
static void
not_a_request(struct session *s, const struct socks_request *r)
{
	static const struct addrport none;
	uint8_t reply[REPLY_MAX];
	size_t len = 0;

	if (r->version == SOCKS_VERSION)
		len = reply_make(s, REASON_PROTOCOL, &none, reply);
	session_turn_away(s, REASON_PROTOCOL, 0, reply, len);
}

enum step
request_step(struct session *s)
{
	struct socks_request r;
	ssize_t n = socks_request(s->hs->in, s->hs->in_len, &r);

	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD) {
		not_a_request(s, &r);
		return STEP_OVER;
	}
	return request_start(s, &r, (size_t)n);
}

/* Connected and granted: the reply, then the relay (RFC 1928 section 6, BND.ADDR and BND.PORT). */
void
request_established(struct session *s, const struct addrport *bnd)
{
	const struct image *img = s->hs->policy->img;
	const struct image_rule *rule = rules_rule(img, s->hs->rule);

	s->idle = rule->timeout_idle != 0 ? rule->timeout_idle : img->timeout_idle;
	s->half_closed =
	    rule->timeout_half_closed != 0 ? rule->timeout_half_closed : img->timeout_half_closed;
	link_connected(s);
	if (reply_send(s, REASON_NONE, bnd))
		relay_start(s);
}

void
request_connected(struct session *s)
{
	if (s->hs->granted)
		request_established(s, &s->hs->outgoing);
}

void
request_granted(struct session *s)
{
	if (s->state != SESSION_CONNECT)
		return;
	s->hs->granted = true;
	if (s->hs->upstream != NULL)
		upstream_granted(s);
	else if (s->hs->command == COMMAND_UDP)
		udp_granted(s);
	else if (s->fd[TARGET] != -1)
		request_established(s, &s->hs->outgoing);
}
