/*
 * What unfinished exchanges may hold: the bound of a source, that of a worker, and who gives way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "authd/holding.h"

#define BIG (HOLDING_SOURCE_MAX / 2)

static struct addr
source(unsigned n)
{
	struct addr a = { .family = ADDR_V4 };

	a.b[2] = (uint8_t)(n >> 8);
	a.b[3] = (uint8_t)n;
	return a;
}

static void
test_a_source_has_its_bound(void **state)
{
	struct holdings h;
	struct holding x[3] = { 0 }, *victim;
	struct addr one = source(1), two = source(2);

	(void)state;
	holding_init(&h);
	assert_true(holding_add(&h, &one, &x[0], BIG, &victim));
	assert_true(holding_add(&h, &one, &x[0], BIG, &victim));
	assert_false(holding_add(&h, &one, &x[1], 1, &victim));
	assert_ptr_equal(victim, &x[1]); /* who comes too late, not who was there */
	assert_true(holding_add(&h, &two, &x[2], BIG, &victim));
	holding_cut(&h, &x[0], BIG);
	assert_true(holding_add(&h, &one, &x[1], 1, &victim));
	assert_int_equal(h.octets, 2 * BIG + 1);
	for (unsigned i = 0; i < 3; i++)
		holding_cut(&h, &x[i], 0);
	assert_int_equal(h.octets, 0);
	assert_true(TAILQ_EMPTY(&h.all)); /* no record is left of a source that holds nothing */
	holding_cut(&h, &x[0], 0);
	assert_int_equal(h.octets, 0);
}

static void
test_the_heaviest_source_gives_way(void **state)
{
	static struct holding x[HOLDING_LANE_MAX / BIG + 2];
	const unsigned n = HOLDING_LANE_MAX / BIG;
	struct holdings h;
	struct holding *victim;
	struct addr late = source(999);

	(void)state;
	holding_init(&h);
	for (unsigned i = 0; i < n; i++) {
		struct addr a = source(i < 2 ? 0 : i); /* source 0 has two of them */
		assert_true(holding_add(&h, &a, &x[i], BIG, &victim));
	}
	assert_false(holding_add(&h, &late, &x[n], 100, &victim));
	assert_ptr_equal(victim, &x[1]); /* its newest */
	holding_cut(&h, victim, 0);
	assert_true(holding_add(&h, &late, &x[n], 100, &victim));
	/* no one has more than it would have: it is refused itself */
	assert_false(holding_add(&h, &late, &x[n], BIG, &victim));
	assert_ptr_equal(victim, &x[n]);
	for (unsigned i = 0; i <= n; i++)
		holding_cut(&h, &x[i], 0);
	assert_int_equal(h.octets, 0);
	assert_true(TAILQ_EMPTY(&h.all));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_source_has_its_bound),
		cmocka_unit_test(test_the_heaviest_source_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
