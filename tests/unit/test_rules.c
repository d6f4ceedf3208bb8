/*
 * The rules, point by point of the design's "Rules". A row holds a policy, what is known of a
 * request, and the answer: "pass N", "block N" or "maybe N" with the number of the rule that
 * decides, "block -" where none does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/policy.h"

/* Everything but the destination, as a session of alice has it. */
#define ALICE "src 10.9.9.9 method password user alice cmd connect port 80 "
#define ANON  "src 10.9.9.9 method none nobody cmd connect port 80 "

struct row {
	const char *policy, *query, *answer;
};

static const char *
query_parse(struct query *q, char *text, uint8_t *groups, uint8_t *name)
{
	char *save, *key;

	memset(q, 0, sizeof(*q));
	for (key = strtok_r(text, " ", &save); key != NULL; key = strtok_r(NULL, " ", &save)) {
		if (strcmp(key, "nobody") == 0) {
			q->known |= KNOW_USER;
			continue;
		}
		char *v = strtok_r(NULL, " ", &save);
		if (strcmp(key, "src") == 0) {
			q->known |= KNOW_SOURCE;
			assert_int_equal(addr_parse(v, &q->source), 0);
		} else if (strcmp(key, "method") == 0) {
			q->known |= KNOW_METHOD;
			q->method = policy_method(v);
		} else if (strcmp(key, "user") == 0) {
			q->known |= KNOW_USER;
			q->user = (const uint8_t *)v;
			q->user_len = strlen(v);
		} else if (strcmp(key, "group") == 0) {
			groups[q->groups_len] = (uint8_t)strlen(v);
			memcpy(groups + q->groups_len + 1, v, strlen(v));
			q->groups_len += strlen(v) + 1;
			q->groups = groups;
		} else if (strcmp(key, "cmd") == 0) {
			q->known |= KNOW_COMMAND;
			q->command = *v == 'c' ? COMMAND_CONNECT : COMMAND_NONE;
		} else if (strcmp(key, "port") == 0) {
			q->known |= KNOW_PORT;
			q->port = (uint16_t)atoi(v);
		} else if (strcmp(key, "addr") == 0) {
			q->known |= KNOW_ADDR;
			assert_int_equal(addr_parse(v, &q->target), 0);
		} else if (strcmp(key, "name") == 0) {
			q->known |= KNOW_NAME;
			if (strcmp(v, "-") == 0)
				continue;
			int len = name_normalise((const uint8_t *)v, strlen(v), name);
			assert_true(len > 0);
			q->name = name;
			q->name_len = (size_t)len;
		} else
			return key;
	}
	return NULL;
}

