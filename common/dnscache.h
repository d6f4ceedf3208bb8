/*
 * A bounded cache of answers about names, used by the resolver (for all workers) and by each
 * worker.
 *
 * Names are normalised (common/rules.h) and chosen by clients: entries stand in a balanced tree, so
 * no choice of names makes it slow, and the least recently used make room. Time is the caller's, in
 * ms of a monotonic clock.
 */
#ifndef COMMON_DNSCACHE_H
#define COMMON_DNSCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/msg.h"

/* All in seconds. */
#define DNS_TTL_MAX 86400u /* an answer is asked for again once a day at least */
#define DNS_TTL_MIN 1u     /* what a TTL of 0 is kept for: one client's burst of sessions */
#define DNS_NEGATIVE_MAX \
	300u              /* RFC 2308 section 5 allows 3 h; a name just made is missed less long */
#define DNS_FAILED_MAX 5u /* RFC 2308 section 7 allows 5 min; servers come back */

/* Name servers of the image that are asked; the others are left out (resolv.conf itself knows 3).
 */
#define DNS_SERVERS_MAX 8

struct dns_answer {
	enum answer_status status;
	uint32_t ttl;   /* s; dnscache_get: what is left of it, rounded up */
	unsigned naddr; /* 0 unless ANSWER_OK */
	struct addr addr[ANSWER_ADDRS];
};

/* How long an answer may be kept, in s, inside the bounds above; 0: not at all. */
uint32_t dns_lifetime(const struct dns_answer *a);

struct dnscache;

/* At most so many entries and octets (names and addresses with what keeps them). NULL with errno.
 */
struct dnscache *dnscache_new(size_t entries, size_t octets);
void dnscache_free(struct dnscache *c);
void dnscache_clear(struct dnscache *c);

/* Keeps (or replaces) the answer for one family (LOOKUP_A or LOOKUP_AAAA) for its TTL inside the
 * bounds above. ANSWER_FAILED with TTL 0 is not kept. Without memory nothing is kept. */
void dnscache_put(struct dnscache *c, uint64_t now, const uint8_t *name, size_t len,
    unsigned family, const struct dns_answer *a);

/* 0 with a copy in *a, or -1 where nothing (valid) is known. */
int dnscache_get(struct dnscache *c, uint64_t now, const uint8_t *name, size_t len, unsigned family,
    struct dns_answer *a);

size_t dnscache_entries(const struct dnscache *c);
size_t dnscache_octets(const struct dnscache *c);

#endif
