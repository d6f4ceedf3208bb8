/*
 * Addresses, prefixes and names: what is read, what is refused, and that every spelling of an
 * address becomes one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/addr.h"
#include "common/rules.h"

static struct addr
A(const char *s) {
	struct addr a;

	if (addr_parse(s, &a) == -1)
		fail_msg("not an address: %s", s);
	return a;
}

static struct prefix
P(const char *s) {
	struct prefix p;

	if (prefix_parse(s, &p, NULL) == -1)
		fail_msg("not a prefix: %s", s);
	return p;
}

static void
assert_addr(const struct addr *got, const char *want, const char *of)
{
	char text[ADDR_TEXT];
	struct addr w = A(want);

	if (addr_cmp(got, &w) != 0)
		fail_msg("%s: got %s, want %s", of, addr_format(got, text, sizeof(text)), want);
}

static void
test_parse(void **state)
{
	static const char *const good[] = { "0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "::1",
		"2001:db8::1", "fe80::1", "::ffff:192.0.2.1",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };
	static const char *const bad[] = { "", "1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.4 ",
		" 1.2.3.4", "01.2.3.4", "0x7f.0.0.1", "1.2.3.4/8", "[::1]", "fe80::1%lo",
		":::", "1::2::3", "::g", "12345::", "::1.2.3", "-1.2.3.4", "example.com",
		"::ffff:0x7f.0.0.1" };
	struct addr a;
	char text[ADDR_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(addr_parse(good[i], &a), 0);
		assert_string_equal(addr_format(&a, text, sizeof(text)), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (addr_parse(bad[i], &a) == 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(a.family, ADDR_NONE);
	}
}

static void
test_prefix_parse(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
		bool bits;
	} t[] = {
		{ "10.0.0.0/8", "10.0.0.0/8", false },
		{ "10.1.2.3/8", "10.0.0.0/8", true },
		{ "10.1.2.3", "10.1.2.3/32", false },
		{ "10.1.2.3/32", "10.1.2.3/32", false },
		{ "10.1.2.3/31", "10.1.2.2/31", true },
		{ "255.255.255.255/1", "128.0.0.0/1", true },
		{ "0.0.0.0/0", "0.0.0.0/0", false },
		{ "1.0.0.0/0", "0.0.0.0/0", true },
		{ "2001:db8::/32", "2001:db8::/32", false },
		{ "2001:db8::1/32", "2001:db8::/32", true },
		{ "2001:db8::ff/121", "2001:db8::80/121", true },
		{ "::/0", "::/0", false },
		{ "::1", "::1/128", false },
		{ "10.0.0.0/33", NULL, false },
		{ "::/129", NULL, false },
		{ "10.0.0.0/", NULL, false },
		{ "10.0.0.0/08", NULL, false },
		{ "10.0.0.0/-1", NULL, false },
		{ "10.0.0.0/+1", NULL, false },
		{ "10.0.0.0/8 ", NULL, false },
		{ "10.0.0.0/8/8", NULL, false },
		{ "10.0.0.0/99999999999999999999", NULL, false },
		{ "10.0.0/8", NULL, false },
		{ "/8", NULL, false },
		{ "", NULL, false },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/8",
		    NULL, false },
	};
	struct prefix p;
	char text[ADDR_TEXT];
	bool bits;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int r = prefix_parse(t[i].in, &p, &bits);
		if ((r == 0) != (t[i].out != NULL))
			fail_msg("%s: %d", t[i].in, r);
		if (t[i].out == NULL)
			continue;
		assert_string_equal(prefix_format(&p, text, sizeof(text)), t[i].out);
		assert_int_equal(bits, t[i].bits);
	}
}

static void
test_format(void **state)
{
	struct addrport ap = { .a = A("192.0.2.1"), .port = 80 };
	char text[ADDR_TEXT];

	(void)state;
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "192.0.2.1:80");
	assert_string_equal(addrport_format(&ap, text, 10), "192.0.2.1"); /* cut, not overrun */
	assert_string_equal(addr_format(&ap.a, text, 1), "");
	ap.a = A("255.255.255.255");
	ap.port = 65535;
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "255.255.255.255:65535");
	ap.a = A("0.0.0.0");
	ap.port = 0;
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "0.0.0.0:0");
	ap.a = A("2001:db8::1");
	ap.port = 65535;
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "[2001:db8::1]:65535");
	ap.a = A("fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	ap.scope = UINT32_MAX;
	assert_string_equal(addrport_format(&ap, text, sizeof(text)),
	    "[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
	memset(&ap, 0, sizeof(ap));
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "-");
	assert_string_equal(addr_format(&ap.a, text, sizeof(text)), "-");
	ap.a.family = 77; /* from a foreign message: no read past the end, no crash */
	assert_string_equal(addrport_format(&ap, text, sizeof(text)), "-");
}

