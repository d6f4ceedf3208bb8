/*
 * The event loop: epoll, level-triggered, one per process, single-threaded; and deadlines.
 *
 * A struct ev or struct deadline is embedded in its owner, which must stay where it is while it is
 * armed. ev_del is safe at any time, also from inside a callback and for an event of the same turn.
 */
#ifndef COMMON_EV_H
#define COMMON_EV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

struct loop;

struct ev {
	int fd; /* -1: not in the loop */
	uint32_t events;
	void (*cb)(struct ev *e, uint32_t events);
};

/*
 * A deadline: called once, when its time has passed. Those of one length stand in one first-in
 * first-out queue, so that arming and disarming cost the same however many there are; there may be
 * at most DEADLINE_CLASSES different lengths armed at a time (lengths come from the configuration
 * and from constants, never from a client).
 */
struct deadline {
	TAILQ_ENTRY(deadline) entry;
	uint64_t at;  /* ms on the loop's clock; 0: not armed */
	uint64_t run; /* ev.c's own */
	struct deadline_class *class;
	void (*cb)(struct deadline *d);
};

#define DEADLINE_CLASSES 1024 /* distinct lengths; one a rule may bring five */

/* NULL with errno. Before a sandbox is entered: afterwards epoll_create1 is refused. */
struct loop *loop_new(void);
void loop_free(struct loop *l);

/* Turns until loop_stop. 0, or -1 with errno if epoll_wait failed. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* CLOCK_MONOTONIC in ms as of this turn. */
uint64_t loop_now(const struct loop *l);

/* 0, or -1 with errno; e->cb must be set. ev_set with unchanged events costs no system call. */
int ev_add(struct loop *l, struct ev *e, int fd, uint32_t events);
int ev_set(struct loop *l, struct ev *e, uint32_t events);
void ev_del(struct loop *l, struct ev *e); /* does not close e->fd; sets it to -1 */

/* (Re)arms d to be called ms from now; d->cb must be set. With ms 0 that is after the events of
 * this turn (what is to be done once a turn is done so), or on the next turn when armed by a
 * deadline. */
void deadline_arm(struct loop *l, struct deadline *d, uint64_t ms);
void deadline_disarm(struct deadline *d);
static inline bool
deadline_armed(const struct deadline *d)
{
	return d->at != 0;
}

#endif
