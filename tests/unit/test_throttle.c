/*
 * The throttle: how delays grow and decay, whom they concern, and what a flood of sources does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "authd/throttle.h"

static struct throttle *t;

static struct addr
source(uint32_t n)
{
	struct addr a = { .family = ADDR_V4 };

	memcpy(a.b, &n, sizeof(n));
	return a;
}

static uint64_t
delay(uint64_t now, uint32_t s, const char *user)
{
	struct addr a = source(s);

	return throttle_delay(t, now, &a, (const uint8_t *)user, strlen(user));
}

static void
fail_one(uint64_t now, uint32_t s, const char *user)
{
	struct addr a = source(s);

	throttle_failed(t, now, &a, (const uint8_t *)user, strlen(user));
}

static void
succeed(uint32_t s, const char *user)
{
	struct addr a = source(s);

	throttle_succeeded(t, &a, (const uint8_t *)user, strlen(user));
}

static int
setup(void **state)
{
	(void)state;
	t = throttle_new();
	return t != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	throttle_free(t);
	return 0;
}

static void
test_delays_double_up_to_the_most(void **state)
{
	static const uint64_t want[] = { 250, 500, 1000, 2000, 4000, 8000, 8000, 8000 };
	uint64_t now = 1000;

	(void)state;
	assert_int_equal(delay(now, 1, "alice"), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		fail_one(now, 1, "alice");
		assert_int_equal(delay(now, 1, "alice"), want[i]);
		assert_int_equal(delay(now + want[i] - 1, 1, "alice"), 1);
		assert_int_equal(delay(now + want[i], 1, "alice"), 0);
		now += want[i];
	}
}

static void
test_whom_a_failure_concerns(void **state)
{
	(void)state;
	fail_one(5, 1, "alice");
	assert_int_equal(delay(5, 1, "alice"), 250);
	assert_int_equal(delay(5, 1, "alic"), 0);
	assert_int_equal(delay(5, 1, "bob"), 0);   /* one mistake slows nobody else behind a NAT */
	assert_int_equal(delay(5, 2, "alice"), 0); /* nobody is locked out from afar */
	for (unsigned i = 0; i < 20; i++)
		fail_one(5, 1, "alice");
	assert_int_equal(delay(5, 1, "alice"), 8000);
	assert_int_equal(delay(5, 2, "alice"), 0);
}

/* One source that tries many names: from its fourth failure on it is slowed under any name. */
static void
test_a_source_is_slowed_under_any_name(void **state)
{
	static const uint64_t want[] = { 0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000 };
	char name[2] = "a";

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		fail_one(9, 1, name);
		name[0]++;
		assert_int_equal(delay(9, 1, name), want[i]);
		assert_int_equal(delay(9, 2, name), 0);
	}
	succeed(1, "zoe"); /* a good account buys no guesses at others */
	assert_int_equal(delay(9, 1, "zoe"), 8000);
	assert_int_equal(delay(9 + 6 * THROTTLE_DECAY, 1, "zoe"), 0);
}

static void
test_success_resets_the_pair(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		fail_one(1000, 1, "alice");
	assert_int_equal(delay(1000, 1, "alice"), 1000);
	succeed(1, "bob");
	assert_int_equal(delay(1000, 1, "alice"), 1000);
	succeed(1, "alice");
	assert_int_equal(delay(1000, 1, "alice"), 0);
	fail_one(1000, 1, "alice"); /* but the source has counted on */
	assert_int_equal(delay(1000, 1, "bob"), 250);
}

static void
test_quiet_takes_levels_back(void **state)
{
	uint64_t now = 77;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		fail_one(now, 1, "alice");
	now += THROTTLE_DECAY - 1;
	fail_one(now, 1, "alice");
	assert_int_equal(delay(now, 1, "alice"), 8000); /* not quite 30 s: nothing is forgotten */
	now += 3 * THROTTLE_DECAY;
	fail_one(now, 1, "alice");
	assert_int_equal(delay(now, 1, "alice"), 2000); /* 6 - 3 + 1 */
	now += 100 * THROTTLE_DECAY;
	assert_int_equal(delay(now, 1, "alice"), 0);
	fail_one(now, 1, "alice");
	assert_int_equal(delay(now, 1, "alice"), 250);
}

static void
test_any_octets_and_lengths(void **state)
{
	uint8_t name[255];
	struct addr a = source(1), b = source(2);

	(void)state;
	memset(name, 0, sizeof(name));
	for (size_t len = 1; len <= sizeof(name); len++)
		assert_int_equal(throttle_delay(t, 9, &b, name, len), 0);
	for (unsigned i = 0; i < 6; i++)
		throttle_failed(t, 9, &a, name, 255);
	assert_int_equal(throttle_delay(t, 9, &a, name, 255), 8000);
	struct addr v6 = { .family = ADDR_V6 };
	assert_int_equal(throttle_delay(t, 9, &v6, name, 255), 0);
}

/* A flood of sources: the table is full, keeps its size, and the worst sources stay slowed. */
static void
test_a_flood_keeps_the_worst(void **state)
{
	unsigned kept = 0;

	(void)state;
	for (uint32_t s = 0; s < 1000; s++) {
		for (unsigned i = 0; i < 4; i++)
			fail_one(1000, s, "alice");
	}
	for (uint32_t s = 100000; s < 150000; s++)
		fail_one(1000, s, "alice"); /* two entries each: three times the table */
	for (uint32_t s = 0; s < 1000; s++)
		kept += delay(1000, s, "alice") == 2000;
	assert_in_range(kept, 950, 1000);
	/* Others that never failed are not slowed by it. */
	for (uint32_t s = 500000; s < 510000; s++)
		assert_int_equal(delay(1000, s, "alice"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_delays_double_up_to_the_most, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whom_a_failure_concerns, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_source_is_slowed_under_any_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_success_resets_the_pair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiet_takes_levels_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_octets_and_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_flood_keeps_the_worst, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
