/*
 * One direction of a relay: octets read from side d go to the other. Either side may be
 * encapsulated (worker/protected.h).
 */
#ifndef WORKER_FLOW_H
#define WORKER_FLOW_H

#include <stddef.h>
#include <stdint.h>

#include "worker/session.h"

static inline enum side
other(enum side side)
{
	return side == CLIENT ? TARGET : CLIENT;
}

/* So many wide reads that were full and have all been sent, since something had to be held, are
 * more than the socket of a slower receiver takes: reads are widest then. */
#define FLOW_WHOLE 8

/* Octets kept in order; a NULL one is empty. NULL: there is no memory, and h stays as it is. */
struct held *held_add(struct held *h, const uint8_t *data, size_t len);
void held_free(struct held *h);
/* What a direction holds is given up. */
void flow_drop_held(struct session *s, enum side d);

/* Reads once and sends on. 1: there may be more; 2: there may, but others should have their turn
 * first; 0: not now; -1: the session has been ended. */
int flow_pump(struct session *s, enum side d);
/* Octets that its next read asks for (worker.h). */
size_t flow_read_size(const struct session *s, enum side d);
/* Sends octets of users' data on as if they had been read now. 0, or -1: the session has been
 * ended. */
int flow_put(struct session *s, enum side d, const uint8_t *data, size_t len);
/* Sends what it can of what is held. */
void flow_flush(struct session *s, enum side d);
/*
 * The receiver of this direction is gone: what still comes is thrown away. The other way goes on
 * until its own end, since what the receiver had sent may still be under way.
 */
void flow_broken(struct session *s, enum side d);

#endif
