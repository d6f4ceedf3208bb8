/*
 * `protection` as a criterion, and the level that the rules demand of a GSSAPI client before it has
 * asked for anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "authd/acceptor.h"
#include "tests/unit/policy_ask.h"

#define ASKED "src 10.9.9.9 user alice cmd connect port 80 name - addr 192.0.2.1 "

struct row {
	const char *policy, *query, *answer;
};

/* RFC 1961 section 4.2's levels against what a rule wants. */
static void
test_the_criterion(void **state)
{
	static const struct row rows[] = {
		{ "gssapi\npass integrity", ASKED "method gssapi level 0", "block -" },
		{ "gssapi\npass integrity", ASKED "method gssapi level 1", "pass 1" },
		{ "gssapi\npass integrity", ASKED "method gssapi level 2", "pass 1" },
		{ "gssapi\npass integrity", ASKED "method gssapi level 3", "pass 1" },
		{ "gssapi\npass confidentiality", ASKED "method gssapi level 0", "block -" },
		{ "gssapi\npass confidentiality", ASKED "method gssapi level 1", "block -" },
		{ "gssapi\npass confidentiality", ASKED "method gssapi level 2", "pass 1" },
		{ "gssapi\npass confidentiality", ASKED "method gssapi level 3", "block -" },
		{ "gssapi\npass confidentiality\npass auth gssapi", ASKED "method gssapi level 1",
		    "pass 2" },
		{ "gssapi\npass", ASKED "method gssapi level 0", "pass 1" },
		/* other methods protect nothing, and who has not authenticated neither */
		{ "gssapi\npassword\npass integrity", ASKED "method password level 0", "block -" },
		{ "gssapi\npass auth none integrity",
		    "src 10.9.9.9 nobody cmd connect port 80 name - addr 192.0.2.1 method none level 0",
		    "block -" },
		/* not known yet */
		{ "gssapi\npass integrity", "src 10.9.9.9 method gssapi", "maybe 1" },
		{ "gssapi\npass integrity", "src 10.9.9.9 method none", "block -" },
		{ "password\npass integrity", "src 10.9.9.9", "block -" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy *p = policy_new(rows[i].policy);
		char got[64];

		if (strcmp(ask(p->img, rows[i].query, got), rows[i].answer) != 0)
			fail_msg("\n%s\n  %s\n  got %s, want %s", rows[i].policy, rows[i].query,
			    got, rows[i].answer);
		policy_free(p);
	}
}

static void
test_what_is_demanded(void **state)
{
	static const struct {
		const char *policy;
		bool wants;
	} rows[] = {
		{ "", false },
		{ "pass", false },
		{ "pass integrity", false },
		{ "pass confidentiality", true },
		{ "pass\npass confidentiality", true },
		{ "pass to 192.0.2.1 port 22 confidentiality", true },
		{ "pass to .example.com confidentiality", true },
		{ "pass auth gssapi confidentiality", true },
		{ "pass auth password confidentiality", false },
		{ "pass from 10.0.0.0/8 confidentiality", true },
		{ "pass from 192.0.2.0/24 confidentiality", false },
		{ "pass user alice confidentiality", true },
		{ "pass user bob confidentiality", false },
		{ "pass group staff confidentiality", true },
		{ "pass group web confidentiality", true },
		{ "pass group other confidentiality", false },
		{ "block confidentiality", false },
		/* a block that certainly matches ends it, one that may does not */
		{ "block\npass confidentiality", false },
		{ "block from 10.0.0.0/8\npass confidentiality", false },
		{ "block user alice\npass confidentiality", false },
		{ "block auth gssapi\npass confidentiality", false },
		{ "block group web\npass confidentiality", false },
		{ "block auth password\npass confidentiality", true },
		{ "block from 192.0.2.0/24\npass confidentiality", true },
		{ "block user bob\npass confidentiality", true },
		{ "block to 192.0.2.1\npass confidentiality", true },
		{ "block port 25\npass confidentiality", true },
		{ "block connect\npass confidentiality", true },
		{ "pass confidentiality\nblock", true },
	};
	static const uint8_t groups[] = "\5staff";
	char text[256];
	struct addr source;

	(void)state;
	assert_int_equal(addr_parse("10.9.9.9", &source), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(
		    text, sizeof(text), "gssapi\npassword\ngroup web alice\n%s", rows[i].policy);
		struct policy *p = policy_new(text);

		if (rules_wants_confidentiality(p->img, &source, (const uint8_t *)"alice", 5,
			groups, sizeof(groups) - 1) != rows[i].wants)
			fail_msg("%s: want %d", rows[i].policy, rows[i].wants);
		policy_free(p);
	}
}

/* A client whose address is not known is one of any source. */
static void
test_a_source_that_is_not_known(void **state)
{
	struct policy *p =
	    policy_new("gssapi\nblock from 10.0.0.0/8\npass from 10.0.0.0/8 confidentiality");
	struct addr none = { 0 };

	(void)state;
	assert_true(
	    rules_wants_confidentiality(p->img, &none, (const uint8_t *)"alice", 5, NULL, 0));
	policy_free(p);
}

/* Every octet that a client can ask for, under every policy. */
static void
test_the_choice(void **state)
{
	(void)state;
	for (unsigned asked = 0; asked < 256; asked++) {
		for (unsigned clear = 0; clear < 2; clear++) {
			enum level any = acceptor_level_choose(asked, clear, false);
			enum level most = acceptor_level_choose(asked, clear, true);

			assert_int_equal(most, asked > 3 ? LEVEL_COUNT : LEVEL_CONFIDENTIALITY);
			if (asked > 3)
				assert_int_equal(any, LEVEL_COUNT);
			else if (asked == 0)
				assert_int_equal(any, clear ? LEVEL_CLEAR : LEVEL_INTEGRITY);
			else
				assert_int_equal(any, asked);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_criterion),
		cmocka_unit_test(test_what_is_demanded),
		cmocka_unit_test(test_a_source_that_is_not_known),
		cmocka_unit_test(test_the_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
