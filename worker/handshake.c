/*
 * The handshake's input. Owns the buffer, reads no more than it holds, and calls the step of the
 * session's state; trusts nothing in it. Where the request is encapsulated, messages of RFC 1961
 * are read, and the buffer has what they held.
 */
#include "worker/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/auth.h"
#include "worker/flow.h"
#include "worker/protected.h"
#include "worker/session.h"
#include "worker/worker.h"

void
handshake_take(struct session *s, size_t n)
{
	struct handshake *hs = s->hs;

	memmove(hs->in, hs->in + n, hs->in_len - n);
	explicit_bzero(hs->in + hs->in_len - n, n);
	hs->in_len -= n;
}

static enum step
step(struct session *s)
{
	switch ((enum session_state)s->state) {
	case SESSION_GREETING:
		return greeting_step(s);
	case SESSION_AUTH:
		return auth_step(s);
	case SESSION_REQUEST:
		return request_step(s);
	case SESSION_AUTH_WAIT:
	case SESSION_CONNECT:
		return STEP_WAIT;
	case SESSION_FREE:
	case SESSION_BIND:
	case SESSION_RELAY:
	case SESSION_UDP:
	case SESSION_LINGER:
	case SESSION_ABORTED:
	case SESSION_STATES:
		break;
	}
	return STEP_OVER;
}

/* Reads on only while a handshake's message may still come and there is room for it. */
static void
handshake_poll(struct session *s)
{
	const struct handshake *hs = s->hs;
	bool in = !hs->held && !hs->eof && hs->unsent == NULL && hs->in_len < sizeof(hs->in) &&
		  hs->behind == NULL && s->state != SESSION_CONNECT;
	uint32_t events = (in ? EPOLLIN : 0) | (hs->unsent != NULL ? EPOLLOUT : 0);

	/* It was told of its end (both ways, or an error) while something was asked for. */
	if (events == 0 && (s->ev[CLIENT].ready & (EPOLLERR | EPOLLHUP)) != 0) {
		session_close(s, REASON_CLIENT_RESET, 0);
		return;
	}
	if (ev_set(s->w->loop, &s->ev[CLIENT], events) == -1)
		session_close(s, REASON_GENERAL, errno);
}

/* --- octets to the client --- */

/* What it takes of them, at the most all; -1: it is gone, and the session has ended. */
static ssize_t
send_some(struct session *s, const uint8_t *data, size_t len)
{
	ssize_t n = send(s->fd[CLIENT], data, len, MSG_NOSIGNAL);

	ev_moved(&s->ev[CLIENT], EPOLLOUT, n, len);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM)
		return 0;
	session_close(s, REASON_CLIENT_RESET, errno);
	return -1;
}

bool
handshake_send(struct session *s, const void *data, size_t len)
{
	struct held *u = s->hs->unsent;
	ssize_t n = u == NULL ? send_some(s, data, len) : 0;

	if (n == -1)
		return false;
	if ((size_t)n == len)
		return true;
	s->hs->unsent = held_add(u, (const uint8_t *)data + n, len - (size_t)n);
	if (s->hs->unsent == NULL) {
		held_free(u);
		session_close(s, REASON_GENERAL, ENOMEM);
		return false;
	}
	handshake_poll(s);
	return true;
}

/* False: the session has ended. */
static bool
send_unsent(struct session *s)
{
	struct held *u = s->hs->unsent;
	ssize_t n = send_some(s, u->data + u->at, u->len - u->at);

	if (n == -1)
		return false;
	u->at += (size_t)n;
	if (u->at == u->len) {
		held_free(u);
		s->hs->unsent = NULL;
	}
	return true;
}

/* --- octets from the client --- */

/* What messages held: into the buffer, and behind it. False: they were not all sound, and the
 * session has ended. */
