/*
 * A request in a worker, in a world where the test plays the master and the resolver: the reply to
 * each cause, what the master is told, and how a name's addresses are tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"

static void
expect_refused(const void *in, size_t len, uint8_t rep, enum reason why, uint32_t rule)
{
	unsigned opens = world_count(MSG_OPEN);
	int fd = client_greeted();

	client_send(fd, in, len);
	client_expect_failure(fd, rep);
	world_until(world_count(MSG_CLOSE) == opens + 1);
	assert_int_equal(world_count(MSG_OPEN), opens + 1);
	const struct msg_close *c = world_last(MSG_CLOSE);
	assert_int_equal(c->reason, why);
	assert_int_equal(c->rule, rule);
}

static void
test_requests_refused(void **state)
{
	uint8_t in[300];
	size_t n;

	(void)state;
	world_start(&world_default);
	n = request_v4(in, 80);
	in[1] = 4;
	expect_refused(in, n, SOCKS_REP_COMMAND, REASON_COMMAND, RULE_NONE);
	assert_int_equal(((const struct msg_open *)world_last(MSG_OPEN))->command_raw, 4);
	in[1] = 5;
	expect_refused(in, n, SOCKS_REP_COMMAND, REASON_COMMAND, RULE_NONE);
	in[1] = 0;
	expect_refused(in, n, SOCKS_REP_COMMAND, REASON_COMMAND, RULE_NONE);
	in[1] = 1;
	in[3] = 2;
	expect_refused(in, n, SOCKS_REP_ATYP, REASON_ATYP, RULE_NONE);
	n = request_v4(in, BLOCKED_PORT);
	expect_refused(in, n, SOCKS_REP_NOT_ALLOWED, REASON_RULES, RULE_BLOCK_9);
	n = request_name(in, "example.com", BLOCKED_PORT);
	expect_refused(in, n, SOCKS_REP_NOT_ALLOWED, REASON_RULES, RULE_BLOCK_9);
	assert_int_equal(world_count(MSG_LOOKUP), 0);
	/* No name, and spellings of addresses that are none. */
	n = request_name(in, "a..b", 80);
	expect_refused(in, n, SOCKS_REP_HOST_UNREACHABLE, REASON_NO_NAME, RULE_NONE);
	n = request_name(in, "0x7f.1", 80);
	expect_refused(in, n, SOCKS_REP_HOST_UNREACHABLE, REASON_NO_NAME, RULE_NONE);
	n = request_name(in, "a\tb", 80);
	in[6] = 0;
	expect_refused(in, n, SOCKS_REP_HOST_UNREACHABLE, REASON_NO_NAME, RULE_NONE);
	assert_int_equal(world_count(MSG_ATTEMPT), 0);
	world_end();
}

/* A failure reply is whole although the client goes on sending. */
static void
test_failure_under_data(void **state)
{
	static uint8_t junk[200000];
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_asks(BLOCKED_PORT);
	assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	world_run(20);
	assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	world_run(20);
	client_expect_failure(fd, SOCKS_REP_NOT_ALLOWED);
	world_end();
}

static void
test_not_a_request(void **state)
{
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_greeted();
	client_send(fd, "\4\1", 2);
	client_expect_end(fd);
	close(fd);
	fd = client_greeted();
	client_send(fd, "\5\1\0\3\0\0\120", 7);
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	assert_int_equal(world_count(MSG_EARLY), 2);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_PROTOCOL);
	world_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

static void
test_connection_refused(void **state)
{
	uint8_t in[16];
	struct sockaddr_in at;
	int closed;

	(void)state;
	world_start(&world_default);
	closed = world_listen(&at);
	close(closed);
	expect_refused(
	    in, request_v4(in, ntohs(at.sin_port)), SOCKS_REP_REFUSED, REASON_REFUSED, RULE_NONE);
	assert_int_equal(((const struct msg_close *)world_last(MSG_CLOSE))->error, ECONNREFUSED);
	assert_int_equal(world_count(MSG_ATTEMPT), 1);
	world_end();
}

/* --- the master's answer --- */

static void
test_no_reply_before_grant(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	W.grant = false;
	fd = client_asks(target_port());
	t = target_accept();
	world_run(50);
	assert_true(client_silent(fd));
	assert_int_equal(world_count(MSG_CONNECTED), 0);
	const struct msg_attempt *a = world_last(MSG_ATTEMPT);
	struct msg_grant g = { .sid = a->sid };
	chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
	client_expect(fd, "\5\0\0\1\177\0\0\1", 8);
	assert_int_equal(world_count(MSG_CONNECTED), 1);
	/* Repeated or late, it changes nothing. */
	chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
	close(fd);
	close(t);
	world_until(W.w->sessions == 0);
	chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
	world_end();
}

