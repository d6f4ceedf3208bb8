/*
 * The ledger: what a killed master left is handed over once, whatever else lies in its place is
 * refused or set aside, and only one master has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "ledger_world.h"

/* One that no short entry holds, with octets that no text has. */
static uint8_t long_user[USER_MAX];
static struct ledger_text sample_text = { .user = { long_user, sizeof(long_user) },
	.name = { (const uint8_t *)"a\0b", 3 },
	.rule = { (const uint8_t *)"sallyport.conf:12", 17 } };

static int
start(void **state)
{
	memset(long_user, 0xfe, sizeof(long_user));
	return make_dir(state);
}

/* A master in a process of its own enters two sessions, closes one, and is killed. */
static void
leave_orphan(uint32_t workers, uint32_t slots)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct ledger *lg = ledger_open(dir, INSTANCE, workers, slots, NULL, NULL);
		struct ledger_entry *at, *other;

		if (lg == NULL || (at = ledger_at(lg, workers - 1, slots - 1)) == NULL ||
		    (other = ledger_at(lg, 0, 0)) == NULL)
			_exit(1);
		enter(lg, other, sample(77), &sample_text);
		enter(lg, at, sample(77), &sample_text);
		ledger_leave(lg, other);
		at->up = 6;
		kill(getpid(), SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void
test_orphans(void **state)
{
	static const struct {
		uint32_t workers, slots;
	} next[] = { { 2, 3 }, { 1, 1 }, { 4, 100 } };

	(void)state;
	for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
		struct orphans o = { 0 };
		struct ledger_entry want = sample(77);

		leave_orphan(2, 3);
		/* The next master may have another number of workers and slots. */
		struct ledger *lg =
		    ledger_open(dir, INSTANCE + 1, next[i].workers, next[i].slots, on_orphan, &o);
		assert_non_null(lg);
		assert_int_equal(o.n, 1);
		assert_true(o.instance == INSTANCE);
		want.up = 6;
		assert_handed(&o, &want, &sample_text);
		assert_int_equal(ledger_found(lg).orphans, 1);
		assert_int_equal(ledger_found(lg).unsound, 0);
		assert_false(ledger_found(lg).set_aside);
		assert_int_equal(
		    ledger_at(lg, next[i].workers - 1, next[i].slots - 1)->state, LEDGER_FREE);
		assert_null(ledger_at(lg, next[i].workers, 0));
		assert_null(ledger_at(lg, 0, next[i].slots));
		assert_null(ledger_at(lg, UINT32_MAX, UINT32_MAX));
		ledger_close(lg, NULL);
		/* Handed over once. */
		o.n = 0;
		assert_non_null(lg = ledger_open(dir, INSTANCE + 2, 2, 3, on_orphan, &o));
		assert_int_equal(o.n, 0);
		ledger_close(lg, dir);
		assert_int_equal(access(path, F_OK), -1);
	}
}

/* A master is killed while it tells of orphans: the next one tells only of those that were not. */
static void
die_at_second(
    const struct ledger_entry *e, const struct ledger_text *t, uint64_t instance, void *arg)
{
	unsigned *n = arg;

	(void)e;
	(void)t;
	(void)instance;
	if (++*n == 2)
		kill(getpid(), SIGKILL);
}

static void
test_killed_again(void **state)
{
	struct ledger_entry other = sample(2);
	struct orphans o = { 0 };
	unsigned n = 0;
	int status;

	(void)state;
	struct ledger *lg = ledger_open(dir, INSTANCE, 1, 3, NULL, NULL);
	assert_non_null(lg);
	enter(lg, ledger_at(lg, 0, 0), sample(1), &sample_text);
	enter(lg, ledger_at(lg, 0, 2), other, &sample_text);
	ledger_close(lg, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		ledger_open(dir, INSTANCE + 1, 5, 5, die_at_second, &n);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_non_null(lg = ledger_open(dir, INSTANCE + 2, 1, 1, on_orphan, &o));
	assert_int_equal(o.n, 1);
	assert_true(o.instance == INSTANCE);
	assert_handed(&o, &other, &sample_text);
	ledger_close(lg, NULL);
}

static void
test_lock(void **state)
{
	(void)state;
	struct ledger *lg = ledger_open(dir, 1, 1, 10, NULL, NULL);
	assert_non_null(lg);
	assert_null(ledger_open(dir, 2, 1, 10, NULL, NULL));
	assert_int_equal(errno, EWOULDBLOCK);
	ledger_close(lg, dir);
	assert_non_null(lg = ledger_open(dir, 2, 1, 10, NULL, NULL));
	ledger_close(lg, NULL);
}

static void
test_mode(void **state)
{
	struct stat st;

	(void)state;
	int fd = open(path, O_CREAT | O_WRONLY, 0666);
	assert_int_not_equal(fd, -1);
	fchmod(fd, 0666);
	close(fd);
	struct ledger *lg = ledger_open(dir, 1, 1, 10, NULL, NULL);
	assert_non_null(lg);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	ledger_close(lg, NULL);
}

/* What is no file of ours in its place is neither followed nor waited for nor written. */
static void
test_not_ours(void **state)
{
	char other[100];

	(void)state;
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(symlink(other, path), 0);
	assert_null(ledger_open(dir, 1, 1, 10, NULL, NULL));
	assert_int_equal(errno, EPERM);
	assert_int_equal(access(other, F_OK), -1);
	unlink(path);

	assert_int_equal(mkfifo(path, 0600), 0);
	assert_null(ledger_open(dir, 1, 1, 10, NULL, NULL));
	assert_int_equal(errno, EPERM);
	unlink(path);

	assert_int_equal(mkdir(path, 0700), 0);
	assert_null(ledger_open(dir, 1, 1, 10, NULL, NULL));
	assert_int_equal(errno, EPERM);
	rmdir(path);

	/* A second name: someone would keep the ledger's content. */
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(link(other, path), 0);
	assert_null(ledger_open(dir, 1, 1, 10, NULL, NULL));
	assert_int_equal(errno, EPERM);
	unlink(other);
	struct ledger *lg = ledger_open(dir, 1, 1, 10, NULL, NULL); /* the positive control */
	assert_non_null(lg);
	ledger_close(lg, NULL);

	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_null(ledger_open(dir, 1, 1, 10, NULL, NULL));
		assert_int_equal(errno, EPERM);
	}
}

