/*
 * The threads of a role whose checks take long: a few, made before the filter of system calls is
 * put on. A job is given only to one that is idle, so the order in which exchanges wait is the
 * role's alone. One set a process.
 */
#ifndef AUTHD_THREADS_H
#define AUTHD_THREADS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "common/ev.h"

struct job { /* embedded in its owner */
	STAILQ_ENTRY(job) entry;
};

/* Before the sandbox: how many, and their stacks in octets. `run` is called in a thread, `done` in
 * the loop. 0, or -1 with errno. */
int threads_init(struct loop *l, unsigned threads, size_t stack, void (*run)(struct job *j),
    void (*done)(struct job *j));
/* Starts them and waits until all run. 0, or -1 with errno. */
int threads_start(void);
/* Is one idle? Only then may one be given a job. */
bool threads_room(void);
void threads_run(struct job *j);

#endif
