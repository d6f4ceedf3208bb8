/*
 * BIND. Owns the listener that the master made, until the expected peer has come. Peers are not
 * trusted: each is judged by its address alone, first against those that were asked for, then by
 * the rules.
 *
 * RFC 1928 section 4 has DST.ADDR and DST.PORT evaluate the request. DST.ADDR is who is expected;
 * the port from which it will come is not known beforehand, so DST.PORT is for the rules only.
 */
#include "worker/bind.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/egress.h"
#include "common/image.h"
#include "worker/link.h"
#include "worker/names.h"
#include "worker/reply.h"
#include "worker/request.h"
#include "worker/session.h"
#include "worker/worker.h"

#define ACCEPTS      8   /* peers judged a turn: then others have their turn */
#define REST_MS      100 /* while descriptors or memory are short */
#define EXPECTED_MAX (2 * ANSWER_ADDRS)

struct bind {
	struct session *s;
	struct ev ev;
	int fd; /* the listener; -1 before */
	struct deadline rest;
	struct name_query q;
	unsigned waiting; /* LOOKUP_ bits of answers to come */
	bool name_failed;
	bool asked;    /* LISTEN is on its way */
	uint32_t rule; /* that was named in it */
	unsigned n;    /* expected; 0: anybody */
	struct addr expected[EXPECTED_MAX];
	unsigned nstrangers;
	struct addr strangers[STRANGERS_MAX]; /* the master has been told of */
};

void
bind_free(struct session *s)
{
	struct bind *b = s->hs->bind;

	if (b == NULL)
		return;
	s->hs->bind = NULL;
	if (b->waiting != 0)
		names_cancel(s->w->names, &b->q);
	deadline_disarm(&b->rest);
	ev_del(s->w->loop, &b->ev);
	if (b->fd != -1)
		close(b->fd);
	free(b);
}

static struct bind *
bind_new(struct session *s)
{
	struct bind *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
		return NULL;
	}
	b->s = s;
	b->fd = b->ev.fd = -1;
	s->hs->bind = b;
	return b;
}

/* --- the listener --- */

static void
ask(struct bind *b, const struct addr *peer, uint32_t rule)
{
	struct addrport to = { .a = *peer, .port = b->s->hs->asked.port };

	b->asked = true;
	b->rule = rule;
	session_open(b->s);
	link_listen(b->s, rule, &to);
}

void
bind_address(struct session *s, const struct addr *peer, uint32_t rule)
{
	struct bind *b = bind_new(s);

	if (b == NULL)
		return;
	if (!addr_is_any(peer))
		b->expected[b->n++] = addr_dial(peer);
	ask(b, addr_is_any(peer) ? peer : &b->expected[0], rule);
}

/* How likely a listener of this family can be had and reached: first of all where there is an
 * egress address, then where the client came by the same family, which has a route. */
static unsigned
rank(const struct bind *b, uint32_t rule, uint8_t family)
{
	const struct handshake *hs = b->s->hs;
	const struct image *img = hs->policy->img;
	struct egress_way way;
	uint32_t turn = 0;
	bool can = egress_way(img, rules_rule(img, rule), family, &hs->client.a, &turn, &way) == 0;

	return 1 + (can ? 2u : 0) + (family == hs->gateway.a.family ? 1u : 0);
}

/* The best of the name's addresses that the rules let pass. -1: none, and *rule blocks one. */
static int
preferred(const struct bind *b, uint32_t *rule)
{
	unsigned highest = 0;
	uint32_t decided;
	int best = -1;

	*rule = RULE_NONE;
	for (unsigned i = 0; i < b->n; i++) {
		bool pass = request_rules(b->s, &b->expected[i], &decided) == RULES_PASS &&
			    !rules_via(b->s->hs->policy->img, decided);
		unsigned this = pass ? rank(b, decided, b->expected[i].family) : 0;

		if (this > highest) {
			highest = this;
			best = (int)i;
		}
		if (best == (int)i || i == 0)
			*rule = decided;
	}
	return best;
}

static void
on_answer(struct name_query *q, unsigned family, enum answer_status status,
    const struct addr *addrs, size_t n)
{
	struct bind *b = (struct bind *)((char *)q - offsetof(struct bind, q));
	uint32_t rule;

	b->waiting &= ~family;
	if (status == ANSWER_FAILED)
		b->name_failed = true;
	for (size_t i = 0; status == ANSWER_OK && i < n && b->n < EXPECTED_MAX; i++)
		b->expected[b->n++] = addr_dial(&addrs[i]);
	if (b->waiting != 0)
		return;
	if (b->n == 0) {
		session_fail(
		    b->s, b->name_failed ? REASON_NAME_FAILED : REASON_NO_NAME, 0, RULE_NONE);
		return;
	}
	int first = preferred(b, &rule);
	if (first == -1)
		session_fail(b->s, REASON_RULES, 0, rule);
	else
		ask(b, &b->expected[first], rule);
}

void
bind_name(struct session *s)
{
	struct bind *b = bind_new(s);

	if (b == NULL)
		return;
	b->q.cb = on_answer;
	b->waiting = LOOKUP_A | LOOKUP_AAAA;
	names_lookup(s->w->names, &b->q, s->hs->norm, s->hs->norm_len, b->waiting);
}

