/*
 * How a worker connects, in a world where the test plays the master and the resolver: a name's
 * addresses, which of them are tried, and in what time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"

/* --- names --- */

static void
answer(uint32_t id, uint8_t family, enum answer_status status, const char *const *addrs, uint8_t n)
{
	struct msg_answer m = {
		.id = id, .family = family, .status = (uint8_t)status, .naddr = n, .ttl = 0
	};
	struct addr a[ANSWER_ADDRS];

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(addr_parse(addrs[i], &a[i]), 0);
	assert_int_equal(
	    chan_send_tail(&W.resolver, MSG_ANSWER, &m, sizeof(m), a, n * sizeof(a[0]), -1), 0);
}

static uint32_t
lookup_id(unsigned n)
{
	world_until(world_count(MSG_LOOKUP) == n);
	return ((const struct msg_lookup *)world_last(MSG_LOOKUP))->id;
}

static int
client_asks_name(const char *name, uint16_t port)
{
	uint8_t in[300];
	int fd = client_greeted();

	client_send(fd, in, request_name(in, name, port));
	return fd;
}

/* The addresses that the master was told of, in turn; how many. */
static unsigned
attempts_told(char (*text)[ADDR_TEXT], unsigned room)
{
	unsigned n = 0;

	for (unsigned i = 0; i < W.nseen; i++) {
		const struct msg_attempt *a = (const void *)W.seen[i].payload;

		if (W.seen[i].type != MSG_ATTEMPT)
			continue;
		assert_true(n < room);
		addr_format(&a->target.a, text[n++], ADDR_TEXT);
	}
	return n;
}

/* The request and a reset in one event: its end is not told again. */
static void
test_reset_behind_the_request(void **state)
{
	struct linger l = { .l_onoff = 1 };
	int fd;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("never.example.com", 80);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
	world_run(20); /* long before any time-out */
	assert_int_equal(W.w->sessions, 0);
	world_end();
}

/* As many addresses as answers carry, each of them tried: families in turn, RFC 8305 section 4. */
static void
test_all_that_answers_carry(void **state)
{
	char text[ANSWER_ADDRS][INET_ADDRSTRLEN];
	const char *v4[ANSWER_ADDRS], *v6[ANSWER_ADDRS];
	char tried[2 * ANSWER_ADDRS][ADDR_TEXT];
	int fd;

	(void)state;
	for (unsigned i = 0; i < ANSWER_ADDRS; i++) {
		v4[i] = text[i];
		v6[i] = "::1";
		snprintf(text[i], sizeof(text[i]), "127.0.1.%u", i + 1);
	}
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("many.example.com", 1); /* where nobody listens */
	uint32_t id = lookup_id(1);
	answer(id, LOOKUP_A, ANSWER_OK, v4, ANSWER_ADDRS);
	answer(id, LOOKUP_AAAA, ANSWER_OK, v6, ANSWER_ADDRS);
	client_expect(fd, "\5\5", 2);
	assert_int_equal(attempts_told(tried, 2 * ANSWER_ADDRS), 2 * ANSWER_ADDRS);
	for (unsigned i = 0; i < 2 * ANSWER_ADDRS; i++)
		assert_string_equal(tried[i], (i % 2 == 0 ? v6 : v4)[i / 2]);
	close(fd);
	world_end();
}

static void
test_name(void **state)
{
	static const char *const v4[] = { "127.0.0.1" };
	uint8_t reply[10];
	int fd, t;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("WWW.Example.COM.", target_port());
	uint32_t id = lookup_id(1);
	const struct msg_lookup *l = world_last(MSG_LOOKUP);
	assert_int_equal(l->families, LOOKUP_A | LOOKUP_AAAA);
	assert_memory_equal(l + 1, "www.example.com", 15);
	answer(id, LOOKUP_A, ANSWER_OK, v4, 1);
	/* A alone waits a little for AAAA (RFC 8305 section 3). */
	world_run(20);
	assert_int_equal(world_count(MSG_ATTEMPT), 0);
	answer(id, LOOKUP_AAAA, ANSWER_NO_DATA, NULL, 0);
	client_read(fd, reply, sizeof(reply));
	assert_int_equal(reply[1], 0);
	const struct msg_open *o = world_last(MSG_OPEN);
	assert_int_equal(o->name_len, 16);
	assert_memory_equal(o + 1, "WWW.Example.COM.", 16);
	t = target_accept();
	close(fd);
	close(t);
	world_end();
}

