/*
 * RFC 1961 in a worker up to the request, with the test as acceptor: pieces both ways, rounds, the
 * end of each exchange, and an acceptor or a client that breaks the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/gssapi_world.h"

static void
expect_abort(int fd)
{
	client_expect(fd, "\1\xff", 2);
	client_expect_end(fd);
	close(fd);
}

static uint32_t
early_reason(void)
{
	return ((const struct msg_early *)world_last(MSG_EARLY))->reason;
}

/* Two rounds, an empty last token, level 2: the request is encapsulated, and recorded so. */
static void
test_accepted(void **state)
{
	uint8_t in[16];
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\3one", 7);
	struct sid sid = pieces(1);
	const struct msg_auth_token *m = world_last(MSG_AUTH_TOKEN);
	assert_int_equal(m->total, 3);
	assert_int_equal(m->at, 0);
	assert_int_equal(m->kind, TOKEN_CONTEXT);
	assert_int_equal(m->client.a.family, ADDR_V4);
	assert_memory_equal(m + 1, "one", 3);
	assert_true(client_silent(fd));
	reply_piece(sid, TOKEN_CONTEXT, 6, 0, "foo", 3);
	reply_piece(sid, TOKEN_CONTEXT, 6, 3, "bar", 3);
	client_expect(fd, "\1\1\0\6foobar", 10);
	client_send(fd, "\1\1\0\0", 4);
	pieces(2);
	assert_int_equal(((const struct msg_auth_token *)world_last(MSG_AUTH_TOKEN))->total, 0);
	reply_piece(sid, TOKEN_CONTEXT, 0, 0, "", 0);
	client_expect(fd, "\1\1\0\0", 4);
	client_send(fd, "\1\2\0\1L", 5);
	pieces(3);
	assert_int_equal(
	    ((const struct msg_auth_token *)world_last(MSG_AUTH_TOKEN))->kind, TOKEN_LEVEL);
	reply_piece(sid, TOKEN_LEVEL, 1, 0, "M", 1);
	client_expect(fd, "\1\2\0\1M", 5);
	struct encap_params mine = world_params(LEVEL_CONFIDENTIALITY, false);
	peer = token_new(&mine);
	keys(sid, LEVEL_CONFIDENTIALITY, UINT32_MAX);
	result(sid, 1, LEVEL_CONFIDENTIALITY);
	client_seals(fd, in, request_v4(in, target_port()));
	client_opens_reply(fd, SOCKS_REP_OK);
	const struct msg_open *o = world_last(MSG_OPEN);
	assert_int_equal(o->method, METHOD_GSSAPI);
	assert_int_equal(o->level, LEVEL_CONFIDENTIALITY);
	assert_memory_equal(o + 1, "alice", 5);
	t = target_accept();
	close(fd);
	close(t);
	gssapi_end();
}

/* At level 0 all that follows is as without GSSAPI. */
static void
test_level_clear(void **state)
{
	uint8_t in[16];
	int fd, t;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_accepted(LEVEL_CLEAR);
	client_send(fd, in, request_v4(in, target_port()));
	client_expect(fd, "\5\0", 2);
	assert_int_equal(((const struct msg_open *)world_last(MSG_OPEN))->level, LEVEL_CLEAR);
	t = target_accept();
	close(fd);
	close(t);
	gssapi_end();
}