static void
patch(off_t at, const void *octets, size_t len)
{
	int fd = open(path, O_WRONLY);

	assert_int_not_equal(fd, -1);
	assert_int_equal(pwrite(fd, octets, len, at), len);
	close(fd);
}

/* Opens what was damaged: it is set aside with no orphan, and a new ledger works. */
static void
check_set_aside(void)
{
	struct orphans o = { 0 };
	struct ledger *lg = ledger_open(dir, 5, 2, 3, on_orphan, &o);

	assert_non_null(lg);
	assert_int_equal(o.n, 0);
	assert_true(ledger_found(lg).set_aside);
	assert_int_equal(access(aside, F_OK), 0);
	/* The new file's lock is the one that counts. */
	assert_null(ledger_open(dir, 6, 2, 3, NULL, NULL));
	assert_int_equal(errno, EWOULDBLOCK);
	ledger_close(lg, dir);
	unlink(aside);
}

static void
test_other_layout(void **state)
{
	struct stat st;
	const uint32_t other = 99, many = UINT32_MAX;

	(void)state;
	/* Every field of the head, in its order: magic, format, entry's size, (instance), counts.
	 */
	static const off_t at[] = { 0, 8, 12, 24, 28 };
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		leave_orphan(2, 3);
		patch(at[i], &other, sizeof(other));
		check_set_aside();
		leave_orphan(2, 3);
		patch(at[i], &many, sizeof(many));
		check_set_aside();
	}
	for (off_t cut = 1; cut < 8000; cut += 577) {
		leave_orphan(2, 3);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(truncate(path, cut < st.st_size ? cut : st.st_size - 1), 0);
		check_set_aside();
	}
	leave_orphan(2, 3);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size + 1), 0);
	check_set_aside();
	leave_orphan(2, 3);
	assert_int_equal(truncate(path, (off_t)1 << 40), 0);
	check_set_aside();
	/* The positive control: the same file, undamaged. */
	struct orphans o = { 0 };
	leave_orphan(2, 3);
	struct ledger *lg = ledger_open(dir, 5, 2, 3, on_orphan, &o);
	assert_int_equal(o.n, 1);
	ledger_close(lg, NULL);
}

/* Entries hold nonsense: they are counted, the sound one is handed over. */
static void
test_unsound_entry(void **state)
{
	struct ledger *lg = ledger_open(dir, INSTANCE, 1, 8, NULL, NULL);
	struct ledger_entry good = sample(2), *at[8];
	struct orphans o = { 0 };

	(void)state;
	assert_non_null(lg);
	for (uint32_t i = 0; i < 8; i++) {
		at[i] = ledger_at(lg, 0, i);
		enter(lg, at[i], i == 7 ? good : sample(1), &sample_text);
	}
	at[0]->method = METHOD_COUNT;
	at[1]->command = 200;
	at[2]->reason = REASON_COUNT;
	at[3]->target.a.family = 5;
	at[4]->level = LEVEL_COUNT;
	at[5]->state = LEDGER_CONNECTED + 1;
	at[6]->far |= 4;
	ledger_close(lg, NULL);

	assert_non_null(lg = ledger_open(dir, 2, 1, 8, on_orphan, &o));
	assert_int_equal(o.n, 1);
	assert_handed(&o, &good, &sample_text);
	assert_int_equal(ledger_found(lg).unsound, 7);
	assert_false(ledger_found(lg).set_aside);
	ledger_close(lg, NULL);
}

static void
test_sizes(void **state)
{
	(void)state;
	assert_null(ledger_open(dir, 1, 0, 10, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(ledger_open(dir, 1, 10, 0, NULL, NULL));
	assert_null(ledger_open(dir, 1, UINT32_MAX, UINT32_MAX, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(ledger_open("/nonexistent", 1, 1, 1, NULL, NULL));
	assert_int_equal(errno, ENOENT);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, remove_dir)
	const struct CMUnitTest tests[] = { T(test_orphans), T(test_killed_again), T(test_lock),
		T(test_mode), T(test_not_ours), T(test_other_layout), T(test_unsound_entry),
		T(test_sizes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
