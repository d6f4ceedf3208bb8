/*
 * The client of an upstream: connects, greets, asks, and takes its reply. Owns the connection until
 * it becomes the session's. The upstream is configured, and foreign all the same: its messages are
 * read whole and no further, octet by octet if it likes, within the session's one time-out.
 *
 * An upstream that cannot be connected, breaks the protocol or refuses the authentication is passed
 * over, and for a while by other sessions too. Once the request is sent, its reply is final: what
 * it could do for one target says nothing of the next gateway, and a request is not made twice.
 */
#include "worker/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/rules.h"
#include "worker/connect.h"
#include "worker/flow.h"
#include "worker/link.h"
#include "worker/race.h"
#include "worker/relay.h"
#include "worker/reply.h"
#include "worker/request.h"
#include "worker/session.h"
#include "worker/udp.h"
#include "worker/upstream_parts.h"

_Static_assert(VIA_MAX <= 32, "a bit each in struct upstream");

/* --- which one --- */

static const uint32_t *
via(const struct upstream *u, uint32_t *n)
{
	const struct image *img = u->s->hs->policy->img;
	const struct image_rule *r = rules_rule(img, u->rule);

	*n = r->upstreams.n;
	return image_at(img, r->upstreams);
}

static uint32_t
index_of(const struct upstream *u)
{
	uint32_t n;

	return via(u, &n)[u->current];
}

const struct image_upstream *
upstream_of(const struct upstream *u)
{
	return image_upstream(u->s->hs->policy->img, index_of(u));
}

static struct upstream_rest *
rest_of(const struct upstream *u)
{
	return &u->s->hs->policy->rest[index_of(u)];
}

/* The first that is left, those that fail only where there is no other. */
static bool
choose(struct upstream *u)
{
	uint64_t now = loop_now(u->s->w->loop);
	uint32_t n;
	const uint32_t *all = via(u, &n);

	for (unsigned resting = 0; resting < 2; resting++) {
		for (uint32_t i = 0; i < n; i++) {
			bool rests = u->s->hs->policy->rest[all[i]].until > now;

			if ((u->tried & 1u << i) != 0 || rests != (resting == 1))
				continue;
			u->tried |= 1u << i;
			u->current = i;
			return true;
		}
	}
	return false;
}

static bool
is_last(const struct upstream *u)
{
	uint32_t n;

	(void)via(u, &n);
	return u->tried == (n == 32 ? UINT32_MAX : (1u << n) - 1);
}

/* --- the connection --- */

static void
drop_connection(struct upstream *u)
{
	upstream_auth_end(u);
	race_free(u->s);
	ev_del(u->s->w->loop, &u->ev);
	deadline_disarm(&u->try);
	if (u->fd != -1)
		close(u->fd);
	u->fd = -1;
	held_free(u->out);
	held_free(u->early);
	u->out = u->early = NULL;
	protected_free(u->protected);
	u->protected = NULL;
	explicit_bzero(u->in, sizeof(u->in));
	u->in_len = 0;
}

void
upstream_free(struct session *s)
{
	struct upstream *u = s->hs->upstream;

	if (u == NULL)
		return;
	s->hs->upstream = NULL;
	drop_connection(u);
	free(u);
}

static void
try_next(struct upstream *u)
{
	struct session *s = u->s;

	if (!choose(u)) {
		session_fail(s, u->why, u->error, RULE_NONE);
		return;
	}
	u->state = UPSTREAM_CONNECTING;
	if (!is_last(u))
		deadline_arm(s->w->loop, &u->try, UPSTREAM_TRY_MS);
	race_upstream(s, u->rule, index_of(u));
}

void
upstream_skip(struct upstream *u, enum reason why, int error)
{
	struct upstream_rest *rest = rest_of(u);

	rest->last = rest->last == 0 ? UPSTREAM_REST_MS : rest->last * 2;
	if (rest->last > UPSTREAM_REST_MAX_MS)
		rest->last = UPSTREAM_REST_MAX_MS;
	rest->until = loop_now(u->s->w->loop) + rest->last;
	/* That credentials are missing says more than that the next one was not there. */
	if (u->why != REASON_UPSTREAM_CREDENTIALS && u->why != REASON_UPSTREAM_AUTH) {
		u->why = why;
		u->error = error;
	}
	drop_connection(u);
	try_next(u);
}

static void
on_try(struct deadline *d)
{
	struct upstream *u = (struct upstream *)((char *)d - offsetof(struct upstream, try));

	upstream_skip(u, REASON_UPSTREAM, ETIMEDOUT);
}

static int
poll_it(struct upstream *u)
{
	uint32_t events = (u->ev.events & EPOLLIN) | (u->out != NULL ? EPOLLOUT : 0);

	return ev_set(u->s->w->loop, &u->ev, events);
}

