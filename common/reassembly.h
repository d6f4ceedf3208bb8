/*
 * Fragments of a client's datagrams put together again, RFC 1928 section 7: for each association a
 * REASSEMBLY QUEUE and a REASSEMBLY TIMER.
 *
 * A datagram of FRAG 0 is whole. Positions 1, 2, ... with one header, the last marked by the high
 * bit, are one datagram; nothing else is. What there is of a sequence is abandoned when its timer
 * expires, or when any datagram comes whose position is lower than the highest one taken: FRAG 0
 * too, which is then relayed itself, and position 1, which begins another. Where the RFC is silent:
 *
 * - A position is FRAG without its high bit. X'80' is none, and is dropped like a position out of
 *   place; X'81' is a sequence of one.
 * - A repeat takes the place of what it repeats. If the network doubled it, that is the same; if it
 *   is of another sequence, position 1 is that one's beginning, and its timer starts anew.
 * - The timer runs from the first fragment, not from the last.
 * - The header of the first fragment is the datagram's. A fragment with another one is not of this
 *   sequence: dropped, and, unless its position is lower, nothing else is.
 * - After a gap no sequence can become whole, for the missing position would be lower than the
 *   highest: what there is goes at once, because to keep it would only hold memory. The same where
 *   it has become too large for a datagram, or no memory is left.
 *
 * Memory: at most REASSEMBLY_MAX for an association, only while a sequence is under way, and at
 * most REASSEMBLY_BUDGET for all of a worker's.
 */
#ifndef COMMON_REASSEMBLY_H
#define COMMON_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/datagram.h"
#include "common/msg.h"

/* ms. "The reassembly timer MUST be no less than 5 seconds"; the clock is that of a loop's turn,
 * which may be somewhat behind, so there is something on top. */
#define REASSEMBLY_MS 5100

/* Octets: the largest datagram with the longest header; and for all associations of a worker. */
#define REASSEMBLY_MAX    (DATAGRAM_HEADER_MAX + DATAGRAM_MAX)
#define REASSEMBLY_BUDGET (16u << 20)

/* Shared by the associations of one worker; zero at first. */
struct reassembly_budget {
	size_t used;
};

/* Embedded in an association; idle it holds no memory. */
struct reassembly {
	struct reassembly_budget *budget;
	uint32_t *drops; /* DROP_COUNT counts of the association */
	uint64_t until;  /* when reassembly_expire is due, ms; 0: it holds nothing */
	uint8_t *buf;    /* the first fragment, then the data of the others */
	size_t size, len;
	size_t head_len;
	size_t last;     /* where in buf the data of the highest position begin */
	uint8_t highest; /* position; 0: no sequence is under way */
};

/* Both pointers outlive r. */
void reassembly_init(struct reassembly *r, struct reassembly_budget *budget, uint32_t *drops);

/*
 * Takes a datagram that came at `now` (ms of a steady clock, above 0). True: *whole, which may be d
 * itself, is to be relayed; it points into d's octets or r's, and stands until the next call for r.
 * Each datagram that is neither held nor part of a whole one is counted in drops: as DROP_FRAGMENT,
 * DROP_SIZE (more than DATAGRAM_MAX together) or DROP_QUEUE (no memory).
 *
 * The timer's expiry is seen here too; the caller arms a deadline for r->until, so that the memory
 * of one who sends no more is not kept:
 *
 *	if (r->until != 0 && !deadline_armed(&d))
 *		deadline_arm(loop, &d, r->until - now);
 *
 * whose callback is reassembly_expire, and that arms it again in the same way.
 */
bool reassembly_feed(
    struct reassembly *r, uint64_t now, const struct datagram *d, struct datagram *whole);

/* Abandons what the timer has expired for. */
void reassembly_expire(struct reassembly *r, uint64_t now);

/* At the association's end: what is still held is dropped and counted. */
void reassembly_end(struct reassembly *r);

#endif