/* The longest token there is, both ways: the client does not read before all has been sent. */
static void
test_longest(void **state)
{
	static uint8_t token[GSS_MESSAGE_MAX], got[GSS_MESSAGE_MAX];
	uint32_t at = 0, n;
	int fd;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_greeted();
	for (size_t i = GSS_HEADER; i < sizeof(token); i++)
		token[i] = (uint8_t)(i * 7 >> 3);
	gss_header_put(token, GSS_CONTEXT, TOKEN_MAX);
	for (size_t sent = 0; sent < sizeof(token); sent += n) {
		n = sizeof(token) - sent < 700 ? (uint32_t)(sizeof(token) - sent) : 700;
		client_send(fd, token + sent, n);
		world_run(0);
	}
	world_until(W.w->slots[0].state == SESSION_AUTH_WAIT);
	world_settle();
	for (unsigned i = 0; i < W.nseen; i++) {
		const struct msg_auth_token *m = (const void *)W.seen[i].payload;
		if (W.seen[i].type != MSG_AUTH_TOKEN)
			continue;
		assert_int_equal(m->at, at);
		assert_int_equal(m->total, TOKEN_MAX);
		n = (uint32_t)(W.seen[i].len - sizeof(*m));
		assert_memory_equal(m + 1, token + GSS_HEADER + at, n);
		at += n;
	}
	assert_int_equal(at, TOKEN_MAX);
	struct sid sid = ((const struct msg_auth_token *)world_last(MSG_AUTH_TOKEN))->sid;
	for (at = 0; at < TOKEN_MAX; at += n) {
		n = TOKEN_MAX - at < TOKEN_PIECE_MAX ? TOKEN_MAX - at : TOKEN_PIECE_MAX;
		reply_piece(sid, TOKEN_CONTEXT, TOKEN_MAX, at, token + GSS_HEADER + at, n);
	}
	world_run(20);
	client_read(fd, got, sizeof(got));
	assert_memory_equal(got, token, sizeof(got));
	assert_int_equal(W.w->slots[0].state, SESSION_AUTH);
	result(sid, 0, 0);
	expect_abort(fd);
	gssapi_end();
}

static void
test_denied(void **state)
{
	struct sid sid;
	int fd;

	(void)state;
	gssapi_start(&world_default);
	/* While its token is still coming, and once it has. */
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\11part", 8);
	result(pieces(1), 0, 0);
	expect_abort(fd);
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\1x", 5);
	result(pieces(2), 0, 0);
	expect_abort(fd);
	/* A level that nothing can be sent at; keys that were sent too early are not used. */
	fd = gssapi_answered(&sid);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	result(sid, 0, 0);
	expect_abort(fd);
	gssapi_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), 0);
	assert_int_equal(world_count(MSG_OPEN), 0);
}

/* Octets that are none of RFC 1961, or that the client sends to give up. */
static void
test_malformed(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		enum reason why;
	} tries[] = { { "\5\1\0", 3, REASON_PROTOCOL }, { "\1\3\0\0", 4, REASON_PROTOCOL },
		{ "\1\4", 2, REASON_PROTOCOL }, { "\1\2\0\1L", 5, REASON_PROTOCOL },
		{ "\1\xff", 2, REASON_CLIENT_CLOSED } };

	(void)state;
	gssapi_start(&world_default);
	for (unsigned i = 0; i < 5; i++) {
		int fd = gssapi_greeted();
		client_send(fd, tries[i].in, tries[i].len);
		expect_abort(fd);
		assert_int_equal(early_reason(), tries[i].why);
	}
	assert_int_equal(world_count(MSG_AUTH_TOKEN), 0);
	/* And in the middle of an exchange, which authd is told. */
	int fd = gssapi_greeted();
	client_send(fd, "\1\1\0\0", 4);
	struct sid sid = pieces(1);
	reply_piece(sid, TOKEN_CONTEXT, 0, 0, "", 0);
	client_expect(fd, "\1\1\0\0", 4);
	client_send(fd, "\1\xff", 2);
	expect_abort(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 1);
	/* What crosses that is no fault. */
	reply_piece(sid, TOKEN_CONTEXT, 0, 0, "", 0);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	result(sid, 1, LEVEL_INTEGRITY);
	gssapi_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), 0);
}

/* The client goes in the middle of a token: the id is kept until authd's answer. */
static void
test_abort(void **state)
{
	int fd;

	(void)state;
	gssapi_start(&world_default);
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\11part", 8);
	struct sid sid = pieces(1);
	close(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 1);
	assert_int_equal(W.w->slots[sid.slot].state, SESSION_ABORTED);
	result(sid, 0, 0);
	gssapi_end();
	assert_int_equal(world_count(MSG_AUTH_ABORT), 1);
}

