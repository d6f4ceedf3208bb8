/*
 * Threads of a role. Shares with them two lists under one lock, and an eventfd that wakes the loop;
 * a job belongs to one thread at a time. Owns no job.
 */
#include "authd/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

STAILQ_HEAD(jobs, job);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, begun;
	struct jobs todo, finished;
	size_t stack;
	unsigned threads;
	unsigned running; /* those that have begun */
	unsigned busy;    /* the loop's own count */
	struct ev ev;
	void (*run)(struct job *j);
	void (*done)(struct job *j);
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.begun = PTHREAD_COND_INITIALIZER };

static void *
thread_main(void *arg)
{
	const uint64_t one = 1;

	(void)arg;
	pthread_mutex_lock(&pool.lock);
	pool.running++;
	pthread_cond_signal(&pool.begun);
	for (;;) {
		struct job *j;

		while ((j = STAILQ_FIRST(&pool.todo)) == NULL)
			pthread_cond_wait(&pool.work, &pool.lock);
		STAILQ_REMOVE_HEAD(&pool.todo, entry);
		pthread_mutex_unlock(&pool.lock);
		pool.run(j);
		pthread_mutex_lock(&pool.lock);
		STAILQ_INSERT_TAIL(&pool.finished, j, entry);
		while (write(pool.ev.fd, &one, sizeof(one)) == -1 && errno == EINTR)
			;
	}
	return NULL;
}

static void
on_finished(struct ev *e, uint32_t events)
{
	struct jobs finished = STAILQ_HEAD_INITIALIZER(finished);
	struct job *j;
	uint64_t count;

	(void)events;
	if (read(e->fd, &count, sizeof(count)) == -1 && errno != EAGAIN && errno != EINTR)
		abort();
	pthread_mutex_lock(&pool.lock);
	STAILQ_CONCAT(&finished, &pool.finished);
	pthread_mutex_unlock(&pool.lock);
	while ((j = STAILQ_FIRST(&finished)) != NULL) {
		STAILQ_REMOVE_HEAD(&finished, entry);
		pool.busy--;
		pool.done(j);
	}
}

int
threads_init(struct loop *l, unsigned threads, size_t stack, void (*run)(struct job *j),
    void (*done)(struct job *j))
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	STAILQ_INIT(&pool.todo);
	STAILQ_INIT(&pool.finished);
	pool.threads = threads;
	pool.stack = stack;
	pool.run = run;
	pool.done = done;
	pool.ev = (struct ev){ .fd = -1, .cb = on_finished };
	return fd != -1 ? ev_add(l, &pool.ev, fd, EPOLLIN) : -1;
}

int
threads_start(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int error = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, pool.stack);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (unsigned i = 0; i < pool.threads && error == 0; i++) {
		pthread_t t;

		error = pthread_create(&t, &attr, thread_main, NULL);
	}
	/* A thread's own start makes system calls that the filter, which comes next, refuses. */
	pthread_mutex_lock(&pool.lock);
	while (error == 0 && pool.running < pool.threads)
		pthread_cond_wait(&pool.begun, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return error == 0 ? 0 : -1;
}

bool
threads_room(void)
{
	return pool.busy < pool.threads;
}

void
threads_run(struct job *j)
{
	pool.busy++;
	pthread_mutex_lock(&pool.lock);
	STAILQ_INSERT_TAIL(&pool.todo, j, entry);
	pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
}
