/*
 * The relay: what one side sends goes to the other through the worker's one buffer. Owns what could
 * not be sent, which exists only while there is any; while it does, its source is not read, so a
 * peer that never reads costs a fixed number of octets. Trusts neither side.
 *
 * Direction d reads from side d and writes to the other.
 */
#include "worker/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/link.h"
#include "worker/worker.h"

#define ROUNDS 4 /* full buffers a turn and direction: then others have their turn */

static enum side
other(enum side side)
{
	return side == CLIENT ? TARGET : CLIENT;
}

static enum reason
closed_by(enum side side)
{
	return side == CLIENT ? REASON_CLIENT_CLOSED : REASON_TARGET_CLOSED;
}

/* --- one direction --- */

/* Keeps what was not sent. 0, or -1: there is no memory. */
static int
keep(struct flow *f, const uint8_t *data, size_t len)
{
	f->held = malloc(sizeof(*f->held) + len);
	if (f->held == NULL)
		return -1;
	f->held->at = 0;
	f->held->len = len;
	memcpy(f->held->data, data, len);
	return 0;
}

static void
drop_held(struct flow *f)
{
	free(f->held);
	f->held = NULL;
}

/*
 * The receiver of this direction is gone: what still comes is thrown away. The other way goes on
 * until its own end, since what the receiver had sent may still be under way.
 */
static void
broken(struct session *s, enum side d)
{
	struct flow *f = &s->flow[d];

	drop_held(f);
	f->done = f->broken = true;
}

/* Sends what it can; the octets taken, or -1 after `broken`. */
static ssize_t
pass_on(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	ssize_t n = send(s->fd[other(d)], data, len, MSG_NOSIGNAL);

	if (n == -1 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
		return 0;
	if (n == -1)
		broken(s, d);
	else
		link_count(s, d, (size_t)n);
	return n;
}

static void
flush_held(struct session *s, enum side d)
{
	struct held *h = s->flow[d].held;
	ssize_t n = pass_on(s, d, h->data + h->at, h->len - h->at);

	if (n == -1)
		return;
	h->at += (size_t)n;
	if (h->at == h->len)
		drop_held(&s->flow[d]);
}

/* The sender's end goes on to the receiver: half-close. */
static void
pass_end(struct session *s, enum side d)
{
	s->flow[d].eof = true;
	if (s->flow[d].done)
		return;
	s->flow[d].done = true;
	if (s->first_closed == REASON_NONE)
		s->first_closed = (uint8_t)closed_by(d);
	if (shutdown(s->fd[other(d)], SHUT_WR) == -1)
		s->flow[d].broken = true;
}

/* A reset ends both ways; all that came before it has been read. */
static void
read_failed(struct session *s, enum side d, int error)
{
	if (d == CLIENT)
		session_close(s, REASON_CLIENT_RESET, error);
	else
		session_hang_up(s, REASON_TARGET_RESET, error);
}

/* Reads once and sends on. 1: there may be more; 0: not now; -1: the session has been ended. */
static int
pump_once(struct session *s, enum side d)
{
	struct flow *f = &s->flow[d];
	uint8_t *buf = s->w->scratch;
	ssize_t sent, n = recv(s->fd[d], buf, SCRATCH_SIZE, 0);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == -1) {
		read_failed(s, d, errno);
		return -1;
	}
	if (n == 0) {
		pass_end(s, d);
		return 0;
	}
	sent = f->done ? n : pass_on(s, d, buf, (size_t)n);
	if (sent >= 0 && sent < n && keep(f, buf + sent, (size_t)(n - sent)) == -1) {
		session_close(s, REASON_GENERAL, ENOMEM);
		return -1;
	}
	return (size_t)n == SCRATCH_SIZE;
}

/* --- both --- */

static bool
wants_in(const struct session *s, enum side side)
{
	return !s->flow[side].eof && s->flow[side].held == NULL;
}

/* False: the session has been ended. */
static bool
pump(struct session *s, enum side d)
{
	int more = 1;

	for (int i = 0; i < ROUNDS && more == 1 && wants_in(s, d); i++)
		more = pump_once(s, d);
	return more != -1;
}

/* In the loop with what is wanted of it. A side that was taken out (at its end, to be quiet) comes
 * back when something is wanted again. */
static int
poll_side(struct session *s, enum side side)
{
	uint32_t events = wants_in(s, side) ? EPOLLIN : 0;

	if (s->flow[other(side)].held != NULL)
		events |= EPOLLOUT;
	if (s->ev[side].fd != -1)
		return ev_set(s->w->loop, &s->ev[side], events);
	return events == 0 ? 0 : ev_add(s->w->loop, &s->ev[side], s->fd[side], events);
}

/* From the last activity on; re-armed once a millisecond at most. */
static void
arm(struct session *s)
{
	bool half = s->flow[UP].done || s->flow[DOWN].done;
	uint64_t now = loop_now(s->w->loop);

	if (s->last == now && s->half_armed == half)
		return;
	s->last = now;
	s->half_armed = half;
	deadline_arm(s->w->loop, &s->deadline, half ? s->half_closed : s->idle);
}

/* Both ways are over. A client that may still be sending is drained for a while, or closing its
 * socket would send a reset, which eats what is on its way to it. */
static void
finish(struct session *s)
{
	const struct flow *up = &s->flow[UP], *down = &s->flow[DOWN];
	enum reason why = s->first_closed;

	if (up->broken && !down->broken)
		why = REASON_TARGET_RESET;
	else if (down->broken && !up->broken)
		why = REASON_CLIENT_RESET;
	if (up->eof || down->broken)
		session_close(s, why != REASON_NONE ? why : REASON_CLIENT_RESET, 0);
	else
		session_hang_up(s, why, 0);
}

/* After anything happened: the end, or what to wait for next. */
static void
settle(struct session *s)
{
	if (s->flow[UP].done && s->flow[DOWN].done) {
		finish(s);
		return;
	}
	if (poll_side(s, CLIENT) == -1 || poll_side(s, TARGET) == -1) {
		session_close(s, REASON_GENERAL, errno);
		return;
	}
	arm(s);
}

/* An error or the end of a side that nothing is read from now. */
static void
side_ended(struct session *s, enum side side, uint32_t events)
{
	/* Its own octets have all been read, and it takes no more: the other way has no receiver.
	 */
	if ((events & EPOLLERR) != 0 && s->flow[side].eof && !s->flow[other(side)].done)
		broken(s, other(side));
	/* Otherwise what it sent is read once there is room; until then it would only be noise. */
	ev_del(s->w->loop, &s->ev[side]);
}

void
relay_event(struct session *s, enum side side, uint32_t events)
{
	if (s->flow[other(side)].held != NULL)
		flush_held(s, other(side));
	if (wants_in(s, side)) {
		if (!pump(s, side))
			return;
	} else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
		side_ended(s, side, events);
	}
	settle(s);
}

void
relay_timeout(struct session *s)
{
	bool half = s->flow[UP].done || s->flow[DOWN].done;

	session_close(s, half ? REASON_HALF_CLOSED : REASON_IDLE, 0);
}

void
relay_start(struct session *s)
{
	struct handshake *hs = s->hs;

	session_set_state(s, SESSION_RELAY);
	if (hs->in_len > 0 && keep(&s->flow[UP], hs->in, hs->in_len) == -1) {
		session_close(s, REASON_GENERAL, ENOMEM);
		return;
	}
	handshake_free(s);
	if (s->flow[UP].held != NULL)
		flush_held(s, UP);
	settle(s);
}