/* AAAA that never comes holds A up no longer than the resolution delay. */
static void
test_name_without_aaaa(void **state)
{
	static const char *const v4[] = { "127.0.0.1" };
	uint8_t reply[10];
	int fd;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("www.example.com", target_port());
	answer(lookup_id(1), LOOKUP_A, ANSWER_OK, v4, 1);
	client_read(fd, reply, sizeof(reply));
	assert_int_equal(reply[1], 0);
	close(target_accept());
	close(fd);
	world_end();
}

static void
test_name_fails(void **state)
{
	static const struct {
		enum answer_status a, aaaa;
		enum reason why;
	} tries[] = { { ANSWER_NO_NAME, ANSWER_NO_NAME, REASON_NO_NAME },
		{ ANSWER_NO_DATA, ANSWER_NO_DATA, REASON_NO_NAME },
		{ ANSWER_FAILED, ANSWER_NO_DATA, REASON_NAME_FAILED } };
	static const char *const names[] = { "one.example", "two.example", "three.example" };

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	for (unsigned i = 0; i < 3; i++) {
		int fd = client_asks_name(names[i], 80);
		uint32_t id = lookup_id(i + 1);
		answer(id, LOOKUP_AAAA, tries[i].aaaa, NULL, 0);
		answer(id, LOOKUP_A, tries[i].a, NULL, 0);
		client_expect_failure(fd, SOCKS_REP_HOST_UNREACHABLE);
		assert_int_equal(
		    ((const struct msg_close *)world_last(MSG_CLOSE))->reason, tries[i].why);
	}
	world_end();
}

/* Addresses that the rules do not let pass are skipped, never connected to: the multicast ones here
 * are special and not named. Of several failures the most telling is told. */
static void
test_name_addresses_blocked(void **state)
{
	static const char *const bad[] = { "224.0.0.1", "169.254.1.1", "224.0.0.2" };
	static const char *const mixed[] = { "224.0.0.1", "127.0.0.1", "224.0.0.2" };
	int fd;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("bad.example", 80);
	uint32_t id = lookup_id(1);
	answer(id, LOOKUP_AAAA, ANSWER_NO_DATA, NULL, 0);
	answer(id, LOOKUP_A, ANSWER_OK, bad, 3);
	client_expect_failure(fd, SOCKS_REP_NOT_ALLOWED);
	assert_int_equal(world_count(MSG_ATTEMPT), 0);
	fd = client_asks_name("mixed.example", target_port());
	id = lookup_id(2);
	answer(id, LOOKUP_AAAA, ANSWER_NO_DATA, NULL, 0);
	answer(id, LOOKUP_A, ANSWER_OK, mixed, 3);
	client_expect(fd, "\5\0", 2);
	assert_int_equal(world_count(MSG_ATTEMPT), 1);
	close(fd);
	close(target_accept());
	world_end();
}

/* Two families, all refused by the target: each is tried once, IPv6 first and in turn. */
static void
test_families_in_turn(void **state)
{
	static const char *const v4[] = { "127.0.0.2", "127.0.0.3" }, *const v6[] = { "::1" };
	struct sockaddr_in at;
	char text[3][ADDR_TEXT];
	int fd;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	close(world_listen(&at));
	fd = client_asks_name("both.example", ntohs(at.sin_port));
	uint32_t id = lookup_id(1);
	answer(id, LOOKUP_A, ANSWER_OK, v4, 2);
	answer(id, LOOKUP_AAAA, ANSWER_OK, v6, 1);
	client_expect_failure(fd, SOCKS_REP_REFUSED);
	assert_int_equal(attempts_told(text, 3), 3);
	assert_string_equal(text[0], "::1");
	assert_string_equal(text[1], "127.0.0.2");
	assert_string_equal(text[2], "127.0.0.3");
	assert_int_equal(world_count(MSG_OPEN), 1);
	world_end();
}

/* A resolver that never answers costs the session its connect time-out, and no more. */
static void
test_name_never_answered(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	p.connect = 80;
	world_start(&p);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	fd = client_asks_name("silent.example", 80);
	client_expect_failure(fd, SOCKS_REP_HOST_UNREACHABLE);
	assert_int_equal(
	    ((const struct msg_close *)world_last(MSG_CLOSE))->reason, REASON_NAME_FAILED);
	world_end();
}

