/*
 * Rules with `via`, point by point of the design: "if the first pass rule that a name meets
 * (address criteria as "maybe") has `via`, the name is not looked up: an earlier block that answers
 * "maybe" refuses, a pass without `via` that answers "maybe" does not match."
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/policy_ask.h"

#define ANON "src 10.9.9.9 method none level 0 nobody cmd connect port 80 "
#define NAME ANON "name www.example.com"
/* What BIND knows of a peer that may be anyone. */
#define NONE ANON "name -"

struct row {
	const char *policy, *query, *answer;
	bool via; /* of the rule that passes */
};

static void
expect_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		struct policy *p = policy_new(r->policy);
		unsigned rule = 0;
		char got[64];

		if (strcmp(ask(p->img, r->query, got), r->answer) != 0)
			fail_msg(
			    "\n%s\n  %s\n  got %s, want %s", r->policy, r->query, got, r->answer);
		if (sscanf(got, "%*s %u", &rule) == 1 && r->answer[0] != 'b' &&
		    rules_via(p->img, rule - 1) != r->via)
			fail_msg("\n%s\n  %s\n  via %d", r->policy, r->query, !r->via);
		policy_free(p);
	}
}

#define ROWS(r) expect_rows(r, sizeof(r) / sizeof((r)[0]))

static void
test_a_name_is_not_looked_up(void **state)
{
	static const struct row rows[] = {
		{ "pass auth none via hq", NAME, "pass 1", true },
		{ "pass to .example.com auth none via hq", NAME, "pass 1", true },
		{ "pass to .example.org auth none via hq", NAME, "block -", false },
		/* its address criteria are met as far as can be said */
		{ "pass to 10.0.0.0/8 auth none via hq", NAME, "pass 1", true },
		{ "pass to any 127.0.0.0/8 auth none via hq", NAME, "pass 1", true },
		/* the others must be met */
		{ "pass port 443 auth none via hq", NAME, "block -", false },
		{ "pass from 10.1.0.0/16 auth none via hq", NAME, "block -", false },
		{ "password\npass auth password via hq", NAME, "block -", false },
		/* the control: without via it is a matter of its address */
		{ "pass to 10.0.0.0/8 auth none", NAME, "maybe 1", false },
		{ "pass auth none", NAME, "pass 1", false },
	};

	(void)state;
	ROWS(rows);
}

static void
test_an_earlier_block_refuses(void **state)
{
	static const struct row rows[] = {
		{ "block to 10.0.0.0/8\npass auth none via hq", NAME, "block 1", false },
		{ "block to .example.com\npass auth none via hq", NAME, "block 1", false },
		{ "block to .example.org\npass auth none via hq", NAME, "pass 2", true },
		{ "block to 10.0.0.0/8 port 25\npass auth none via hq", NAME, "pass 2", true },
		{ "pass auth none via hq\nblock to 10.0.0.0/8", NAME, "pass 1", true },
		/* an address is known: the block is met or not */
		{ "block to 10.0.0.0/8\npass auth none via hq", ANON "name - addr 10.1.1.1",
		    "block 1", false },
		{ "block to 10.0.0.0/8\npass auth none via hq", ANON "name - addr 192.0.2.1",
		    "pass 2", true },
		/* the control: without via the name's address decides */
		{ "block to 10.0.0.0/8\npass auth none", NAME, "maybe 2", false },
	};

	(void)state;
	ROWS(rows);
}

static void
test_a_pass_without_via_that_may_be_met_does_not_match(void **state)
{
	static const struct row rows[] = {
		{ "pass to 10.0.0.0/8 auth none\npass auth none via hq", NAME, "pass 2", true },
		{ "pass to 10.0.0.0/8 auth none\npass auth none via hq",
		    ANON "name - addr 10.1.1.1", "pass 1", false },
		{ "pass to 10.0.0.0/8 auth none\npass auth none via hq",
		    ANON "name - addr 192.0.2.1", "pass 2", true },
		/* but one that is met decides, by a look-up */
		{ "pass to .example.com auth none\npass auth none via hq", NAME, "pass 1", false },
		{ "pass auth none\npass auth none via hq", NAME, "pass 1", false },
		{ "pass to 10.0.0.0/8 auth none\npass auth none\npass auth none via hq", NAME,
		    "maybe 1", false },
		/* and then an earlier block is for the address to answer */
		{ "block to 10.0.0.0/8\npass auth none\npass auth none via hq", NAME, "maybe 2",
		    false },
	};

	(void)state;
	ROWS(rows);
}

