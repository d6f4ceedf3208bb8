/*
 * The event loop. Owns the epoll descriptor and the deadline queues; trusts its callers to keep
 * what they armed where it is.
 */
#include "common/ev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256 /* so that hooks run and deadlines are met also under a flood */

/*
 * Of those that have much to do (ev_bulk) one is called a turn, and one more for so many calls of
 * others, so that neither kind waits for all of the other. It is the same one for so many calls:
 * its octets, and what its sender sends meanwhile, are in the processor's caches still. By turns,
 * with eight senders that are faster than the loop, an octet cost a third more.
 */
#define BULK_OTHERS 64
#define BULK_SPELL  16

/* ms. A deadline that is so near is waited for by the clock of now; others are late by what the
 * turn has taken. */
#define NEAR_MS 64

#define CLOSING_MAX 64 /* descriptors that wait for the end of the turn */

#define SLOTS_MIN 64

TAILQ_HEAD(deadline_list, deadline);

/* Where a struct ev is. */
enum queue { QUEUE_NONE, QUEUE_AGAIN, QUEUE_BULK };

/* Who waits for a descriptor. The kernel gives back its number with the generation of the slot, so
 * that what it tells of one that has been closed since concerns no one. */
struct slot {
	struct ev *e;
	uint32_t gen;
};

struct deadline_class {
	uint64_t ms;
	struct deadline_list list; /* in the order of their times: all have the same length */
};

struct loop {
	int epfd;
	bool stop;
	uint64_t now;
	uint64_t run; /* of the deadlines */
	uint32_t turn;
	struct slot *slots; /* by descriptor */
	size_t nslots;
	/* What they wait for is ready, and the kernel will not tell again: those that have little
	 * to do, and those that have much. */
	TAILQ_HEAD(ev_list, ev) again, bulk;
	const struct ev *spell;   /* the last one with much to do; to compare only */
	unsigned spell_calls;     /* it has had so many of its spell */
	unsigned calls;           /* in this turn */
	int closing[CLOSING_MAX]; /* in ascending order */
	unsigned nclosing;
	unsigned nclasses;
	struct epoll_event ready[EVENTS_PER_TURN];
	struct deadline_class classes[DEADLINE_CLASSES];
};

static uint64_t
clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct loop *
loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd == -1) {
		free(l);
		return NULL;
	}
	l->now = clock_ms();
	TAILQ_INIT(&l->again);
	TAILQ_INIT(&l->bulk);
	return l;
}

/* Closes what has ended in this turn: descriptors that follow each other by one call. */
static void
close_all(struct loop *l)
{
	unsigned n = l->nclosing, first = 0;

	for (unsigned i = 1; i <= n; i++) {
		if (i < n && l->closing[i] == l->closing[i - 1] + 1)
			continue;
		if (i - first == 1)
			close(l->closing[first]);
		else
			close_range((unsigned)l->closing[first], (unsigned)l->closing[i - 1], 0);
		first = i;
	}
	l->nclosing = 0;
}

static void
close_later(struct loop *l, int fd)
{
	unsigned i;

	if (l->nclosing == CLOSING_MAX)
		close_all(l);
	for (i = l->nclosing++; i > 0 && l->closing[i - 1] > fd; i--)
		l->closing[i] = l->closing[i - 1];
	l->closing[i] = fd;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	close_all(l);
	close(l->epfd);
	free(l->slots);
	free(l);
}

/* How long epoll_wait may sleep: until the first deadline, -1 with none. */
static int
sleep_ms(struct loop *l)
{
	uint64_t first = UINT64_MAX;

	if (!TAILQ_EMPTY(&l->again) || !TAILQ_EMPTY(&l->bulk))
		return 0;
	for (unsigned i = 0; i < l->nclasses; i++) {
		const struct deadline *d = TAILQ_FIRST(&l->classes[i].list);
		if (d != NULL && d->at < first)
			first = d->at;
	}
	if (first == UINT64_MAX)
		return -1;
	if (first < l->now + NEAR_MS)
		l->now = clock_ms();
	if (first <= l->now)
		return 0;
	return first - l->now > 3600000 ? 3600000 : (int)(first - l->now);
}

