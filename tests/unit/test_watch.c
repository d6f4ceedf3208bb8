/*
 * Watched files, and the machine's own addresses: each way in which a file or an address can change
 * is noticed; what does not concern it is not.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/ev.h"
#include "master/own.h"
#include "master/watch.h"

static char dir[] = "/tmp/test_watch.XXXXXX";
static struct loop *loop;
static struct deadline limit;
static unsigned calls;

static void
expired(struct deadline *d)
{
	(void)d;
	loop_stop(loop);
}

static void
changed(void *arg)
{
	calls += arg == NULL ? 1 : *(unsigned *)arg;
	loop_stop(loop);
}

/* The calls that come within ms, or until the first. */
static unsigned
wait_ms(unsigned ms)
{
	calls = 0;
	limit.cb = expired;
	deadline_arm(loop, &limit, ms);
	loop_run(loop);
	deadline_disarm(&limit);
	return calls;
}

/* What is still under way settles. */
static void
settle(void)
{
	while (wait_ms(300) > 0)
		continue;
}

static void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd != -1);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

#define CHANGE(what)                                        \
	do {                                                \
		what;                                       \
		if (wait_ms(5000) == 0)                     \
			fail_msg("not noticed: %s", #what); \
		settle();                                   \
	} while (0)
#define NO_CHANGE(what)                                 \
	do {                                            \
		what;                                   \
		if (wait_ms(300) != 0)                  \
			fail_msg("noticed: %s", #what); \
	} while (0)

static void
test_file(void **state)
{
	(void)state;
	put("f", "one");
	struct watch *w = watch_new(loop);
	assert_non_null(w);
	assert_int_equal(watch_add(w, "f", changed, NULL), 0);
	NO_CHANGE((void)0);
	CHANGE(put("f", "two"));
	CHANGE(put("new", "x"); rename("new", "f"));
	/* The new inode is watched as the old one was. */
	CHANGE(put("f", "three"));
	CHANGE(put("new", "x"); rename("new", "f"));
	CHANGE(assert_int_equal(truncate("f", 0), 0));
	CHANGE(chmod("f", 0600));
	CHANGE(unlink("f"));
	CHANGE(put("f", "again"));
	CHANGE(rename("f", "elsewhere"));
	CHANGE(rename("elsewhere", "f"));
	NO_CHANGE(put("other", "x"); unlink("other"));
	NO_CHANGE(close(open("f", O_RDONLY | O_CLOEXEC)));
	watch_clear(w);
	NO_CHANGE(put("f", "unwatched"));
	watch_free(w);
	unlink("f");
}

static void
test_links(void **state)
{
	(void)state;
	mkdir("a", 0755);
	mkdir("b", 0755);
	put("a/f", "one");
	put("b/f", "one");
	assert_int_equal(symlink("a/f", "l2"), 0);
	assert_int_equal(symlink("l2", "l1"), 0);
	struct watch *w = watch_new(loop);
	assert_int_equal(watch_add(w, "l1", changed, NULL), 0);
	CHANGE(put("a/f", "two"));
	CHANGE(put("a/n", "x"); rename("a/n", "a/f"));
	NO_CHANGE(put("b/f", "two"));
	/* A link on the way leads elsewhere. */
	CHANGE(assert_int_equal(symlink("b/f", "n"), 0); rename("n", "l2"));
	CHANGE(put("b/f", "three"));
	NO_CHANGE(put("a/f", "three"));
	/* A circle ends. */
	CHANGE(assert_int_equal(symlink("l1", "n"), 0); rename("n", "l2"));
	CHANGE(assert_int_equal(symlink("a/f", "n"), 0); rename("n", "l2"));
	CHANGE(put("a/f", "four"));
	watch_free(w);
	assert_int_equal(system("rm -r a b l1 l2"), 0);
}

static void
test_missing_directory(void **state)
{
	struct watch *w = watch_new(loop);

	(void)state;
	assert_int_equal(watch_add(w, "d/e/f", changed, NULL), 0);
	mkdir("d", 0755);
	settle();
	mkdir("d/e", 0755);
	settle();
	CHANGE(put("d/e/f", "x"));
	CHANGE(unlink("d/e/f"));
	assert_int_equal(system("rm -r d"), 0);
	settle();
	mkdir("d", 0755);
	settle();
	mkdir("d/e", 0755);
	settle();
	CHANGE(put("d/e/f", "x"));
	watch_free(w);
	assert_int_equal(system("rm -r d"), 0);
}

/* Two paths in one directory, and one given twice. */
static void
test_several(void **state)
{
	unsigned ten = 10;
	struct watch *w = watch_new(loop);

	(void)state;
	put("f", "x");
	put("g", "x");
	assert_int_equal(watch_add(w, "f", changed, NULL), 0);
	assert_int_equal(watch_add(w, "f", changed, NULL), 0);
	assert_int_equal(watch_add(w, "g", changed, &ten), 0);
	put("g", "y");
	assert_int_equal(wait_ms(5000), 10);
	settle();
	put("f", "y");
	assert_int_equal(wait_ms(5000), 1);
	settle();
	/* A burst is one call. */
	for (int i = 0; i < 50; i++)
		put("f", "z");
	assert_int_equal(wait_ms(5000), 1);
	assert_int_equal(wait_ms(300), 0);
	char path[5000];
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(watch_add(w, path, changed, NULL), -1);
	watch_free(w);
	unlink("f");
	unlink("g");
}

static void
own_changed(void)
{
	changed(NULL);
}

static bool
is_own(const char *s)
{
	struct addr a;
	size_t n;
	const struct prefix *own = own_addrs(&n);

	assert_int_equal(addr_parse(s, &a), 0);
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || addr_cmp(&own[i - 1].a, &own[i].a) <= 0);
		if (addr_in_prefix(&a, &own[i]))
			return true;
	}
	return false;
}

