/*
 * What the hash threads do. Owns their jobs, and wipes what a check leaves in memory.
 */
#include "authd/pool.h"

#include <crypt.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#define POOL_STACK (256u * 1024) /* octets; crypt_r's large buffers are elsewhere */

static struct {
	void (*done)(struct pool_job *j);
	struct pool_job job[POOL_THREADS_MAX];
	struct crypt_data data[POOL_THREADS_MAX]; /* of the job with this index */
	TAILQ_HEAD(, pool_job) idle;
} pool;

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

static struct pool_job *
job_of(struct job *job)
{
	return (struct pool_job *)((char *)job - offsetof(struct pool_job, job));
}

/* In a thread. */
static void
run(struct job *job)
{
	struct pool_job *j = job_of(job);
	struct crypt_data *d = &pool.data[j - pool.job];
	char out[USERS_HASH_MAX];

	if (hash_with(j, j->hash, d, out))
		j->match = same_hash(out, j->hash);
	else
		(void)hash_with(j, j->dummy, d, out); /* for the time that it takes */
	explicit_bzero(out, sizeof(out));
	explicit_bzero(j->phrase, sizeof(j->phrase));
}

static void
done(struct job *job)
{
	struct pool_job *j = job_of(job);

	pool.done(j);
	explicit_bzero(j, sizeof(*j));
	TAILQ_INSERT_TAIL(&pool.idle, j, entry);
}

int
pool_init(struct loop *l, void (*then)(struct pool_job *j))
{
	cpu_set_t cpus;
	unsigned threads = 1;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		threads = (unsigned)CPU_COUNT(&cpus);
	if (threads > POOL_THREADS_MAX)
		threads = POOL_THREADS_MAX;
	TAILQ_INIT(&pool.idle);
	for (unsigned i = 0; i < threads; i++)
		TAILQ_INSERT_TAIL(&pool.idle, &pool.job[i], entry);
	pool.done = then;
	return threads_init(l, threads, POOL_STACK, run, done);
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
	threads_run(&j->job);
}