static void
run_deadlines(struct loop *l)
{
	/* One that a callback arms carries this run's number, and waits for the next turn. */
	l->run++;
	for (unsigned i = 0; i < l->nclasses; i++) {
		struct deadline *d;

		while ((d = TAILQ_FIRST(&l->classes[i].list)) != NULL && d->at <= l->now &&
		       d->run != l->run) {
			deadline_disarm(d);
			d->cb(d);
		}
	}
}

/* --- dispatch --- */

static void
dequeue(struct loop *l, struct ev *e)
{
	if (e->queued != QUEUE_NONE)
		TAILQ_REMOVE(e->queued == QUEUE_BULK ? &l->bulk : &l->again, e, again);
	e->queued = QUEUE_NONE;
}

/* What it waits for is ready, and will not be told again: it is called in the next turn, or where
 * it has much to do once its spell comes, or while that lasts. */
static void
enqueue(struct loop *l, struct ev *e)
{
	if (e->queued != QUEUE_NONE || (e->asked & EPOLLET) == 0 || (e->ready & e->events) == 0)
		return;
	e->queued = e->bulk ? QUEUE_BULK : QUEUE_AGAIN;
	e->turn = l->turn;
	if (e->bulk && e == l->spell && l->spell_calls < BULK_SPELL)
		TAILQ_INSERT_HEAD(&l->bulk, e, again);
	else
		TAILQ_INSERT_TAIL(e->bulk ? &l->bulk : &l->again, e, again);
}

static void
call(struct loop *l, struct ev *e, uint32_t events)
{
	int fd = e->fd;
	uint32_t gen = l->slots[fd].gen;

	dequeue(l, e);
	l->calls++;
	e->cb(e, events);
	/* It may be gone, and another have its descriptor. */
	if (l->slots[fd].e == e && l->slots[fd].gen == gen)
		enqueue(l, e);
}

static void
told(struct loop *l, const struct epoll_event *r)
{
	const struct slot *slot = &l->slots[r->data.u64 & UINT32_MAX];
	uint32_t events = r->events;
	struct ev *e = slot->e;

	if (e == NULL || slot->gen != r->data.u64 >> 32)
		return;
	if ((e->asked & EPOLLET) != 0) {
		e->ready |= events;
		/* More octets for one that has much to do already: its spell comes. */
		if (e->queued == QUEUE_BULK &&
		    (events & (e->events | EPOLLERR | EPOLLHUP)) == EPOLLIN)
			return;
		events = e->ready & (e->events | EPOLLERR | EPOLLHUP);
	}
	if (events != 0)
		call(l, e, events);
}

static void
call_queued(struct loop *l, struct ev *e)
{
	if ((e->ready & e->events) != 0)
		call(l, e, e->ready & (e->events | EPOLLERR | EPOLLHUP));
	else
		dequeue(l, e); /* drained since, for another's sake */
}

static void
run_again(struct loop *l)
{
	struct ev *e;

	while ((e = TAILQ_FIRST(&l->again)) != NULL && e->turn != l->turn)
		call_queued(l, e);
}

static void
run_bulk(struct loop *l)
{
	struct ev *e;

	for (unsigned n = 1 + l->calls / BULK_OTHERS; n > 0 && (e = TAILQ_FIRST(&l->bulk)) != NULL;
	     n--) {
		if (e != l->spell)
			l->spell_calls = 0;
		l->spell = e;
		l->spell_calls++;
		call_queued(l, e);
	}
}

int
loop_run(struct loop *l)
{
	l->now = clock_ms();
	while (!l->stop) {
		int n = epoll_wait(l->epfd, l->ready, EVENTS_PER_TURN, sleep_ms(l));
		if (n == -1 && errno != EINTR)
			return -1;
		l->now = clock_ms();
		l->turn++;
		l->calls = 0;
		for (int i = 0; i < n; i++)
			told(l, &l->ready[i]);
		run_again(l);
		run_bulk(l);
		run_deadlines(l);
		close_all(l);
	}
	l->stop = false;
	return 0;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}

uint64_t
loop_now(const struct loop *l)
{
	return l->now;
}

/* --- descriptors --- */

/* Room for fd among the slots. */
static int
slot_for(struct loop *l, int fd)
{
	size_t n = l->nslots > 0 ? l->nslots : SLOTS_MIN;

	if ((size_t)fd < l->nslots)
		return 0;
	while (n <= (size_t)fd)
		n *= 2;
	struct slot *more = reallocarray(l->slots, n, sizeof(*more));
	if (more == NULL)
		return -1;
	memset(more + l->nslots, 0, (n - l->nslots) * sizeof(*more));
	l->slots = more;
	l->nslots = n;
	return 0;
}

