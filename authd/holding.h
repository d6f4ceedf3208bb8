/*
 * What the unfinished exchanges of one worker hold in memory: bounded for the worker and for each
 * client's address (IPv6 by /64), so that neither a client that begins and stalls, nor a worker
 * that is no longer ours, can take the room of others. Where the worker's is all taken, the source
 * that holds most gives way.
 */
#ifndef AUTHD_HOLDING_H
#define AUTHD_HOLDING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "common/addr.h"

#define HOLDING_SOURCE_MAX (1u << 20)  /* octets of one source: 15 of the longest tokens */
#define HOLDING_LANE_MAX   (16u << 20) /* octets of one worker: memory bounds these */

#define HOLDING_BUCKETS 256 /* of the table of sources of a worker */

struct holding_source;

/* Embedded in its owner; zeroed at first. */
struct holding {
	TAILQ_ENTRY(holding) entry;
	struct holding_source *source; /* NULL: it holds nothing */
	size_t octets;
};

struct holdings {
	TAILQ_HEAD(, holding_source) all;
	LIST_HEAD(, holding_source) buckets[HOLDING_BUCKETS];
	size_t octets;
};

void holding_init(struct holdings *h);

/* x takes so many octets more. False: there is no room; *victim (x itself, perhaps) must give up
 * what it holds, and if it is another, x may ask again. */
bool holding_add(struct holdings *h, const struct addr *source, struct holding *x, size_t octets,
    struct holding **victim);
/* x holds `octets` from now on, which is not more than before; 0: nothing. */
void holding_cut(struct holdings *h, struct holding *x, size_t octets);

#endif
