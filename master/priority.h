/*
 * When the master runs. A worker that tells it something goes on meanwhile, and tells more: for the
 * master to take the processor from it at each packet costs both a change of context.
 */
#ifndef MASTER_PRIORITY_H
#define MASTER_PRIORITY_H

/* From now on whoever runs is not interrupted for this process (sched(7), SCHED_BATCH), where it
 * has the usual policy: the operator may have chosen another. */
void priority_yield(void);
/* In a forked child, before exec: the policy that priority_yield found. Async-signal-safe. */
void priority_restore(void);

#endif