static void
test_master_refuses(void **state)
{
	static const struct {
		enum reason why;
		uint8_t rep;
	} tries[] = { { REASON_LIMIT_USER, SOCKS_REP_NOT_ALLOWED },
		{ REASON_LIMIT_SESSIONS, SOCKS_REP_GENERAL },
		{ REASON_LIMIT_AUDIT, SOCKS_REP_GENERAL } };

	(void)state;
	world_start(&world_default);
	W.grant = false;
	for (unsigned i = 0; i < 3; i++) {
		int fd = client_asks(target_port());
		world_until(world_count(MSG_ATTEMPT) == i + 1);
		const struct msg_attempt *a = world_last(MSG_ATTEMPT);
		struct msg_refuse r = { .sid = a->sid, .reason = tries[i].why };
		chan_send(&W.master, MSG_REFUSE, &r, sizeof(r), -1);
		client_expect_failure(fd, tries[i].rep);
		assert_int_equal(
		    ((const struct msg_close *)world_last(MSG_CLOSE))->reason, tries[i].why);
		close(target_accept());
	}
	assert_int_equal(world_count(MSG_CONNECTED), 0);
	world_end();
}

/* The client goes while its connection waits for the grant. */
static void
test_client_gone_while_connecting(void **state)
{
	struct linger reset = { .l_onoff = 1 };
	int fd;

	(void)state;
	world_start(&world_default);
	W.grant = false;
	fd = client_asks(target_port());
	world_until(world_count(MSG_ATTEMPT) == 1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	world_end();
	assert_int_equal(
	    ((const struct msg_close *)world_last(MSG_CLOSE))->reason, REASON_CLIENT_RESET);
}

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
	unsigned n = 0;
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
	for (unsigned i = 0; i < W.nseen; i++)
		if (W.seen[i].type == MSG_ATTEMPT && n < 3)
			addr_format(&((const struct msg_attempt *)W.seen[i].payload)->target.a,
			    text[n++], ADDR_TEXT);
	assert_int_equal(n, 3);
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

/* An address that hangs costs the attempt delay, then the next one is tried beside it; when that
 * one connects, the first is closed. */
static void
test_attempts_side_by_side(void **state)
{
	static const char *const v4[] = { "127.0.0.1" }, *const v6[] = { "::1" };
	int filler[4], fd, h;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	h = hanging(AF_INET6, target_port(), filler);
	fd = client_asks_name("both.example", target_port());
	uint32_t id = lookup_id(1);
	answer(id, LOOKUP_AAAA, ANSWER_OK, v6, 1);
	answer(id, LOOKUP_A, ANSWER_OK, v4, 1);
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
	static const char *const v4[] = { "127.0.0.1" }, *const v6[] = { "::1" };
	int filler6[4], filler4[4], fd, h6, h4;
	struct sockaddr_in at;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 5);
	close(world_listen(&at));
	h6 = hanging(AF_INET6, ntohs(at.sin_port), filler6);
	h4 = hanging(AF_INET, ntohs(at.sin_port), filler4);
	fd = client_asks_name("both.example", ntohs(at.sin_port));
	uint32_t id = lookup_id(1);
	answer(id, LOOKUP_AAAA, ANSWER_OK, v6, 1);
	answer(id, LOOKUP_A, ANSWER_OK, v4, 1);
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

static void
test_egress(void **state)
{
	struct world_policy p = world_default;
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	uint8_t v6[22] = { 5, 1, 0, 4, [19] = 1, [21] = 80 };
	char text[INET_ADDRSTRLEN];
	int fd, t;

	(void)state;
	p.egress = "127.0.0.9";
	world_start(&p);
	fd = client_connected(&t);
	assert_int_equal(getpeername(t, (struct sockaddr *)&peer, &len), 0);
	inet_ntop(AF_INET, &peer.sin_addr, text, sizeof(text));
	assert_string_equal(text, "127.0.0.9");
	close(fd);
	close(t);
	world_until(W.w->sessions == 0);
	/* None of that family: not another address instead. */
	expect_refused(v6, sizeof(v6), SOCKS_REP_GENERAL, REASON_EGRESS, RULE_NONE);
	world_end();
	/* One that is not here. */
	p.egress = "192.0.2.77";
	world_start(&p);
	expect_refused(
	    v6, request_v4(v6, target_port()), SOCKS_REP_GENERAL, REASON_EGRESS, RULE_NONE);
	world_end();
}

static void
test_grant_never_comes(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	p.connect = 80;
	world_start(&p);
	W.grant = false;
	fd = client_asks(target_port());
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	assert_int_equal(world_count(MSG_CONNECTED), 0);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_refused),
		cmocka_unit_test(test_failure_under_data),
		cmocka_unit_test(test_not_a_request),
		cmocka_unit_test(test_connection_refused),
		cmocka_unit_test(test_no_reply_before_grant),
		cmocka_unit_test(test_master_refuses),
		cmocka_unit_test(test_client_gone_while_connecting),
		cmocka_unit_test(test_reset_behind_the_request),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_name_without_aaaa),
		cmocka_unit_test(test_name_fails),
		cmocka_unit_test(test_name_addresses_blocked),
		cmocka_unit_test(test_families_in_turn),
		cmocka_unit_test(test_name_never_answered),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_attempts_side_by_side),
		cmocka_unit_test(test_the_first_attempt_after_all),
		cmocka_unit_test(test_egress),
		cmocka_unit_test(test_grant_never_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
