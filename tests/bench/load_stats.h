/*
 * Latencies of units, of a load generator of one thread, or under a lock.
 */
#ifndef BENCH_LOAD_STATS_H
#define BENCH_LOAD_STATS_H

#include <stdint.h>

void stats_add(int64_t ns);
/* As lines, which measure.py reads: `seconds`, `rate` a second, and of latencies, where there are
 * any, `p50_us` and `p99_us`. */
void stats_print(double units, double seconds);

#endif
