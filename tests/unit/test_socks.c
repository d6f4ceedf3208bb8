/*
 * The SOCKS codec: every message of every length split at every octet, its limits, and junk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/socks.h"

/* A copy on the heap of exactly this length: a sanitizer sees any read past it. */
static uint8_t *
exact(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	return copy;
}

static ssize_t
greeting(const uint8_t *p, size_t len, struct socks_greeting *g)
{
	uint8_t *copy = exact(p, len);
	ssize_t n = socks_greeting(copy, len, g);

	free(copy);
	return n;
}

static ssize_t
auth(const uint8_t *p, size_t len, struct socks_auth *a)
{
	uint8_t *copy = exact(p, len);
	ssize_t n = socks_auth(copy, len, a);

	free(copy);
	return n;
}

static ssize_t
request(const uint8_t *p, size_t len, struct socks_request *r)
{
	uint8_t *copy = exact(p, len);
	ssize_t n = socks_request(copy, len, r);

	free(copy);
	return n;
}

static void
test_greeting(void **state)
{
	uint8_t in[SOCKS_GREETING_MAX + 8];
	struct socks_greeting g;

	(void)state;
	for (unsigned n = 0; n <= 255; n++) {
		memset(in, 7, sizeof(in));
		in[0] = SOCKS_VERSION;
		in[1] = (uint8_t)n;
		for (size_t len = 0; len < n + 2; len++)
			assert_int_equal(greeting(in, len, &g), SOCKS_MORE);
		assert_int_equal(greeting(in, n + 2, &g), n + 2);
		/* What follows is not its own. */
		assert_int_equal(socks_greeting(in, sizeof(in), &g), n + 2);
		assert_int_equal(g.nmethods, n);
		assert_ptr_equal(g.methods, in + 2);
	}
}

static void
test_greeting_version(void **state)
{
	struct socks_greeting g;

	(void)state;
	for (unsigned v = 0; v <= 255; v++) {
		uint8_t in[3] = { (uint8_t)v, 1, 0 };
		assert_int_equal(greeting(in, 1, &g), v == 5 ? SOCKS_MORE : SOCKS_BAD);
		assert_int_equal(g.version, v);
		assert_int_equal(greeting(in, 3, &g), v == 5 ? 3 : SOCKS_BAD);
	}
}

static void
test_auth(void **state)
{
	uint8_t in[SOCKS_AUTH_MAX + 8];
	struct socks_auth a;

	(void)state;
	for (unsigned u = 1; u <= 255; u += 127) {
		for (unsigned p = 1; p <= 255; p += 127) {
			size_t whole = 3 + u + p;
			for (size_t i = 0; i < sizeof(in); i++)
				in[i] = (uint8_t)(i * 37);
			in[0] = SOCKS_AUTH_VERSION;
			in[1] = (uint8_t)u;
			in[2 + u] = (uint8_t)p;
			for (size_t len = 0; len < whole; len++)
				assert_int_equal(auth(in, len, &a), SOCKS_MORE);
			assert_int_equal(auth(in, whole, &a), whole);
			assert_int_equal(socks_auth(in, sizeof(in), &a), whole);
			assert_int_equal(a.user_len, u);
			assert_int_equal(a.password_len, p);
			assert_ptr_equal(a.user, in + 2);
			assert_ptr_equal(a.password, in + 3 + u);
		}
	}
}

static void
test_auth_bad(void **state)
{
	static const uint8_t version[] = { 5, 1, 'u', 1, 'p' }, no_user[] = { 1, 0, 1, 'p' },
			     no_password[] = { 1, 1, 'u', 0 };
	struct socks_auth a;

	(void)state;
	assert_int_equal(auth(version, 1, &a), SOCKS_BAD);
	assert_int_equal(auth(version, sizeof(version), &a), SOCKS_BAD);
	assert_int_equal(auth(no_user, 2, &a), SOCKS_BAD);
	assert_int_equal(auth(no_user, sizeof(no_user), &a), SOCKS_BAD);
	assert_int_equal(auth(no_password, 3, &a), SOCKS_MORE);
	assert_int_equal(auth(no_password, sizeof(no_password), &a), SOCKS_BAD);
}

static void
check_request(const uint8_t *in, size_t whole, size_t size, struct socks_request *r)
{
	for (size_t len = 0; len < whole; len++)
		assert_int_equal(request(in, len, r), SOCKS_MORE);
	assert_int_equal(request(in, whole, r), whole);
	assert_int_equal(socks_request(in, size, r), whole);
	assert_int_equal(r->version, SOCKS_VERSION);
}

