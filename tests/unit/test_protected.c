/*
 * What follows an agreed level, RFC 1961 section 5: the encapsulated request in every segmentation,
 * the relay both ways, every fault with its reason, and the end of keys and tickets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/gssapi_world.h"

#define MUCH (4u * 1024 * 1024)

static uint8_t buf[2 * GSS_MESSAGE_MAX + 1024];

static const struct msg_close *
ended(void)
{
	world_until(world_count(MSG_CLOSE) == 1);
	return world_last(MSG_CLOSE);
}

static struct session *
the_session(void)
{
	for (unsigned i = 0; i < WORLD_SLOTS; i++)
		if (W.w->slots[i].state == SESSION_RELAY)
			return &W.w->slots[i];
	fail_msg("no session is relayed");
	return NULL;
}

/* The octet at a place of the stream; no period that a buffer's size could hide. */
static uint8_t
octet(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void
fill(uint8_t *out, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = octet(at + i);
}

/* --- the request --- */

/* Request and data of these lengths, cut into messages after every `data_cut` octets, sent in
 * pieces of `piece`: the target has the data, and no more. */
static void
ask(size_t data_len, size_t data_cut, size_t piece)
{
	static uint8_t clear[70000], out[300000], got[70000];
	size_t n, len = 0;
	int fd, t;

	gssapi_start(&world_default);
	fd = gssapi_accepted(LEVEL_CONFIDENTIALITY);
	n = request_v4(clear, target_port());
	fill(clear + n, 0, data_len);
	for (size_t at = 0; at < n + data_len; at += data_cut) {
		size_t left = n + data_len - at;
		len += sealed(out + len, clear + at, left < data_cut ? left : data_cut);
	}
	for (size_t at = 0; at < len; at += piece) {
		client_send(fd, out + at, len - at < piece ? len - at : piece);
		world_run(piece < 64 || at % 4096 == 0 ? 1 : 0);
	}
	client_opens_reply(fd, SOCKS_REP_OK);
	t = target_accept();
	client_read(t, got, data_len);
	assert_memory_equal(got, clear + n, data_len);
	shutdown(fd, SHUT_WR);
	client_expect_end(t);
	close(t);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(ended()->up, data_len);
	gssapi_end();
}

static void
test_request_segments(void **state)
{
	(void)state;
	ask(0, 1000, 1);      /* an octet at a time */
	ask(0, 1, 1000);      /* a message for each octet */
	ask(0, 5, 1000);      /* two messages */
	ask(100, 1000, 1000); /* data in the request's message */
	ask(3000, 10, 500);   /* and in many behind it, more than the buffer holds */
	ask(60000, 65000, 300000);
	ask(60000, 30000, 1400);
}

/* Failure replies are encapsulated too, at each level. */
static void
test_refused(void **state)
{
	uint8_t in[16];

	(void)state;
	for (enum level l = LEVEL_INTEGRITY; l < LEVEL_COUNT; l++) {
		gssapi_start(&world_default);
		int fd = gssapi_accepted(l);
		client_seals(fd, in, request_v4(in, BLOCKED_PORT));
		client_opens_reply(fd, SOCKS_REP_NOT_ALLOWED);
		client_expect_end(fd);
		close(fd);
		assert_int_equal(ended()->reason, REASON_RULES);
		gssapi_end();
	}
}

/* Octets behind the exchange that are no message, or a forged one, before any request. */
static void
test_request_faults(void **state)
{
	uint8_t in[200], request[16];
	size_t n, len = request_v4(request, 80);
	int fd;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_accepted(LEVEL_CONFIDENTIALITY);
	client_send(fd, request, len);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_ENCAP_FRAME);
	fd = gssapi_accepted(LEVEL_CONFIDENTIALITY);
	n = sealed(in, request, len);
	in[n - 1] ^= 1;
	client_send(fd, in, n);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_ENCAP_CHECK);
	fd = gssapi_accepted(LEVEL_CONFIDENTIALITY);
	n = sealed(in, request, len);
	client_send(fd, in, n - 1);
	shutdown(fd, SHUT_WR);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_ENCAP_CUT);
	gssapi_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

/* --- the relay --- */

#define TOGETHER 12 /* sent together */

/* MUCH octets up in messages of changing lengths, in pieces that fit no boundary; the worker has
 * its turn after so many, and finds what it opens side by side where they are several. */
