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

#include "master/ledger.h"

#define INSTANCE 0x1122334455667788ull

static char dir[64], path[80], aside[80];

struct orphans {
	unsigned n;
	uint64_t instance;
	struct ledger_entry last;
};

static void
on_orphan(const struct ledger_entry *e, uint64_t instance, void *arg)
{
	struct orphans *o = arg;

	o->n++;
	o->instance = instance;
	o->last = *e;
}

static int
make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sallyport-ledger.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/ledger", dir);
	snprintf(aside, sizeof(aside), "%s/ledger.old", dir);
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	unlink(path);
	rmdir(path);
	unlink(aside);
	return rmdir(dir);
}

static struct ledger_entry
sample(uint32_t gen)
{
	struct ledger_entry e = { .state = LEDGER_CONNECTED, .worker = 9, .sid = { 1, gen } };

	e.client.a.family = ADDR_V4;
	e.method = METHOD_PASSWORD;
	e.command = COMMAND_CONNECT;
	e.user_len = 255;
	memset(e.user, 0xfe, 255);
	e.name_len = 3;
	memcpy(e.name, "a\0b", 3);
	strcpy(e.rule_text, "sallyport.conf:12");
	e.up = 5;
	return e;
}

/* A master in a process of its own enters two sessions, closes one, and is killed. */
static void
leave_orphan(uint32_t workers, uint32_t slots)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct ledger *lg = ledger_open(dir, INSTANCE, workers, slots, NULL, NULL);
		struct ledger_entry e = sample(77), *at, *other;

		if (lg == NULL || (at = ledger_at(lg, workers - 1, slots - 1)) == NULL ||
		    (other = ledger_at(lg, 0, 0)) == NULL)
			_exit(1);
		ledger_enter(lg, other, &e);
		ledger_enter(lg, at, &e);
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
		assert_memory_equal(&o.last, &want, sizeof(want));
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
die_at_second(const struct ledger_entry *e, uint64_t instance, void *arg)
{
	unsigned *n = arg;

	(void)e;
	(void)instance;
	if (++*n == 2)
		kill(getpid(), SIGKILL);
}

static void
test_killed_again(void **state)
{
	struct ledger_entry e = sample(1), other = sample(2);
	struct orphans o = { 0 };
	unsigned n = 0;
	int status;

	(void)state;
	struct ledger *lg = ledger_open(dir, INSTANCE, 1, 3, NULL, NULL);
	assert_non_null(lg);
	ledger_enter(lg, ledger_at(lg, 0, 0), &e);
	ledger_enter(lg, ledger_at(lg, 0, 2), &other);
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
	assert_memory_equal(&o.last, &other, sizeof(other));
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

/* One entry holds nonsense: it is counted, the others are handed over. */
static void
test_unsound_entry(void **state)
{
	struct ledger *lg = ledger_open(dir, INSTANCE, 1, 8, NULL, NULL);
	struct ledger_entry bad = sample(1), good = sample(2);
	struct orphans o = { 0 };

	(void)state;
	assert_non_null(lg);
	ledger_enter(lg, ledger_at(lg, 0, 7), &good);
	bad.method = METHOD_COUNT;
	ledger_enter(lg, ledger_at(lg, 0, 0), &bad);
	bad = sample(1);
	bad.command = 200;
	ledger_enter(lg, ledger_at(lg, 0, 1), &bad);
	bad = sample(1);
	bad.reason = REASON_COUNT;
	ledger_enter(lg, ledger_at(lg, 0, 2), &bad);
	bad = sample(1);
	bad.target.a.family = 5;
	ledger_enter(lg, ledger_at(lg, 0, 3), &bad);
	bad = sample(1);
	memset(bad.rule_text, 'x', sizeof(bad.rule_text));
	ledger_enter(lg, ledger_at(lg, 0, 4), &bad);
	bad = sample(1);
	bad.state = LEDGER_CONNECTED + 1;
	ledger_enter(lg, ledger_at(lg, 0, 5), &bad);
	ledger_close(lg, NULL);

	assert_non_null(lg = ledger_open(dir, 2, 1, 8, on_orphan, &o));
	assert_int_equal(o.n, 1);
	assert_memory_equal(&o.last, &good, sizeof(good));
	assert_int_equal(ledger_found(lg).unsound, 6);
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
#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
	const struct CMUnitTest tests[] = { T(test_orphans), T(test_killed_again), T(test_lock),
		T(test_mode), T(test_not_ours), T(test_other_layout), T(test_unsound_entry),
		T(test_sizes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
