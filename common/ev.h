/*
 * The event loop: epoll, one per process, single-threaded; and deadlines.
 *
 * A callback is called once a turn for as long as something that it waits for is ready, as with
 * level-triggered epoll. For a socket that is added with EPOLLET that costs one epoll_ctl in its
 * life: the kernel tells each change once, and the loop remembers what is ready until the owner
 * says that it has taken all of it (ev_drained). An owner that forgets to say so is called in vain;
 * nothing is missed. One that has much to do takes a part of it a call and says so (ev_bulk): those
 * that have little come first, and of the others one at a time is called for a while, whose octets
 * are still in the processor's caches.
 *
 * A struct ev or struct deadline is embedded in its owner, which must stay where it is while it is
 * armed. ev_del and ev_close are safe at any time, also from inside a callback and for an event of
 * the same turn.
 */
#ifndef COMMON_EV_H
#define COMMON_EV_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/types.h>

struct loop;

struct ev {
	int fd; /* -1: not in the loop */
	uint32_t events;
	void (*cb)(struct ev *e, uint32_t events);

	/* ev.c's own */
	uint32_t asked; /* of the kernel */
	uint32_t ready; /* with EPOLLET: what it has told, and is not drained */
	uint32_t turn;  /* it was put into the queue in this one */
	uint8_t queued; /* enum queue */
	bool bulk;
	TAILQ_ENTRY(ev) again; /* those that wait for what is ready already */
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

#define DEADLINE_CLASSES 2048 /* distinct lengths; one a rule may bring five */

/* NULL with errno. Before a sandbox is entered: afterwards epoll_create1 is refused. */
struct loop *loop_new(void);
void loop_free(struct loop *l);

/* Turns until loop_stop. 0, or -1 with errno if epoll_wait failed. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* CLOCK_MONOTONIC in ms as of this turn. */
uint64_t loop_now(const struct loop *l);

/* 0, or -1 with errno; e->cb must be set. With EPOLLET among the events the loop remembers what is
 * ready (see above). ev_set with unchanged events costs no system call, nor does one for a socket
 * with EPOLLET, but the first that waits for EPOLLOUT. */
int ev_add(struct loop *l, struct ev *e, int fd, uint32_t events);
int ev_set(struct loop *l, struct ev *e, uint32_t events);
/* Whether these are ready is found out by a call in the next turn, whatever the kernel has told. Of
 * a socket with EPOLLET. */
void ev_recheck(struct loop *l, struct ev *e, uint32_t events);
void ev_del(struct loop *l, struct ev *e); /* does not close e->fd; sets it to -1 */

/* Closes fd, which e may wait for, and no one else has open: that takes it out of the loop too,
 * without a system call of its own. It is closed at the end of this turn, with its neighbours. fd
 * -1: nothing is done. */
void ev_close(struct loop *l, struct ev *e, int fd);
/* `to` takes the place of `from`, which must be in the loop, and waits for these events. */
int ev_move(struct loop *l, struct ev *from, struct ev *to, uint32_t events);

/*
 * e has taken all that was ready: what came in (EPOLLIN), after a read that gave less than was
 * asked for or EAGAIN; the room to write (EPOLLOUT), after a write that took less than it was
 * given. Where the peer has ended, EPOLLIN stays until that end is read.
 */
static inline void
ev_drained(struct ev *e, uint32_t events)
{
	/* A read ends before an urgent octet too, and more may stand behind it. */
	bool more = (e->ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0;

	if ((events & EPOLLIN) != 0)
		e->ready &= ~(uint32_t)EPOLLPRI;
	e->ready &= ~(more ? events & ~(uint32_t)EPOLLIN : events);
}

/* Says so, if it is so, after a read (EPOLLIN) or a write (EPOLLOUT) of `asked` octets that gave n
 * (-1: errno says why, and is kept). */
static inline void
ev_moved(struct ev *e, uint32_t event, ssize_t n, size_t asked)
{
	if (n == -1 ? errno == EAGAIN : (size_t)n < asked)
		ev_drained(e, event);
}

/* Whether e has more to take than fits into a call; its callback says so each time. Of a socket
 * with EPOLLET. */
static inline void
ev_bulk(struct ev *e, bool bulk)
{
	e->bulk = bulk;
}

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