static void
test_sockaddr(void **state)
{
	static const char *const t[] = { "192.0.2.1", "2001:db8::1", "fe80::1", "ff02::1",
		"::ffff:1.2.3.4" };
	struct sockaddr_storage ss;
	struct addrport ap = { .port = 1080 }, back;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ap.a = A(t[i]);
		ap.scope = i == 2 || i == 3 ? 7 : 0;
		socklen_t len = addr_to_sockaddr(&ap, &ss);
		assert_true(len > 0);
		assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, len, &back), 0);
		assert_memory_equal(&ap, &back, sizeof(ap));
		assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, len - 1, &back), -1);
	}
	memset(&ap, 0, sizeof(ap));
	assert_int_equal(addr_to_sockaddr(&ap, &ss), 0);
	ss.ss_family = AF_UNIX;
	assert_int_equal(addr_from_sockaddr((struct sockaddr *)&ss, sizeof(ss), &back), -1);
	/* A scope that the kernel gives where none belongs is dropped. */
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_scope_id = 3 };
	assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sin6, sizeof(sin6), &back), 0);
	assert_int_equal(back.scope, 0);
}

/* in, canonical, what is dialled; with the nat64 prefixes below */
static const struct {
	const char *in, *canon, *dial;
} spellings[] = {
	{ "192.0.2.33", "192.0.2.33", "192.0.2.33" },
	{ "0.0.0.0", "127.0.0.1", "127.0.0.1" },
	{ "0.0.0.1", "0.0.0.1", "0.0.0.1" },
	{ "127.0.0.1", "127.0.0.1", "127.0.0.1" },
	{ "::", "::1", "::1" },
	{ "::1", "::1", "::1" },
	{ "::2", "0.0.0.2", "0.0.0.2" },
	{ "::192.0.2.33", "192.0.2.33", "192.0.2.33" },
	{ "::127.0.0.1", "127.0.0.1", "127.0.0.1" },
	{ "::ffff:192.0.2.33", "192.0.2.33", "192.0.2.33" },
	{ "::ffff:0.0.0.0", "127.0.0.1", "127.0.0.1" },
	{ "::ffff:0.0.0.1", "0.0.0.1", "0.0.0.1" },
	{ "::fffe:192.0.2.33", "::fffe:c000:221", "::fffe:c000:221" },
	{ "::1:0:0", "::1:0:0", "::1:0:0" },
	{ "2002:c000:221::", "192.0.2.33", "2002:c000:221::" },
	{ "2002:c000:221:ffff::1", "192.0.2.33", "2002:c000:221:ffff::1" },
	{ "2002::", "127.0.0.1", "2002::" },
	{ "2002:7f00:1::1", "127.0.0.1", "2002:7f00:1::1" },
	{ "64:ff9b::c000:221", "192.0.2.33", "64:ff9b::c000:221" },
	{ "64:ff9b::", "127.0.0.1", "64:ff9b::" },
	{ "64:ff9b::1:c000:221", "64:ff9b::1:c000:221", "64:ff9b::1:c000:221" },
	{ "64:ff9b:1::c000:221", "64:ff9b:1::c000:221", "64:ff9b:1::c000:221" },
	/* RFC 6052 section 2.4 */
	{ "2001:db8:c000:221::", "192.0.2.33", NULL },
	{ "2001:db9:1c0:2:21::", "192.0.2.33", NULL },
	{ "2001:dba:122:c000:2:2100::", "192.0.2.33", NULL },
	{ "2001:dbb:122:3c0:0:221::", "192.0.2.33", NULL },
	{ "2001:dbc:122:344:c0:2:2100::", "192.0.2.33", NULL },
	{ "2001:dbd:122:344::192.0.2.33", "192.0.2.33", NULL },
	/* Octet 8 and what follows the address do not make another one of it. */
	{ "2001:dbc:122:344:ffc0:2:21ff:ffff", "192.0.2.33", NULL },
	{ "2001:dbd:122:344:1::192.0.2.33", "2001:dbd:122:344:1:0:c000:221", NULL },
	{ "2001:dbc:122:345:c0:2:2100::", "2001:dbc:122:345:c0:2:2100::", NULL },
	{ "2001:db8::", "127.0.0.1", NULL },
	{ "2001:db7:c000:221::", "2001:db7:c000:221::", NULL },
};

