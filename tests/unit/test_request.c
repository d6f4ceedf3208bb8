/*
 * A request in a worker, in a world where the test plays the master: the reply to each cause, and
 * what the master is told.
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

/* --- place and time --- */

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
		cmocka_unit_test(test_egress),
		cmocka_unit_test(test_grant_never_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
