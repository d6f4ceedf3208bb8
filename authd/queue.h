/*
 * The queue of checks that wait for a hash thread or a PAM helper: bounded, and fair in two steps.
 * Each worker's channel is a lane, lanes take turns, and inside a lane the clients' addresses (IPv6
 * by /64) take turns. So neither a client that floods, nor a worker that is no longer ours, can
 * keep the others waiting for more than a turn each.
 *
 * An item is either ready, in its source's line, or held: it has a place but waits for the
 * throttle.
 */
#ifndef AUTHD_QUEUE_H
#define AUTHD_QUEUE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "common/addr.h"

#define QUEUE_TOTAL      256  /* ready items of all lanes together, but at least: */
#define QUEUE_LANE_MIN   32   /* ready items of one lane */
#define QUEUE_SOURCE_MAX 32   /* items of one source in one lane, ready and held */
#define QUEUE_HELD_MAX   1024 /* held items of one lane: memory, not time, bounds these */

#define QUEUE_BUCKETS 64 /* of the table of sources of a lane */

enum queue_state { QUEUE_OUT, QUEUE_HELD, QUEUE_READY };

struct queue_source;

/* Embedded in its owner; zeroed at first. */
struct queue_item {
	TAILQ_ENTRY(queue_item) entry;
	struct queue_source *source;
	enum queue_state state;
};

struct queue_lane {
	TAILQ_ENTRY(queue_lane) entry;
	TAILQ_HEAD(, queue_source) turns; /* sources with ready items, next first */
	LIST_HEAD(, queue_source) sources[QUEUE_BUCKETS];
	unsigned ready, held;
};

struct queue {
	TAILQ_HEAD(, queue_lane) lanes; /* next first */
	unsigned lane_max;
};

/* What counts as one source: an IPv4 address, an IPv6 /64. */
struct addr queue_source_of(const struct addr *client);

void queue_init(struct queue *q, unsigned lanes);
void queue_lane_add(struct queue *q, struct queue_lane *l);
/* Its items must have been removed. */
void queue_lane_remove(struct queue *q, struct queue_lane *l);

/* A place for an item that waits for the throttle. 0, or -1: full. */
int queue_hold(struct queue_lane *l, const struct addr *source, struct queue_item *i);

/*
 * An item, new or held until now, becomes the last of its source's line. 0, or -1: full, and the
 * item is out. Where the lane is full but another source has more than its share, that one's last
 * item gives way: *evicted (else NULL) is out.
 */
int queue_push(struct queue *q, struct queue_lane *l, const struct addr *source,
    struct queue_item *i, struct queue_item **evicted);

/* The next ready item, which is out then; NULL: none. */
struct queue_item *queue_pop(struct queue *q);
/* Takes an item out, in whatever state. */
void queue_remove(struct queue_item *i);

#endif
