/*
 * The cache of answers about names: lifetimes, bounds, and who makes room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/dnscache.h"

static struct dnscache *c;
static struct dns_answer a;

static void
put(uint64_t now, const char *name, unsigned family, enum answer_status status, uint32_t ttl)
{
	struct dns_answer in = { .status = status, .ttl = ttl };

	if (status == ANSWER_OK) {
		in.naddr = 1;
		in.addr[0] = (struct addr){ .family = ADDR_V4, .b = { 192, 0, 2, (uint8_t)ttl } };
	}
	dnscache_put(c, now, (const uint8_t *)name, strlen(name), family, &in);
}

static int
get(uint64_t now, const char *name, unsigned family)
{
	return dnscache_get(c, now, (const uint8_t *)name, strlen(name), family, &a);
}

static int
start(void **state)
{
	(void)state;
	c = dnscache_new(100, 50000);
	return c == NULL ? -1 : 0;
}

static int
finish(void **state)
{
	(void)state;
	dnscache_free(c);
	return 0;
}

static void
kept_for_its_ttl(void **state)
{
	(void)state;
	put(1000, "www.example", LOOKUP_A, ANSWER_OK, 10);
	assert_int_equal(get(1000, "www.example", LOOKUP_A), 0);
	assert_int_equal(a.status, ANSWER_OK);
	assert_int_equal(a.ttl, 10);
	assert_int_equal(a.naddr, 1);
	assert_int_equal(a.addr[0].b[3], 10);
	assert_int_equal(get(10000, "www.example", LOOKUP_A), 0);
	assert_int_equal(a.ttl, 1);
	assert_int_equal(get(10999, "www.example", LOOKUP_A), 0);
	assert_int_equal(a.ttl, 1);
	assert_int_equal(get(11000, "www.example", LOOKUP_A), -1);
	assert_int_equal(dnscache_entries(c), 0);
	assert_int_equal(dnscache_octets(c), 0);
}

static void
each_name_and_family_is_its_own(void **state)
{
	(void)state;
	put(0, "www.example", LOOKUP_A, ANSWER_OK, 10);
	assert_int_equal(get(0, "www.example", LOOKUP_AAAA), -1);
	assert_int_equal(get(0, "www.exampl", LOOKUP_A), -1);
	assert_int_equal(get(0, "www.examplf", LOOKUP_A), -1);
	put(0, "www.example", LOOKUP_AAAA, ANSWER_NO_DATA, 20);
	assert_int_equal(get(0, "www.example", LOOKUP_AAAA), 0);
	assert_int_equal(a.status, ANSWER_NO_DATA);
	assert_int_equal(a.naddr, 0);
	assert_int_equal(get(0, "www.example", LOOKUP_A), 0);
	assert_int_equal(a.status, ANSWER_OK);
	/* A newer answer takes the older one's place. */
	put(0, "www.example", LOOKUP_A, ANSWER_NO_NAME, 30);
	assert_int_equal(get(0, "www.example", LOOKUP_A), 0);
	assert_int_equal(a.status, ANSWER_NO_NAME);
	assert_int_equal(dnscache_entries(c), 2);
	dnscache_clear(c);
	assert_int_equal(dnscache_entries(c), 0);
	assert_int_equal(get(0, "www.example", LOOKUP_A), -1);
}