int
upstream_put(struct upstream *u, const void *data, size_t len)
{
	size_t old = u->out != NULL ? u->out->len - u->out->at : 0;
	ssize_t n = old == 0 ? send(u->fd, data, len, MSG_NOSIGNAL) : 0;

	if (n == -1 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return -1;
	if (n == -1)
		n = 0;
	if ((size_t)n == len)
		return 0;
	struct held *h = malloc(sizeof(*h) + old + len - (size_t)n);
	if (h == NULL)
		return -1;
	h->at = 0;
	h->len = old + len - (size_t)n;
	if (old > 0)
		memcpy(h->data, u->out->data + u->out->at, old);
	memcpy(h->data + old, (const uint8_t *)data + n, len - (size_t)n);
	free(u->out);
	u->out = h;
	return poll_it(u);
}

/* 0, or -1: it is gone. */
static int
flush(struct upstream *u)
{
	struct held *h = u->out;
	ssize_t n = h != NULL ? send(u->fd, h->data + h->at, h->len - h->at, MSG_NOSIGNAL) : 0;

	if (h == NULL || (n == -1 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)))
		return 0;
	if (n == -1)
		return -1;
	h->at += (size_t)n;
	if (h->at < h->len)
		return 0;
	free(h);
	u->out = NULL;
	return poll_it(u);
}

/* --- the steps --- */

/* What the reply of an upstream means here. */
static enum reason
reason_of(uint8_t rep)
{
	switch (rep) {
	case SOCKS_REP_OK:
		return REASON_NONE;
	case SOCKS_REP_NOT_ALLOWED:
		return REASON_UPSTREAM_RULES;
	case SOCKS_REP_NET_UNREACHABLE:
		return REASON_NET_UNREACHABLE;
	case SOCKS_REP_HOST_UNREACHABLE:
		return REASON_HOST_UNREACHABLE;
	case SOCKS_REP_REFUSED:
		return REASON_REFUSED;
	case SOCKS_REP_TTL_EXPIRED:
		return REASON_CONNECT;
	case SOCKS_REP_COMMAND:
		return REASON_COMMAND;
	case SOCKS_REP_ATYP:
		return REASON_ATYP;
	default:
		return REASON_UPSTREAM;
	}
}

/* Done: the connection is the session's target. Its socket goes over with what is still unread. */
static void
hand_over(struct upstream *u)
{
	struct session *s = u->s;
	struct addrport bnd = u->bnd;

	ev_del(s->w->loop, &u->ev);
	s->fd[TARGET] = u->fd;
	u->fd = -1;
	s->protected[TARGET] = u->protected;
	u->protected = NULL;
	s->hs->early = u->early;
	u->early = NULL;
	upstream_free(s);
	request_established(s, &bnd);
}

static void reply_event(struct upstream *u);

/* BIND's first reply (RFC 1928 section 4): the peer may come to the upstream. */
static void
wait_for_peer(struct upstream *u)
{
	struct session *s = u->s;
	const struct image *img = s->hs->policy->img;
	uint32_t ms = rules_rule(img, u->rule)->timeout_bind;

	u->state = UPSTREAM_PEER;
	u->in_len = 0;
	/* A wildcard means the host itself. */
	if (u->bnd.a.family != ADDR_NONE && addr_is_any(&u->bnd.a))
		u->bnd.a = u->at.a;
	if (ev_set(s->w->loop, &u->ev, EPOLLIN) == -1 ||
	    ev_set(s->w->loop, &s->ev[CLIENT], EPOLLRDHUP) == -1) {
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
		return;
	}
	session_set_state(s, SESSION_BIND);
	deadline_arm(s->w->loop, &s->deadline, ms != 0 ? ms : img->timeout_bind);
	if (reply_send(s, REASON_NONE, &u->bnd) && u->early != NULL)
		reply_event(u);
}

/* Where the upstream's relay is: "BND.ADDR and BND.PORT"; a wildcard means the address that we
 * are connected to. Any other is its word that we send our client's datagrams to: a special address
 * (this machine's own, say) is not believed. */
static bool
relay_of(const struct upstream *u, struct addrport *relay)
{
	const struct image *img = u->s->hs->policy->img;
	const struct prefix *nat64 = image_at(img, img->nat64);
	struct addr a;
	uint8_t len;

	*relay = (struct addrport){ .a = addr_dial(&u->bnd.a), .port = u->bnd.port };
	if (relay->a.family == ADDR_NONE || addr_is_any(&relay->a))
		relay->a = u->at.a;
	if (relay->port == 0)
		return false;
	if (addr_cmp(&relay->a, &u->at.a) == 0)
		return true;
	a = addr_canon(&relay->a, nat64, img->nat64.n);
	return rules_special(img, &a, &len) == ADDR_ORDINARY;
}

