/*
 * The hash threads: a few, made before the filter of system calls is put on, each with its own
 * crypt_data. A job is given only to a thread that is idle, so the order in which checks wait is
 * the fair queue's alone.
 */
#ifndef AUTHD_POOL_H
#define AUTHD_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/ev.h"
#include "common/users.h"

#define POOL_THREADS_MAX 4 /* yescrypt takes 16 MiB a check, and the other cores have work too */

struct pool_job {
	TAILQ_ENTRY(pool_job) entry;
	char phrase[CRYPT_PHRASE_MAX];
	char hash[USERS_HASH_MAX];  /* to be matched; zero-padded */
	char dummy[USERS_HASH_MAX]; /* hashed with instead, where `hash` cannot be */
	bool match;                 /* the answer */
	void *owner;
};

/* Before the sandbox. `done` is called in the loop; the job's memory is wiped after it. 0 or -1. */
int pool_init(struct loop *l, void (*done)(struct pool_job *j));
/* Starts the threads: as many as cores, at most POOL_THREADS_MAX. 0, or -1 with errno. */
int pool_threads(void);

/* An idle thread's job to be filled in, zeroed; NULL: all are busy. */
struct pool_job *pool_take(void);
bool pool_room(void);
void pool_submit(struct pool_job *j);

#endif
