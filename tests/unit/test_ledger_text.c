/*
 * The texts of the ledger's entries: short ones stand in the entry, long ones in the far part of
 * the file, which takes no memory or disk until then; and what a found file says of their places
 * and lengths is checked.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "ledger_world.h"

#define PAGE 4096u

static uint8_t octets[4][255];

/* Texts of these lengths, each with octets of its own. */
static struct ledger_text
texts(size_t user, size_t name, size_t claim, size_t via, size_t rule)
{
	static uint8_t first;

	for (size_t i = 0; i < sizeof(octets); i++)
		octets[i / 255][i % 255] = (uint8_t)(first + i);
	first++;
	return (struct ledger_text){ { octets[0], user }, { octets[1], name }, { octets[2], claim },
		{ octets[3] + 100, via }, { octets[3], rule } };
}

/* Lengths around the entry's own room, and the longest: each is there while its session lives, and
 * for the next master. */
static void
test_lengths(void **state)
{
	static const size_t lens[][5] = { { 0, 0, 0, 0, 0 }, { 5, 11, 0, 0, 32 },
		{ LEDGER_NEAR, 0, 0, 0, 0 }, { LEDGER_NEAR, 0, 0, 0, 1 },
		{ LEDGER_NEAR + 1, 0, 0, 0, 0 }, { 0, 0, 0, 0, LEDGER_NEAR },
		{ 0, 0, 0, 0, LEDGER_NEAR + 1 }, { 30, 30, 0, 10, LEDGER_NEAR - 70 },
		{ 30, 30, 0, 10, LEDGER_NEAR - 69 }, { 100, 0, 0, 8, LEDGER_NEAR - 8 },
		{ 0, 255, 0, 63, 30 }, { 0, 0, 255, 0, 255 }, { 255, 255, 255, 63, 255 } };

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		const size_t *l = lens[i];
		struct ledger *lg = ledger_open(dir, INSTANCE, 2, 3, NULL, NULL);
		struct ledger_text t = texts(l[0], l[1], l[2], l[3], l[4]);
		struct ledger_entry e = sample(1), *at = ledger_at(lg, 1, 2);
		struct orphans o = { 0 };

		assert_true(enter(lg, at, e, &t));
		struct ledger_text got = ledger_text(lg, at);
		assert_texts(&got, &t);
		assert_memory_equal(at, &e, offsetof(struct ledger_entry, far));
		ledger_close(lg, NULL);
		lg = ledger_open(dir, INSTANCE, 1, 1, on_orphan, &o);
		assert_int_equal(o.n, 1);
		assert_handed(&o, &e, &t);
		ledger_close(lg, dir);
	}
}

/* A slot has long texts, then short ones; a session is decided anew, with and without an upstream;
 * its neighbours' texts stay. */
static void
test_used_again(void **state)
{
	struct ledger *lg = ledger_open(dir, INSTANCE, 1, 3, NULL, NULL);
	struct ledger_text most = { { octets[0], 255 }, { octets[1], 255 }, { octets[2], 255 },
		{ octets[3] + 100, 63 }, { octets[3], 255 } };
	struct ledger_entry *at = ledger_at(lg, 0, 1);
	static const size_t rules[] = { 10, 255, 20, LEDGER_NEAR, 0, 255, 32 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		enter(lg, ledger_at(lg, 0, 0), sample(1), &most);
		enter(lg, ledger_at(lg, 0, 2), sample(2), &most);
		enter(lg, at, sample(3), &most);
		ledger_leave(lg, at);
		struct ledger_text t = { .user = string("alice"), .name = string("example.com") };
		t.rule = string("sallyport.conf:7");
		assert_true(enter(lg, at, sample(4), &t));
		assert_int_equal(at->far, 0);
		for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++) {
			t.rule.at = octets[1] + k;
			t.rule.len = rules[k] - (rules[k] == 255 ? k : 0);
			if (k == 3)
				t.via = string("upstream-3");
			if (k == 6)
				t.via = string("");
			/* As an association's is: the upstream stays. */
			ledger_decided(lg, at, k == 3 || k == 6 ? &t.via : NULL, t.rule);
			struct ledger_text got = ledger_text(lg, at);
			assert_texts(&got, &t);
		}
		assert_int_equal(at->far, 0);
		for (uint32_t k = 0; k < 3; k += 2) {
			struct ledger_text got = ledger_text(lg, ledger_at(lg, 0, k));
			assert_texts(&got, &most);
		}
		ledger_leave(lg, at);
	}
	ledger_close(lg, NULL);
}

/* --- the far part costs nothing while no one needs it --- */

#define MANY 100u /* sessions of each of two workers */

/* Pages of the file from `from` on that are in memory. */
static unsigned
resident(size_t from)
{
	static unsigned char in[1024];
	struct stat st;
	unsigned n = 0;
	int fd = open(path, O_RDWR);

	assert_int_equal(fstat(fd, &st), 0);
	size_t size = (size_t)st.st_size;
	assert_true(size > from && (size - from) / PAGE < sizeof(in));
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map + from, size - from, in), 0);
	for (size_t i = 0; i <= (size - from - 1) / PAGE; i++)
		n += in[i] & 1;
	munmap(map, size);
	close(fd);
	return n;
}

static size_t
on_disk(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (size_t)st.st_blocks * 512;
}