/* Asks the kernel; what is asked for is remembered where it agrees. */
static int
ask(struct loop *l, struct ev *e, int op, int fd, uint32_t events)
{
	uint64_t gen = l->slots[fd].gen;
	struct epoll_event ee = { .events = events, .data.u64 = gen << 32 | (uint32_t)fd };

	if (epoll_ctl(l->epfd, op, fd, &ee) == -1)
		return -1;
	e->asked = events;
	return 0;
}

int
ev_add(struct loop *l, struct ev *e, int fd, uint32_t events)
{
	uint32_t more = (events & EPOLLET) != 0 ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0;

	if (slot_for(l, fd) == -1)
		return -1;
	l->slots[fd].gen++;
	if (ask(l, e, EPOLL_CTL_ADD, fd, events | more) == -1)
		return -1;
	l->slots[fd].e = e;
	e->fd = fd;
	e->events = events & ~(uint32_t)EPOLLET;
	e->ready = 0;
	e->bulk = false;
	e->queued = QUEUE_NONE;
	return 0;
}

int
ev_set(struct loop *l, struct ev *e, uint32_t events)
{
	bool told_once = (e->asked & EPOLLET) != 0;
	uint32_t want = told_once ? e->asked | events : events;

	if (e->fd == -1) {
		errno = EBADF;
		return -1;
	}
	if (want != e->asked && ask(l, e, EPOLL_CTL_MOD, e->fd, want) == -1)
		return -1;
	e->events = events;
	if (!told_once)
		return 0;
	if ((e->ready & events) != 0)
		enqueue(l, e);
	else
		dequeue(l, e);
	return 0;
}

void
ev_recheck(struct loop *l, struct ev *e, uint32_t events)
{
	if (e->fd == -1)
		return;
	e->ready |= events;
	e->bulk = false; /* in the next turn, that is */
	enqueue(l, e);
}

static void
forget(struct loop *l, struct ev *e)
{
	dequeue(l, e);
	l->slots[e->fd].e = NULL;
	e->fd = -1;
}

void
ev_del(struct loop *l, struct ev *e)
{
	if (e->fd == -1)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, e->fd, NULL);
	forget(l, e);
}

void
ev_close(struct loop *l, struct ev *e, int fd)
{
	if (e->fd != -1)
		forget(l, e);
	if (fd != -1)
		close_later(l, fd);
}

int
ev_move(struct loop *l, struct ev *from, struct ev *to, uint32_t events)
{
	void (*cb)(struct ev *, uint32_t) = to->cb;

	dequeue(l, from);
	*to = *from;
	to->cb = cb;
	l->slots[to->fd].e = to;
	from->fd = -1;
	return ev_set(l, to, events);
}

/* --- deadlines --- */

/* The queue for a length: the one there is, an empty one given a new length, or a new one. */
static struct deadline_class *
class_for(struct loop *l, uint64_t ms)
{
	struct deadline_class *c, *empty = NULL;

	for (unsigned i = 0; i < l->nclasses; i++) {
		c = &l->classes[i];
		if (c->ms == ms)
			return c;
		if (empty == NULL && TAILQ_EMPTY(&c->list))
			empty = c;
	}
	if (empty == NULL) {
		if (l->nclasses == DEADLINE_CLASSES)
			abort(); /* a length came from somewhere it must not */
		empty = &l->classes[l->nclasses++];
		TAILQ_INIT(&empty->list);
	}
	empty->ms = ms;
	return empty;
}

void
deadline_arm(struct loop *l, struct deadline *d, uint64_t ms)
{
	struct deadline_class *c = d->class;

	deadline_disarm(d);
	if (c == NULL || c->ms != ms)
		c = class_for(l, ms);
	d->class = c;
	d->at = l->now + ms;
	d->run = l->run;
	if (d->at == 0)
		d->at = 1;
	TAILQ_INSERT_TAIL(&c->list, d, entry);
}

void
deadline_disarm(struct deadline *d)
{
	if (d->at == 0)
		return;
	TAILQ_REMOVE(&d->class->list, d, entry);
	d->at = 0;
}
