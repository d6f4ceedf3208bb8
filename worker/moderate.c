/*
 * How many octets a socket awaits before it tells of them (SO_RCVLOWAT). Owns that number, and the
 * deadline that is armed for as long as it is not one.
 */
#include "worker/moderate.h"

#include <stdbool.h>
#include <sys/socket.h>

#include "worker/protected.h"

/*
 * Tokens of bulk have 60 KB or more. One costs as much awaited as not; as many as are opened side
 * by side cost least, and are what one read takes.
 */
#define TOKEN_OCTETS 60000u
#define LEAST        (2 * TOKEN_OCTETS)
#define MOST         (PROTECTED_PIECES * TOKEN_OCTETS)
_Static_assert(MOST <= PROTECTED_READ, "one read takes what is awaited");

#define SPAN_MS 8 /* of a measurement, by a clock of whole ms: one does not matter much */
#define VAIN    3 /* a sender that has had no CPU for some ms goes on as before */

/* A dialogue in large messages is delayed by 3 % at most, soon by 0.2. */
#define REST_MS     100
#define REST_MS_MAX 1600

static bool
tell_from(const struct ev *ev, size_t octets)
{
	int value = (int)octets;

	return setsockopt(ev->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value)) == 0;
}

void
moderate_end(struct moderate *m)
{
	if (m->awaited == 0)
		return;
	m->awaited = 0;
	deadline_disarm(&m->late);
	(void)tell_from(m->ev, 1);
	ev_recheck(m->loop, m->ev, EPOLLIN);
}

/* In vain; what has come is read now. */
static void
on_late(struct deadline *d)
{
	struct moderate *m = (struct moderate *)((char *)d - offsetof(struct moderate, late));
	bool dialogue = m->answered != m->answered_before;

	m->answered_before = m->answered;
	if (dialogue) {
		m->rest = 2 * m->rest < REST_MS_MAX ? 2 * m->rest : REST_MS_MAX;
		m->rest = m->rest > REST_MS ? m->rest : REST_MS;
		m->resumes = loop_now(m->loop) + m->rest;
	}
	if (dialogue || ++m->vain == VAIN) {
		moderate_end(m);
		return;
	}
	ev_recheck(m->loop, m->ev, EPOLLIN);
	deadline_arm(m->loop, d, MODERATE_MS);
}

/* At its pace so many octets come in time. What is awaited already ends by on_late alone: who
 * pauses often goes on as before. */
static void
adjust(struct moderate *m, struct loop *l, struct ev *ev, size_t octets)
{
	if (m->awaited == 0 && (octets < LEAST || loop_now(l) < m->resumes))
		return;
	if (m->awaited > 0 && m->vain == 0)
		m->rest = 0;
	octets = octets < LEAST ? LEAST : octets < MOST ? octets : MOST;
	if (octets == m->awaited || !tell_from(ev, octets))
		return;
	m->awaited = octets;
	m->loop = l;
	m->ev = ev;
	m->late.cb = on_late;
}

void
moderate_read(struct moderate *m, struct loop *l, struct ev *ev, size_t n, uint64_t answered)
{
	uint64_t span = loop_now(l) - m->since;

	m->octets += n;
	m->answered = answered;
	if (n >= m->awaited)
		m->vain = 0;
	if (span >= SPAN_MS) {
		/* The deadline, on that clock, is up to one early. */
		adjust(m, l, ev, m->octets / span * (MODERATE_MS - 1));
		m->since += span;
		m->octets = 0;
	}
	if (m->awaited > 0)
		deadline_arm(l, &m->late, MODERATE_MS);
}
