/*
 * The codec of SOCKS4 and 4a: every length of USERID and name split at every octet, their limits,
 * and junk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/socks4.h"

#define HEAD 8 /* VN CD DSTPORT DSTIP */

static const uint8_t ip[4] = { 192, 0, 2, 7 }, ip_4a[4] = { 0, 0, 0, 1 };

/* A request into out: USERID of `claim` octets, and a name of `name` octets where that is not
 * negative. Its length. */
static size_t
build(uint8_t *out, const uint8_t dst[4], size_t claim, int name)
{
	size_t n = HEAD;

	memcpy(out, (uint8_t[]){ 4, 1, 0x1f, 0x90 }, 4);
	memcpy(out + 4, dst, 4);
	memset(out + n, 0xfe, claim);
	n += claim;
	out[n++] = 0;
	if (name >= 0) {
		memset(out + n, 'n', (size_t)name);
		n += (size_t)name;
		out[n++] = 0;
	}
	return n;
}

/* The decoder on a copy of exactly this length: a sanitizer sees any read past it. */
static ssize_t
decode(const uint8_t *p, size_t len, struct socks4_request *r)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	ssize_t n = socks4_request(copy, len, r);
	free(copy);
	return n;
}

/* Whole at its length and no sooner, and what follows is not its own. */
static void
check_whole(uint8_t *in, size_t whole, struct socks4_request *r)
{
	for (size_t len = 0; len < whole; len++)
		assert_int_equal(decode(in, len, r), SOCKS_MORE);
	assert_int_equal(decode(in, whole, r), whole);
	memcpy(in + whole, "data", 4);
	assert_int_equal(socks4_request(in, whole + 4, r), whole);
	assert_int_equal(r->asked.version, SOCKS4_VERSION);
	assert_int_equal(r->asked.cmd, 1);
	assert_int_equal(r->asked.port, 8080);
	assert_ptr_equal(r->claim, in + HEAD);
}

static void
test_address(void **state)
{
	uint8_t in[SOCKS4_REQUEST_MAX + 4];
	struct socks4_request r;

	(void)state;
	for (size_t claim = 0; claim <= CLAIM_MAX; claim++) {
		check_whole(in, build(in, ip, claim, -1), &r);
		assert_int_equal(r.claim_len, claim);
		assert_int_equal(r.asked.atyp, SOCKS_ATYP_V4);
		assert_int_equal(r.asked.addr.family, ADDR_V4);
		assert_memory_equal(r.asked.addr.b, ip, 4);
		assert_int_equal(r.asked.name_len, 0);
	}
}

static void
test_name(void **state)
{
	static const size_t claims[] = { 0, 1, CLAIM_MAX };
	uint8_t in[SOCKS4_REQUEST_MAX + 4];
	struct socks4_request r;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		for (int name = 1; name <= NAME_MAX_LEN; name++) {
			check_whole(in, build(in, ip_4a, claims[i], name), &r);
			assert_int_equal(r.claim_len, claims[i]);
			assert_int_equal(r.asked.atyp, SOCKS_ATYP_NAME);
			assert_int_equal(r.asked.addr.family, ADDR_NONE);
			assert_int_equal(r.asked.name_len, name);
			assert_ptr_equal(r.asked.name, in + HEAD + claims[i] + 1);
		}
	}
	assert_int_equal(build(in, ip_4a, CLAIM_MAX, NAME_MAX_LEN), SOCKS4_REQUEST_MAX);
}

/* 0.0.0.x with x not 0 is 4a, and nothing else is. */
static void
test_which_is_4a(void **state)
{
	uint8_t in[SOCKS4_REQUEST_MAX + 4];
	struct socks4_request r;

	(void)state;
	for (unsigned x = 0; x <= 255; x++) {
		uint8_t last[4] = { 0, 0, 0, (uint8_t)x }, third[4] = { 0, 0, 1, (uint8_t)x };
		size_t n = build(in, last, 0, -1);
		assert_int_equal(decode(in, n, &r), x == 0 ? (ssize_t)n : SOCKS_MORE);
		n = build(in, third, 0, -1);
		assert_int_equal(decode(in, n, &r), n);
		assert_memory_equal(r.asked.addr.b, third, 4);
	}
}

static void
test_too_long(void **state)
{
	uint8_t in[HEAD + CLAIM_MAX + 1 + NAME_MAX_LEN + 1];
	struct socks4_request r;
	size_t n;

	(void)state;
	/* Told as soon as it is seen: no octet behind it can make it right. */
	memset(in, 1, sizeof(in));
	in[0] = 4;
	assert_int_equal(decode(in, HEAD + CLAIM_MAX, &r), SOCKS_MORE);
	assert_int_equal(decode(in, HEAD + CLAIM_MAX + 1, &r), SOCKS_BAD);
	assert_int_equal(decode(in, sizeof(in), &r), SOCKS_BAD);
	n = build(in, ip_4a, 3, -1);
	memset(in + n, 1, NAME_MAX_LEN + 1);
	assert_int_equal(decode(in, n + NAME_MAX_LEN, &r), SOCKS_MORE);
	assert_int_equal(decode(in, n + NAME_MAX_LEN + 1, &r), SOCKS_BAD);
}

static void
test_bad(void **state)
{
	uint8_t in[SOCKS4_REQUEST_MAX];
	struct socks4_request r;
	size_t n = build(in, ip_4a, 2, 0);

	(void)state;
	assert_int_equal(decode(in, n - 1, &r), SOCKS_MORE);
	assert_int_equal(decode(in, n, &r), SOCKS_BAD); /* no name at all */
	for (unsigned v = 0; v <= 255; v++) {
		in[0] = (uint8_t)v;
		assert_int_equal(decode(in, 1, &r), v == 4 ? SOCKS_MORE : SOCKS_BAD);
	}
}

static void
test_reply(void **state)
{
	uint8_t out[SOCKS4_REPLY_LEN];
	struct addrport v4 = { .a = { .family = ADDR_V4, .b = { 192, 0, 2, 7 } }, .port = 0x1234 };
	struct addrport v6 = { .a = { .family = ADDR_V6, .b = { 0x20, 1 } }, .port = 0x1234 };
	struct addrport none = { .port = 77 };

	(void)state;
	assert_int_equal(socks4_reply(out, SOCKS4_CD_GRANTED, &v4), 8);
	assert_memory_equal(out, ((uint8_t[]){ 0, 90, 0x12, 0x34, 192, 0, 2, 7 }), 8);
	assert_int_equal(socks4_reply(out, SOCKS4_CD_GRANTED, &v6), 8);
	assert_memory_equal(out, ((uint8_t[]){ 0, 90, 0x12, 0x34, 0, 0, 0, 0 }), 8);
	assert_int_equal(socks4_reply(out, SOCKS4_CD_REJECTED, &none), 8);
	assert_memory_equal(out, ((uint8_t[]){ 0, 91, 0, 0, 0, 0, 0, 0 }), 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_which_is_4a),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