static void
stream_up(enum level level, unsigned pieces)
{
	static uint8_t out[TOGETHER * GSS_MESSAGE_MAX], data[65000], got[70000];
	size_t made = 0, have = 0, at = 0, read = 0;
	int fd, t;

	gssapi_start(&world_default);
	fd = gssapi_connected(level, &t);
	for (unsigned turn = 0; read < MUCH && turn < 100000; turn++) {
		if (at == have && made < MUCH) {
			have = at = 0;
			for (unsigned i = 0; i < TOGETHER && made < MUCH; i++) {
				size_t n = (made * 31 + i) % sizeof(data) + 1;
				n = n < MUCH - made ? n : MUCH - made;
				fill(data, made, n);
				have += sealed(out + have, data, n);
				made += n;
			}
		}
		size_t n = have - at < 50001 ? have - at : 50001;
		ssize_t r = n > 0 ? send(fd, out + at, n, MSG_NOSIGNAL) : 0;
		at += r > 0 ? (size_t)r : 0;
		if (turn % pieces == 0 || n == 0)
			world_run(0);
		r = turn % 3 == 0 || made == MUCH ? recv(t, got, sizeof(got), 0) : 0;
		for (ssize_t i = 0; i < r; i++)
			if (got[i] != octet(read + (size_t)i))
				fail_msg("octet %zu is wrong", read + (size_t)i);
		read += r > 0 ? (size_t)r : 0;
	}
	assert_int_equal(read, MUCH);
	assert_null(the_session()->protected[CLIENT] -> part);
	shutdown(fd, SHUT_WR);
	client_expect_end(t);
	close(t);
	close(fd);
	assert_int_equal(ended()->up, MUCH);
	assert_int_equal(ended()->reason, REASON_CLIENT_CLOSED);
	gssapi_end();
}

static void
test_stream_up(void **state)
{
	(void)state;
	for (enum level l = LEVEL_INTEGRITY; l < LEVEL_COUNT; l++) {
		stream_up(l, 1);
		stream_up(l, 16);
	}
}

/* Bulk is awaited in several tokens (worker/moderate.h). The last message arrives all the same; or
 * it is a forged one, and the session ends. */
static void
bulk(bool forged)
{
	static uint8_t out[2 * GSS_MESSAGE_MAX], got[PROTECTED_READ];
	size_t made = 0, have = 0, at = 0, read = 0;
	int fd, t;

	gssapi_start(&world_default);
	fd = gssapi_connected(LEVEL_INTEGRITY, &t);
	const struct moderate *m = &the_session()->protected[CLIENT] -> moderate;
	for (unsigned turn = 0; turn < 100000 && (m->awaited == 0 || at < have); turn++) {
		if (at == have) {
			have = sealed(out, got, PROTECTED_DATA);
			at = 0;
			made += PROTECTED_DATA;
		}
		ssize_t r = send(fd, out + at, have - at, MSG_NOSIGNAL);
		at += r > 0 ? (size_t)r : 0;
		world_run(0);
		r = recv(t, got, sizeof(got), 0);
		read += r > 0 ? (size_t)r : 0;
	}
	assert_true(m->awaited > 0);
	have = sealed(out, "the last", 8);
	if (forged)
		out[have - 1] ^= 1;
	else
		made += 8;
	client_send(fd, out, have);
	for (; read < made; world_run(1)) {
		ssize_t r = recv(t, got, sizeof(got), 0);
		assert_true(r != 0);
		read += r > 0 ? (size_t)r : 0;
	}
	if (!forged)
		shutdown(fd, SHUT_WR);
	client_expect_end(t);
	close(t);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(ended()->up, made);
	assert_int_equal(ended()->reason, forged ? REASON_ENCAP_CHECK : REASON_CLIENT_CLOSED);
	gssapi_end();
}

static void
test_bulk(void **state)
{
	(void)state;
	if (token_lanes() == 1)
		skip();
	bulk(false);
	bulk(true);
}

