/*
 * Turns of an event loop for so long, in a test.
 */
#ifndef TESTS_TURNS_H
#define TESTS_TURNS_H

#include "common/ev.h"

struct turns_end {
	struct deadline d; /* first: its callback finds the loop by it */
	struct loop *loop;
};

static inline void
turns_on_end(struct deadline *d)
{
	loop_stop(((struct turns_end *)(void *)d)->loop);
}

static inline void
turns_run(struct loop *l, unsigned ms)
{
	struct turns_end end = { .d = { .cb = turns_on_end }, .loop = l };

	deadline_arm(l, &end.d, ms);
	loop_run(l);
	deadline_disarm(&end.d);
}

#endif
