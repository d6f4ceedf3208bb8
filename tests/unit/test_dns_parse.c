/*
 * The reader of name servers' replies: answers through CNAMEs, negative TTLs, every truncation, and
 * what is no reply at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/resolver_reply.h"

#define QUESTION 12 /* offset of the question's name: after the header */
#define NXDOMAIN 0x8183
#define NOERROR  0x8180

/* A reply being written. */
struct out {
	uint8_t b[65536];
	size_t n;
};

static void
put(struct out *o, const void *data, size_t len)
{
	assert_true(o->n + len <= sizeof(o->b));
	memcpy(o->b + o->n, data, len);
	o->n += len;
}

static void
put_u16(struct out *o, unsigned v)
{
	uint8_t b[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	put(o, b, sizeof(b));
}

static void
put_u32(struct out *o, uint32_t v)
{
	put_u16(o, v >> 16);
	put_u16(o, v & 0xffff);
}

static struct dns_name
name_of(const char *text)
{
	struct dns_name n;

	assert_int_equal(dns_name_from((const uint8_t *)text, strlen(text), &n), 0);
	return n;
}

/* "@": a pointer to the question's name. */
static void
put_name(struct out *o, const char *text)
{
	if (strcmp(text, "@") == 0) {
		put_u16(o, 0xc000 | QUESTION);
	} else {
		struct dns_name n = name_of(text);
		put(o, n.b, n.len);
	}
}

static void
begin(struct out *o, unsigned flags, const char *name, unsigned type, unsigned answers,
    unsigned authority)
{
	o->n = 0;
	put_u16(o, 0x1234);
	put_u16(o, flags);
	put_u16(o, 1);
	put_u16(o, answers);
	put_u16(o, authority);
	put_u16(o, 0);
	put_name(o, name);
	put_u16(o, type);
	put_u16(o, 1);
}

static void
put_record(
    struct out *o, const char *owner, unsigned type, uint32_t ttl, const void *data, size_t len)
{
	put_name(o, owner);
	put_u16(o, type);
	put_u16(o, 1);
	put_u32(o, ttl);
	put_u16(o, (unsigned)len);
	put(o, data, len);
}

static void
put_a(struct out *o, const char *owner, uint32_t ttl, uint8_t last)
{
	uint8_t b[4] = { 192, 0, 2, last };

	put_record(o, owner, 1, ttl, b, sizeof(b));
}

static void
put_cname(struct out *o, const char *owner, uint32_t ttl, const char *to)
{
	struct dns_name n = name_of(to);

	put_record(o, owner, 5, ttl, n.b, n.len);
}

static void
put_soa(struct out *o, uint32_t ttl, uint32_t minimum)
{
	struct out data = { .n = 0 };

	put_name(&data, "ns.example");
	put_name(&data, "root.example");
	for (uint32_t i = 1; i <= 4; i++)
		put_u32(&data, i);
	put_u32(&data, minimum);
	put_record(o, "example", 6, ttl, data.b, data.n);
}

/* Parses a copy of exactly that size, so that a sanitizer sees a read past its end. */
static enum reply_kind
parse_len(const struct out *o, size_t len, const char *name, unsigned family, struct dns_answer *a)
{
	struct dns_name q = name_of(name);
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, o->b, len);
	enum reply_kind kind = reply_parse(copy, len, &q, family, a);
	free(copy);
	return kind;
}

static enum reply_kind
parse(const struct out *o, const char *name, unsigned family, struct dns_answer *a)
{
	return parse_len(o, o->n, name, family, a);
}

static struct out o;
static struct dns_answer a;