static bool
take_clear(struct session *s, const struct clear *c)
{
	struct handshake *hs = s->hs;
	enum reason why = c->fault;

	for (unsigned i = 0; i < 2 && why == REASON_NONE; i++) {
		const uint8_t *data = c->part[i].iov_base;
		size_t len = c->part[i].iov_len, room = sizeof(hs->in) - hs->in_len;
		size_t n = len < room ? len : room;

		if (n > 0)
			memcpy(hs->in + hs->in_len, data, n);
		hs->in_len += n;
		if (n == len)
			continue;
		struct held *more = held_add(hs->behind, data + n, len - n);
		if (more == NULL)
			why = REASON_GENERAL;
		else
			hs->behind = more;
	}
	protected_release(s->protected[CLIENT]);
	/* Where all is encapsulated, no octet goes out in clear: not even an abort. */
	if (why != REASON_NONE)
		session_turn_away(s, why, 0, NULL, 0);
	return why == REASON_NONE;
}

bool
handshake_protected(struct session *s)
{
	struct protected *p = s->protected[CLIENT];
	struct handshake *hs = s->hs;
	size_t len = hs->in_len;
	struct clear c;

	if (p == NULL)
		return true;
	memcpy(s->w->scratch, hs->in, len);
	hs->in_len = 0;
	protected_open(p, s->w->scratch, len, &c);
	return take_clear(s, &c);
}

/* False: nothing came now, or the session has ended. */
static bool
handshake_read(struct session *s)
{
	struct protected *p = s->state == SESSION_REQUEST ? s->protected[CLIENT] : NULL;
	struct handshake *hs = s->hs;
	size_t room = p != NULL ? GSS_MESSAGE_MAX : sizeof(hs->in) - hs->in_len;
	struct clear c;
	ssize_t n;

	if (p != NULL)
		n = protected_recv(p, s->fd[CLIENT], s->w->scratch, room, &c);
	else
		n = recv(s->fd[CLIENT], hs->in + hs->in_len, room, 0);
	ev_moved(&s->ev[CLIENT], EPOLLIN, n, room);
	if (n == -1) {
		if (errno != EAGAIN && errno != EINTR)
			session_close(s, REASON_CLIENT_RESET, errno);
		return false;
	}
	hs->eof = n == 0;
	if (n > 0 && p != NULL)
		return take_clear(s, &c);
	hs->in_len += (size_t)n;
	return true;
}

/* The client has closed, and left no whole message behind: it will not come to a request. */
static void
came_to_nothing(struct session *s)
{
	const struct protected *p = s->protected[CLIENT];

	if (s->state == SESSION_REQUEST && p != NULL && protected_under_way(p))
		session_turn_away(s, REASON_ENCAP_CUT, 0, NULL, 0);
	else
		session_close(s, REASON_CLIENT_CLOSED, 0);
}

/* --- steps --- */

void
handshake_run(struct session *s)
{
	struct handshake *hs = s->hs;
	enum step r = STEP_AGAIN;

	if (hs->unsent != NULL) {
		handshake_poll(s);
		return;
	}
	hs->held = false;
	while (r == STEP_AGAIN)
		r = chan_full(&s->w->master) ? STEP_ROOM : step(s);
	if (r == STEP_OVER)
		return;
	hs->held = r == STEP_ROOM;
	if (hs->eof && (r == STEP_MORE || (s->state == SESSION_AUTH_WAIT && hs->in_len == 0))) {
		came_to_nothing(s);
		return;
	}
	handshake_poll(s);
}

void
handshake_event(struct session *s, uint32_t events)
{
	uint32_t asked = s->ev[CLIENT].events;

	/* Nothing was asked for: this is its end (both ways, or an error). */
	if (asked == 0 && (events & (EPOLLERR | EPOLLHUP)) != 0) {
		session_close(s, REASON_CLIENT_RESET, 0);
		return;
	}
	if (s->hs->unsent != NULL && !send_unsent(s))
		return;
	if ((asked & EPOLLIN) == 0 || handshake_read(s))
		handshake_run(s);
}

void
handshake_timeout(struct session *s)
{
	if (s->state == SESSION_AUTH || s->state == SESSION_AUTH_WAIT)
		auth_timeout(s);
	else
		session_turn_away(s, REASON_HANDSHAKE, 0, NULL, 0);
}

void
handshake_resume(struct worker *w)
{
	for (uint32_t i = 0; i < w->touched; i++) {
		struct session *s = &w->slots[i];
		if (s->hs != NULL && s->hs->held)
			handshake_run(s);
	}
}
