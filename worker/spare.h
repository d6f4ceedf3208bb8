/*
 * Blocks of one size that are taken and given back all the time: a few of them wait for the next
 * who wants one, still in the processor's cache.
 */
#ifndef WORKER_SPARE_H
#define WORKER_SPARE_H

#include <stddef.h>

struct spare {
	void *first;
	unsigned n;
};

/* A block of `size` octets, at least those of a pointer and the same each time, or NULL with errno.
 * But for the pointer, which is NULL, it is as it was given back; a new one is zeroed. */
void *spare_take(struct spare *p, size_t size);
void spare_give(struct spare *p, void *block);
/* Frees what waits. */
void spare_end(struct spare *p);

#endif
