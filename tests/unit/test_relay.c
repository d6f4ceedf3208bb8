/*
 * The relay: every octet in order, half-close both ways, time-outs, resets, and the memory that a
 * peer costs that never reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"
#include "worker/flow.h"

#define MUCH (8u * 1024 * 1024)

static const struct session *
the_session(void)
{
	for (unsigned i = 0; i < WORLD_SLOTS; i++)
		if (W.w->slots[i].state == SESSION_RELAY)
			return &W.w->slots[i];
	fail_msg("no session is relayed");
	return NULL;
}

static const struct msg_close *
ended(void)
{
	world_until(world_count(MSG_CLOSE) == 1);
	return world_last(MSG_CLOSE);
}

static void
reset(int fd)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

/* The octet at a place of the stream; no period that a buffer's size could hide. */
static uint8_t
octet(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

/* The n octets from a place of the stream on. */
static void
put_octets(uint8_t *buf, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = octet(at + i);
}

static void
expect_octets(const uint8_t *buf, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != octet(at + i))
			fail_msg("octet %zu is wrong", at + i);
}

/* Sends from one end what the other takes, the reader slow at first; checks every octet. */
static void
stream(int from, int to, size_t len, bool slow)
{
	static uint8_t buf[50000];
	size_t sent = 0, got = 0;

	for (unsigned turns = 0; got < len && turns < 40000; turns++) {
		size_t n = len - sent < sizeof(buf) ? len - sent : sizeof(buf);
		put_octets(buf, n, sent);
		ssize_t r = n > 0 ? send(from, buf, n, MSG_NOSIGNAL) : 0;
		if (r > 0)
			sent += (size_t)r;
		else if (r == 0)
			shutdown(from, SHUT_WR);
		world_run(slow && turns < 50 ? 1 : 0);
		if (slow && turns < 50)
			continue;
		r = recv(to, buf, sizeof(buf), 0);
		if (r <= 0)
			continue;
		expect_octets(buf, (size_t)r, got);
		got += (size_t)r;
	}
	assert_int_equal(got, len);
}

static void
test_stream_up(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	stream(fd, t, MUCH, false);
	client_expect_end(t);
	close(t);
	close(fd);
	assert_int_equal(ended()->up, MUCH);
	assert_int_equal(ended()->down, 0);
	assert_int_equal(ended()->reason, REASON_CLIENT_CLOSED);
	world_end();
}

static void
test_stream_down_slow_reader(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	stream(t, fd, MUCH, true);
	client_expect_end(fd);
	close(fd);
	close(t);
	assert_int_equal(ended()->down, MUCH);
	assert_int_equal(ended()->reason, REASON_TARGET_CLOSED);
	world_end();
}

/* Sends until nothing is taken any more. */
static void
fill(int fd)
{
	static uint8_t buf[65536];

	for (unsigned full = 0; full < 20;) {
		full = send(fd, buf, sizeof(buf), MSG_NOSIGNAL) == -1 ? full + 1 : 0;
		world_run(1);
	}
}

/* A client that never reads: one buffer is held, its target is read no more, and the other way
 * still runs. An idle session holds nothing. */
static void
test_never_reads(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	world_run(5);
	const struct session *s = the_session();
	assert_null(s->hs);
	assert_null(s->flow[UP].held);
	assert_null(s->flow[DOWN].held);
	fill(t);
	assert_non_null(s->flow[DOWN].held);
	assert_true(s->flow[DOWN].held->len <= WIDE_SIZE);
	uint64_t before = s->flow[DOWN].octets;
	world_run(20);
	assert_int_equal(s->flow[DOWN].octets, before);
	client_send(fd, "up", 2);
	client_expect(t, "up", 2);
	reset(fd);
	world_until(W.w->sessions == 0);
	close(t);
	world_end();
}

#define ROOM (8 * 1024 * 1024) /* of a socket's buffers */

static bool
give_room(int fd)
{
	int room = ROOM;

	return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) == 0;
}

static bool
widest(const struct session *s, enum side d)
{
	return flow_read_size(s, d) == WIDEST_SIZE;
}

/* Sends what fd takes, ROOM / 4 at most; `at` is the place in the stream. */
static void
send_some(int fd, size_t *at)
{
	static uint8_t buf[ROOM / 4];

	put_octets(buf, sizeof(buf), *at);
	ssize_t n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
	*at += n > 0 ? (size_t)n : 0;
	world_run(0);
}

static void
read_all(int fd, size_t *at)
{
	static uint8_t buf[ROOM / 4];
	ssize_t n;

	world_run(0);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		expect_octets(buf, (size_t)n, *at);
		*at += (size_t)n;
		world_run(0);
	}
}

/* Reads are widest from who sends without end, for a receiver that takes it all; once it does not,
 * they are as wide as for anybody. */
static void
test_widest_reads(void **state)
{
	size_t sent = 0, got = 0;
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	world_run(5);
	const struct session *s = the_session();
	bool room =
	    give_room(fd) && give_room(t) && give_room(s->fd[CLIENT]) && give_room(s->fd[TARGET]);
	if (!room) { /* it takes CAP_NET_ADMIN */
		close(fd);
		close(t);
		world_end();
		skip();
	}
	for (unsigned i = 0; i < 500 && !widest(s, DOWN); i++) {
		send_some(t, &sent);
		send_some(t, &sent);
		read_all(fd, &got);
	}
	assert_true(widest(s, DOWN));
	for (unsigned i = 0; i < 2 * FLOW_WHOLE; i++) {
		client_send(fd, "up", 2);
		client_expect(t, "up", 2);
	}
	assert_false(widest(s, UP));
	size_t before = sent;
	for (unsigned i = 0; i < 20; i++) {
		send_some(t, &sent);
		read_all(fd, &got);
	}
	assert_true(sent > before && widest(s, DOWN));
	for (unsigned i = 0; i < 500 && s->flow[DOWN].held == NULL; i++)
		send_some(t, &sent);
	assert_non_null(s->flow[DOWN].held);
	assert_false(widest(s, DOWN));
	for (unsigned i = 0; i < 2000 && got < sent; i++) {
		read_all(fd, &got);
		world_run(1);
	}
	assert_int_equal(got, sent);
	close(fd);
	close(t);
	world_end();
}

