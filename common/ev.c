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

TAILQ_HEAD(deadline_list, deadline);

struct deadline_class {
	uint64_t ms;
	struct deadline_list list; /* in the order of their times: all have the same length */
};

struct loop {
	int epfd;
	bool stop;
	uint64_t now;
	uint64_t run; /* of the deadlines */
	int nready;   /* events of this turn, from `ready` */
	int next;     /* the first that has not been dispatched */
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
	return l;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	close(l->epfd);
	free(l);
}

/* How long epoll_wait may sleep: until the first deadline, -1 with none. */
static int
sleep_ms(const struct loop *l)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < l->nclasses; i++) {
		const struct deadline *d = TAILQ_FIRST(&l->classes[i].list);
		if (d != NULL && d->at < first)
			first = d->at;
	}
	if (first == UINT64_MAX)
		return -1;
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

int
loop_run(struct loop *l)
{
	while (!l->stop) {
		l->now = clock_ms();
		int n = epoll_wait(l->epfd, l->ready, EVENTS_PER_TURN, sleep_ms(l));
		if (n == -1 && errno != EINTR)
			return -1;
		l->now = clock_ms();
		l->nready = n > 0 ? n : 0;
		for (l->next = 0; l->next < l->nready;) {
			struct epoll_event *r = &l->ready[l->next++];
			struct ev *e = r->data.ptr;
			if (e != NULL)
				e->cb(e, r->events);
		}
		l->nready = 0;
		run_deadlines(l);
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

int
ev_add(struct loop *l, struct ev *e, int fd, uint32_t events)
{
	struct epoll_event ee = { .events = events, .data.ptr = e };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ee) == -1)
		return -1;
	e->fd = fd;
	e->events = events;
	return 0;
}

int
ev_set(struct loop *l, struct ev *e, uint32_t events)
{
	struct epoll_event ee = { .events = events, .data.ptr = e };

	if (e->events == events)
		return 0;
	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, e->fd, &ee) == -1)
		return -1;
	e->events = events;
	return 0;
}

void
ev_del(struct loop *l, struct ev *e)
{
	if (e->fd == -1)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, e->fd, NULL);
	e->fd = -1;
	/* It may still stand in this turn's events. */
	for (int i = l->next; i < l->nready; i++)
		if (l->ready[i].data.ptr == e)
			l->ready[i].data.ptr = NULL;
}

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
