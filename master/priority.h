/*
 * When the master and the workers run. Who sends them something goes on meanwhile, and sends more:
 * for them to take the processor from it at each packet costs both a change of context, and each
 * finds one packet instead of many.
 */
#ifndef MASTER_PRIORITY_H
#define MASTER_PRIORITY_H

#include "common/msg.h"

/* From now on whoever runs is not interrupted for this process and its workers (sched(7),
 * SCHED_BATCH), where it has the usual policy and nice value, since the operator may have chosen
 * others, and the kernel is 6.6 or newer. */
void priority_yield(void);
/* In a forked child, before exec: but for a worker, the policy that priority_yield found.
 * Async-signal-safe. */
void priority_child(enum role r);

#endif
