/*
 * Slots and sessions: birth, the one state setter, the ways to end. Owns a session's descriptors
 * and memory; trusts the master and nothing that came from a client, a target, authd or the
 * resolver.
 */
#include "worker/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/accept.h"
#include "worker/auth.h"
#include "worker/bind.h"
#include "worker/flow.h"
#include "worker/handshake.h"
#include "worker/link.h"
#include "worker/protected.h"
#include "worker/race.h"
#include "worker/relay.h"
#include "worker/reply.h"
#include "worker/udp.h"
#include "worker/upstream.h"
#include "worker/worker.h"

/*
 * After a last reply the client's octets are drained for a while, since closing a socket with
 * unread octets sends a reset, which eats the reply. RFC 1928 section 6 gives 10 s in all.
 */
#define LINGER_MS     4000
#define LINGER_OCTETS (1024u * 1024) /* then nothing is read any more, until the time is over */
#define LINGER_READS  4              /* a turn */

#define TICKET_STEP_MS 1000 /* how exactly a ticket's end is kept */

void (*session_trace)(const struct session *s, enum session_state from, enum session_state to);

#define TO(s) (1u << (s))
static const uint32_t may_become[SESSION_STATES] = {
	[SESSION_FREE] = TO(SESSION_GREETING),
	[SESSION_GREETING] =
	    TO(SESSION_AUTH) | TO(SESSION_REQUEST) | TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_AUTH] =
	    TO(SESSION_AUTH_WAIT) | TO(SESSION_LINGER) | TO(SESSION_ABORTED) | TO(SESSION_FREE),
	[SESSION_AUTH_WAIT] = TO(SESSION_AUTH) | TO(SESSION_REQUEST) | TO(SESSION_LINGER) |
			      TO(SESSION_ABORTED) | TO(SESSION_FREE),
	[SESSION_REQUEST] = TO(SESSION_CONNECT) | TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_CONNECT] = TO(SESSION_BIND) | TO(SESSION_RELAY) | TO(SESSION_UDP) |
			    TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_BIND] = TO(SESSION_RELAY) | TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_UDP] = TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_RELAY] = TO(SESSION_LINGER) | TO(SESSION_FREE),
	[SESSION_LINGER] = TO(SESSION_ABORTED) | TO(SESSION_FREE),
	[SESSION_ABORTED] = TO(SESSION_FREE),
};

void
session_set_state(struct session *s, enum session_state to)
{
	enum session_state from = s->state;

	if ((may_become[from] & TO(to)) == 0)
		abort();
	if (session_trace != NULL)
		session_trace(s, from, to);
	s->state = (uint8_t)to;
}

struct sid
session_sid(const struct session *s)
{
	return (struct sid){ .slot = (uint32_t)(s - s->w->slots), .gen = s->gen };
}

struct session *
session_find(struct worker *w, struct sid sid, bool *sane)
{
	*sane = false;
	if (sid.slot >= w->nslots || sid.gen == 0)
		return NULL;
	struct session *s = &w->slots[sid.slot];
	if (sid.gen > s->gen)
		return NULL;
	*sane = true;
	return sid.gen == s->gen && s->state != SESSION_FREE ? s : NULL;
}

/* --- the client's events and the one deadline, by state --- */

static void
linger_event(struct session *s)
{
	for (int i = 0; i < LINGER_READS; i++) {
		ssize_t n = recv(s->fd[CLIENT], s->w->scratch, GSS_MESSAGE_MAX, 0);

		ev_moved(&s->ev[CLIENT], EPOLLIN, n, GSS_MESSAGE_MAX);
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			session_close(s, REASON_NONE, 0);
			return;
		}
		s->drained += (uint32_t)n;
		if (s->drained > LINGER_OCTETS) {
			ev_del(s->w->loop, &s->ev[CLIENT]);
			return;
		}
	}
}

static void
on_client(struct ev *e, uint32_t events)
{
	struct session *s = (struct session *)((char *)e - offsetof(struct session, ev[CLIENT]));

	switch ((enum session_state)s->state) {
	case SESSION_GREETING:
	case SESSION_AUTH:
	case SESSION_AUTH_WAIT:
	case SESSION_REQUEST:
	case SESSION_CONNECT:
		handshake_event(s, events);
		break;
	case SESSION_BIND:
		bind_client(s, events);
		break;
	case SESSION_RELAY:
		relay_event(s, CLIENT, events);
		break;
	case SESSION_UDP:
		udp_control(s);
		break;
	case SESSION_LINGER:
		linger_event(s);
		break;
	case SESSION_FREE:
	case SESSION_ABORTED:
	case SESSION_STATES:
		break;
	}
}

static void
on_target(struct ev *e, uint32_t events)
{
	struct session *s = (struct session *)((char *)e - offsetof(struct session, ev[TARGET]));

	if (s->state == SESSION_UDP)
		udp_relay(s);
	else if (s->state == SESSION_RELAY) /* before it, the loop remembers what is ready */
		relay_event(s, TARGET, events);
}