static void
test_addresses_are_judged_as_always(void **state)
{
	static const struct row rows[] = {
		{ "pass auth none via hq", ANON "name - addr 192.0.2.1", "pass 1", true },
		{ "pass auth none via hq", ANON "name - addr 127.0.0.1", "block -", false },
		{ "pass to any 127.0.0.0/8 auth none via hq", ANON "name - addr 127.0.0.1",
		    "pass 1", true },
		{ "own 192.0.2.1/32\npass auth none via hq", ANON "name - addr 192.0.2.1",
		    "block -", false },
		{ "pass auth none via hq spare", ANON "name - addr 2001:db8::1", "pass 1", true },
		/* BIND from anyone is as a name */
		{ "pass auth none via hq", NONE, "pass 1", true },
		{ "block to 10.0.0.0/8\npass auth none via hq", NONE, "block 1", false },
	};

	(void)state;
	ROWS(rows);
}

/* The first rule of an association that may use an upstream. */
static void
test_first_via(void **state)
{
	struct query q = { .known =
			       KNOW_SOURCE | KNOW_METHOD | KNOW_LEVEL | KNOW_USER | KNOW_COMMAND,
		.command = COMMAND_UDP };
	struct policy *p = policy_new("pass to 10.0.0.0/8 auth none\npass connect auth none via a\n"
				      "pass to 192.0.2.0/24 auth none via b\npass auth none via c");

	(void)state;
	assert_int_equal(addr_parse("10.9.9.9", &q.source), 0);
	assert_int_equal(rules_first_via(p->img, &q), 2);
	q.command = COMMAND_CONNECT;
	assert_int_equal(rules_first_via(p->img, &q), 1);
	policy_free(p);
	p = policy_new("block from 10.0.0.0/8\npass auth none via c");
	assert_int_equal(rules_first_via(p->img, &q), RULE_NONE);
	policy_free(p);
	p = policy_new("pass auth none");
	assert_int_equal(rules_first_via(p->img, &q), RULE_NONE);
	policy_free(p);
}

static void
test_the_image_holds_them_in_order(void **state)
{
	struct policy *p =
	    policy_new("pass auth none via spare hq\npass auth none via hq\npass auth none");
	const struct image_rule *r = image_at(p->img, p->img->rules);
	const uint32_t *via = image_at(p->img, r[0].upstreams);

	(void)state;
	assert_int_equal(p->img->upstreams.n, 2);
	assert_int_equal(r[0].upstreams.n, 2);
	assert_int_equal(image_upstream(p->img, via[0])->name.len, 5);
	assert_memory_equal(image_octets(p->img, image_upstream(p->img, via[0])->name), "spare", 5);
	assert_true(image_rule_via(p->img, &r[1], via[1]));
	assert_false(image_rule_via(p->img, &r[1], via[0]));
	assert_false(image_rule_via(p->img, &r[2], via[1]));
	assert_null(image_upstream(p->img, 2));
	/* A list that names one that is not there, or one twice, is no sound image. */
	uint32_t *raw = (uint32_t *)(uintptr_t)via;
	raw[1] = 2;
	assert_int_equal(image_check(p->block, p->size), -1);
	raw[1] = raw[0];
	assert_int_equal(image_check(p->block, p->size), -1);
	raw[1] = 1 - raw[0];
	assert_int_equal(image_check(p->block, p->size), 0);
	policy_free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_is_not_looked_up),
		cmocka_unit_test(test_an_earlier_block_refuses),
		cmocka_unit_test(test_a_pass_without_via_that_may_be_met_does_not_match),
		cmocka_unit_test(test_addresses_are_judged_as_always),
		cmocka_unit_test(test_first_via),
		cmocka_unit_test(test_the_image_holds_them_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
