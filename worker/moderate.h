/*
 * Interrupt moderation, for a side that is encapsulated: while octets come in bulk, its socket
 * tells of them only when there are several tokens' worth, which are then opened side by side
 * (worker/token_lanes.h), by one read in one turn of the loop. A worker that outruns the sender
 * otherwise finds one token each time.
 *
 * So much is awaited as came lately in less time than it may take; a sender that goes on as it did
 * is not delayed beyond that. One that does not has its last octets delayed by MODERATE_MS, and a
 * few times in a row at most; only once where the other side has answered since the last time, as
 * then it may be an answer that it waits for. What comes slower than two tokens in that time is no
 * bulk and never awaited. The sender's end, an error, and urgent octets are told at once.
 */
#ifndef WORKER_MODERATE_H
#define WORKER_MODERATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/ev.h"

#define MODERATE_MS 3 /* no octet waits longer than that and a turn of the loop */

/* Zeros at first. */
struct moderate {
	struct loop *loop;
	struct ev *ev;
	struct deadline late; /* armed while anything is awaited */
	uint64_t since;       /* ms: the pace is measured from then on ... */
	size_t octets;        /* ... and so many have been read */
	size_t awaited;       /* the socket tells of no fewer octets; 0: of any */
	uint64_t rest;        /* ms: how long nothing was awaited after the last dialogue, ... */
	uint64_t resumes;     /* ... and until when */
	uint64_t answered;    /* octets that have gone the other way when it was read last, ... */
	uint64_t answered_before; /* ... and when octets were awaited in vain */
	unsigned vain;            /* times in a row */
};

/* n octets were read from the socket of ev, which is in the loop with EPOLLET; `answered` in all
 * have gone the other way. */
void moderate_read(struct moderate *m, struct loop *l, struct ev *ev, size_t n, uint64_t answered);
/* From now on the socket tells of any octet. */
void moderate_end(struct moderate *m);

#endif
