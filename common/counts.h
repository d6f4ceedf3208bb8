/*
 * Live byte counts of a worker's sessions: one page-aligned array in a memfd that the master makes
 * and seals against resizing, so that a worker cannot shrink it under the master's feet.
 * The worker writes, the master reads (updates; sessions of a worker that is gone).
 */
#ifndef COMMON_COUNTS_H
#define COMMON_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

struct counts {
	_Atomic uint32_t gen; /* whose counts these are: the slot's generation */
	uint32_t zero;
	_Atomic uint64_t up;   /* octets client to target */
	_Atomic uint64_t down; /* octets target to client */
};

_Static_assert(sizeof(struct counts) == 24, "struct counts is shared");

/* Master: makes and seals the memfd. fd, or -1 with errno. */
int counts_create(uint32_t slots);
/* Maps it (writable for the worker); checks size and seals. NULL with errno. */
struct counts *counts_map(int fd, uint32_t slots, int writable);
void counts_unmap(struct counts *c, uint32_t slots);

#endif