static void
test_own(void **state)
{
	(void)state;
	/* Its own network, whose addresses may be changed: not without root. */
	if (unshare(CLONE_NEWNET) == -1 || system("ip link set lo up") != 0)
		skip();
	assert_int_equal(own_open(loop, own_changed), 0);
	assert_true(is_own("127.0.0.1"));
	assert_true(is_own("::1"));
	assert_false(is_own("198.51.100.1"));
	settle();
	CHANGE(assert_int_equal(system("ip link add test0 type bridge && ip link set test0 up && "
				       "ip addr add 198.51.100.1/24 dev test0"),
	    0));
	assert_true(is_own("198.51.100.1"));
	assert_true(is_own("198.51.100.255")); /* not set, and yet a broadcast address */
	assert_false(is_own("198.51.100.0"));
	CHANGE(
	    assert_int_equal(system("ip addr add 203.0.113.1/25 brd 203.0.113.77 dev test0"), 0));
	assert_true(is_own("203.0.113.1"));
	assert_true(is_own("203.0.113.77"));
	assert_true(is_own("203.0.113.127"));
	CHANGE(assert_int_equal(system("ip addr add 203.0.113.200/31 dev test0"), 0));
	assert_false(is_own("203.0.113.201"));
	CHANGE(assert_int_equal(system("ip addr add 2001:db8::5/64 dev test0"), 0));
	assert_true(is_own("2001:db8::5"));
	CHANGE(assert_int_equal(system("ip addr del 198.51.100.1/24 dev test0"), 0));
	assert_false(is_own("198.51.100.1"));
	assert_false(is_own("198.51.100.255"));
	CHANGE(assert_int_equal(system("ip link del test0"), 0));
	assert_false(is_own("2001:db8::5"));
	/* A network on the loopback interface is local as a whole. */
	CHANGE(assert_int_equal(system("ip addr add 198.51.100.1/24 dev lo"), 0));
	assert_true(is_own("198.51.100.77"));
	assert_int_equal(system("ip -o route get 198.51.100.77 | grep -q ^local"), 0);
	assert_false(is_own("198.51.101.1"));
	own_close();
	size_t n;
	own_addrs(&n);
	assert_int_equal(n, 0);
}

static int
setup(void **state)
{
	(void)state;
	loop = loop_new();
	return loop == NULL || mkdtemp(dir) == NULL ? -1 : chdir(dir);
}

static int
teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_missing_directory),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_own),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