static void
associated(struct upstream *u)
{
	struct session *s = u->s;
	const struct image_upstream *up = upstream_of(u);
	struct addrport relay;

	if (!relay_of(u, &relay)) {
		session_fail(s, REASON_UPSTREAM, EPROTO, RULE_NONE);
		return;
	}
	ev_del(s->w->loop, &u->ev);
	if (!udp_associate_via(s, u->fd, &relay, up, u->rule))
		return; /* the session has ended, and its upstream with it */
	u->fd = -1;
	if (u->protected != NULL)
		token_datagrams(u->protected->token);
	s->protected[TARGET] = u->protected;
	u->protected = NULL;
	upstream_free(s);
}

static void
served(struct upstream *u)
{
	switch ((enum command)u->s->hs->command) {
	case COMMAND_CONNECT:
		hand_over(u);
		break;
	case COMMAND_BIND:
		wait_for_peer(u);
		break;
	case COMMAND_UDP:
		associated(u);
		break;
	case COMMAND_NONE:
	case COMMAND_COUNT:
		session_fail(u->s, REASON_COMMAND, 0, RULE_NONE);
		break;
	}
}

void
upstream_granted(struct session *s)
{
	if (s->hs->upstream->state == UPSTREAM_GRANT)
		served(s->hs->upstream);
}

static void
replied(struct upstream *u, const struct socks_request *r)
{
	struct session *s = u->s;
	struct upstream_rest *rest = rest_of(u);

	rest->until = 0;
	rest->last = 0;
	if (r->cmd != SOCKS_REP_OK) {
		session_fail(s, reason_of(r->cmd), 0, RULE_NONE);
		return;
	}
	u->bnd = (struct addrport){ .a = r->addr, .port = r->port };
	if (r->addr.family == ADDR_NONE)
		u->bnd.port = 0;
	u->state = UPSTREAM_GRANT;
	/* Nothing is read, and so nothing lost, until the relay reads it. */
	if (ev_set(s->w->loop, &u->ev, 0) == -1)
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
	else if (s->hs->granted || s->hs->command == COMMAND_UDP) /* that asks by itself */
		served(u);
}

/* BIND's second reply names who has come. A host that the rules block is not the client's. */
static void
peer_came(struct upstream *u, const struct socks_request *r)
{
	struct session *s = u->s;
	uint32_t rule;

	if (r->cmd != SOCKS_REP_OK) {
		session_fail(s,
		    r->cmd == SOCKS_REP_TTL_EXPIRED ? REASON_BIND_TIMEOUT : reason_of(r->cmd), 0,
		    RULE_NONE);
		return;
	}
	u->bnd = (struct addrport){ .a = r->addr, .port = r->port };
	if (r->addr.family != ADDR_NONE && (request_rules(s, &r->addr, &rule) != RULES_PASS ||
					       !rules_via(s->hs->policy->img, rule))) {
		session_fail(s, REASON_RULES, 0, rule);
		return;
	}
	hand_over(u);
}

static void
reply_event(struct upstream *u)
{
	struct socks_request r;

	switch (upstream_more_reply(u, &r)) {
	case GOT_LESS:
		return;
	case GOT_END:
		session_fail(u->s, REASON_UPSTREAM, errno, RULE_NONE);
		return;
	case GOT_ALL:
		break;
	}
	if (r.version != SOCKS_VERSION)
		session_fail(u->s, REASON_UPSTREAM, EPROTO, RULE_NONE);
	else if (u->state == UPSTREAM_REPLY)
		replied(u, &r);
	else
		peer_came(u, &r);
}

/* The request as it came, but its name in the one spelling that the rules have seen. */
void
upstream_ask(struct upstream *u)
{
	const struct handshake *hs = u->s->hs;
	uint8_t out[SOCKS_REQUEST_MAX], sealed[GSS_HEADER + SOCKS_REQUEST_MAX + PROTECTED_OVERHEAD];
	const uint8_t *data = out;
	size_t n;

	deadline_disarm(&u->try);
	u->in_len = 0;
	u->state = UPSTREAM_REPLY;
	n = socks_request_put(out, hs->command_raw, &hs->dest, hs->norm, hs->norm_len);
	if (u->protected != NULL) {
		n = protected_seal(u->protected, out, n, sealed);
		data = sealed;
	}
	if (n == 0 || upstream_put(u, data, n) == -1)
		session_fail(u->s, REASON_UPSTREAM, errno, RULE_NONE);
}

static uint8_t
wire_method(const struct image_upstream *up)
{
	return up->method == METHOD_PASSWORD ? SOCKS_METHOD_PASSWORD
	       : up->method == METHOD_GSSAPI ? SOCKS_METHOD_GSSAPI
					     : SOCKS_METHOD_NONE;
}

