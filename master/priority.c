/*
 * The master's place among those that want the processor. SCHED_RESET_ON_FORK is not used: it would
 * take a negative nice value of the operator's from the children.
 */
#include "master/priority.h"

#include <sched.h>
#include <stdbool.h>

static bool yields;

static bool
set(int policy)
{
	struct sched_param none = { 0 };

	return sched_setscheduler(0, policy, &none) == 0;
}

void
priority_yield(void)
{
	yields = sched_getscheduler(0) == SCHED_OTHER && set(SCHED_BATCH);
}

void
priority_restore(void)
{
	if (yields)
		(void)set(SCHED_OTHER);
}
