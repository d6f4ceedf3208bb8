/* The master's books: accepts are used once and by the session they are for; limits count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "master/accepts.h"
#include "master/limits.h"

#define U(s) (const uint8_t *)(s), sizeof(s) - 1
#define WHO(how, protected, name)            \
	((struct accepted){ .method = (how), \
	    .level = (protected),            \
	    .user = (const uint8_t *)(name), \
	    .user_len = sizeof(name) - 1 })

static void
test_accept_is_for_one_session_once(void **state)
{
	struct accepts *a = accepts_new(2, 8);
	struct sid s = { .slot = 3, .gen = 5 };

	(void)state;
	assert_true(accepts_put(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice")));
	assert_false(accepts_take(
	    a, 0, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice"))); /* another worker */
	assert_false(
	    accepts_take(a, 1, (struct sid){ 2, 5 }, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice")));
	assert_false(
	    accepts_take(a, 1, (struct sid){ 3, 6 }, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alic")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "bobby")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_NONE, LEVEL_CLEAR, "alice")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_GSSAPI, LEVEL_CLEAR, "alice")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_INTEGRITY, "alice")));
	assert_true(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice")));
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "alice"))); /* used */
	accepts_free(a);
}

static void
test_accept_bounds_and_worker_end(void **state)
{
	struct accepts *a = accepts_new(2, 8);
	struct sid s = { .slot = 7, .gen = 1 };

	(void)state;
	assert_false(
	    accepts_put(a, 1, (struct sid){ 8, 1 }, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	assert_false(accepts_put(a, 2, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	assert_false(
	    accepts_put(a, 1, (struct sid){ 1, 0 }, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	assert_true(accepts_put(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	assert_true(accepts_put(a, 0, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	accepts_drop_worker(a, 1);
	assert_false(accepts_take(a, 1, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	assert_true(accepts_take(a, 0, s, &WHO(METHOD_PASSWORD, LEVEL_CLEAR, "x")));
	accepts_free(a);
}

static void
test_limits(void **state)
{
	struct limits *l = limits_new();
	struct limit_user *u[4];

	(void)state;
	limits_set(l, 3, 2);
	assert_int_equal(limits_enter(l, U("alice"), &u[0]), REASON_NONE);
	assert_int_equal(limits_enter(l, U("alice"), &u[1]), REASON_NONE);
	assert_int_equal(limits_enter(l, U("alice"), &u[3]), REASON_LIMIT_USER);
	assert_int_equal(limits_enter(l, NULL, 0, &u[2]), REASON_NONE);
	assert_null(u[2]);
	assert_int_equal(limits_enter(l, U("bob"), &u[3]), REASON_LIMIT_SESSIONS);
	limits_leave(l, u[0]);
	assert_int_equal(limits_enter(l, U("bob"), &u[0]), REASON_NONE);
	assert_int_equal(limits_sessions(l), 3);
	for (int i = 0; i < 3; i++)
		limits_leave(l, u[i]);
	assert_int_equal(limits_sessions(l), 0);
	limits_set(l, 0, 0); /* no limits */
	for (int i = 0; i < 100; i++)
		assert_int_equal(limits_enter(l, U("alice"), &u[0]), REASON_NONE);
	for (int i = 0; i < 100; i++)
		limits_leave(l, u[0]);
	limits_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accept_is_for_one_session_once),
		cmocka_unit_test(test_accept_bounds_and_worker_end),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