/* --- peers --- */

/* Turned away, and told once a host. */
static void
stranger(struct bind *b, const struct addrport *peer, uint32_t rule)
{
	for (unsigned i = 0; i < b->nstrangers; i++)
		if (addr_cmp(&b->strangers[i], &peer->a) == 0)
			return;
	if (b->nstrangers == STRANGERS_MAX)
		return;
	b->strangers[b->nstrangers++] = peer->a;
	link_stranger(b->s, rule, peer);
}

static bool
expected(const struct bind *b, const struct addr *peer)
{
	const struct image *img = b->s->hs->policy->img;
	const struct prefix *nat64 = image_at(img, img->nat64);
	struct addr one = addr_canon(peer, nat64, img->nat64.n), other;

	for (unsigned i = 0; i < b->n; i++) {
		other = addr_canon(&b->expected[i], nat64, img->nat64.n);
		if (addr_cmp(&one, &other) == 0)
			return true;
	}
	return b->n == 0;
}

/* The expected one has come: the second reply names it (RFC 1928 section 4), then the relay. */
static void
taken(struct bind *b, int fd, const struct addrport *peer, uint32_t rule)
{
	struct session *s = b->s;

	s->fd[TARGET] = fd;
	s->hs->target = *peer;
	s->hs->rule = rule;
	bind_free(s);
	link_attempt(s, rule, peer, 0);
	request_established(s, peer);
}

/* One that has come is taken or turned away. True: the wait goes on. */
static bool
judge(struct bind *b, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	struct addrport peer;
	uint32_t rule = RULE_NONE;

	if (addr_from_sockaddr((const struct sockaddr *)ss, len, &peer) == -1) {
		close(fd);
		return true;
	}
	if (expected(b, &peer.a) && request_rules(b->s, &peer.a, &rule) == RULES_PASS &&
	    !rules_via(b->s->hs->policy->img, rule)) {
		taken(b, fd, &peer, rule);
		return false;
	}
	close(fd);
	stranger(b, &peer, rule);
	return true;
}

static void
on_rested(struct deadline *d)
{
	struct bind *b = (struct bind *)((char *)d - offsetof(struct bind, rest));

	if (ev_set(b->s->w->loop, &b->ev, EPOLLIN) == -1)
		session_fail(b->s, REASON_GENERAL, errno, RULE_NONE);
}

static void
accept_failed(struct bind *b, int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
		break;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		if (ev_set(b->s->w->loop, &b->ev, 0) == 0) {
			deadline_arm(b->s->w->loop, &b->rest, REST_MS);
			break;
		}
		/* fallthrough */
	default:
		session_fail(b->s, REASON_GENERAL, error, RULE_NONE);
	}
}

/* The errors that accept(2) reports of a connection that was there and is gone. */
static bool
peer_error(int error)
{
	return error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
	       error == ENETUNREACH || error == EHOSTDOWN || error == EHOSTUNREACH ||
	       error == ENOPROTOOPT || error == EPERM;
}

static void
on_listener(struct ev *e, uint32_t events)
{
	struct bind *b = (struct bind *)((char *)e - offsetof(struct bind, ev));

	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int fd = accept4(b->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd == -1 && peer_error(errno))
			continue;
		if (fd == -1) {
			accept_failed(b, errno);
			return;
		}
		if (!judge(b, fd, &ss, len))
			return;
	}
}

/* --- the wait --- */

void
bind_listening(
    struct session *s, int fd, const struct addrport *bound, const struct addrport *advertised)
{
	const struct image *img = s->hs->policy->img;
	struct bind *b = s->hs->bind;
	uint32_t ms = rules_rule(img, b->rule)->timeout_bind;

	b->fd = fd;
	b->ev.cb = on_listener;
	b->rest.cb = on_rested;
	s->hs->outgoing = *bound;
	if (ev_add(s->w->loop, &b->ev, fd, EPOLLIN) == -1 ||
	    ev_set(s->w->loop, &s->ev[CLIENT], EPOLLRDHUP) == -1) {
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
		return;
	}
	session_set_state(s, SESSION_BIND);
	deadline_arm(s->w->loop, &s->deadline, ms != 0 ? ms : img->timeout_bind);
	(void)reply_send(s, REASON_NONE, advertised);
}

void
bind_client(struct session *s, uint32_t events)
{
	if ((events & EPOLLERR) != 0)
		session_close(s, REASON_CLIENT_RESET, 0);
	else if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0)
		session_close(s, REASON_CLIENT_CLOSED, 0);
}

void
bind_timeout(struct session *s)
{
	const struct bind *b = s->hs->bind;

	if (b->fd != -1)
		session_fail(s, REASON_BIND_TIMEOUT, ETIMEDOUT, RULE_NONE);
	else if (b->asked) /* the master has not answered */
		session_fail(s, REASON_GENERAL, ETIMEDOUT, RULE_NONE);
	else
		session_fail(s, REASON_NAME_FAILED, ETIMEDOUT, RULE_NONE);
}
