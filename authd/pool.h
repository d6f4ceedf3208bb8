/*
 * The hash threads (authd/threads.h), and a job for each, with its own crypt_data.
 */
#ifndef AUTHD_POOL_H
#define AUTHD_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "authd/threads.h"
#include "common/ev.h"
#include "common/users.h"

#define POOL_THREADS_MAX 4 /* yescrypt takes 16 MiB a check, and the other cores have work too */

struct pool_job {
	struct job job;
	TAILQ_ENTRY(pool_job) entry;
	char phrase[CRYPT_PHRASE_MAX];
	char hash[USERS_HASH_MAX];  /* to be matched; zero-padded */
	char dummy[USERS_HASH_MAX]; /* hashed with instead, where `hash` cannot be */
	bool match;                 /* the answer */
	void *owner;
};

/* Before the sandbox: as many threads as cores, at most POOL_THREADS_MAX. `done` is called in the
 * loop; the job's memory is wiped after it. 0 or -1. */
int pool_init(struct loop *l, void (*done)(struct pool_job *j));

/* An idle thread's job to be filled in, zeroed; NULL: all are busy. */
struct pool_job *pool_take(void);
bool pool_room(void);
void pool_submit(struct pool_job *j);

#endif
