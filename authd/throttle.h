/*
 * How failures slow the next try: per claimed user and source, and per source. A first failure of
 * (user, source) costs 250 ms, each further one doubles that up to 8 s, and 30 s of quiet halve it
 * again. A source alone, which may be an office full of people, is slowed likewise from its fourth
 * failure on, whoever it claims to be. No failure from one source slows another, so no one can lock
 * an account from afar; and the claimed name is what counts, whether or not there is such a user.
 *
 * The table is of one size, whatever comes in. Where its place is taken, the entry that slows least
 * gives way: who commands more sources than the table has places can shorten penalties, of his own
 * sources and of others, to nothing worse than none. The bounded pool of checks is the limit then.
 */
#ifndef AUTHD_THROTTLE_H
#define AUTHD_THROTTLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

#define THROTTLE_FIRST       250   /* ms after the first failure */
#define THROTTLE_LEVELS      6     /* doublings: 250 ms << 5 is the most */
#define THROTTLE_SOURCE_FREE 3     /* failures of a source that cost its other users nothing */
#define THROTTLE_MAX         8000  /* ms */
#define THROTTLE_DECAY       30000 /* ms of quiet that take one level back */
#define THROTTLE_BUCKETS \
	8192 /* a power of two; times THROTTLE_WAYS entries of 24 octets: 768 KiB */
#define THROTTLE_WAYS 4

_Static_assert(
    THROTTLE_FIRST << (THROTTLE_LEVELS - 1) == THROTTLE_MAX, "levels end at the maximum");

struct throttle;

/* NULL with errno. The keys of its table are random: no one can choose sources that collide. */
struct throttle *throttle_new(void);
void throttle_free(struct throttle *t);

/* The ms from `now` (ms, any monotonic clock) that a try of this source and claimed user must wait.
 */
uint64_t throttle_delay(const struct throttle *t, uint64_t now, const struct addr *source,
    const uint8_t *user, size_t user_len);
void throttle_failed(struct throttle *t, uint64_t now, const struct addr *source,
    const uint8_t *user, size_t user_len);
/* Forgets what (user, source) had; the source's own penalty stays, or one good account would buy
 * guesses at others. */
void throttle_succeeded(
    struct throttle *t, const struct addr *source, const uint8_t *user, size_t user_len);

#endif
