/*
 * Special addresses under the rules: each kind, in every spelling, for rules that name it and rules
 * that do not, passing and blocking; each beside an ordinary address as control.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/policy_ask.h"

#define ALICE "src 10.9.9.9 method password user alice cmd connect port 80 "

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
	{ "100.64.5.5", "100.64.0.0/16", "100.64.0.0/15", { NULL } },    /* own, a network */
	{ "::1", "::1/128", "::/64", { "::", NULL } },
	{ "fe80::1", "fe80::/10", "fe80::/9", { NULL } },
	{ "ff02::1", "ff00::/8", "fe00::/7", { NULL } },
	{ "2001:db8:5::5", "2001:db8:5::5/128", "2001:db8:5::4/127", { NULL } }, /* own */
};

#define HEAD                                                              \
	"own 203.0.113.5 2001:db8:5::5 127.0.0.1 fe80::1 100.64.0.0/16\n" \
	"nat64 2001:1::/32 2001:2:1100::/40 "                             \
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_special_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