static void
test_timeout(void **state)
{
	struct world_policy p = world_default;
	int fd;

	(void)state;
	p.handshake = 60;
	gssapi_start(&p);
	fd = gssapi_greeted();
	expect_abort(fd);
	assert_int_equal(early_reason(), REASON_HANDSHAKE);
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\0", 4);
	struct sid sid = pieces(1);
	expect_abort(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 1);
	result(sid, 0, 0);
	gssapi_end();
}

/* The acceptor is lost: those that wait for it end, those that wait for passwords do not. */
static void
test_lost_acceptor(void **state)
{
	struct world_policy p = world_default;
	struct chan acceptor;
	int fd, other;

	(void)state;
	p.methods = METHOD_BIT(METHOD_GSSAPI) | METHOD_BIT(METHOD_PASSWORD);
	world_start(&p);
	world_peer(&W.authd, ROLE_PASSWORD, SPAWN + 1);
	memset(&acceptor, 0, sizeof(acceptor));
	world_peer(&acceptor, ROLE_ACCEPTOR, SPAWN);
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\0", 4);
	pieces(1);
	other = client_new();
	client_send(other, "\5\1\2\1\1u\1p", 8);
	world_until(world_count(MSG_AUTH_PASSWORD) == 1);
	chan_stop(&acceptor);
	expect_abort(fd);
	assert_int_equal(early_reason(), REASON_AUTH);
	client_expect(other, "\5\2", 2);
	world_run(20);
	assert_true(client_silent(other));
	struct msg_auth_result r = { .method = METHOD_PASSWORD, .user_len = 1 };
	r.sid = ((const struct msg_auth_password *)world_last(MSG_AUTH_PASSWORD))->sid;
	r.accepted = 1;
	chan_send_tail(&W.authd, MSG_AUTH_RESULT, &r, sizeof(r), "u", 1, -1);
	client_expect(other, "\1\0", 2);
	close(other);
	gssapi_end();
}

/* --- an acceptor that breaks the rules is reported --- */

static unsigned faults;

static void
expect_fault(int fd)
{
	faults++;
	world_until(W.authd_ended);
	world_until(world_count(MSG_PEER_FAULT) == faults);
	assert_int_equal(((const struct msg_peer_fault *)world_last(MSG_PEER_FAULT))->spawn, SPAWN);
	assert_false(W.w->authd[SERVICE_ACCEPTOR].up);
	W.authd_ended = false;
	world_peer(&W.authd, ROLE_ACCEPTOR, SPAWN);
	if (fd != -1)
		close(fd);
	world_until(W.w->sessions == 0);
}

/* A session whose acceptor has a token of this kind to answer. */
static struct sid
waiting(int *fd)
{
	unsigned n = world_count(MSG_AUTH_TOKEN);

	*fd = gssapi_greeted();
	client_send(*fd, "\1\1\0\1x", 5);
	return pieces(n + 1);
}

static void
test_hostile_replies(void **state)
{
	struct sid sid;
	int fd;

	(void)state;
	faults = 0;
	gssapi_start(&world_default);
	/* For a session that never was. */
	reply_piece((struct sid){ .slot = 0, .gen = 1 }, TOKEN_CONTEXT, 0, 0, "", 0);
	expect_fault(-1);
	/* Early: the token has come in part. */
	fd = gssapi_greeted();
	client_send(fd, "\1\1\0\11part", 8);
	reply_piece(pieces(1), TOKEN_CONTEXT, 1, 0, "x", 1);
	expect_fault(fd);
	/* Of another kind; not from its beginning; longer than a token; past its own end; an empty
	 * piece of one that is not. */
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_LEVEL, 1, 0, "x", 1);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 3, 1, "x", 1);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, TOKEN_MAX + 1, 0, "x", 1);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 2, 0, "xyz", 3);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 2, 0, "", 0);
	expect_fault(fd);
	/* A piece twice; another length in the middle; twice a whole answer. */
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 3, 0, "x", 1);
	reply_piece(sid, TOKEN_CONTEXT, 3, 0, "x", 1);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 3, 0, "x", 1);
	reply_piece(sid, TOKEN_CONTEXT, 4, 1, "x", 1);
	expect_fault(fd);
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 0, 0, "", 0);
	reply_piece(sid, TOKEN_CONTEXT, 0, 0, "", 0);
	expect_fault(fd);
	/* A result in the middle of an answer. */
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 3, 0, "x", 1);
	result(sid, 0, 0);
	expect_fault(fd);
	/* Positive control. */
	sid = waiting(&fd);
	reply_piece(sid, TOKEN_CONTEXT, 3, 0, "x", 1);
	reply_piece(sid, TOKEN_CONTEXT, 3, 1, "yz", 2);
	client_expect(fd, "\1\1\0\3xyz", 7);
	result(sid, 0, 0);
	expect_abort(fd);
	gssapi_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), faults);
}

