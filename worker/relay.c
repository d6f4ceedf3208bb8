/*
 * The relay: two directions (worker/flow.h), what is waited for in each, and the end of both.
 * Trusts neither side.
 *
 * Direction d reads from side d and writes to the other.
 */
#include "worker/relay.h"

#include <errno.h>

#include "worker/flow.h"
#include "worker/worker.h"

/* Reads a call and direction, of the widest one: then others have their turn (ev_bulk). */
#define ROUNDS 4

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
	size_t read = 0;

	for (int i = 0; i < ROUNDS && read < WIDEST_SIZE && more == 1 && wants_in(s, d); i++) {
		read += flow_read_size(s, d);
		more = flow_pump(s, d);
	}
	if (more == -1)
		return false;
	ev_bulk(&s->ev[d], more > 0);
	return true;
}

/* In the loop with what is wanted of it. */
static int
poll_side(struct session *s, enum side side)
{
	uint32_t events = wants_in(s, side) ? EPOLLIN : 0;

	if (s->flow[other(side)].held != NULL)
		events |= EPOLLOUT;
	if (s->ev[side].fd != -1)
		return ev_set(s->w->loop, &s->ev[side], events);
	return events == 0 ? 0 : ev_add(s->w->loop, &s->ev[side], s->fd[side], events | EPOLLET);
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
		flow_broken(s, other(side));
	/* Otherwise what it sent is read once there is room. */
}

void
relay_event(struct session *s, enum side side, uint32_t events)
{
	if (s->flow[other(side)].held != NULL)
		flow_flush(s, other(side));
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

/* Data that came with the request and were more than its buffer holds. */
static int
put_behind(struct session *s)
{
	struct held *behind = s->hs->behind;

	return behind != NULL ? flow_put(s, UP, behind->data, behind->len) : 0;
}

void
relay_start(struct session *s)
{
	struct handshake *hs = s->hs;

	session_set_state(s, SESSION_RELAY);
	if (flow_put(s, UP, hs->in, hs->in_len) == -1 || put_behind(s) == -1)
		return;
	if (hs->early != NULL && flow_put(s, DOWN, hs->early->data + hs->early->at,
				     hs->early->len - hs->early->at) == -1)
		return;
	handshake_free(s);
	settle(s);
}
