/*
 * The UDP request header (RFC 1928 section 7), as the library and the gateway read and write it:
 * every length, every octet cut off, junk, and the buffer space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* after those that it needs */
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>

#include "common/datagram.h"

/* A copy on the heap of exactly this length: a sanitizer sees any read past it. */
static size_t
parse(const uint8_t *p, size_t len, struct sallyport_udp *u)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	size_t n;

	assert_non_null(copy);
	memcpy(copy, p, len);
	errno = 0;
	n = sallyport_udp_parse(copy, len, u);
	assert_int_equal(errno, n == 0 ? EBADMSG : 0);
	if (n != 0) { /* what it points to, in octets that stay */
		assert_ptr_equal(u->host + u->host_len + 2, copy + n);
		assert_ptr_equal(u->data, copy + n);
		u->host = p + (u->host - copy);
		u->data = p + n;
	}
	free(copy);
	return n;
}

static void
test_parse_ipv4(void **state)
{
	const uint8_t in[] = { 0, 0, 0, 1, 192, 0, 2, 1, 0x12, 0x34, 'h', 'i' };
	struct sallyport_udp u;

	(void)state;
	for (size_t len = 0; len < 10; len++)
		assert_int_equal(parse(in, len, &u), 0);
	assert_int_equal(parse(in, 10, &u), 10);
	assert_int_equal(u.data_len, 0);
	assert_int_equal(parse(in, sizeof(in), &u), 10);
	assert_int_equal(u.atyp, SALLYPORT_IPV4);
	assert_int_equal(u.frag, 0);
	assert_int_equal(u.host_len, 4);
	assert_memory_equal(u.host, in + 4, 4);
	assert_int_equal(u.port, 0x1234);
	assert_int_equal(u.data_len, 2);
}

static void
test_parse_ipv6(void **state)
{
	uint8_t in[24] = { 0, 0, 0x83, 4, 0x20, 0x01 };
	struct sallyport_udp u;

	(void)state;
	in[20] = 0xff;
	in[21] = 0xfe;
	for (size_t len = 0; len < 22; len++)
		assert_int_equal(parse(in, len, &u), 0);
	assert_int_equal(parse(in, sizeof(in), &u), 22);
	assert_int_equal(u.atyp, SALLYPORT_IPV6);
	assert_int_equal(u.frag, 0x83);
	assert_int_equal(u.host_len, 16);
	assert_int_equal(u.port, 0xfffe);
	assert_int_equal(u.data_len, 2);
}

static void
test_parse_names(void **state)
{
	uint8_t in[SALLYPORT_HEADER_MAX + 3];
	struct sallyport_udp u;

	(void)state;
	for (unsigned n = 0; n <= 255; n++) {
		memset(in, 'x', sizeof(in));
		memcpy(in, "\0\0\0\3", 4);
		in[4] = (uint8_t)n;
		for (size_t len = 0; len < 7 + n; len++)
			assert_int_equal(parse(in, len, &u), 0);
		assert_int_equal(parse(in, 7 + n + 3, &u), n == 0 ? 0 : 7 + n);
		assert_int_equal(u.host_len, n);
		assert_int_equal(u.data_len, n == 0 ? 0 : 3);
	}
}

static void
test_parse_reserved(void **state)
{
	struct sallyport_udp u;

	(void)state;
	for (unsigned rsv = 0; rsv <= 0xffff; rsv += rsv < 256 ? 1 : 251) {
		uint8_t in[] = { (uint8_t)(rsv >> 8), (uint8_t)rsv, 0, 1, 1, 2, 3, 4, 0, 53 };
		assert_int_equal(parse(in, sizeof(in), &u), rsv == 0 ? 10 : 0);
	}
}

static void
test_parse_atyp(void **state)
{
	uint8_t in[64] = { 0, 0, 0, 0, 4 };
	struct sallyport_udp u;

	(void)state;
	for (unsigned atyp = 0; atyp <= 255; atyp++) {
		in[3] = (uint8_t)atyp;
		assert_int_equal(
		    parse(in, sizeof(in), &u) != 0, atyp == 1 || atyp == 3 || atyp == 4);
		if (atyp != 1 && atyp != 3 && atyp != 4)
			assert_null(u.data);
	}
}

