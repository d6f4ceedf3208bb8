/*
 * Latencies of the load generator, counted in buckets that are 1/64 wide of what they hold: no
 * unit's latency is kept.
 */
#include "tests/bench/load_stats.h"

#include <stdio.h>

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

/* us that a part q of all units is below. */
static double
quantile(double q)
{
	uint64_t want = (uint64_t)((double)total * q), seen = 0;
	unsigned b = 0;

	while (b + 1 < sizeof(buckets) / sizeof(buckets[0]) && (seen += buckets[b]) <= want)
		b++;
	return (double)(bucket_least(b) + bucket_least(b + 1)) / 2e3;
}

void
stats_print(double units, double seconds)
{
	printf("seconds %.6f\nrate %.1f\n", seconds, units / seconds);
	if (total > 0)
		printf("p50_us %.1f\np99_us %.1f\n", quantile(0.5), quantile(0.99));
}
