/*
 * A session's beginning and end, in a world where the test plays the master: the greeting, limits,
 * policies that change, listeners that go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"

/* --- the greeting --- */

static void
test_octet_by_octet(void **state)
{
	uint8_t in[32] = "\5\2\2\0", reply[10];
	size_t n = 4;
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_new();
	n += request_v4(in + n, target_port());
	for (size_t i = 0; i < n; i++) {
		client_send(fd, in + i, 1);
		world_run(1);
	}
	client_expect(fd, "\5\0", 2);
	client_read(fd, reply, sizeof(reply));
	t = target_accept();
	/* BND.ADDR and BND.PORT are those that the target sees. */
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	assert_int_equal(getpeername(t, (struct sockaddr *)&peer, &len), 0);
	assert_memory_equal(reply, "\5\0\0\1\177\0\0\1", 8);
	assert_memory_equal(reply + 8, &peer.sin_port, 2);
	const struct msg_connected *c = world_last(MSG_CONNECTED);
	assert_int_equal(c->outgoing.port, ntohs(peer.sin_port));
	assert_int_equal(c->target.port, target_port());
	const struct msg_attempt *a = world_last(MSG_ATTEMPT);
	assert_int_equal(a->rule, RULE_PASS_ANY);
	close(fd);
	close(t);
	world_end();
}

static void
test_coalesced(void **state)
{
	uint8_t in[64] = "\5\1\0";
	size_t n = 3;
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_new();
	n += request_v4(in + n, target_port());
	memcpy(in + n, "first data", 10);
	client_send(fd, in, n + 10);
	client_expect(fd, "\5\0\5\0\0\1\177\0\0\1", 10);
	t = target_accept();
	client_expect(t, "first data", 10);
	client_send(t, "answer", 6);
	client_read(fd, in, 2); /* BND.PORT */
	client_expect(fd, "answer", 6);
	close(fd);
	close(t);
	world_end();
	const struct msg_close *c = world_last(MSG_CLOSE);
	assert_int_equal(c->up, 10);
	assert_int_equal(c->down, 6);
}

/* A large piece of first data, more than the handshake's buffer, arrives whole too. */
static void
test_much_first_data(void **state)
{
	static uint8_t in[40000], got[40000];
	size_t n = 3;
	int fd, t;

	(void)state;
	world_start(&world_default);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 31);
	memcpy(in, "\5\1\0", 3);
	n += request_v4(in + n, target_port());
	fd = client_new();
	client_send(fd, in, sizeof(in));
	shutdown(fd, SHUT_WR);
	t = target_accept();
	client_read(t, got, sizeof(in) - n);
	assert_memory_equal(got, in + n, sizeof(in) - n);
	client_expect_end(t);
	close(fd);
	close(t);
	world_end();
}

static void
test_no_method(void **state)
{
	static const struct {
		const char *in;
		size_t len;
	} tries[] = { { "\5\0", 2 }, { "\5\1\1", 3 }, { "\5\2\2\377", 4 } };

	(void)state;
	world_start(&world_default);
	for (unsigned i = 0; i < 3; i++) {
		int fd = client_new();
		client_send(fd, tries[i].in, tries[i].len);
		client_expect(fd, "\5\377", 2);
		client_expect_end(fd);
		close(fd);
	}
	world_until(world_count(MSG_EARLY) == 3);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_NO_METHOD);
	world_end();
}

/* CVE-2024-54662: where the rules ask for a password, nothing weaker is taken. */
static void
test_no_weaker_method(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	p.methods = METHOD_BIT(METHOD_PASSWORD);
	world_start(&p);
	fd = client_new();
	client_send(fd, "\5\1\0", 3);
	client_expect(fd, "\5\377", 2);
	client_expect_end(fd);
	close(fd);
	world_end();
}

static void
test_version(void **state)
{
	const struct msg_early *e;
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_new();
	client_send(fd, "\6", 1);
	client_expect_end(fd);
	close(fd);
	e = world_last(MSG_EARLY);
	assert_int_equal(e->reason, REASON_VERSION);
	assert_int_equal(e->detail, 6);
	world_end();
}