static void
on_deadline(struct deadline *d)
{
	struct session *s = (struct session *)((char *)d - offsetof(struct session, deadline));

	switch ((enum session_state)s->state) {
	case SESSION_GREETING:
	case SESSION_AUTH:
	case SESSION_AUTH_WAIT:
	case SESSION_REQUEST:
		handshake_timeout(s);
		break;
	case SESSION_CONNECT:
		if (s->hs->upstream != NULL)
			upstream_timeout(s);
		else if (s->hs->bind != NULL)
			bind_timeout(s);
		else
			race_timeout(s);
		break;
	case SESSION_BIND:
		if (s->hs->upstream != NULL)
			upstream_timeout(s);
		else
			bind_timeout(s);
		break;
	case SESSION_RELAY:
		relay_timeout(s);
		break;
	case SESSION_UDP:
		udp_timeout(s);
		break;
	case SESSION_LINGER:
		session_close(s, REASON_NONE, 0);
		break;
	case SESSION_FREE:
	case SESSION_ABORTED:
	case SESSION_STATES:
		break;
	}
}

/* --- the end of a client's ticket --- */

struct ticket {
	struct deadline look; /* whether it has ended ... */
	uint64_t end;         /* ... which is then, in ms of the loop's clock */
	struct session *s;
};

/* Deadlines have few different lengths, so it is awaited in steps that are powers of two. */
static void
await_ticket(struct ticket *t)
{
	struct loop *l = t->s->w->loop;
	uint64_t left = t->end - loop_now(l), step = TICKET_STEP_MS;

	while (step * 2 <= left)
		step *= 2;
	deadline_arm(l, &t->look, left == 0 ? 0 : step);
}

static void
on_ticket(struct deadline *d)
{
	struct ticket *t = (struct ticket *)((char *)d - offsetof(struct ticket, look));
	struct session *s = t->s;

	if (loop_now(s->w->loop) < t->end) {
		await_ticket(t);
		return;
	}
	switch ((enum session_state)s->state) {
	case SESSION_AUTH:
	case SESSION_AUTH_WAIT:
		auth_denied(s, REASON_TICKET);
		break;
	case SESSION_GREETING:
	case SESSION_REQUEST:
		session_turn_away(s, REASON_TICKET, 0, NULL, 0);
		break;
	case SESSION_CONNECT:
	case SESSION_BIND:
		session_fail(s, REASON_TICKET, 0, RULE_NONE);
		break;
	case SESSION_RELAY:
	case SESSION_UDP:
		session_hang_up(s, REASON_TICKET, 0);
		break;
	case SESSION_LINGER:
	case SESSION_FREE:
	case SESSION_ABORTED:
	case SESSION_STATES:
		break;
	}
}

bool
session_ticket(struct session *s, uint32_t seconds)
{
	struct ticket *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return false;
	t->s = s;
	t->look.cb = on_ticket;
	t->end = loop_now(s->w->loop) + (uint64_t)seconds * 1000;
	s->ticket = t;
	await_ticket(t);
	return true;
}

static void
ticket_free(struct session *s)
{
	if (s->ticket != NULL)
		deadline_disarm(&s->ticket->look);
	free(s->ticket);
	s->ticket = NULL;
}

/* --- birth --- */

bool
session_slots_left(const struct worker *w)
{
	return !SLIST_EMPTY(&w->unused) || w->touched < w->nslots;
}

/* One that had a session before, if there is any. */
static struct session *
slot_free(const struct worker *w)
{
	if (!SLIST_EMPTY(&w->unused))
		return SLIST_FIRST(&w->unused);
	return w->touched < w->nslots ? &w->slots[w->touched] : NULL;
}

static void
slot_take(struct worker *w, const struct session *s)
{
	if (s == SLIST_FIRST(&w->unused))
		SLIST_REMOVE_HEAD(&w->unused, entry);
	else
		w->touched++;
}

struct session *
session_new(struct worker *w, int fd, const struct addrport *client, const struct addrport *gateway)
{
	struct session *s = slot_free(w);
	struct handshake *hs = s != NULL ? spare_take(&w->spare, sizeof(*hs)) : NULL;

	if (hs == NULL) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	slot_take(w, s);
	hs->client = *client;
	hs->gateway = *gateway;
	hs->socks = SOCKS_VERSION;
	*s = (struct session){ .w = w, .gen = s->gen + 1, .hs = hs, .fd = { fd, -1 } };
	s->ev[CLIENT] = (struct ev){ .fd = -1, .cb = on_client };
	s->ev[TARGET] = (struct ev){ .fd = -1, .cb = on_target };
	s->deadline.cb = on_deadline;
	s->counted = true;
	w->handshakes++;
	w->sessions++;
	session_set_state(s, SESSION_GREETING);
	if (ev_add(w->loop, &s->ev[CLIENT], fd, EPOLLIN | EPOLLET) == -1) {
		int saved = errno;
		session_close(s, REASON_GENERAL, saved);
		errno = saved;
		return NULL;
	}
	deadline_arm(w->loop, &s->deadline, w->policy->img->timeout_handshake);
	return s;
}

