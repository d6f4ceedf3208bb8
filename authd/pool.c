/*
 * The hash threads. Shares with them two lists under one lock, and an eventfd that wakes the loop;
 * a job belongs to one thread at a time. Wipes what a check leaves in memory.
 */
#include "authd/pool.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POOL_STACK (256u * 1024) /* octets; crypt_r's large buffers are elsewhere */

TAILQ_HEAD(job_list, pool_job);

static struct {
	struct ev ev; /* of the eventfd */
	void (*done)(struct pool_job *j);
	unsigned threads;
	struct pool_job job[POOL_THREADS_MAX];
	struct crypt_data data[POOL_THREADS_MAX];
	struct job_list idle; /* the loop's own */

	pthread_mutex_t lock;
	pthread_cond_t work, begun;
	unsigned running; /* threads that have come to thread_main */
	struct job_list todo, finished;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.begun = PTHREAD_COND_INITIALIZER,
};

/* All octets are looked at, whatever they are. */
static bool
same_hash(const char a[USERS_HASH_MAX], const char b[USERS_HASH_MAX])
{
	volatile unsigned char differ = 0;

	for (size_t i = 0; i < USERS_HASH_MAX; i++)
		differ = (unsigned char)(differ | (a[i] ^ b[i]));
	return differ == 0;
}

/* crypt(3) with `setting` into out, zero-padded; false: it is no setting. */
static bool
hash_with(
    const struct pool_job *j, const char *setting, struct crypt_data *d, char out[USERS_HASH_MAX])
{
	memset(out, 0, USERS_HASH_MAX);
	const char *got = crypt_r(j->phrase, setting, d);
	bool ok = got != NULL && got[0] != '*';
	if (ok)
		strncpy(out, got, USERS_HASH_MAX - 1);
	explicit_bzero(d, sizeof(*d));
	return ok;
}

static void
job_run(struct pool_job *j, struct crypt_data *d)
{
	char out[USERS_HASH_MAX];

	if (hash_with(j, j->hash, d, out))
		j->match = same_hash(out, j->hash);
	else
		(void)hash_with(j, j->dummy, d, out); /* for the time that it takes */
	explicit_bzero(out, sizeof(out));
	explicit_bzero(j->phrase, sizeof(j->phrase));
}

static void *
thread_main(void *arg)
{
	struct crypt_data *d = arg;
	const uint64_t one = 1;

	pthread_mutex_lock(&pool.lock);
	pool.running++;
	pthread_cond_signal(&pool.begun);
	pthread_mutex_unlock(&pool.lock);
	for (;;) {
		struct pool_job *j;

		pthread_mutex_lock(&pool.lock);
		while ((j = TAILQ_FIRST(&pool.todo)) == NULL)
			pthread_cond_wait(&pool.work, &pool.lock);
		TAILQ_REMOVE(&pool.todo, j, entry);
		pthread_mutex_unlock(&pool.lock);

		job_run(j, d);

		pthread_mutex_lock(&pool.lock);
		TAILQ_INSERT_TAIL(&pool.finished, j, entry);
		pthread_mutex_unlock(&pool.lock);
		while (write(pool.ev.fd, &one, sizeof(one)) == -1 && errno == EINTR)
			;
	}
	return NULL;
}

static void
on_finished(struct ev *e, uint32_t events)
{
	struct job_list finished = TAILQ_HEAD_INITIALIZER(finished);
	struct pool_job *j;
	uint64_t count;

	(void)events;
	if (read(e->fd, &count, sizeof(count)) == -1 && errno != EAGAIN && errno != EINTR)
		abort();
	pthread_mutex_lock(&pool.lock);
	TAILQ_CONCAT(&finished, &pool.finished, entry);
	pthread_mutex_unlock(&pool.lock);
	while ((j = TAILQ_FIRST(&finished)) != NULL) {
		TAILQ_REMOVE(&finished, j, entry);
		pool.done(j);
		explicit_bzero(j, sizeof(*j));
		TAILQ_INSERT_TAIL(&pool.idle, j, entry);
	}
}

int
pool_init(struct loop *l, void (*done)(struct pool_job *j))
{
	cpu_set_t cpus;

	TAILQ_INIT(&pool.idle);
	TAILQ_INIT(&pool.todo);
	TAILQ_INIT(&pool.finished);
	pool.done = done;
	pool.threads = 1;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		pool.threads = (unsigned)CPU_COUNT(&cpus);
	if (pool.threads > POOL_THREADS_MAX)
		pool.threads = POOL_THREADS_MAX;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd == -1)
		return -1;
	pool.ev.cb = on_finished;
	return ev_add(l, &pool.ev, fd, EPOLLIN);
}

int
pool_threads(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int error = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (unsigned i = 0; i < pool.threads && error == 0; i++) {
		pthread_t t;

		error = pthread_create(&t, &attr, thread_main, &pool.data[i]);
		TAILQ_INSERT_TAIL(&pool.idle, &pool.job[i], entry);
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
pool_room(void)
{
	return !TAILQ_EMPTY(&pool.idle);
}

struct pool_job *
pool_take(void)
{
	struct pool_job *j = TAILQ_FIRST(&pool.idle);

	if (j != NULL)
		TAILQ_REMOVE(&pool.idle, j, entry);
	return j;
}

void
pool_submit(struct pool_job *j)
{
	pthread_mutex_lock(&pool.lock);
	TAILQ_INSERT_TAIL(&pool.todo, j, entry);
	pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
}
