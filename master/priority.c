/*
 * Who waits for the processor. SCHED_RESET_ON_FORK is not used: it would take a negative nice value
 * of the operator's from the children.
 */
#include "master/priority.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static bool yields;

static bool
set(int policy)
{
	struct sched_param none = { 0 };

	return sched_setscheduler(0, policy, &none) == 0;
}

/* Whether the kernel has EEVDF (6.6). The scheduler before it may keep a SCHED_BATCH process
 * waiting for 6 ms and more while passwords are hashed. */
static bool
waits_are_short(void)
{
	struct utsname kernel;
	unsigned major, minor;

	return uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 6));
}

void
priority_yield(void)
{
	bool usual = sched_getscheduler(0) == SCHED_OTHER && getpriority(PRIO_PROCESS, 0) == 0;

	yields = usual && waits_are_short() && set(SCHED_BATCH);
}

void
priority_child(enum role r)
{
	if (yields && r != ROLE_WORKER)
		(void)set(SCHED_OTHER);
}