/* Each side closes its half; the other way stays open until it is closed too. */
static void
test_half_close(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		int end[2];

		world_start(&world_default);
		end[0] = client_connected(&end[1]);
		int a = end[first], b = end[1 - first];
		client_send(a, "question", 8);
		shutdown(a, SHUT_WR);
		client_expect(b, "question", 8);
		client_expect_end(b);
		world_run(20);
		client_send(b, "answer", 6);
		client_expect(a, "answer", 6);
		assert_int_equal(world_count(MSG_CLOSE), 0);
		shutdown(b, SHUT_WR);
		client_expect_end(a);
		assert_int_equal(
		    ended()->reason, first == 0 ? REASON_CLIENT_CLOSED : REASON_TARGET_CLOSED);
		close(a);
		close(b);
		world_end();
	}
}

static void
test_idle(void **state)
{
	struct world_policy p = world_default;
	int fd, t;

	(void)state;
	p.idle = 500;
	world_start(&p);
	fd = client_connected(&t);
	/* Activity in either direction moves it. */
	for (unsigned i = 0; i < 5; i++) {
		client_send(i % 2 == 0 ? fd : t, "x", 1);
		world_run(150);
	}
	assert_int_equal(world_count(MSG_CLOSE), 0);
	assert_int_equal(ended()->reason, REASON_IDLE);
	close(fd);
	close(t);
	world_end();
}

static void
test_half_closed_timeout(void **state)
{
	struct world_policy p = world_default;
	int fd, t;

	(void)state;
	p.half_closed = 80;
	world_start(&p);
	fd = client_connected(&t);
	world_run(120);
	assert_int_equal(world_count(MSG_CLOSE), 0);
	shutdown(fd, SHUT_WR);
	assert_int_equal(ended()->reason, REASON_HALF_CLOSED);
	client_expect_end(fd);
	close(fd);
	close(t);
	world_end();
}

static void
test_resets(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		int end[2];

		world_start(&world_default);
		end[0] = client_connected(&end[1]);
		world_run(5);
		reset(end[first]);
		assert_int_equal(
		    ended()->reason, first == 0 ? REASON_CLIENT_RESET : REASON_TARGET_RESET);
		close(end[1 - first]);
		world_end();
	}
}

/* The target answers, closes, and resets because of what the client goes on sending: its answer
 * arrives whole all the same. */
static void
test_answer_before_reset(void **state)
{
	static uint8_t buf[400000];
	size_t sent = 0, got = 0;
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	for (unsigned full = 0; full < 20 && sent < sizeof(buf);) {
		ssize_t n = send(t, buf + sent, sizeof(buf) - sent, MSG_NOSIGNAL);
		full = n > 0 ? 0 : full + 1;
		sent += n > 0 ? (size_t)n : 0;
		world_run(1);
	}
	assert_int_equal(sent, sizeof(buf));
	shutdown(t, SHUT_WR);
	world_run(20);
	close(t);
	client_send(fd, "too late", 8);
	world_run(20);
	(void)send(fd, "later", 5, MSG_NOSIGNAL);
	world_run(20);
	while (got < sizeof(buf)) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n == 0 || (n == -1 && errno != EAGAIN))
			fail_msg("%zu octets of %zu", got, sizeof(buf));
		got += n > 0 ? (size_t)n : 0;
		world_run(1);
	}
	client_expect_end(fd);
	close(fd);
	world_end();
}

/* A side that has ended but cannot be read yet is out of the loop: it would wake it for nothing. */
static unsigned calls;
static void (*counted)(struct ev *e, uint32_t events);

static void
on_counted(struct ev *e, uint32_t events)
{
	calls++;
	counted(e, events);
}

static void
test_no_spinning(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	fill(t);
	reset(t); /* while what it sent is held */
	struct ev *e = &W.w->slots[the_session() - W.w->slots].ev[TARGET];
	counted = e->cb;
	e->cb = on_counted;
	world_run(20);
	assert_in_range(calls, 1, 2);
	reset(fd);
	world_end();
}

/* A read ends before an urgent octet: what stands behind it is not forgotten. */
static void
test_urgent(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	client_send(fd, "abc", 3);
	assert_int_equal(send(fd, "X", 1, MSG_OOB), 1);
	client_send(fd, "defgh", 5);
	client_expect(t, "abcdefgh", 8);
	client_send(fd, "i", 1);
	client_expect(t, "i", 1);
	close(fd);
	close(t);
	world_end();
}

/* The page that the master reads follows the session. */
static void
test_counts_page(void **state)
{
	int fd, t;

	(void)state;
	world_start(&world_default);
	fd = client_connected(&t);
	client_send(fd, "12345", 5);
	client_expect(t, "12345", 5);
	const struct msg_open *o = world_last(MSG_OPEN);
	const struct counts *c = &W.w->counts[o->sid.slot];
	assert_int_equal(c->gen, o->sid.gen);
	assert_int_equal(c->up, 5);
	assert_int_equal(c->down, 0);
	close(fd);
	close(t);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_up),
		cmocka_unit_test(test_stream_down_slow_reader),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_widest_reads),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_half_closed_timeout),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_answer_before_reset),
		cmocka_unit_test(test_no_spinning),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_counts_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