static void
method_event(struct upstream *u)
{
	const struct image_upstream *up = upstream_of(u);
	enum got g = upstream_more(u, 2);

	if (g == GOT_LESS)
		return;
	if (g == GOT_END)
		upstream_skip(u, REASON_UPSTREAM, errno);
	else if (u->in[0] != SOCKS_VERSION)
		upstream_skip(u, REASON_UPSTREAM, EPROTO);
	else if (u->in[1] != wire_method(up)) /* X'FF', or one that was not offered */
		upstream_skip(u, REASON_UPSTREAM_AUTH, 0);
	else if (up->method == METHOD_NONE)
		upstream_ask(u);
	else if (upstream_auth_begin(u) == -1)
		upstream_skip(u, REASON_UPSTREAM_CREDENTIALS, errno);
}

/* RFC 1929 section 2. */
static void
status_event(struct upstream *u)
{
	enum got g = upstream_more(u, 2);

	if (g == GOT_LESS)
		return;
	if (g == GOT_END)
		upstream_skip(u, REASON_UPSTREAM_AUTH, errno);
	else if (u->in[0] != SOCKS_AUTH_VERSION || u->in[1] != 0)
		upstream_skip(u, REASON_UPSTREAM_AUTH, 0);
	else
		upstream_ask(u);
}

static void
on_upstream(struct ev *e, uint32_t events)
{
	struct upstream *u = (struct upstream *)((char *)e - offsetof(struct upstream, ev));

	if ((events & EPOLLOUT) != 0 && flush(u) == -1) {
		if (u->state < UPSTREAM_REPLY)
			upstream_skip(u, REASON_UPSTREAM, errno);
		else
			session_fail(u->s, REASON_UPSTREAM, errno, RULE_NONE);
		return;
	}
	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0)
		return;
	switch (u->state) {
	case UPSTREAM_CONNECTING:
		break;
	case UPSTREAM_METHOD:
		method_event(u);
		break;
	case UPSTREAM_AUTH:
		upstream_auth_event(u);
		break;
	case UPSTREAM_STATUS:
		status_event(u);
		break;
	case UPSTREAM_REPLY:
	case UPSTREAM_PEER:
		reply_event(u);
		break;
	case UPSTREAM_GRANT:
		if ((events & (EPOLLERR | EPOLLHUP)) != 0)
			ev_del(u->s->w->loop, &u->ev); /* the relay will read its end */
		break;
	}
}

/* --- the beginning and the race --- */

void
upstream_start(struct session *s, uint32_t rule)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (u == NULL) {
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
		return;
	}
	u->s = s;
	u->rule = rule;
	u->fd = -1;
	u->ev = (struct ev){ .fd = -1, .cb = on_upstream };
	u->try.cb = on_try;
	u->why = REASON_UPSTREAM;
	s->hs->upstream = u;
	try_next(u);
}

void
upstream_connected(struct session *s, int fd, const struct addrport *at)
{
	struct upstream *u = s->hs->upstream;
	uint8_t greeting[3] = { SOCKS_VERSION, 1, wire_method(upstream_of(u)) };

	u->fd = fd;
	u->at = *at;
	s->hs->target = *at;
	if (s->hs->command != COMMAND_UDP)
		s->hs->rule = u->rule;
	u->state = UPSTREAM_METHOD;
	connect_hurry(s, fd);
	if (addr_local(fd, &s->hs->outgoing) == -1 ||
	    ev_add(s->w->loop, &u->ev, fd, EPOLLIN) == -1 ||
	    upstream_put(u, greeting, sizeof(greeting)) == -1)
		upstream_skip(u, REASON_UPSTREAM, errno);
}

void
upstream_unreachable(struct session *s, enum reason why, int error)
{
	(void)why;
	upstream_skip(s->hs->upstream, REASON_UPSTREAM, error);
}

void
upstream_timeout(struct session *s)
{
	switch (s->hs->upstream->state) {
	case UPSTREAM_CONNECTING:
	case UPSTREAM_METHOD:
	case UPSTREAM_AUTH:
	case UPSTREAM_STATUS:
		session_fail(s, REASON_UPSTREAM, ETIMEDOUT, RULE_NONE);
		break;
	case UPSTREAM_REPLY:
		session_fail(s, REASON_CONNECT, ETIMEDOUT, RULE_NONE);
		break;
	case UPSTREAM_GRANT: /* the master has not answered */
		session_fail(s, REASON_GENERAL, ETIMEDOUT, RULE_NONE);
		break;
	case UPSTREAM_PEER:
		session_fail(s, REASON_BIND_TIMEOUT, ETIMEDOUT, RULE_NONE);
		break;
	}
}
