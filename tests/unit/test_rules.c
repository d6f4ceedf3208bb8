/*
 * The rules, point by point of the design's "Rules". A row holds a policy, what is known of a
 * request, and the answer. Special addresses: test_rules_special.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/policy_ask.h"

/* Everything but the destination, as a session of alice has it. */
#define ALICE "src 10.9.9.9 method password user alice cmd connect port 80 "
#define ANON  "src 10.9.9.9 method none nobody cmd connect port 80 "

struct row {
	const char *policy, *query, *answer;
};

static void
expect(const char *policy, const char *query, const char *answer)
{
	struct policy *p = policy_new(policy);
	char got[64];

	if (strcmp(ask(p->img, query, got), answer) != 0)
		fail_msg("\n%s\n  %s\n  got %s, want %s", policy, query, got, answer);
	policy_free(p);
}

static void
expect_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		expect(rows[i].policy, rows[i].query, rows[i].answer);
}

#define ROWS(r) expect_rows(r, sizeof(r) / sizeof((r)[0]))

/* "First match wins; what no rule passes is blocked." */
static void
test_first_match(void **state)
{
	static const struct row rows[] = {
		{ "", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "block\npass", ALICE "name - addr 192.0.2.1", "block 1" },
		{ "pass\nblock", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass to 192.0.2.2\npass to 192.0.2.1\npass", ALICE "name - addr 192.0.2.1",
		    "pass 2" },
		{ "block to 192.0.2.0/24\npass to 192.0.2.1", ALICE "name - addr 192.0.2.1",
		    "block 1" },
		{ "pass to 192.0.2.1\nblock to 192.0.2.0/24", ALICE "name - addr 192.0.2.1",
		    "pass 1" },
		{ "pass to 192.0.2.2", ALICE "name - addr 192.0.2.1", "block -" },
		{ "block to 192.0.2.2", ALICE "name - addr 192.0.2.1", "block -" },
	};

	(void)state;
	ROWS(rows);
}