static void
lifetimes_are_bounded(void **state)
{
	static const struct {
		enum answer_status status;
		uint32_t ttl, kept; /* 0: not kept */
	} t[] = {
		{ ANSWER_OK, 0, 1 },
		{ ANSWER_OK, 86399, 86399 },
		{ ANSWER_OK, UINT32_MAX, 86400 },
		{ ANSWER_NO_NAME, 0, 1 },
		{ ANSWER_NO_NAME, UINT32_MAX, 300 },
		{ ANSWER_NO_DATA, 301, 300 },
		{ ANSWER_FAILED, 0, 0 },
		{ ANSWER_FAILED, 3, 3 },
		{ ANSWER_FAILED, 600, 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		put(7, "www.example", LOOKUP_A, t[i].status, t[i].ttl);
		assert_int_equal(get(7, "www.example", LOOKUP_A), t[i].kept > 0 ? 0 : -1);
		if (t[i].kept == 0)
			continue;
		assert_int_equal(a.ttl, t[i].kept);
		assert_int_equal(get(6 + t[i].kept * 1000ul, "www.example", LOOKUP_A), 0);
		assert_int_equal(get(7 + t[i].kept * 1000ul, "www.example", LOOKUP_A), -1);
	}
	/* What is not kept does not leave the older answer standing either. */
	put(7, "www.example", LOOKUP_A, ANSWER_OK, 100);
	put(7, "www.example", LOOKUP_A, ANSWER_FAILED, 0);
	assert_int_equal(get(7, "www.example", LOOKUP_A), -1);
}

static void
the_least_recently_used_makes_room(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		put(0, name, LOOKUP_A, ANSWER_OK, 60);
		assert_true(dnscache_entries(c) <= 100);
		assert_true(dnscache_octets(c) <= 50000);
		assert_int_equal(get(0, "n0.example", LOOKUP_A), 0); /* in use all the time */
	}
	assert_int_equal(dnscache_entries(c), 100);
	assert_int_equal(get(0, "n1.example", LOOKUP_A), -1);
	assert_int_equal(get(0, "n900.example", LOOKUP_A), -1);
	assert_int_equal(get(0, "n901.example", LOOKUP_A), 0);
}

static void
octets_are_bounded(void **state)
{
	char name[NAME_MAX_LEN + 2];
	struct dns_answer big = { .status = ANSWER_OK, .ttl = 60, .naddr = ANSWER_ADDRS };

	(void)state;
	memset(name, 'x', sizeof(name));
	for (int i = 0; i < 200; i++) {
		name[0] = (char)(i / 16 + 'a');
		name[1] = (char)(i % 16 + 'a');
		dnscache_put(c, 0, (uint8_t *)name, NAME_MAX_LEN, LOOKUP_A, &big);
		assert_true(dnscache_octets(c) <= 50000);
		assert_int_equal(
		    dnscache_get(c, 0, (uint8_t *)name, NAME_MAX_LEN, LOOKUP_A, &a), 0);
		assert_int_equal(a.naddr, ANSWER_ADDRS);
	}
	assert_true(dnscache_entries(c) >= 40 && dnscache_entries(c) < 60);
	/* Longer than a name can be: neither kept nor found under its first octets. */
	dnscache_put(c, 0, (uint8_t *)name, NAME_MAX_LEN + 1, LOOKUP_A, &big);
	assert_int_equal(dnscache_get(c, 0, (uint8_t *)name, NAME_MAX_LEN + 1, LOOKUP_A, &a), -1);
	dnscache_put(c, 0, (uint8_t *)name, 256, LOOKUP_A, &big);
	assert_int_equal(dnscache_get(c, 0, (uint8_t *)name, 0, LOOKUP_A, &a), -1);
}

static void
one_that_never_fits(void **state)
{
	struct dnscache *small = dnscache_new(10, 100), *none = dnscache_new(0, 50000);
	struct dns_answer big = { .status = ANSWER_OK, .ttl = 60, .naddr = ANSWER_ADDRS };

	(void)state;
	dnscache_put(small, 0, (const uint8_t *)"a", 1, LOOKUP_A, &big);
	dnscache_put(none, 0, (const uint8_t *)"a", 1, LOOKUP_A, &big);
	assert_int_equal(dnscache_entries(small) + dnscache_entries(none), 0);
	dnscache_free(small);
	dnscache_free(none);
	dnscache_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_for_its_ttl, start, finish),
		cmocka_unit_test_setup_teardown(each_name_and_family_is_its_own, start, finish),
		cmocka_unit_test_setup_teardown(lifetimes_are_bounded, start, finish),
		cmocka_unit_test_setup_teardown(the_least_recently_used_makes_room, start, finish),
		cmocka_unit_test_setup_teardown(octets_are_bounded, start, finish),
		cmocka_unit_test(one_that_never_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