static void
test_request_addresses(void **state)
{
	static const uint8_t v4[] = { 5, 1, 0, 1, 192, 0, 2, 7, 0x1f, 0x90, 0xaa };
	static const uint8_t v6[] = { 5, 1, 9, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 7, 0xff, 0xfe, 0xaa };
	struct socks_request r;

	(void)state;
	check_request(v4, 10, sizeof(v4), &r);
	assert_int_equal(r.addr.family, ADDR_V4);
	assert_memory_equal(r.addr.b, v4 + 4, 4);
	assert_int_equal(r.port, 8080);
	check_request(v6, 22, sizeof(v6), &r);
	assert_int_equal(r.addr.family, ADDR_V6);
	assert_memory_equal(r.addr.b, v6 + 4, 16);
	assert_int_equal(r.port, 0xfffe);
	assert_int_equal(r.rsv, 9);
}

static void
test_request_names(void **state)
{
	uint8_t in[SOCKS_REQUEST_MAX + 8];
	struct socks_request r;

	(void)state;
	for (unsigned n = 1; n <= 255; n++) {
		memset(in, 0xc3, sizeof(in));
		memcpy(in, (uint8_t[]){ 5, 2, 0, 3, (uint8_t)n }, 5);
		check_request(in, 5 + n + 2, sizeof(in), &r);
		assert_int_equal(r.cmd, 2);
		assert_int_equal(r.name_len, n);
		assert_ptr_equal(r.name, in + 5);
		assert_int_equal(r.addr.family, ADDR_NONE);
		assert_int_equal(r.port, 0xc3c3);
	}
}

static void
test_request_bad(void **state)
{
	struct socks_request r;

	(void)state;
	for (unsigned atyp = 0; atyp <= 255; atyp++) {
		uint8_t in[6] = { 5, 1, 0, (uint8_t)atyp, 0, 0 };
		bool known = atyp == 1 || atyp == 3 || atyp == 4;
		/* Unknown: told at once, and whatever follows it. */
		assert_int_equal(request(in, 4, &r), known ? SOCKS_MORE : 4);
		assert_int_equal(r.atyp, atyp);
		if (known)
			continue;
		assert_int_equal(r.addr.family, ADDR_NONE);
		assert_int_equal(request(in, 6, &r), 4);
	}
	assert_int_equal(request((uint8_t[]){ 4 }, 1, &r), SOCKS_BAD);
	assert_int_equal(r.version, 4);
	assert_int_equal(request((uint8_t[]){ 5, 1, 0, 3, 0 }, 5, &r), SOCKS_BAD);
}

static void
test_reply(void **state)
{
	uint8_t out[SOCKS_REPLY_MAX];
	struct addrport v4 = { .a = { .family = ADDR_V4, .b = { 192, 0, 2, 7 } }, .port = 0x1234 };
	struct addrport v6 = { .a = { .family = ADDR_V6, .b = { 0x20, 1 } }, .port = 0x1234 };
	struct addrport none = { .port = 77 };

	(void)state;
	assert_int_equal(socks_reply(out, SOCKS_REP_OK, &v4), 10);
	assert_memory_equal(out, ((uint8_t[]){ 5, 0, 0, 1, 192, 0, 2, 7, 0x12, 0x34 }), 10);
	assert_int_equal(socks_reply(out, SOCKS_REP_OK, &v6), 22);
	assert_memory_equal(out, ((uint8_t[]){ 5, 0, 0, 4, 0x20, 1, 0 }), 7);
	assert_memory_equal(out + 20, ((uint8_t[]){ 0x12, 0x34 }), 2);
	assert_int_equal(socks_reply(out, SOCKS_REP_REFUSED, &none), 10);
	assert_memory_equal(out, ((uint8_t[]){ 5, 5, 0, 1, 0, 0, 0, 0, 0, 0 }), 10);
}

static void
test_rep_of(void **state)
{
	(void)state;
	for (int r = 0; r < REASON_COUNT; r++)
		assert_in_range(socks_rep_of((enum reason)r), 1, 8); /* never a success */
	assert_int_equal(socks_rep_of(REASON_RULES), 2);
	assert_int_equal(socks_rep_of(REASON_NET_UNREACHABLE), 3);
	assert_int_equal(socks_rep_of(REASON_NO_NAME), 4);
	assert_int_equal(socks_rep_of(REASON_REFUSED), 5);
	assert_int_equal(socks_rep_of(REASON_CONNECT), 6);
	assert_int_equal(socks_rep_of(REASON_COMMAND), 7);
	assert_int_equal(socks_rep_of(REASON_ATYP), 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_greeting_version),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_auth_bad),
		cmocka_unit_test(test_request_addresses),
		cmocka_unit_test(test_request_names),
		cmocka_unit_test(test_request_bad),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_rep_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