static void
test_hostile_results(void **state)
{
	struct sid sid;
	int fd;

	(void)state;
	faults = 0;
	gssapi_start(&world_default);
	/* Accepted before a level was agreed; keys likewise. */
	sid = waiting(&fd);
	result(sid, 1, LEVEL_CLEAR);
	expect_fault(fd);
	sid = waiting(&fd);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	expect_fault(fd);
	/* A level without keys, keys without their level, and another level's. */
	fd = gssapi_answered(&sid);
	result(sid, 1, LEVEL_INTEGRITY);
	expect_fault(fd);
	fd = gssapi_answered(&sid);
	keys(sid, LEVEL_CONFIDENTIALITY, UINT32_MAX);
	result(sid, 1, LEVEL_CLEAR);
	expect_fault(fd);
	fd = gssapi_answered(&sid);
	keys(sid, LEVEL_CONFIDENTIALITY, UINT32_MAX);
	result(sid, 1, LEVEL_INTEGRITY);
	expect_fault(fd);
	/* Keys twice; of no enctype; for the wrong end of a context. */
	fd = gssapi_answered(&sid);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	expect_fault(fd);
	fd = gssapi_answered(&sid);
	struct msg_auth_keys k = { .sid = sid, .params = world_params(LEVEL_INTEGRITY, true) };
	k.params.enctype = 23;
	chan_send(&W.authd, MSG_AUTH_KEYS, &k, sizeof(k), -1);
	expect_fault(fd);
	fd = gssapi_answered(&sid);
	k = (struct msg_auth_keys){ .sid = sid, .params = world_params(LEVEL_INTEGRITY, false) };
	chan_send(&W.authd, MSG_AUTH_KEYS, &k, sizeof(k), -1);
	expect_fault(fd);
	/* A level that is none. */
	fd = gssapi_answered(&sid);
	result(sid, 1, LEVEL_COUNT);
	expect_fault(fd);
	/* With a descriptor, and cut short. */
	int p[2];
	fd = gssapi_answered(&sid);
	assert_int_equal(pipe(p), 0);
	close(p[1]);
	struct msg_head h = { .type = MSG_AUTH_KEYS, .len = sizeof(k) };
	assert_false(msg_allowed(&h, ROLE_ACCEPTOR, ROLE_WORKER, true));
	h.len = sizeof(k) - 8;
	assert_false(msg_allowed(&h, ROLE_ACCEPTOR, ROLE_WORKER, false));
	close(p[0]);
	/* Positive control; and what comes after the end of an exchange. */
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	result(sid, 1, LEVEL_INTEGRITY);
	world_until(W.w->slots[sid.slot].state == SESSION_REQUEST);
	keys(sid, LEVEL_INTEGRITY, UINT32_MAX);
	world_until(W.authd_ended);
	assert_int_equal(world_count(MSG_PEER_FAULT), faults + 1);
	assert_int_equal(W.w->slots[sid.slot].state, SESSION_REQUEST);
	close(fd);
	gssapi_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_level_clear),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_lost_acceptor),
		cmocka_unit_test(test_hostile_replies),
		cmocka_unit_test(test_hostile_results),
	};

	if (token_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