static void
test_source_refused(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	p.refuse_source = true;
	world_start(&p);
	fd = client_new();
	world_until(world_count(MSG_EARLY) == 1);
	assert_int_equal(((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_SOURCE);
	client_expect_end(fd);
	assert_int_equal(W.w->sessions, 0);
	close(fd);
	world_end();
}

static void
test_handshake_timeout(void **state)
{
	struct world_policy p = world_default;
	int silent, slow;

	(void)state;
	p.handshake = 60;
	world_start(&p);
	silent = client_new();
	slow = client_new();
	/* The deadline is absolute: an octet now and then does not move it. */
	for (unsigned i = 0; i < 5; i++) {
		(void)send(slow, "\5\377\0\0\0" + i, 1, MSG_NOSIGNAL);
		world_run(20);
	}
	client_expect_end(silent);
	client_expect_end(slow);
	assert_int_equal(world_count(MSG_EARLY), 2);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_HANDSHAKE);
	close(silent);
	close(slow);
	world_end();
}

/* While `handshakes` are under way no one else is accepted; then they are. */
static void
test_handshake_limit(void **state)
{
	struct world_policy p = world_default;
	int fd[3];

	(void)state;
	p.handshakes = 2;
	world_start(&p);
	for (unsigned i = 0; i < 3; i++)
		fd[i] = client_new();
	world_run(30);
	assert_int_equal(W.w->handshakes, 2);
	client_send(fd[2], "\5\1\0", 3);
	world_run(30);
	assert_true(client_silent(fd[2]));
	close(fd[0]);
	client_expect(fd[2], "\5\0", 2);
	close(fd[1]);
	close(fd[2]);
	world_end();
}

/* --- policies, listeners, the end --- */

/* The older image is acknowledged away only once no session decides by it. */
static void
test_policy_ack(void **state)
{
	struct world_policy p = world_default;
	int fd, t;

	(void)state;
	world_start(&world_default);
	W.grant = false;
	fd = client_asks(target_port());
	world_until(world_count(MSG_ATTEMPT) == 1);
	p.version = 2;
	world_policy(&p);
	p.version = 3;
	world_policy(&p);
	world_run(30);
	assert_int_equal(world_count(MSG_POLICY_ACK), 1);
	const struct msg_attempt *a = world_last(MSG_ATTEMPT);
	struct msg_grant g = { .sid = a->sid };
	chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
	world_until(world_count(MSG_POLICY_ACK) == 2);
	assert_int_equal(((const struct msg_policy_ack *)world_last(MSG_POLICY_ACK))->version, 3);
	/* The session goes on, and its end names the version in force. */
	t = target_accept();
	close(t);
	close(fd);
	world_until(world_count(MSG_CLOSE) == 1);
	assert_int_equal(((const struct msg_close *)world_last(MSG_CLOSE))->version, 3);
	world_end();
}

static void
test_policy_during_handshake(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_new();
	world_until(W.w->sessions == 1);
	p.version = 2;
	p.methods = METHOD_BIT(METHOD_PASSWORD);
	world_policy(&p);
	world_until(world_count(MSG_POLICY_ACK) == 2);
	client_send(fd, "\5\1\0", 3);
	client_expect(fd, "\5\377", 2);
	close(fd);
	world_end();
}

static void
test_unlisten_drains(void **state)
{
	struct msg_unlisten m = { .index = 3 };
	int fd[5];

	(void)state;
	world_start(&world_default);
	close(W.listener);
	W.listener = -1;
	for (unsigned i = 0; i < 5; i++)
		fd[i] = client_new();
	chan_send(&W.master, MSG_UNLISTEN, &m, sizeof(m), -1);
	for (unsigned i = 0; i < 5; i++) {
		client_send(fd[i], "\5\1\0", 3);
		client_expect(fd[i], "\5\0", 2);
		close(fd[i]);
	}
	/* And the door is shut. */
	int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(late, (struct sockaddr *)&W.addr, sizeof(W.addr)), -1);
	close(late);
	world_end();
}

static void
test_stop(void **state)
{
	int fd[2], t;

	(void)state;
	world_start(&world_default);
	fd[0] = client_connected(&t);
	fd[1] = client_greeted();
	chan_send(&W.master, MSG_STOP, NULL, 0, -1);
	assert_int_equal(loop_run(W.loop), 0); /* the worker stops it */
	world_run(10);
	assert_int_equal(W.w->sessions, 0);
	const struct msg_close *c = world_last(MSG_CLOSE);
	assert_int_equal(c->reason, REASON_SHUTDOWN);
	client_expect_end(t);
	for (unsigned i = 0; i < 2; i++)
		close(fd[i]);
	close(t);
	world_end();
}

/* --- when the worker can take no one --- */

/* Out of descriptors: the client waits in the queue, and the loop sleeps. */
static void
test_out_of_descriptors(void **state)
{
	struct rlimit was, none;
	struct deadline *pause;
	int fd;

	(void)state;
	world_start(&world_default);
	pause = &W.w->accept_pause;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	fd = client_new();
	none = was;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned i = 0; i < WORLD_WAIT_MS && !deadline_armed(pause); i++)
		world_run(1);
	bool paused = deadline_armed(pause) && !W.w->accepting;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_true(paused);
	assert_int_equal(W.w->sessions, 0);
	client_send(fd, "\5\1\0", 3);
	client_expect(fd, "\5\0", 2);
	close(fd);
	world_end();
}

/* A master that does not read: no one is accepted and no client read, until it does. */
static void
test_master_full(void **state)
{
	struct addrport a = { .a.family = ADDR_V4 };
	int fd, late;

	(void)state;
	world_start(&world_default);
	fd = client_new();
	world_until(W.w->sessions == 1);
	chan_pause(&W.master, true);
	while (!chan_full(&W.w->master)) {
		for (unsigned i = 0; i < 4096; i++)
			link_early(W.w, &a, &a, REASON_SOURCE, 0);
		chan_flush(&W.w->master);
	}
	W.count_only = true;
	client_send(fd, "\5\1\0", 3);
	late = client_new();
	world_run(30);
	assert_true(client_silent(fd));
	assert_int_equal(W.w->sessions, 1);
	chan_pause(&W.master, false);
	client_expect(fd, "\5\0", 2);
	client_send(late, "\5\1\0", 3);
	client_expect(late, "\5\0", 2);
	close(fd);
	close(late);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_octet_by_octet),
		cmocka_unit_test(test_coalesced),
		cmocka_unit_test(test_much_first_data),
		cmocka_unit_test(test_no_method),
		cmocka_unit_test(test_no_weaker_method),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_source_refused),
		cmocka_unit_test(test_handshake_timeout),
		cmocka_unit_test(test_handshake_limit),
		cmocka_unit_test(test_policy_ack),
		cmocka_unit_test(test_policy_during_handshake),
		cmocka_unit_test(test_unlisten_drains),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_out_of_descriptors),
		cmocka_unit_test(test_master_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