static void
names(void **state)
{
	struct dns_name n;
	char text[300];

	(void)state;
	assert_int_equal(dns_name_from((const uint8_t *)"a.bc", 4, &n), 0);
	assert_int_equal(n.len, 6);
	assert_memory_equal(n.b, "\1a\2bc\0", 6);
	assert_int_equal(dns_name_from((const uint8_t *)"", 0, &n), -1);
	assert_int_equal(dns_name_from((const uint8_t *)"a..b", 4, &n), -1);
	assert_int_equal(dns_name_from((const uint8_t *)"a.", 2, &n), -1);
	memset(text, 'x', sizeof(text));
	assert_int_equal(dns_name_from((const uint8_t *)text, 64, &n), -1);
	assert_int_equal(dns_name_from((const uint8_t *)text, 63, &n), 0);
	text[63] = text[127] = text[191] = '.';
	assert_int_equal(dns_name_from((const uint8_t *)text, 253, &n), 0);
	assert_int_equal(n.len, 255);
	assert_int_equal(dns_name_from((const uint8_t *)text, 254, &n), -1);
}

static void
addresses(void **state)
{
	static const uint8_t six[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

	(void)state;
	begin(&o, NOERROR, "www.example", 1, 3, 0);
	put_a(&o, "@", 60, 1);
	put_record(&o, "@", 16, 5, "\3txt", 4); /* another type is passed over, its TTL too */
	put_a(&o, "WWW.example", 30, 2);
	assert_int_equal(parse(&o, "www.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.status, ANSWER_OK);
	assert_int_equal(a.naddr, 2);
	assert_int_equal(a.ttl, 30);
	assert_int_equal(a.addr[1].family, ADDR_V4);
	assert_memory_equal(a.addr[1].b, "\300\0\2\2\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	/* The question was for another family. */
	assert_int_equal(parse(&o, "www.example", LOOKUP_AAAA, &a), REPLY_BAD);

	begin(&o, NOERROR, "www.example", 28, 1, 0);
	put_record(&o, "@", 28, 60, six, sizeof(six));
	assert_int_equal(parse(&o, "www.example", LOOKUP_AAAA, &a), REPLY_ANSWER);
	assert_int_equal(a.naddr, 1);
	assert_int_equal(a.addr[0].family, ADDR_V6);
	assert_memory_equal(a.addr[0].b, six, 16);
}

static void
more_addresses_than_an_answer_holds(void **state)
{
	(void)state;
	begin(&o, NOERROR, "www.example", 1, 100, 0);
	for (unsigned i = 0; i < 100; i++)
		put_a(&o, "@", 60, (uint8_t)i);
	assert_int_equal(parse(&o, "www.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.naddr, ANSWER_ADDRS);
	assert_int_equal(a.addr[ANSWER_ADDRS - 1].b[3], ANSWER_ADDRS - 1);
}

static void
a_name_of_another(void **state)
{
	(void)state;
	begin(&o, NOERROR, "www.example", 1, 1, 0);
	put_a(&o, "other.example", 60, 1);
	assert_int_equal(parse(&o, "www.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.status, ANSWER_NO_DATA);
	assert_int_equal(a.ttl, 0);
}

static void
cnames(void **state)
{
	(void)state;
	for (int backwards = 0; backwards < 2; backwards++) {
		begin(&o, NOERROR, "a.example", 1, 3, 0);
		if (backwards)
			put_a(&o, "c.example", 50, 3);
		put_cname(
		    &o, backwards ? "b.example" : "@", 40, backwards ? "c.example" : "b.example");
		put_cname(
		    &o, backwards ? "@" : "b.example", 20, backwards ? "b.example" : "c.example");
		if (!backwards)
			put_a(&o, "c.example", 50, 3);
		assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_ANSWER);
		assert_int_equal(a.status, ANSWER_OK);
		assert_int_equal(a.naddr, 1);
		assert_int_equal(a.ttl, 20);
	}
	/* One that leads nowhere: the name is there, its address is not. */
	begin(&o, NOERROR, "a.example", 1, 1, 1);
	put_cname(&o, "@", 20, "b.example");
	put_soa(&o, 100, 90);
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.status, ANSWER_NO_DATA);
	assert_int_equal(a.ttl, 20);
}

static void
cname_loops(void **state)
{
	char from[32], to[32];

	(void)state;
	begin(&o, NOERROR, "a.example", 1, 2, 0);
	put_cname(&o, "@", 20, "b.example");
	put_cname(&o, "b.example", 20, "a.example");
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_BAD);
	/* 16 are followed, 17 are too many. */
	for (int n = 16; n <= 17; n++) {
		begin(&o, NOERROR, "n0.example", 1, (unsigned)n + 1, 0);
		for (int i = 0; i < n; i++) {
			snprintf(from, sizeof(from), "n%d.example", i);
			snprintf(to, sizeof(to), "n%d.example", i + 1);
			put_cname(&o, from, 20, to);
		}
		put_a(&o, to, 20, 1);
		assert_int_equal(
		    parse(&o, "n0.example", LOOKUP_A, &a), n == 16 ? REPLY_ANSWER : REPLY_BAD);
	}
}

static void
negative_ttls(void **state)
{
	static const struct {
		uint32_t ttl, minimum, want;
	} t[] = { { 100, 40, 40 }, { 40, 100, 40 }, { 0, 100, 0 }, { 0x80000000, 100, 0 },
		{ 100, 0xffffffff, 0 }, { INT32_MAX, INT32_MAX, INT32_MAX } };

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (int absent = 0; absent < 2; absent++) {
			begin(&o, absent ? NXDOMAIN : NOERROR, "no.example", 1, 0, 1);
			put_soa(&o, t[i].ttl, t[i].minimum);
			assert_int_equal(parse(&o, "no.example", LOOKUP_A, &a), REPLY_ANSWER);
			assert_int_equal(a.status, absent ? ANSWER_NO_NAME : ANSWER_NO_DATA);
			assert_int_equal(a.naddr, 0);
			assert_int_equal(a.ttl, t[i].want);
		}
	}
	/* RFC 2308 section 5: without a SOA it is not kept. */
	begin(&o, NXDOMAIN, "no.example", 1, 0, 0);
	assert_int_equal(parse(&o, "no.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.ttl, 0);
	/* Addresses of a name that does not exist are none. */
	begin(&o, NXDOMAIN, "no.example", 1, 1, 0);
	put_a(&o, "@", 60, 1);
	assert_int_equal(parse(&o, "no.example", LOOKUP_A, &a), REPLY_ANSWER);
	assert_int_equal(a.status, ANSWER_NO_NAME);
	assert_int_equal(a.naddr, 0);
}

static void
other_rcodes_fail(void **state)
{
	(void)state;
	for (unsigned rcode = 0; rcode < 16; rcode++) {
		begin(&o, 0x8180 | rcode, "www.example", 1, 1, 0);
		put_a(&o, "@", 60, 1);
		assert_int_equal(parse(&o, "www.example", LOOKUP_A, &a), REPLY_ANSWER);
		assert_int_equal(a.status, rcode == 0   ? ANSWER_OK
					   : rcode == 3 ? ANSWER_NO_NAME
							: ANSWER_FAILED);
	}
}

static void
every_truncation(void **state)
{
	(void)state;
	begin(&o, NOERROR, "a.example", 1, 2, 0);
	put_cname(&o, "@", 20, "b.example");
	put_a(&o, "b.example", 60, 1);
	for (size_t len = 0; len < o.n; len++)
		assert_int_equal(parse_len(&o, len, "a.example", LOOKUP_A, &a), REPLY_BAD);
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_ANSWER);

	begin(&o, NXDOMAIN, "a.example", 1, 0, 1);
	put_soa(&o, 60, 60);
	for (size_t len = 0; len < o.n; len++)
		assert_int_equal(parse_len(&o, len, "a.example", LOOKUP_A, &a), REPLY_BAD);
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_ANSWER);
}

static void
every_octet_changed(void **state)
{
	(void)state;
	begin(&o, NXDOMAIN, "a.example", 1, 2, 1);
	put_cname(&o, "@", 20, "b.example");
	put_a(&o, "b.example", 60, 1);
	put_soa(&o, 60, 60);
	for (size_t i = 0; i < o.n; i++) {
		uint8_t was = o.b[i];
		for (unsigned v = 0; v < 256; v++) {
			o.b[i] = (uint8_t)v;
			(void)parse(&o, "a.example", LOOKUP_A, &a);
			assert_true(a.naddr <= ANSWER_ADDRS);
		}
		o.b[i] = was;
	}
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_ANSWER);
}

static void
compression(void **state)
{
	static const struct {
		uint16_t to;
		enum reply_kind want;
	} t[] = {
		{ 0xc000 | QUESTION, REPLY_ANSWER },
		{ 0xc000 | (QUESTION + 2),
		    REPLY_ANSWER },               /* "example": another owner, well formed */
		{ 0xc000 | 27, REPLY_BAD },       /* itself */
		{ 0xc000 | 28, REPLY_BAD },       /* its own second octet */
		{ 0xc000 | 30, REPLY_BAD },       /* forward */
		{ 0xffff, REPLY_BAD },            /* past the end */
		{ 0x8000 | QUESTION, REPLY_BAD }, /* reserved kinds of label */
		{ 0x4000 | QUESTION, REPLY_BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		begin(&o, NOERROR, "a.example", 1, 1, 0);
		assert_int_equal(o.n, 27);
		put_a(&o, "@", 60, 1);
		o.b[27] = (uint8_t)(t[i].to >> 8);
		o.b[28] = (uint8_t)t[i].to;
		assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), t[i].want);
	}
}

static void
names_too_long(void **state)
{
	/* Labels that lead on by pointers to more than 255 octets. */
	char label[64];

	(void)state;
	memset(label, 'x', 63);
	label[63] = '\0';
	begin(&o, NOERROR, "a.example", 1, 1, 0);
	for (int i = 0; i < 5; i++) {
		put(&o, "\77", 1);
		put(&o, label, 63);
	}
	put_u16(&o, 0xc000 | QUESTION);
	put(&o, "\0\1\0\1\0\0\0\74\0\4\300\0\2\1", 14);
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_BAD);
}

static void
what_is_no_reply(void **state)
{
	static const unsigned flags[] = { 0x0180, 0x8980, 0x8380 }; /* a query, NOTIFY-like, TC */

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		begin(&o, flags[i], "a.example", 1, 1, 0);
		put_a(&o, "@", 60, 1);
		assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_BAD);
	}
	begin(&o, NOERROR, "b.example", 1, 1, 0);
	put_a(&o, "@", 60, 1);
	assert_int_equal(parse(&o, "a.example", LOOKUP_A, &a), REPLY_BAD);
	assert_int_equal(parse(&o, "b.example", LOOKUP_A, &a), REPLY_ANSWER);
	o.b[5] = 2; /* two questions */
	assert_int_equal(parse(&o, "b.example", LOOKUP_A, &a), REPLY_BAD);
	o.b[5] = 0;
	assert_int_equal(parse(&o, "b.example", LOOKUP_A, &a), REPLY_BAD);
}

static void
case_of_the_question(void **state)
{
	struct dns_name q = name_of("wWw.example");

	(void)state;
	begin(&o, NOERROR, "www.example", 1, 1, 0);
	put_a(&o, "@", 60, 1);
	assert_int_equal(reply_parse(o.b, o.n, &q, LOOKUP_A, &a), REPLY_CASE);
	begin(&o, NOERROR, "wWw.example", 1, 1, 0);
	put_a(&o, "@", 60, 1);
	assert_int_equal(reply_parse(o.b, o.n, &q, LOOKUP_A, &a), REPLY_ANSWER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(addresses),
		cmocka_unit_test(more_addresses_than_an_answer_holds),
		cmocka_unit_test(a_name_of_another),
		cmocka_unit_test(cnames),
		cmocka_unit_test(cname_loops),
		cmocka_unit_test(negative_ttls),
		cmocka_unit_test(other_rcodes_fail),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(every_octet_changed),
		cmocka_unit_test(compression),
		cmocka_unit_test(names_too_long),
		cmocka_unit_test(what_is_no_reply),
		cmocka_unit_test(case_of_the_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
