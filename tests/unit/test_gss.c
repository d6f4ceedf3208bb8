/*
 * The framing of RFC 1961: each message split at every octet, every version, type and length.
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

#include "common/gss.h"

/* The decoder on a copy of exactly this length: a sanitizer sees any read past it. */
static ssize_t
decode(const uint8_t *p, size_t len, struct gss_header *h)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	ssize_t n = gss_header(copy, len, h);
	free(copy);
	return n;
}

static void
test_types(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		const uint8_t in[6] = { 1, (uint8_t)type, 0x12, 0x34, 0xff, 0xff };
		struct gss_header h;
		ssize_t whole = SOCKS_BAD;

		if (type >= GSS_CONTEXT && type <= GSS_DATA)
			whole = GSS_HEADER;
		else if (type == GSS_ABORT)
			whole = GSS_ABORT_LEN;
		assert_int_equal(decode(in, 0, &h), SOCKS_MORE);
		assert_int_equal(decode(in, 1, &h), SOCKS_MORE);
		for (size_t len = 2; len <= sizeof(in); len++) {
			bool more = whole > 0 && len < (size_t)whole;
			assert_int_equal(decode(in, len, &h), more ? SOCKS_MORE : whole);
		}
		if (whole > 0)
			assert_int_equal(h.type, type);
		if (whole == GSS_HEADER)
			assert_int_equal(h.len, 0x1234);
	}
}

/* Another version is none of ours from its first octet on. */
static void
test_versions(void **state)
{
	struct gss_header h;

	(void)state;
	for (unsigned v = 0; v < 256; v++) {
		const uint8_t in[4] = { (uint8_t)v, 3, 0, 0 };
		bool ours = v == GSS_VERSION;

		assert_int_equal(decode(in, 1, &h), ours ? SOCKS_MORE : SOCKS_BAD);
		assert_int_equal(decode(in, 4, &h), ours ? GSS_HEADER : SOCKS_BAD);
	}
}

static void
test_lengths(void **state)
{
	uint8_t out[GSS_HEADER];
	struct gss_header h;

	(void)state;
	for (size_t len = 0; len <= TOKEN_MAX; len++) {
		gss_header_put(out, GSS_DATA, len);
		assert_int_equal(gss_header(out, sizeof(out), &h), GSS_HEADER);
		assert_int_equal(h.len, len);
		assert_int_equal(h.type, GSS_DATA);
	}
	assert_memory_equal(out, "\1\3\xff\xff", 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