/* The answer in a row's form. */
static const char *
ask(const struct image *img, const char *query, char out[64])
{
	static const char *const words[] = { "block", "pass", "maybe" };
	uint8_t groups[512], name[NAME_MAX_LEN];
	char text[512];
	struct query q;
	uint32_t rule = 12345;

	snprintf(text, sizeof(text), "%s", query);
	const char *bad = query_parse(&q, text, groups, name);
	if (bad != NULL)
		fail_msg("query: %s", bad);
	enum rules_answer a = rules_eval(img, &q, &rule);
	assert_int_equal(rules_eval(img, &q, NULL), a);
	if (q.known == KNOW_ALL)
		assert_int_not_equal(a, RULES_MAYBE);
	if (rule == RULE_NONE) {
		assert_null(rules_rule(img, rule));
		snprintf(out, 64, "%s -", words[a]);
	} else {
		assert_non_null(rules_rule(img, rule));
		snprintf(out, 64, "%s %u", words[a], rule + 1);
	}
	return out;
}

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
		assert_int_equal(
		    rules_method(p->img, &source, METHOD_BIT(METHOD_NONE)), METHOD_COUNT);
		assert_int_equal(rules_method(p->img, &source,
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
		if (rules_method(p->img, &source, offered) != t[i].want)
			fail_msg("\n%s\n %s", t[i].policy, t[i].source);
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

/* --- special addresses, in every spelling --- */

/* The special address, its range, a prefix one bit wider than the range, and a spelling in each of
 * the forms of an address that is not IPv4's. */
static const struct special {
	const char *address, *range, *wider, *others[6];
} specials[] = {
	{ "0.1.2.3", "0.0.0.0/8", "0.0.0.0/7", { NULL } },
	{ "127.0.0.1", "127.0.0.0/8", "126.0.0.0/7",
	    { "0.0.0.0", "::ffff:0.0.0.0", "2002::1", "64:ff9b::", "2002:0:0:1::", NULL } },
	{ "127.255.0.9", "127.0.0.0/8", "0.0.0.0/0", { NULL } },
	{ "169.254.169.254", "169.254.0.0/16", "169.254.0.0/15", { NULL } },
	{ "224.0.0.1", "224.0.0.0/4", "224.0.0.0/3", { NULL } },
	{ "239.255.255.250", "224.0.0.0/4", "192.0.0.0/2", { NULL } },
	{ "255.255.255.255", "255.255.255.255/32", "255.255.255.254/31", { NULL } },
	{ "203.0.113.5", "203.0.113.5/32", "203.0.113.4/31", { NULL } }, /* own, by the policy */
	{ "::1", "::1/128", "::/64", { "::", NULL } },
	{ "fe80::1", "fe80::/10", "fe80::/9", { NULL } },
	{ "ff02::1", "ff00::/8", "fe00::/7", { NULL } },
	{ "2001:db8:5::5", "2001:db8:5::5/128", "2001:db8:5::4/127", { NULL } }, /* own */
};

#define HEAD                                                \
	"own 203.0.113.5 2001:db8:5::5 127.0.0.1 fe80::1\n" \
	"nat64 2001:1::/32 2001:2:1100::/40 "               \
	"2001:3:1:0::/48 2001:4:1:1100::/56 2001:5:1:1::/64 2001:6:1:1::/96\n"

/* All spellings of an address into out[]; how many. */
static size_t
all_spellings(const char *address, const char *const *others, char out[24][ADDR_TEXT])
{
	static const struct {
		const char *prefix;
		size_t at; /* octet where the IPv4 address begins */
	} forms[] = { { "::ffff:0:0", 12 }, { "::", 12 }, { "2002::", 2 },
		{ "2002:0:0:9:8:7:6:5", 2 }, { "64:ff9b::", 12 }, { "2001:1::", 4 },
		{ "2001:2:1100::", 5 }, { "2001:3:1::", 6 }, { "2001:4:1:1100::", 7 },
		{ "2001:5:1:1::", 9 }, { "2001:6:1:1::", 12 } };
	struct addr v4, a;
	size_t n = 0;

	snprintf(out[n++], ADDR_TEXT, "%s", address);
	for (; *others != NULL; others++)
		snprintf(out[n++], ADDR_TEXT, "%s", *others);
	assert_int_equal(addr_parse(address, &v4), 0);
	if (v4.family != ADDR_V4)
		return n;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		assert_int_equal(addr_parse(forms[i].prefix, &a), 0);
		size_t at = forms[i].at;
		for (size_t k = 0; k < 4; k++) {
			/* RFC 6052 section 2.2: octet 8 is passed over. */
			if (at == 8 && i > 4)
				at++;
			a.b[at++] = v4.b[k];
		}
		addr_format(&a, out[n++], ADDR_TEXT);
	}
	return n;
}

/* With %a the address's canonical form, %r its range, %w the wider prefix. */
static const struct {
	const char *policy, *special, *ordinary;
} special_policies[] = {
	/* Not named: neither by `any`, nor by no `to`, a name, everything, a wider prefix. */
	{ "pass to any", "block -", "pass 1" },
	{ "pass", "block -", "pass 1" },
	{ "pass to www.test", "block -", "pass 1" },
	{ "pass to .test", "block -", "pass 1" },
	{ "pass to { any, www.test }", "block -", "pass 1" },
	{ "pass to { 0.0.0.0/0, ::/0 }", "block -", "pass 1" },
	{ "pass to { www.test, 0.0.0.0/0, ::/0 }", "block -", "pass 1" },
	{ "pass to %w", "block -", NULL },
	{ "pass to { any, %w }", "block -", NULL },
	/* Named. */
	{ "pass to %r", "pass 1", NULL },
	{ "pass to %a", "pass 1", NULL },
	{ "pass to { any, %a }", "pass 1", NULL },
	{ "pass to { %w, %a }", "pass 1", NULL },
	{ "pass to any\npass to %r", "pass 2", NULL },
	{ "pass to { %w, %r, !%a }", "block -", NULL },
	/* A block needs not name it. */
	{ "block to any\npass to %a", "block 1", NULL },
	{ "block\npass to %a", "block 1", NULL },
	{ "block to www.test\npass to %a", "block 1", NULL },
	{ "block to { 0.0.0.0/0, ::/0 }\npass to %a", "block 1", NULL },
	{ "block to %w\npass to %a", "block 1", NULL },
	{ "block to %r\npass to %a", "block 1", NULL },
	{ "block to %a\npass to { %a, any }", "block 1", NULL },
};

static void
fill(char *out, size_t size, const char *policy, const struct special *s)
{
	size_t n = (size_t)snprintf(out, size, "%s", HEAD);

	for (; *policy != '\0'; policy++) {
		const char *with = NULL;
		if (policy[0] == '%')
			with = policy[1] == 'a'   ? s->address
			       : policy[1] == 'r' ? s->range
						  : s->wider;
		if (with != NULL)
			policy++;
		n += (size_t)snprintf(
		    out + n, size - n, "%.*s", with != NULL ? 64 : 1, with != NULL ? with : policy);
	}
}

static void
check_spellings(
    const char *policy, const char *address, const char *const *others, const char *want)
{
	static char spelt[24][ADDR_TEXT];
	struct policy *p = policy_new(policy);
	size_t n = all_spellings(address, others, spelt);
	char query[256], got[64];

	for (size_t i = 0; i < n; i++) {
		snprintf(query, sizeof(query), ALICE "name www.test addr %s", spelt[i]);
		if (strcmp(ask(p->img, query, got), want) != 0)
			fail_msg("\n%s\n  %s as %s: got %s, want %s", policy, address, spelt[i],
			    got, want);
	}
	policy_free(p);
}

static void
test_special(void **state)
{
	static const char *const none[] = { NULL };
	char policy[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(special_policies) / sizeof(special_policies[0]); i++) {
		for (size_t k = 0; k < sizeof(specials) / sizeof(specials[0]); k++) {
			const struct special *s = &specials[k];
			fill(policy, sizeof(policy), special_policies[i].policy, s);
			check_spellings(policy, s->address, s->others, special_policies[i].special);
		}
		if (special_policies[i].ordinary == NULL)
			continue;
		fill(policy, sizeof(policy), special_policies[i].policy, &specials[0]);
		check_spellings(policy, "192.0.2.1", none, special_policies[i].ordinary);
		check_spellings(policy, "240.0.0.1", none, special_policies[i].ordinary);
		check_spellings(policy, "2606:4700::1", none, special_policies[i].ordinary);
	}
}

/* The same for an ordinary address: one spelling's block blocks all, one's pass passes all. */
static void
test_spellings(void **state)
{
	static const char *const none[] = { NULL };

	(void)state;
	check_spellings(HEAD "block to 192.0.2.33\npass", "192.0.2.33", none, "block 1");
	check_spellings(HEAD "pass to 192.0.2.33", "192.0.2.33", none, "pass 1");
	check_spellings(HEAD "block to 192.0.2.32/31\npass", "192.0.2.33", none, "block 1");
	/* Prefixes of IPv6 do not reach them. */
	check_spellings(
	    HEAD "block to { 2001::/16, 2000::/3, ::/0 }\npass", "192.0.2.33", none, "pass 2");
	check_spellings(HEAD "pass to ::/0", "192.0.2.33", none, "block -");
}

static void
test_special_kinds(void **state)
{
	struct policy *p = policy_new(HEAD "pass");
	static const struct {
		const char *a;
		enum addr_special kind;
		uint8_t len;
	} t[] = { { "203.0.113.5", ADDR_OWN, 32 }, { "2001:db8:5::5", ADDR_OWN, 128 },
		{ "127.0.0.1", ADDR_LOOPBACK, 8 }, { "fe80::1", ADDR_LINK_LOCAL, 10 },
		{ "203.0.113.4", ADDR_ORDINARY, 0 }, { "203.0.113.6", ADDR_ORDINARY, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct addr a;
		uint8_t len = 99;
		assert_int_equal(addr_parse(t[i].a, &a), 0);
		assert_int_equal(rules_special(p->img, &a, &len), t[i].kind);
		assert_int_equal(len, t[i].len);
	}
	policy_free(p);
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
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_first_pass),
		cmocka_unit_test(test_second_pass),
		cmocka_unit_test(test_negation),
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_special_kinds),
		cmocka_unit_test(test_groups_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