/* --- time and place --- */

/* A listening socket on this address whose queue is full: connections to it hang. */
static int
hanging(int family, uint16_t port, int filler[4])
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port) };
	bool six = family == AF_INET6;
	const struct sockaddr *at = six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t len = six ? sizeof(v6) : sizeof(v4);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, at, len), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		filler[i] = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(filler[i], at, len);
	}
	world_run(20);
	return fd;
}

static void
hanging_end(int fd, const int filler[4])
{
	close(fd);
	for (unsigned i = 0; i < 4; i++)
		close(filler[i]);
}

static void
test_connect_timeout(void **state)
{
	struct world_policy p = world_default;
	int filler[4], fd, h;

	(void)state;
	p.connect = 400;
	world_start(&p);
	struct sockaddr_in at;
	close(world_listen(&at));
	h = hanging(AF_INET, ntohs(at.sin_port), filler);
	fd = client_asks(ntohs(at.sin_port));
	world_run(60);
	assert_true(client_silent(fd));
	client_expect_failure(fd, SOCKS_REP_TTL_EXPIRED);
	assert_int_equal(((const struct msg_close *)world_last(MSG_CLOSE))->reason, REASON_CONNECT);
	hanging_end(h, filler);
	world_end();
}

/* A client that asks for a name of two addresses, both on this machine. */
static int
client_asks_both(uint16_t port)
{
	static const char *const v4[] = { "127.0.0.1" }, *const v6[] = { "::1" };
	int fd = client_asks_name("both.example", port);
	uint32_t id = lookup_id(1);

	answer(id, LOOKUP_AAAA, ANSWER_OK, v6, 1);
	answer(id, LOOKUP_A, ANSWER_OK, v4, 1);
	return fd;
}

/* An address that hangs costs the attempt delay, then the next one is tried beside it; when that
 * one connects, the first is closed. */
static void
test_attempts_side_by_side(void **state)
{
	int filler[4], fd, h;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	h = hanging(AF_INET6, target_port(), filler);
	fd = client_asks_both(target_port());
	world_run(150);
	assert_int_equal(world_count(MSG_ATTEMPT), 1);
	client_expect(fd, "\5\0\0\1\177\0\0\1", 8);
	assert_int_equal(world_count(MSG_ATTEMPT), 2);
	const struct msg_connected *c = world_last(MSG_CONNECTED);
	assert_int_equal(c->target.a.family, ADDR_V4);
	close(fd);
	close(target_accept());
	hanging_end(h, filler);
	world_end();
}

/* The first attempt connects after all, once the second is under way: the master, which records the
 * last that it was told of, is told of the first again. */
static void
test_the_first_attempt_after_all(void **state)
{
	int filler6[4], filler4[4], fd, h6, h4;
	struct sockaddr_in at;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	close(world_listen(&at));
	h6 = hanging(AF_INET6, ntohs(at.sin_port), filler6);
	h4 = hanging(AF_INET, ntohs(at.sin_port), filler4);
	fd = client_asks_both(ntohs(at.sin_port));
	world_until(world_count(MSG_ATTEMPT) == 2);
	/* Room in its queue, which others wait for too: one of its next SYNs is answered. */
	assert_int_equal(fcntl(h6, F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < WORLD_WAIT_MS / 5 && client_silent(fd); i++) {
		close(accept(h6, NULL, NULL));
		world_run(5);
	}
	client_expect(fd, "\5\0\0", 3);
	assert_int_equal(world_count(MSG_ATTEMPT), 3);
	assert_int_equal(
	    ((const struct msg_attempt *)world_last(MSG_ATTEMPT))->target.a.family, ADDR_V6);
	assert_int_equal(
	    ((const struct msg_connected *)world_last(MSG_CONNECTED))->target.a.family, ADDR_V6);
	close(fd);
	hanging_end(h6, filler6);
	hanging_end(h4, filler4);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_behind_the_request),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_all_that_answers_carry),
		cmocka_unit_test(test_name_without_aaaa),
		cmocka_unit_test(test_name_fails),
		cmocka_unit_test(test_name_addresses_blocked),
		cmocka_unit_test(test_families_in_turn),
		cmocka_unit_test(test_name_never_answered),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_attempts_side_by_side),
		cmocka_unit_test(test_the_first_attempt_after_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