static void
test_idle_is_near(void **state)
{
	size_t near = PAGE + 2 * MANY * sizeof(struct ledger_entry);
	size_t far = (near + PAGE - 1) / PAGE * PAGE, slack = (size_t)2 * PAGE;
	struct ledger *lg = ledger_open(dir, INSTANCE, 2, MANY, NULL, NULL);
	struct ledger_text t = { .user = string("alice.cooper@example.org"),
		.name = string("a-target.example.com"),
		.rule = string("/etc/sallyport/sallyport.conf:52") };
	struct ledger_text longer = { .user = string("bob"), .name = { octets[1], 255 } };
	struct orphans o = { 0 };

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 2 * MANY; i++)
			enter(lg, ledger_at(lg, i / MANY, i % MANY), sample(1), &t);
		assert_int_equal(resident(0), far / PAGE); /* the positive control */
		assert_int_equal(resident(far), 0);
		assert_true(on_disk() <= far + slack);
		if (round == 0) {
			for (uint32_t i = 0; i < 2 * MANY; i++)
				ledger_leave(lg, ledger_at(lg, i / MANY, i % MANY));
		} else {
			/* The next master finds them, and its file is as small. */
			ledger_close(lg, NULL);
			lg = ledger_open(dir, INSTANCE, 2, MANY, on_orphan, &o);
			assert_int_equal(o.n, round * 2 * MANY);
			assert_int_equal(resident(far), 0);
			assert_true(on_disk() <= far + slack);
		}
	}
	/* One that is longer takes its own. */
	enter(lg, ledger_at(lg, 0, MANY / 2), sample(1), &longer);
	assert_in_range(resident(far), 1, 2);
	assert_true(on_disk() <= far + slack + (size_t)2 * PAGE);
	ledger_close(lg, NULL);
}

/* The disk is full: what is long is cut, and that is said; no write hits a page without a block. */
static void
test_disk_full(void **state)
{
	struct ledger_text t = texts(50, 50, 50, 0, 0), by = texts(0, 0, 0, 20, 200);
	struct ledger *lg;
	unsigned cut = 0;

	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) == -1 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=20k") == -1)
		skip();
	assert_non_null(lg = ledger_open(dir, INSTANCE, 1, 20, NULL, NULL));
	for (uint32_t i = 0; i < 20; i++) {
		struct ledger_entry *at = ledger_at(lg, 0, i);
		bool whole = enter(lg, at, sample(1), &t);
		struct ledger_text got = ledger_text(lg, at);

		cut += !whole;
		assert_octets(got.user, t.user);
		assert_octets(got.name, (struct ledger_octets){ t.name.at, whole ? 50 : 38 });
		assert_int_equal(got.claim.len, whole ? 50 : 0);
		ledger_decided(lg, at, &by.via, by.rule);
		got = ledger_text(lg, at);
		assert_int_equal(got.rule.len, whole ? 200 : 0);
	}
	assert_in_range(cut, 1, 19);
	/* Of a rule the line stays, which is at its end. */
	ledger_leave(lg, ledger_at(lg, 0, 19));
	enter(lg, ledger_at(lg, 0, 19), sample(2), &by);
	struct ledger_text got = ledger_text(lg, ledger_at(lg, 0, 19));
	assert_octets(
	    got.rule, (struct ledger_octets){ by.rule.at + 200 - LEDGER_NEAR, LEDGER_NEAR });
	ledger_close(lg, dir);
	umount(dir);
}

/* --- a found file --- */

/* Entries say that their texts go past their places; one, in a file that is a hole, that they are
 * as long as may be. */
static void
test_unsound_lengths(void **state)
{
	static const struct {
		uint8_t far, user, name, claim, via, rule;
		bool sound;
	} lens[] = {
		{ 0, LEDGER_NEAR, 0, 0, 0, 0, true },
		{ 0, LEDGER_NEAR + 1, 0, 0, 0, 0, false },
		{ 0, 30, 30, LEDGER_NEAR - 59, 0, 0, false },
		{ 0, 255, 255, 255, 0, 0, false },
		{ 0, 30, 30, 0, 0, LEDGER_NEAR - 60, true },
		{ 0, 30, 30, 0, 0, LEDGER_NEAR - 59, false },
		{ 0, 30, 30, 0, 1, LEDGER_NEAR - 60, false },
		{ 0, 0, 0, 0, 0, 255, false },
		{ 0, 0, 0, 0, 64, 0, false },
		{ 1, 255, 255, 255, 0, LEDGER_NEAR, true },
		{ 1, 255, 255, 255, 0, LEDGER_NEAR + 1, false },
		{ 1, 0, 0, 0, 255, 255, false },
		{ 2, LEDGER_NEAR, 0, 0, 63, 255, true },
		{ 2, LEDGER_NEAR + 1, 0, 0, 0, 0, false },
		{ 2, 0, 0, 0, 64, 0, false },
		{ 3, 255, 255, 255, 63, 255, true },
		{ 3, 255, 255, 255, 64, 255, false },
		{ 4, 0, 0, 0, 0, 0, false },
		{ 255, 0, 0, 0, 0, 0, false },
	};
	const struct ledger_text none = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct ledger *lg = ledger_open(dir, INSTANCE, 1, 2, NULL, NULL);
		struct ledger_entry *at = ledger_at(lg, 0, 1);
		struct orphans o = { 0 };

		enter(lg, at, sample(1), &none);
		at->far = lens[i].far;
		at->user_len = lens[i].user;
		at->name_len = lens[i].name;
		at->claim_len = lens[i].claim;
		at->via_len = lens[i].via;
		at->rule_len = lens[i].rule;
		ledger_close(lg, NULL);
		lg = ledger_open(dir, INSTANCE, 1, 2, on_orphan, &o);
		assert_int_equal(o.n, lens[i].sound);
		assert_int_equal(ledger_found(lg).unsound, !lens[i].sound);
		if (lens[i].sound)
			assert_int_equal(o.text.rule.len, lens[i].rule);
		ledger_close(lg, dir);
	}
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
	const struct CMUnitTest tests[] = { T(test_lengths), T(test_used_again),
		T(test_idle_is_near), T(test_unsound_lengths), T(test_disk_full) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
