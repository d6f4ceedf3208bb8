/*
 * authd's role `initiator`: authenticates this gateway to upstreams. It has the credentials, and no
 * connection: tokens and passwords leave by the worker that asked.
 */
#ifndef AUTHD_INITIATOR_H
#define AUTHD_INITIATOR_H

#include <stdbool.h>
#include <sys/queue.h>

#include "common/ev.h"
#include "common/msg.h"

/* All of the role, after INIT. The exit status. */
int initiator_main(const struct msg_init *init);

/* --- initiator_threads.c: a few threads, which may wait for a KDC --- */

#define INITIATOR_THREADS 8

struct initiator_job { /* embedded in its owner */
	STAILQ_ENTRY(initiator_job) entry;
};

/* Before the sandbox. `run` is called in a thread, `done` in the loop. 0, or -1 with errno. */
int initiator_threads_init(
    struct loop *l, void (*run)(struct initiator_job *j), void (*done)(struct initiator_job *j));
/* Starts them and waits until all run. 0, or -1 with errno. */
int initiator_threads_start(void);
/* Is one idle? */
bool initiator_threads_room(void);
void initiator_threads_run(struct initiator_job *j);

#endif
