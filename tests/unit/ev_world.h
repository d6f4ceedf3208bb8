/*
 * An event loop that each test has for itself, and runs for so long. Included by its tests after
 * cmocka.h.
 */
#ifndef TESTS_UNIT_EV_WORLD_H
#define TESTS_UNIT_EV_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "common/ev.h"

static struct loop *loop;

static inline int
setup(void **state)
{
	(void)state;
	loop = loop_new();
	return loop == NULL;
}

static inline int
teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

static inline void
on_last(struct deadline *d)
{
	(void)d;
	loop_stop(loop);
}

static inline void
run_for(uint64_t ms)
{
	struct deadline last = { .cb = on_last };

	deadline_arm(loop, &last, ms);
	assert_int_equal(loop_run(loop), 0);
}

#endif