static const char *const nat64_texts[] = { "2001:db8::/32", "2001:db9:100::/40",
	"2001:dba:122::/48", "2001:dbb:122:300::/56", "2001:dbc:122:344::/64",
	"2001:dbd:122:344::/96" };

static void
test_canon(void **state)
{
	struct prefix nat64[6];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		nat64[i] = P(nat64_texts[i]);
	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		struct addr a = A(spellings[i].in), c = addr_canon(&a, nat64, 6), d = addr_dial(&a);
		assert_addr(&c, spellings[i].canon, spellings[i].in);
		const char *dial = spellings[i].dial != NULL ? spellings[i].dial : spellings[i].in;
		assert_addr(&d, dial, spellings[i].in);
		struct addr again = addr_canon(&d, nat64, 6);
		assert_addr(&again, spellings[i].canon, "canon of dial");
		again = addr_canon(&c, nat64, 6);
		assert_addr(&again, spellings[i].canon, "canon of canon");
	}
	/* Without the prefixes they are ordinary IPv6 addresses. */
	struct addr a = A("2001:db8:c000:221::"), c = addr_canon(&a, NULL, 0);
	assert_addr(&c, "2001:db8:c000:221::", "no nat64");
	/* A length that holds no address. */
	struct prefix odd = P("2001:db8::/33");
	c = addr_canon(&a, &odd, 1);
	assert_addr(&c, "2001:db8:c000:221::", "odd nat64");
}

/* Whatever the octets: canon is stable, and the rules see the same for what is dialled. */
static void
test_canon_random(void **state)
{
	static const char *const starts[] = { "::", "::ffff:0:0",
		"2002::", "64:ff9b::", "2001:db8::", "fe80::" };
	struct prefix nat64 = P("2001:db8::/32");

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		struct addr a = A(starts[i % 6]);
		for (size_t k = (size_t)random() % 16; k < 16; k++)
			a.b[k] = (uint8_t)(random() % 3 == 0 ? random() : 0);
		struct addr c = addr_canon(&a, &nat64, 1), d = addr_dial(&a);
		struct addr cc = addr_canon(&c, &nat64, 1), cd = addr_canon(&d, &nat64, 1);
		assert_memory_equal(&c, &cc, sizeof(c));
		assert_memory_equal(&c, &cd, sizeof(c));
		for (size_t k = 4; c.family == ADDR_V4 && k < 16; k++)
			assert_int_equal(c.b[k], 0);
	}
}