/* MUCH octets down at a level, the reader slow at first; messages stay below the longest token. */
static void
stream_down(enum level level)
{
	static uint8_t out[60000], data[TOKEN_MAX];
	size_t sent = 0, read = 0;
	int fd, t;

	gssapi_start(&world_default);
	fd = gssapi_connected(level, &t);
	for (unsigned turn = 0; turn < 200 && sent < MUCH; turn++) {
		size_t n = MUCH - sent < sizeof(out) ? MUCH - sent : sizeof(out);
		fill(out, sent, n);
		ssize_t r = send(t, out, n, MSG_NOSIGNAL);
		sent += r > 0 ? (size_t)r : 0;
		world_run(0);
	}
	while (read < MUCH) {
		size_t n = MUCH - sent < sizeof(out) ? MUCH - sent : sizeof(out);
		fill(out, sent, n);
		ssize_t r = n > 0 ? send(t, out, n, MSG_NOSIGNAL) : 0;
		sent += r > 0 ? (size_t)r : 0;
		size_t len = client_opens(fd, data);
		for (size_t i = 0; i < len; i++)
			if (data[i] != octet(read + i))
				fail_msg("octet %zu is wrong", read + i);
		read += len;
	}
	close(t);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(ended()->down, MUCH);
	assert_int_equal(ended()->reason, REASON_TARGET_CLOSED);
	gssapi_end();
}

static void
test_stream_down(void **state)
{
	(void)state;
	for (enum level l = LEVEL_INTEGRITY; l < LEVEL_COUNT; l++)
		stream_down(l);
}

/* Small data go at once, in a message of their own; each end may close its half. */
static void
test_small(void **state)
{
	static uint8_t data[TOKEN_MAX];
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_connected(LEVEL_INTEGRITY, &t);
	client_seals(fd, "question", 8);
	client_seals(fd, "", 0); /* an empty message is one */
	client_expect(t, "question", 8);
	shutdown(fd, SHUT_WR);
	client_expect_end(t);
	client_send(t, "answer", 6);
	assert_int_equal(client_opens(fd, data), 6);
	assert_memory_equal(data, "answer", 6);
	/* Idle, it holds nothing but its keys. */
	const struct session *s = the_session();
	assert_null(s->flow[UP].held);
	assert_null(s->flow[DOWN].held);
	assert_null(s->protected[CLIENT] -> part);
	assert_null(s->protected[CLIENT] -> opened);
	close(t);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(ended()->up, 8);
	assert_int_equal(ended()->down, 6);
	gssapi_end();
}

/* A client that never reads: what one read gives is held, the other way still runs. */
static void
test_never_reads(void **state)
{
	static uint8_t zeros[65536];
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_connected(LEVEL_CONFIDENTIALITY, &t);
	for (unsigned full = 0; full < 20;) {
		full = send(t, zeros, sizeof(zeros), MSG_NOSIGNAL) == -1 ? full + 1 : 0;
		world_run(1);
	}
	const struct session *s = the_session();
	assert_non_null(s->flow[DOWN].held);
	assert_true(s->flow[DOWN].held->len <= sizeof(W.w->sealed));
	assert_int_equal(W.w->held, s->flow[DOWN].held->len);
	uint64_t before = s->flow[DOWN].octets;
	world_run(20);
	assert_int_equal(s->flow[DOWN].octets, before);
	client_seals(fd, "up", 2);
	client_expect(t, "up", 2);
	close(fd);
	world_until(W.w->sessions == 0);
	assert_int_equal(W.w->held, 0);
	close(t);
	gssapi_end();
}