/* --- death --- */

void
session_decided(struct session *s)
{
	if (!s->counted)
		return;
	s->counted = false;
	s->w->handshakes--;
}

void
handshake_free(struct session *s)
{
	struct handshake *hs = s->hs;

	if (hs == NULL)
		return;
	upstream_free(s);
	held_free(hs->early);
	race_free(s);
	bind_free(s);
	link_policy_release(s->w, hs->policy);
	free(hs->groups);
	held_free(hs->unsent);
	held_free(hs->behind);
	explicit_bzero(hs, sizeof(*hs)); /* it may hold a password */
	spare_give(&s->w->spare, hs);
	s->hs = NULL;
}

static void
session_close_side(struct session *s, enum side side)
{
	ev_close(s->w->loop, &s->ev[side], s->fd[side]);
	s->fd[side] = -1;
	flow_drop_held(s, side);
}

/* The keys go with the session. */
static void
session_unprotect(struct session *s)
{
	ticket_free(s);
	for (unsigned i = 0; i < SIDES; i++) {
		protected_free(s->protected[i]);
		s->protected[i] = NULL;
	}
}

static bool
in_exchange(const struct session *s)
{
	return s->state == SESSION_AUTH || s->state == SESSION_AUTH_WAIT;
}

static void
session_release(struct session *s)
{
	struct worker *w = s->w;

	session_decided(s);
	session_set_state(s, SESSION_FREE);
	w->sessions--;
	/* An id is never used again: the slot whose generations are used up stays out. */
	if (s->gen != UINT32_MAX)
		SLIST_INSERT_HEAD(&w->unused, s, entry);
	accept_update(w);
}

void
session_open(struct session *s)
{
	if (s->opened)
		return;
	s->opened = true;
	link_open(s);
}

/* The closing record, once and only after an `open`. */
static void
session_record_close(struct session *s, enum reason why, int error, uint32_t version, uint32_t rule)
{
	if (!s->opened || s->closed)
		return;
	s->closed = true;
	link_close(s, why, error, version, rule);
}

void
session_close(struct session *s, enum reason why, int error)
{
	struct worker *w = s->w;

	session_record_close(s, why, error, w->policy->img->version, RULE_NONE);
	deadline_disarm(&s->deadline);
	if (in_exchange(s))
		auth_abort(s);
	handshake_free(s);
	udp_free(s);
	session_unprotect(s);
	session_close_side(s, CLIENT);
	session_close_side(s, TARGET);
	if (s->auth_wait != SERVICE_NONE)
		session_set_state(s, SESSION_ABORTED);
	else
		session_release(s);
}

void
session_auth_done(struct session *s)
{
	s->auth_wait = SERVICE_NONE;
	if (s->state == SESSION_ABORTED)
		session_release(s);
}

bool
session_send(struct session *s, const void *data, size_t len)
{
	/* The replies of a whole handshake are some 30 octets: a new socket's buffer has room. */
	if (send(s->fd[CLIENT], data, len, MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	session_close(s, REASON_CLIENT_RESET, errno);
	return false;
}

/* After a last reply: no more is sent, what comes is drained until the client closes too. */
static void
session_linger(struct session *s)
{
	struct worker *w = s->w;

	if (in_exchange(s))
		auth_abort(s);
	shutdown(s->fd[CLIENT], SHUT_WR);
	session_set_state(s, SESSION_LINGER);
	handshake_free(s);
	udp_free(s);
	session_unprotect(s);
	session_close_side(s, TARGET);
	ev_bulk(&s->ev[CLIENT], false);
	int r = s->ev[CLIENT].fd != -1
		    ? ev_set(w->loop, &s->ev[CLIENT], EPOLLIN)
		    : ev_add(w->loop, &s->ev[CLIENT], s->fd[CLIENT], EPOLLIN | EPOLLET);
	if (r == -1) {
		session_close(s, REASON_NONE, 0);
		return;
	}
	deadline_arm(w->loop, &s->deadline, LINGER_MS);
}

void
session_turn_away(
    struct session *s, enum reason why, uint32_t detail, const void *reply, size_t len)
{
	if (why != REASON_NONE)
		link_early(s->w, &s->hs->client, &s->hs->gateway, why, detail);
	if (len == 0)
		session_close(s, why, 0);
	else if (session_send(s, reply, len))
		session_linger(s);
}

void
session_fail(struct session *s, enum reason why, int error, uint32_t rule)
{
	static const struct addrport none;

	session_decided(s);
	session_open(s);
	session_record_close(s, why, error, s->hs->policy->img->version, rule);
	if (reply_send(s, why, &none))
		session_linger(s);
}

void
session_hang_up(struct session *s, enum reason why, int error)
{
	session_record_close(s, why, error, s->w->policy->img->version, RULE_NONE);
	session_linger(s);
}