static void
test_is_spelling(void **state)
{
	static const char *const yes[] = { "::ffff:0:0/96", "::ffff:192.0.2.1",
		"::ffff:10.0.0.0/104", "::/96", "::2/128", "::/128", "2002::/16", "2002:a00::/24",
		"64:ff9b::/96", "64:ff9b::1.2.3.4", "0.0.0.0", "2001:db8:1::/48", "2001:db8::/32" };
	static const char *const no[] = { "::1", "::/95", "::/0", "::/64", "2002::/15", "2000::/3",
		"64:ff9b::/95", "64:ff9b:1::/48", "10.0.0.0/8", "0.0.0.0/0", "0.0.0.0/8", "0.0.0.1",
		"127.0.0.1", "2001:db8::/31" };
	struct prefix nat64 = P("2001:db8::/32"), p;

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		p = P(yes[i]);
		if (!prefix_is_spelling(&p, &nat64, 1))
			fail_msg("no spelling: %s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		p = P(no[i]);
		if (prefix_is_spelling(&p, &nat64, 1))
			fail_msg("spelling: %s", no[i]);
	}
}

static void
test_special(void **state)
{
	static const struct {
		const char *a;
		enum addr_special kind;
		uint8_t len;
	} t[] = {
		{ "0.0.0.1", ADDR_THIS_HOST, 8 },
		{ "0.255.255.255", ADDR_THIS_HOST, 8 },
		{ "1.0.0.0", ADDR_ORDINARY, 0 },
		{ "126.255.255.255", ADDR_ORDINARY, 0 },
		{ "127.0.0.0", ADDR_LOOPBACK, 8 },
		{ "127.255.255.255", ADDR_LOOPBACK, 8 },
		{ "128.0.0.0", ADDR_ORDINARY, 0 },
		{ "169.253.255.255", ADDR_ORDINARY, 0 },
		{ "169.254.0.0", ADDR_LINK_LOCAL, 16 },
		{ "169.254.169.254", ADDR_LINK_LOCAL, 16 },
		{ "169.255.0.0", ADDR_ORDINARY, 0 },
		{ "223.255.255.255", ADDR_ORDINARY, 0 },
		{ "224.0.0.0", ADDR_MULTICAST, 4 },
		{ "239.255.255.255", ADDR_MULTICAST, 4 },
		{ "240.0.0.0", ADDR_ORDINARY, 0 },
		{ "255.255.255.254", ADDR_ORDINARY, 0 },
		{ "255.255.255.255", ADDR_BROADCAST, 32 },
		{ "::1", ADDR_LOOPBACK, 128 },
		{ "fe7f:ffff::", ADDR_ORDINARY, 0 },
		{ "fe80::", ADDR_LINK_LOCAL, 10 },
		{ "febf:ffff::1", ADDR_LINK_LOCAL, 10 },
		{ "fec0::1", ADDR_ORDINARY, 0 },
		{ "ff00::", ADDR_MULTICAST, 8 },
		{ "ff02::1", ADDR_MULTICAST, 8 },
		{ "fd00::1", ADDR_ORDINARY, 0 },
		{ "2001:db8::1", ADDR_ORDINARY, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct addr a = A(t[i].a);
		uint8_t len = 99;
		if (addr_special(&a, &len) != t[i].kind || len != t[i].len)
			fail_msg("%s: /%u", t[i].a, len);
	}
}

static void
test_in_prefix(void **state)
{
	static const struct {
		const char *a, *p;
		bool in;
	} t[] = {
		{ "10.1.2.3", "10.0.0.0/8", true },
		{ "11.0.0.0", "10.0.0.0/8", false },
		{ "10.1.2.3", "10.1.2.2/31", true },
		{ "10.1.2.4", "10.1.2.2/31", false },
		{ "10.1.2.3", "0.0.0.0/0", true },
		{ "10.1.2.3", "::/0", false },
		{ "::1", "0.0.0.0/0", false },
		{ "::1", "::/0", true },
		{ "2001:db8::1", "2001:db8::1", true },
		{ "2001:db8::3", "2001:db8::1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct addr a = A(t[i].a);
		struct prefix p = P(t[i].p);
		if (addr_in_prefix(&a, &p) != t[i].in)
			fail_msg("%s in %s", t[i].a, t[i].p);
	}
	struct addr none = { 0 };
	struct prefix empty = { 0 };
	assert_false(addr_in_prefix(&none, &empty));
}

static void
test_name_normalise(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "Example.COM", "example.com" },
		{ "example.com.", "example.com" },
		{ "a", "a" },
		{ "\xc4\xd6_-", "\xc4\xd6_-" },
		{ "a b", "a b" },
		{ "", NULL },
		{ ".", NULL },
		{ "..", NULL },
		{ ".com", NULL },
		{ "a..b", NULL },
		{ "a..", NULL },
	};
	uint8_t out[NAME_MAX_LEN], in[300];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int len = name_normalise((const uint8_t *)t[i].in, strlen(t[i].in), out);
		if (t[i].out == NULL) {
			assert_int_equal(len, -1);
			continue;
		}
		assert_int_equal(len, strlen(t[i].out));
		assert_memory_equal(out, t[i].out, (size_t)len);
	}
	assert_int_equal(name_normalise((const uint8_t *)"a\0b", 3, out), -1);
	assert_int_equal(name_normalise((const uint8_t *)"a\0", 2, out), -1);
	memset(in, 'a', sizeof(in));
	assert_int_equal(name_normalise(in, 63, out), 63);
	assert_int_equal(name_normalise(in, 64, out), -1);
	for (size_t i = 63; i < sizeof(in); i += 64)
		in[i] = '.';
	assert_int_equal(name_normalise(in, 255, out), 255);
	assert_int_equal(name_normalise(in, 256, out), 255);
	assert_int_equal(name_normalise(in, 257, out), -1);
}