/* FRAG is passed on as it is: what it means is the queue's. */
static void
test_parse_frag(void **state)
{
	struct sallyport_udp u;

	(void)state;
	for (unsigned frag = 0; frag <= 255; frag++) {
		uint8_t in[] = { 0, 0, (uint8_t)frag, 1, 1, 2, 3, 4, 0, 53 };
		assert_int_equal(parse(in, sizeof(in), &u), 10);
		assert_int_equal(u.frag, frag);
	}
}

static void
test_write(void **state)
{
	static const uint8_t name[255] = { 'n' };
	uint8_t out[SALLYPORT_HEADER_MAX];
	struct sallyport_udp u = { .host = name, .frag = 0x81, .port = 0xabcd }, back;

	(void)state;
	for (unsigned atyp = 0; atyp <= 255; atyp++) {
		for (unsigned n = 0; n <= 255; n++) {
			size_t want = sallyport_udp_header_len((int)atyp, n);
			u.atyp = (uint8_t)atyp;
			u.host_len = (uint8_t)n;
			memset(out, 0xee, sizeof(out));
			errno = 0;
			assert_int_equal(sallyport_udp_header(out, sizeof(out), &u), want);
			if (want == 0) {
				assert_int_equal(errno, EINVAL);
				continue;
			}
			assert_int_equal(sallyport_udp_header(out, want - 1, &u), 0);
			assert_int_equal(errno, ENOBUFS);
			assert_int_equal(parse(out, want, &back), want);
			assert_int_equal(back.frag, 0x81);
			assert_int_equal(back.atyp, atyp);
			assert_int_equal(back.host_len, n);
			assert_memory_equal(back.host, name, n);
			assert_int_equal(back.port, 0xabcd);
		}
	}
	u = (struct sallyport_udp){ .atyp = SALLYPORT_IPV4, .host_len = 4 };
	assert_int_equal(sallyport_udp_header(out, sizeof(out), &u), 0);
}

static void
test_header_lengths(void **state)
{
	(void)state;
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_IPV4, 4), 10);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_IPV4, 16), 0);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_IPV6, 16), 22);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_IPV6, 4), 0);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_NAME, 0), 0);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_NAME, 1), 8);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_NAME, 255), SALLYPORT_HEADER_MAX);
	assert_int_equal(sallyport_udp_header_len(SALLYPORT_NAME, 256), 0);
	assert_int_equal(sallyport_udp_header_len(2, 4), 0);
	assert_int_equal(sallyport_udp_header_len(-1, 4), 0);
}

