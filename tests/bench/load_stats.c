/*
 * Latencies of the load generator, counted in buckets that are 1/64 wide of what they hold: no
 * unit's latency is kept.
 */
#include "load.h"

#define FINE_BITS 6
#define FINE      (1 << FINE_BITS)

static uint64_t buckets[64 * FINE], total;

static unsigned
bucket_of(uint64_t v)
{
	int shift = 63 - FINE_BITS - __builtin_clzll(v | FINE);

	return (unsigned)shift * FINE + (unsigned)(v >> shift);
}

/* The least value of a bucket. */
static uint64_t
bucket_least(unsigned b)
{
	if (b < 2 * FINE)
		return b;
	return (uint64_t)(b % FINE + FINE) << (b / FINE - 1);
}

void
stats_add(int64_t ns)
{
	buckets[bucket_of((uint64_t)ns)]++;
	total++;
}

int64_t
stats_quantile(double q)
{
	uint64_t want = (uint64_t)((double)total * q), seen = 0;
	unsigned b = 0;

	if (total == 0)
		return 0;
	while (b + 1 < sizeof(buckets) / sizeof(buckets[0]) && (seen += buckets[b]) <= want)
		b++;
	return (int64_t)(bucket_least(b) + bucket_least(b + 1)) / 2;
}