/* A target that never reads: held is what one read gave, and no more is read. */
static void
test_target_never_reads(void **state)
{
	static uint8_t zeros[60000], out[GSS_MESSAGE_MAX];
	size_t have = 0, at = 0;
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_connected(LEVEL_CONFIDENTIALITY, &t);
	for (unsigned full = 0; full < 20;) {
		if (at == have) {
			have = sealed(out, zeros, sizeof(zeros));
			at = 0;
		}
		ssize_t r = send(fd, out + at, have - at, MSG_NOSIGNAL);
		full = r == -1 ? full + 1 : 0;
		at += r > 0 ? (size_t)r : 0;
		world_run(1);
	}
	const struct session *s = the_session();
	assert_non_null(s->flow[UP].held);
	assert_true(s->flow[UP].held->len <= 2 * TOKEN_MAX);
	setsockopt(
	    fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	close(fd);
	close(t);
	gssapi_end();
}

/* --- faults --- */

/* A sound message, then these octets: the first arrives, the session ends for this reason, and
 * nothing more arrives. */
static void
fault(enum level level, const uint8_t *bad, size_t len, bool end, enum reason why)
{
	struct token_context *mine = peer;
	int fd, t;

	peer = NULL; /* made anew below, with the same keys */
	gssapi_start(&world_default);
	fd = gssapi_connected(level, &t);
	client_seals(fd, "sound", 5);
	client_send(fd, bad, len);
	if (end)
		shutdown(fd, SHUT_WR);
	client_expect(t, "sound", 5);
	assert_int_equal(ended()->reason, why);
	assert_int_equal(ended()->up, 5);
	client_expect_end(t);
	close(t);
	close(fd);
	gssapi_end();
	token_free(mine);
}

/* The message that would follow the request and "sound" at this level, or one later. */
static size_t
next(enum level level, unsigned skip, uint8_t *out)
{
	struct encap_params p = world_params(level, false);

	p.send.seq = SEQ_UP + 2 + skip;
	struct token_context *t = token_new(&p);
	size_t n = token_wrap(t, (const uint8_t *)"secret", 6, out + GSS_HEADER);
	token_free(t);
	gss_header_put(out, GSS_DATA, n);
	return GSS_HEADER + n;
}

static void
test_faults(void **state)
{
	size_t n;

	(void)state;
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\5", 1, false, REASON_ENCAP_FRAME);
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\1\2\0\0", 4, false, REASON_ENCAP_FRAME);
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\1\xff", 2, false, REASON_ENCAP_FRAME);
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\1\3\0\0", 4, false, REASON_ENCAP_TOKEN);
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\1\3\0", 3, true, REASON_ENCAP_CUT);
	fault(LEVEL_CONFIDENTIALITY, (const uint8_t *)"\1\3\0\11abc", 7, true, REASON_ENCAP_CUT);
	n = next(LEVEL_CONFIDENTIALITY, 0, buf);
	fault(LEVEL_CONFIDENTIALITY, buf, n - 1, true, REASON_ENCAP_CUT);
	buf[n - 1] ^= 0x80;
	fault(LEVEL_CONFIDENTIALITY, buf, n, false, REASON_ENCAP_CHECK);
	n = next(LEVEL_CONFIDENTIALITY, 1, buf);
	fault(LEVEL_CONFIDENTIALITY, buf, n, false, REASON_ENCAP_SEQUENCE);
	n = next(LEVEL_INTEGRITY, 0, buf);
	fault(LEVEL_CONFIDENTIALITY, buf, n, false, REASON_ENCAP_LEVEL);
	n = next(LEVEL_CONFIDENTIALITY, 0, buf);
	fault(LEVEL_INTEGRITY, buf, n, false, REASON_ENCAP_LEVEL);
}

/* --- the end --- */

/* The keys are wiped with the session: nothing in the freed memory has them. */
static void
test_keys_wiped(void **state)
{
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_connected(LEVEL_INTEGRITY, &t);
	assert_non_null(the_session()->protected[CLIENT]);
	close(fd);
	close(t);
	world_until(W.w->sessions == 0);
	for (unsigned i = 0; i < WORLD_SLOTS; i++)
		assert_null(W.w->slots[i].protected[CLIENT]);
	/* While a last reply lingers there are none either. */
	uint8_t in[16];
	fd = gssapi_accepted(LEVEL_INTEGRITY);
	client_seals(fd, in, request_v4(in, BLOCKED_PORT));
	client_opens_reply(fd, SOCKS_REP_NOT_ALLOWED);
	for (unsigned i = 0; i < WORLD_SLOTS; i++)
		assert_null(W.w->slots[i].protected[CLIENT]);
	close(fd);
	gssapi_end();
}

/* A ticket's end ends the session, before its request and in its relay; without one it lasts. */
static void
test_ticket(void **state)
{
	uint8_t in[16];
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_accepted_for(LEVEL_INTEGRITY, 1);
	client_seals(fd, in, request_v4(in, target_port()));
	client_opens_reply(fd, SOCKS_REP_OK);
	t = target_accept();
	world_run(700);
	assert_int_equal(world_count(MSG_CLOSE), 0);
	assert_int_equal(ended()->reason, REASON_TICKET);
	client_expect_end(fd);
	client_expect_end(t);
	close(fd);
	close(t);
	fd = gssapi_accepted_for(LEVEL_INTEGRITY, 1);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_TICKET);
	gssapi_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_segments),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_request_faults),
		cmocka_unit_test(test_stream_up),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_stream_down),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_target_never_reads),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_keys_wiped),
		cmocka_unit_test(test_ticket),
	};

	if (token_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