static void
test_socket_addresses(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(53) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(443) };
	struct sockaddr un = { .sa_family = AF_UNIX };
	struct sockaddr_storage ss;
	struct sallyport_udp u;
	socklen_t len;

	(void)state;
	in.sin_addr.s_addr = htonl(0xc0000201);
	in6.sin6_addr.s6_addr[15] = 9;
	assert_int_equal(sallyport_udp_from(&u, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(u.atyp, SALLYPORT_IPV4);
	assert_int_equal(u.port, 53);
	assert_int_equal(sallyport_udp_to(&u, &ss, &len), 0);
	assert_int_equal(len, sizeof(in));
	assert_memory_equal(&ss, &in, sizeof(in));

	assert_int_equal(sallyport_udp_from(&u, (struct sockaddr *)&in6, sizeof(in6)), 0);
	assert_int_equal(u.atyp, SALLYPORT_IPV6);
	assert_int_equal(sallyport_udp_to(&u, &ss, &len), 0);
	assert_int_equal(len, sizeof(in6));
	assert_memory_equal(&ss, &in6, sizeof(in6));

	assert_int_equal(sallyport_udp_from(&u, (struct sockaddr *)&in, sizeof(in) - 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(sallyport_udp_from(&u, (struct sockaddr *)&in6, sizeof(in6) - 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(sallyport_udp_from(&u, &un, sizeof(un)), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
	assert_int_equal(sallyport_udp_from(&u, &un, 0), -1);
	assert_int_equal(errno, EINVAL);
	u = (struct sallyport_udp){ .atyp = SALLYPORT_NAME, .host_len = 1 };
	assert_int_equal(sallyport_udp_to(&u, &ss, &len), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
}

/* "MUST report an available buffer space [...] that is smaller than the actual space" */
static void
test_space(void **state)
{
	static const struct {
		int atyp;
		size_t less;
	} rows[] = { { SALLYPORT_IPV4, 10 }, { SALLYPORT_NAME, 262 }, { SALLYPORT_IPV6, 20 } };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		int atyp = rows[i].atyp;
		size_t less = rows[i].less;
		assert_int_equal(sallyport_udp_space(65507, atyp, 0), 65507 - less);
		assert_int_equal(sallyport_udp_space(65507, atyp, 60), 65507 - less - 60);
		assert_int_equal(sallyport_udp_space(less + 60, atyp, 60), 0);
		assert_int_equal(sallyport_udp_space(less + 61, atyp, 60), 1);
		assert_int_equal(sallyport_udp_space(less + 59, atyp, 60), 0);
		assert_int_equal(sallyport_udp_space(less - 1, atyp, 0), 0);
		assert_int_equal(sallyport_udp_space(0, atyp, 0), 0);
		assert_int_equal(sallyport_udp_space(SIZE_MAX, atyp, 0), SIZE_MAX - less);
		assert_int_equal(sallyport_udp_space(65507, atyp, SIZE_MAX), 0);
	}
	errno = 0;
	assert_int_equal(sallyport_udp_space(65507, 2, 0), 0);
	assert_int_equal(errno, EINVAL);
}

/* The gateway's own view of it. */
static void
test_gateway(void **state)
{
	const uint8_t v4[] = { 0, 0, 0, 1, 192, 0, 2, 1, 0, 53, 'q' };
	const uint8_t name[] = { 0, 0, 1, 3, 1, 'h', 0, 53 };
	struct addrport from = { .a = { .family = ADDR_V6, .b = { 0x20, 1 } }, .port = 53 };
	uint8_t out[DATAGRAM_REPLY_MAX];
	struct datagram d;

	(void)state;
	assert_int_equal(datagram_parse(v4, sizeof(v4), &d), 0);
	assert_int_equal(d.addr.family, ADDR_V4);
	assert_memory_equal(d.addr.b, v4 + 4, 4);
	assert_int_equal(d.head_len, 10);
	assert_int_equal(d.data_len, 1);
	assert_null(d.name);
	assert_int_equal(datagram_parse(v4, 9, &d), -1);
	assert_int_equal(datagram_parse(name, sizeof(name), &d), 0);
	assert_int_equal(d.addr.family, ADDR_NONE);
	assert_int_equal(d.name_len, 1);
	assert_int_equal(d.frag, 1);
	assert_int_equal(d.port, 53);

	assert_int_equal(datagram_header(out, &from), 22);
	assert_int_equal(datagram_parse(out, 22, &d), 0);
	assert_int_equal(addr_cmp(&d.addr, &from.a), 0);
	from.a = (struct addr){ .family = ADDR_V4, .b = { 127, 0, 0, 1 } };
	assert_int_equal(datagram_header(out, &from), 10);
	assert_int_equal(datagram_parse(out, 10, &d), 0);
	assert_int_equal(addr_cmp(&d.addr, &from.a), 0);
	assert_int_equal(d.port, 53);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_ipv4),
		cmocka_unit_test(test_parse_ipv6),
		cmocka_unit_test(test_parse_names),
		cmocka_unit_test(test_parse_reserved),
		cmocka_unit_test(test_parse_atyp),
		cmocka_unit_test(test_parse_frag),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_header_lengths),
		cmocka_unit_test(test_socket_addresses),
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_gateway),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