/* Each criterion by itself: met, not met, not known. */
static void
test_criteria(void **state)
{
	static const struct row rows[] = {
		{ "pass connect", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass connect",
		    "src 10.9.9.9 method password user alice cmd other port 80 name - addr 192.0.2.1",
		    "block -" },
		{ "pass connect", "src 10.9.9.9 method password", "maybe 1" },

		{ "pass from 10.0.0.0/8", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass from 11.0.0.0/8", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass from 10.0.0.0/8", "method password", "maybe 1" },
		{ "pass from { 11.0.0.0/8, 10.9.9.9 }", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass from any", ALICE "name - addr 192.0.2.1", "pass 1" },
		/* Special ranges restrict destinations only. */
		{ "pass from 0.0.0.0/0", "src 127.0.0.1 method password", "pass 1" },
		{ "pass from any", "src ::1 method password", "pass 1" },
		{ "own 10.9.9.9\npass from 10.0.0.0/8", "src 10.9.9.9 method password", "pass 1" },
		/* A source has one spelling too: a v4-mapped peer of a dual-stack listener. */
		{ "pass from 10.0.0.0/8", "src ::ffff:10.9.9.9 method password", "pass 1" },
		{ "block from 10.0.0.0/8\npass", "src ::ffff:10.9.9.9 method password", "block 1" },

		{ "pass port 80", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass port 81", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass port 79-80", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass port 80-81", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass port { 22, 81-65535 }", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass port { 22, 1-65535 }", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass port 80", "method password", "maybe 1" },

		{ "pass user alice", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass user { bob, alice }", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass user bob", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass user Alice", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass user alic", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass user alicex", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass user alice", "method password", "maybe 1" },
		{ "pass user alice auth none", "method none", "block -" },
		{ "pass user alice auth none", ANON "name - addr 192.0.2.1", "block -" },
		{ "block user alice\npass auth none", ANON "name - addr 192.0.2.1", "pass 2" },

		{ "pass group web", ALICE "group web name - addr 192.0.2.1", "pass 1" },
		{ "pass group web", ALICE "group a group web name - addr 192.0.2.1", "pass 1" },
		{ "pass group web", ALICE "group we group webx group WEB name - addr 192.0.2.1",
		    "block -" },
		{ "pass group web", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass group web", "method password", "maybe 1" },
		{ "group web bob alice\npass group web", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "group web bob\npass group web", ALICE "name - addr 192.0.2.1", "block -" },
		{ "group ops alice\npass group web", ALICE "name - addr 192.0.2.1", "block -" },
		{ "group web bob\npass group web", ALICE "group web name - addr 192.0.2.1",
		    "pass 1" },
		{ "pass group web auth none", ANON "group web name - addr 192.0.2.1", "block -" },
		/* Both, where both are given. */
		{ "pass user alice group web", ALICE "name - addr 192.0.2.1", "block -" },
		{ "pass user bob group web", ALICE "group web name - addr 192.0.2.1", "block -" },
		{ "pass user alice group web", ALICE "group web name - addr 192.0.2.1", "pass 1" },
	};

	(void)state;
	ROWS(rows);
}

/* "auth none is met by any session, auth password only by that method, no auth by any authenticated
 * session: no one gets in unauthenticated unless a rule says auth none." */
static void
test_auth(void **state)
{
	static const struct row rows[] = {
		{ "pass", ANON "name - addr 192.0.2.1", "block -" },
		{ "pass auth none", ANON "name - addr 192.0.2.1", "pass 1" },
		{ "pass auth none", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass auth password", ANON "name - addr 192.0.2.1", "block -" },
		{ "pass auth password", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "pass auth { none, password }", ANON "name - addr 192.0.2.1", "pass 1" },
		/* Not met, the next rule is tried. */
		{ "pass auth password to 192.0.2.0/24\npass auth none",
		    ANON "name - addr 192.0.2.1", "pass 2" },
		/* Leaving the authentication out does not lead past a block. */
		{ "block to 192.0.2.1\npass auth none", ANON "name - addr 192.0.2.1", "block 1" },
		{ "block to 192.0.2.1\npass auth none", ALICE "name - addr 192.0.2.1", "block 1" },
		{ "block auth password\npass auth none", ANON "name - addr 192.0.2.1", "pass 2" },
		{ "block auth password\npass auth none", ALICE "name - addr 192.0.2.1", "block 1" },
		/* Not known yet: only what is configured can come. */
		{ "password\npass auth password", "src 10.9.9.9", "maybe 1" },
		{ "pass auth password", "src 10.9.9.9", "block -" },
		{ "password\npass", "src 10.9.9.9", "maybe 1" },
		{ "pass", "src 10.9.9.9", "block -" },
		{ "pass auth none", "src 10.9.9.9", "pass 1" },
	};

	(void)state;
	ROWS(rows);
}

/* CVE-2024-54662: a rule that requires a method was met by a weaker one. Whatever else a session
 * without authentication has or claims, no such rule passes it. */
static void
test_weaker_method(void **state)
{
	static const char *const policies[] = { "password\npass auth password",
		"password\ngroup web alice\npass auth password user alice group web",
		"password\npass from any to any port 1-65535 auth password",
		"password\npass connect from 0.0.0.0/0 to { .example.com, 0.0.0.0/0 } auth password",
		"password\npass", "password\npass user alice" };
	static const char *const queries[] = { "method none", "method none user alice",
		"method none user alice group web", ANON "name - addr 192.0.2.1",
		"src 10.9.9.9 method none user alice group web cmd connect port 80 name www.example.com addr 192.0.2.1",
		"src 10.9.9.9 method none cmd connect" };
	char got[64];

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		struct policy *p = policy_new(policies[i]);
		struct addr source = { .family = ADDR_V4, .b = { 10, 9, 9, 9 } };
		for (size_t k = 0; k < 6; k++)
			assert_string_equal(ask(p->img, queries[k], got), "block -");
		assert_int_equal(rules_method(p->img, rules_open_methods(p->img), &source,
				     METHOD_BIT(METHOD_NONE)),
		    METHOD_COUNT);
		assert_int_equal(rules_method(p->img, rules_open_methods(p->img), &source,
				     METHOD_BIT(METHOD_NONE) | METHOD_BIT(METHOD_PASSWORD)),
		    METHOD_PASSWORD);
		/* The same, authenticated, passes. */
		assert_string_equal(
		    ask(p->img,
			"src 10.9.9.9 method password user alice group web cmd connect port 80 "
			"name www.example.com addr 192.0.2.1",
			got),
		    "pass 1");
		policy_free(p);
	}
}

/* "Method: among those offered that some pass rule for this source can use, the first in prefer."
 */
static void
test_method(void **state)
{
	static const struct {
		const char *policy, *source;
		bool none, password;
		enum method want;
	} t[] = {
		{ "password\nprefer password none\npass auth none", "10.9.9.9", true, true,
		    METHOD_PASSWORD },
		{ "password\nprefer none password\npass auth none", "10.9.9.9", true, true,
		    METHOD_NONE },
		{ "password\nprefer none password\npass auth password", "10.9.9.9", true, true,
		    METHOD_PASSWORD },
		{ "password\nprefer none password\npass", "10.9.9.9", true, true, METHOD_PASSWORD },
		{ "password\npass auth none", "10.9.9.9", true, false, METHOD_NONE },
		{ "password\npass auth none", "10.9.9.9", false, true, METHOD_PASSWORD },
		{ "password\npass auth none", "10.9.9.9", false, false, METHOD_COUNT },
		{ "password\npass", "10.9.9.9", true, false, METHOD_COUNT },
		/* Not configured: never chosen. */
		{ "pass auth none", "10.9.9.9", true, true, METHOD_NONE },
		{ "pass auth none", "10.9.9.9", false, true, METHOD_COUNT },
		{ "password\nprefer password\npass auth none", "10.9.9.9", true, false,
		    METHOD_COUNT },
		/* By source. */
		{ "password\npass from 127.0.0.0/8 auth none\npass", "10.9.9.9", true, false,
		    METHOD_COUNT },
		{ "password\npass from 127.0.0.0/8 auth none\npass", "127.0.0.1", true, false,
		    METHOD_NONE },
		{ "password\npass from 127.0.0.0/8 auth none\npass", "::ffff:127.0.0.1", true,
		    false, METHOD_NONE },
		{ "password\nblock from 10.0.0.0/8\npass auth none", "10.9.9.9", true, true,
		    METHOD_COUNT },
		{ "password\nblock from 10.0.0.0/8 auth password\npass auth none", "10.9.9.9", true,
		    true, METHOD_NONE },
		{ "password\nblock from 10.0.0.0/8 to 192.0.2.1\npass auth none", "10.9.9.9", true,
		    true, METHOD_PASSWORD },
		{ "", "10.9.9.9", true, true, METHOD_COUNT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct policy *p = policy_new(t[i].policy);
		struct addr source;
		uint32_t offered = (t[i].none ? METHOD_BIT(METHOD_NONE) : 0) |
				   (t[i].password ? METHOD_BIT(METHOD_PASSWORD) : 0);
		assert_int_equal(addr_parse(t[i].source, &source), 0);
		uint32_t open = rules_open_methods(p->img);
		if (rules_method(p->img, 0, &source, offered) != t[i].want ||
		    rules_method(p->img, open, &source, offered) != t[i].want)
			fail_msg("\n%s\n %s", t[i].policy, t[i].source);
		policy_free(p);
	}
}

/* What is found once for all sources: never more than what is true of each. */
static void
test_open_methods(void **state)
{
	static const uint32_t none = METHOD_BIT(METHOD_NONE),
			      password = METHOD_BIT(METHOD_PASSWORD);
	const struct {
		const char *policy;
		uint32_t want;
	} t[] = {
		{ "password\npass auth none", none | password },
		{ "pass auth none", none }, /* what is not configured is not open */
		{ "password\npass", password },
		{ "password\npass connect port 443 auth password", password },
		{ "password\npass from 0.0.0.0/0", 0 }, /* IPv6 is not in it */
		{ "password\npass from 10.0.0.0/8\npass auth none", none | password },
		/* A block rule of some sources, met by nothing but the source. */
		{ "password\nblock from 10.9.9.9\npass auth none", 0 },
		{ "password\nblock from 10.9.9.9 auth password\npass auth none", none },
		{ "password\nblock\npass auth none", 0 },
		/* Met by more than that, or behind the pass rule. */
		{ "password\nblock connect from 10.9.9.9\npass auth none", none | password },
		{ "password\nblock from 10.9.9.9 to 192.0.2.1\npass auth none", none | password },
		{ "password\npass port 443 auth none\nblock from 10.9.9.9", none | password },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct policy *p = policy_new(t[i].policy);
		if (rules_open_methods(p->img) != t[i].want)
			fail_msg("\n%s\n got %x", t[i].policy, rules_open_methods(p->img));
		policy_free(p);
	}
}

/* "A source that no rule could serve is turned away before anything else." */
static void
test_source(void **state)
{
	static const struct row rows[] = {
		{ "password\npass from 10.0.0.0/8", "src 10.9.9.9", "maybe 1" },
		{ "password\npass from 10.0.0.0/8", "src 11.0.0.1", "block -" },
		{ "password\nblock from 10.9.0.0/16\npass from 10.0.0.0/8", "src 10.9.9.9",
		    "block 1" },
		{ "password\nblock from 10.9.0.0/16 to 192.0.2.1\npass from 10.0.0.0/8",
		    "src 10.9.9.9", "maybe 2" },
		{ "password\npass from 10.9.9.9 port 443\nblock from 10.0.0.0/8", "src 10.9.9.9",
		    "maybe 1" },
		{ "password\npass from 10.9.9.9 port 443\nblock from 10.0.0.0/8", "src 10.9.9.8",
		    "block 2" },
		{ "password\npass from <net>\ntable net 10.0.0.0/8 !10.9.0.0/16 10.9.9.9",
		    "src 10.9.9.9", "maybe 1" },
		{ "password\npass from <net>\ntable net 10.0.0.0/8 !10.9.0.0/16 10.9.9.9",
		    "src 10.9.9.8", "block -" },
	};

	(void)state;
	ROWS(rows);
}

/* "Rules on names match without regard to case and a trailing dot"; suffixes. */
static void
test_names(void **state)
{
	static const struct row rows[] = {
		{ "pass to www.example.com", ALICE "name www.example.com addr 192.0.2.1",
		    "pass 1" },
		{ "pass to www.example.com", ALICE "name WWW.Example.COM. addr 192.0.2.1",
		    "pass 1" },
		{ "pass to WWW.Example.Com.", ALICE "name www.example.com addr 192.0.2.1",
		    "pass 1" },
		{ "pass to www.example.com", ALICE "name example.com addr 192.0.2.1", "block -" },
		{ "pass to www.example.com", ALICE "name xwww.example.com addr 192.0.2.1",
		    "block -" },
		{ "pass to www.example.com", ALICE "name a.www.example.com addr 192.0.2.1",
		    "block -" },
		{ "pass to www.example.com", ALICE "name www.example.comx addr 192.0.2.1",
		    "block -" },
		{ "pass to .Example.com", ALICE "name www.example.COM addr 192.0.2.1", "pass 1" },
		{ "pass to .example.com.", ALICE "name a.b.example.com. addr 192.0.2.1", "pass 1" },
		{ "pass to .example.com", ALICE "name example.com addr 192.0.2.1", "pass 1" },
		{ "pass to .example.com", ALICE "name badexample.com addr 192.0.2.1", "block -" },
		{ "pass to .example.com", ALICE "name example.com.evil addr 192.0.2.1", "block -" },
		{ "pass to .example.com", ALICE "name com addr 192.0.2.1", "block -" },
		{ "pass to { a.test, .b.test }", ALICE "name x.b.test addr 192.0.2.1", "pass 1" },
		/* No name: an address is no name. */
		{ "pass to .example.com", ALICE "name - addr 192.0.2.1", "block -" },
		{ "block to .example.com\npass", ALICE "name WWW.EXAMPLE.COM. addr 192.0.2.1",
		    "block 1" },
		{ "block to .example.com\npass", ALICE "name - addr 192.0.2.1", "pass 2" },
		/* Name or address: either. */
		{ "pass to { .example.com, 192.0.2.0/24 }", ALICE "name other.test addr 192.0.2.1",
		    "pass 1" },
		{ "pass to { .example.com, 192.0.2.0/24 }",
		    ALICE "name www.example.com addr 198.51.100.1", "pass 1" },
		{ "pass to { .example.com, 192.0.2.0/24 }",
		    ALICE "name other.test addr 198.51.100.1", "block -" },
	};

	(void)state;
	ROWS(rows);
}

/* "First pass, the name alone: address criteria answer maybe; if no pass rule could still match, it
 * is refused without a look-up." */
static void
test_first_pass(void **state)
{
	static const struct row rows[] = {
		{ "pass to 192.0.2.0/24", ALICE "name www.test", "maybe 1" },
		{ "pass to www.test", ALICE "name www.test", "pass 1" },
		{ "pass to other.test", ALICE "name www.test", "block -" },
		{ "pass", ALICE "name www.test", "pass 1" },
		{ "pass to any", ALICE "name www.test", "pass 1" },
		{ "pass to { other.test, 192.0.2.0/24 }", ALICE "name www.test", "maybe 1" },
		{ "pass to { www.test, 192.0.2.0/24 }", ALICE "name www.test", "pass 1" },
		{ "block to www.test\npass", ALICE "name www.test", "block 1" },
		{ "block to any\npass to www.test", ALICE "name www.test", "block 1" },
		/* An address block that may match makes the rest uncertain, and decides nothing. */
		{ "block to 10.0.0.0/8\npass to www.test", ALICE "name www.test", "maybe 2" },
		{ "block to 10.0.0.0/8\npass to other.test", ALICE "name www.test", "block -" },
		{ "block to 10.0.0.0/8\nblock", ALICE "name www.test", "block 2" },
		/* A pass that may match, before a block that does. */
		{ "pass to 10.0.0.0/8\nblock", ALICE "name www.test", "maybe 1" },
		{ "pass to 10.0.0.0/8\npass to www.test", ALICE "name www.test", "maybe 1" },
		{ "pass port 443 to 10.0.0.0/8\nblock", ALICE "name www.test", "block 2" },
		{ "block to 10.0.0.0/8\npass to 11.0.0.0/8\npass", ALICE "name www.test",
		    "maybe 2" },
	};

	(void)state;
	ROWS(rows);
}

/* "Second pass, for each address with the name still in hand." */
static void
test_second_pass(void **state)
{
	static const char policy[] =
	    "block to 10.0.0.0/8\npass to www.test\npass to 192.0.2.0/24 port 80";

	(void)state;
	expect(policy, ALICE "name www.test addr 10.1.1.1", "block 1");
	expect(policy, ALICE "name www.test addr 192.0.2.1", "pass 2");
	expect(policy, ALICE "name other.test addr 192.0.2.1", "pass 3");
	expect(policy, ALICE "name other.test addr 198.51.100.1", "block -");
	/* Only the address known: names may still come. */
	expect("pass to www.test", "method password addr 192.0.2.1", "maybe 1");
	expect("pass to www.test", "method password addr 127.0.0.1", "block -");
}

/* Longest prefix wins, a negated one means no match. */
static void
test_negation(void **state)
{
	static const struct row rows[] = {
		{ "pass to { 10.0.0.0/8, !10.2.0.0/16 }", ALICE "name - addr 10.1.0.1", "pass 1" },
		{ "pass to { 10.0.0.0/8, !10.2.0.0/16 }", ALICE "name - addr 10.2.0.1", "block -" },
		{ "pass to { !10.2.0.0/16, 10.2.9.0/24, 10.0.0.0/8 }", ALICE "name - addr 10.2.9.1",
		    "pass 1" },
		{ "block to { 10.0.0.0/8, !10.2.0.0/16 }\npass", ALICE "name - addr 10.2.0.1",
		    "pass 2" },
		{ "block to { 10.0.0.0/8, !10.2.0.0/16 }\npass", ALICE "name - addr 10.1.0.1",
		    "block 1" },
		{ "pass to { any, !10.0.0.0/8 }", ALICE "name - addr 10.2.0.1", "block -" },
		{ "pass to { any, !10.0.0.0/8 }", ALICE "name - addr 11.2.0.1", "pass 1" },
		{ "pass to { any, !10.0.0.0/8 }", ALICE "name - addr 2001:db8::1", "pass 1" },
		{ "pass to { any, !10.0.0.0/8 }", ALICE "name - addr 127.0.0.1", "block -" },
		{ "pass to { any, 127.0.0.1 }", ALICE "name - addr 127.0.0.1", "pass 1" },
		{ "pass to { any, 127.0.0.1 }", ALICE "name - addr 127.0.0.2", "block -" },
		{ "pass to { any, 127.0.0.1 }", ALICE "name - addr 192.0.2.1", "pass 1" },
		{ "block to { any, !10.0.0.0/8 }\npass", ALICE "name - addr 10.0.0.1", "pass 2" },
		{ "block to { any, !10.0.0.0/8 }\npass", ALICE "name - addr ::1", "block 1" },
		{ "pass to { 127.0.0.0/8, !127.0.0.2 }", ALICE "name - addr 127.0.0.2", "block -" },
		/* The prefix that wins must name the special range, not another of the list. */
		{ "pass to { 0.0.0.0/0, 127.0.0.0/8, !127.1.0.0/16, 127.1.1.0/24 }",
		    ALICE "name - addr 127.1.1.1", "pass 1" },
		{ "pass to { 10.0.0.0/8, 10.0.0.0/8, !10.0.0.0/8 }", ALICE "name - addr 10.0.0.1",
		    "block -" },
	};

	(void)state;
	ROWS(rows);
}

/* A packed group list that is cut short is not read past its end. */
static void
test_groups_truncated(void **state)
{
	struct policy *p = policy_new("pass group web");
	uint8_t *groups = malloc(4);
	struct query q = { .known = KNOW_ALL & ~KNOW_NAME,
		.method = METHOD_PASSWORD,
		.command = COMMAND_CONNECT,
		.user = (const uint8_t *)"alice",
		.user_len = 5,
		.groups = groups,
		.groups_len = 4 };

	(void)state;
	q.source = q.target = (struct addr){ .family = ADDR_V4, .b = { 10, 0, 0, 1 } };
	memcpy(groups, "\3web", 4);
	assert_int_equal(rules_eval(p->img, &q, NULL), RULES_PASS);
	groups[0] = 4;
	assert_int_equal(rules_eval(p->img, &q, NULL), RULES_BLOCK);
	groups[0] = 255;
	assert_int_equal(rules_eval(p->img, &q, NULL), RULES_BLOCK);
	q.groups_len = 1;
	assert_int_equal(rules_eval(p->img, &q, NULL), RULES_BLOCK);
	groups[0] = 0;
	assert_int_equal(rules_eval(p->img, &q, NULL), RULES_BLOCK);
	free(groups);
	policy_free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_match),
		cmocka_unit_test(test_criteria),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_weaker_method),
		cmocka_unit_test(test_method),
		cmocka_unit_test(test_open_methods),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_first_pass),
		cmocka_unit_test(test_second_pass),
		cmocka_unit_test(test_negation),
		cmocka_unit_test(test_groups_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