static void
test_name_is_address(void **state)
{
	static const struct {
		const char *in, *addr; /* "" : an address misspelt; NULL: a name */
	} t[] = {
		{ "1.2.3.4", "1.2.3.4" },
		{ "1.2.3.4.", "1.2.3.4" },
		{ "::1", "::1" },
		{ "[::1]", "::1" },
		{ "[::1].", "::1" },
		{ "::FFFF:1.2.3.4", "::ffff:1.2.3.4" },
		{ "2001:DB8::1", "2001:db8::1" },
		{ "127.1", "" },
		{ "127.0.1", "" },
		{ "2130706433", "" },
		{ "0x7f000001", "" },
		{ "0X7F.1", "" },
		{ "0177.0.0.1", "" },
		{ "127.0.0.01", "" },
		{ "0x7f.0x0.0x0.0x1", "" },
		{ "1.2.3.4 x", "" },
		{ "127.1\t", "" },
		{ "127.1.", "" },
		{ "0", "" },
		{ "999.1.1.1", "" },
		{ "fe80::1%lo", "" },
		{ "[1.2.3.4]", "" },
		{ "[::1", "" },
		{ "::g", "" },
		{ "a:b", "" },
		{ "[", "" },
		{ "0x", "" },
		{ "1.2.3.4.5", NULL },
		{ "example.com", NULL },
		{ "1.2.3.4a", NULL },
		{ "1a.2.3.4", NULL },
		{ "0xg", NULL },
		{ "deadbeef", NULL },
		{ "1.example", NULL },
		{ "a", NULL },
		{ "", NULL },
		{ ".", NULL },
		{ "1..2", NULL },
		{ "a 1.2.3.4", NULL },
	};
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool is = name_is_address((const uint8_t *)t[i].in, strlen(t[i].in), &a);
		if (is != (t[i].addr != NULL))
			fail_msg("%s: %d", t[i].in, is);
		if (!is || t[i].addr[0] == '\0')
			assert_int_equal(a.family, ADDR_NONE);
		else
			assert_addr(&a, t[i].addr, t[i].in);
	}
	/* A NUL ends nothing: neither is this 1.2.3.4, nor is what is behind it lost. */
	assert_false(name_is_address((const uint8_t *)"1.2.3.4\0x", 9, &a));
	assert_int_equal(a.family, ADDR_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_prefix_parse),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_sockaddr),
		cmocka_unit_test(test_canon),
		cmocka_unit_test(test_canon_random),
		cmocka_unit_test(test_is_spelling),
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_in_prefix),
		cmocka_unit_test(test_name_normalise),
		cmocka_unit_test(test_name_is_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
