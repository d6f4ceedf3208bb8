/*
 * Blocks kept for the next who wants one. Owns those that wait; who gives one back has wiped what
 * is secret in it.
 */
#include "worker/spare.h"

#include <stdlib.h>

#if SANITIZED
#define SPARES 0 /* AddressSanitizer knows what is freed only */
#else
#define SPARES 16 /* that wait at most */
#endif

void *
spare_take(struct spare *p, size_t size)
{
	void **block = p->first;

	if (block == NULL)
		return calloc(1, size);
	p->first = *block;
	p->n--;
	*block = NULL;
	return block;
}

void
spare_give(struct spare *p, void *block)
{
	void **link = block;

	if (p->n == SPARES) {
		free(block);
		return;
	}
	*link = p->first;
	p->first = link;
	p->n++;
}

void
spare_end(struct spare *p)
{
	while (p->n > 0)
		free(spare_take(p, sizeof(void *)));
}
