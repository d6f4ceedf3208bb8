/*
 * The worker as the client of an upstream, in a made-up world: every cut of what an upstream says,
 * and an initiator that speaks early, twice, too much or for another. The upstream is the world's
 * target.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker_world.h"
#include "worker/protected.h"

#define HELLO      "\5\0"
#define REPLY      "\5\0\0\1\x7f\0\0\1\0\7"
#define REPLY_NAME "\5\0\0\3\4host\0\7"
#define EARLY      "early data"

static void
start(enum method method, enum level level)
{
	struct world_policy p = world_default;

	world_start(&p);
	p.version = 2;
	p.upstream = target_port();
	p.upstream_method = (uint8_t)method;
	p.upstream_level = (uint8_t)level;
	world_policy(&p);
	world_until(W.w->policy->img->version == 2);
}

static void
say(int fd, const void *p, size_t len)
{
	assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A client whose request (for 127.0.0.1, port 80) has reached the upstream's door. */
static int
ask(int *up, uint8_t method)
{
	static const uint8_t request[] = { 5, 1, 0, 1, 127, 0, 0, 1, 0, 80 };
	int fd = client_greeted();

	client_send(fd, request, sizeof(request));
	*up = target_accept();
	client_expect(*up, ((uint8_t[]){ 5, 1, method }), 3);
	return fd;
}

static void
expect_ok(int fd)
{
	uint8_t reply[10];

	client_read(fd, reply, sizeof(reply));
	assert_int_equal(reply[1], SOCKS_REP_OK);
}

/* What it says in pieces that end at every two places, with octets of the relay's behind it. */
static void
cuts(const char *reply, size_t len)
{
	char all[64];
	size_t n = 2 + len + strlen(EARLY);

	memcpy(all, HELLO, 2);
	memcpy(all + 2, reply, len);
	memcpy(all + 2 + len, EARLY, strlen(EARLY));
	for (size_t a = 1; a < n; a += 1) {
		for (size_t b = a; b <= n; b += 3) {
			int up, fd = ask(&up, 0);

			say(up, all, a);
			world_run(1);
			say(up, all + a, b - a);
			world_run(1);
			say(up, all + b, n - b);
			client_read(up, (uint8_t[10]){ 0 }, 10);
			expect_ok(fd);
			client_expect(fd, EARLY, strlen(EARLY));
			close(fd);
			close(up);
			world_until(W.w->sessions == 0);
			world_forget();
		}
	}
}

static void
test_every_cut(void **state)
{
	(void)state;
	start(METHOD_NONE, LEVEL_CLEAR);
	cuts(REPLY, sizeof(REPLY) - 1);
	cuts(REPLY_NAME, sizeof(REPLY_NAME) - 1);
	world_end();
}

/* An end in every place before the reply is whole is a failure, and never a success. */
static void
test_every_end(void **state)
{
	static const char all[] = HELLO REPLY;

	(void)state;
	start(METHOD_NONE, LEVEL_CLEAR);
	for (size_t n = 0; n < sizeof(all) - 1; n++) {
		int up, fd = ask(&up, 0);

		say(up, all, n);
		world_run(1);
		if (n >= 2)
			client_read(up, (uint8_t[10]){ 0 }, 10);
		shutdown(up, SHUT_RDWR);
		close(up);
		client_expect_failure(fd, SOCKS_REP_GENERAL);
		const struct msg_close *c = world_last(MSG_CLOSE);
		assert_int_equal(c->reason, REASON_UPSTREAM);
	}
	world_end();
}

/* --- the initiator --- */

#define INITIATOR_SPAWN 9

static void
start_initiator(enum method method, enum level level)
{
	start(method, level);
	world_peer(&W.authd, ROLE_INITIATOR, INITIATOR_SPAWN);
	world_until(W.w->initiator_up);
}

static struct sid
begun(unsigned n)
{
	world_until(world_count(MSG_UPSTREAM_BEGIN) == n);
	const struct msg_upstream_begin *b = world_last(MSG_UPSTREAM_BEGIN);
	assert_int_equal(b->name_len, 2);
	assert_memory_equal(b + 1, "hq", 2);
	return b->sid;
}

static void
piece(struct sid sid, enum token_kind kind, uint32_t total, uint32_t at, const void *p, size_t len)
{
	struct msg_auth_token t = { .sid = sid, .total = total, .at = at, .kind = (uint8_t)kind };

	(void)chan_send_tail(&W.authd, MSG_AUTH_REPLY, &t, sizeof(t), p, len, -1);
}

static void
result(struct sid sid, enum verdict_code v, enum level level)
{
	struct msg_upstream_result r = {
		.sid = sid, .verdict = (uint8_t)v, .level = (uint8_t)level
	};

	(void)chan_send(&W.authd, MSG_UPSTREAM_RESULT, &r, sizeof(r), -1);
}

/* The gateway is the context's initiator here, and the upstream its acceptor. */
static struct encap_params
made_up_keys(enum level level, bool acceptor)
{
	struct encap_params p = { .enctype = ENCTYPE_AES256_SHA1,
		.level = (uint8_t)level,
		.acceptor = acceptor,
		.subkey = 1 };
	struct encap_direction *up = acceptor ? &p.receive : &p.send,
			       *down = acceptor ? &p.send : &p.receive;

	memset(up->ke, 1, sizeof(up->ke));
	memset(up->ki, 2, sizeof(up->ki));
	memset(up->kc, 3, sizeof(up->kc));
	memset(down->ke, 4, sizeof(down->ke));
	memset(down->ki, 5, sizeof(down->ki));
	memset(down->kc, 6, sizeof(down->kc));
	up->seq = 40;
	down->seq = 7000;
	return p;
}

static void
keys(struct sid sid, enum level level)
{
	struct msg_auth_keys k = { .sid = sid, .lifetime = UINT32_MAX };

	k.params = made_up_keys(level, false);
	(void)chan_send(&W.authd, MSG_AUTH_KEYS, &k, sizeof(k), -1);
}

/* To where the initiator has the exchange. */
static int
to_exchange(int *up, uint8_t method, unsigned n, struct sid *sid)
{
	int fd = ask(up, method);

	say(*up, ((uint8_t[]){ 5, method }), 2);
	*sid = begun(n);
	return fd;
}

static void
test_password(void **state)
{
	struct sid sid;
	int up, fd;

	(void)state;
	start_initiator(METHOD_PASSWORD, LEVEL_CLEAR);
	fd = to_exchange(&up, 2, 1, &sid);
	piece(sid, TOKEN_PASSWORD, 5, 0, "\1\1u\1p", 5);
	result(sid, VERDICT_ACCEPT, LEVEL_CLEAR);
	client_expect(up, "\1\1u\1p", 5);
	say(up, "\1\0", 2);
	client_read(up, (uint8_t[10]){ 0 }, 10);
	say(up, REPLY, 10);
	expect_ok(fd);
	close(fd);
	close(up);
	/* refused by the upstream, and by the initiator */
	fd = to_exchange(&up, 2, 2, &sid);
	piece(sid, TOKEN_PASSWORD, 5, 0, "\1\1u\1p", 5);
	result(sid, VERDICT_ACCEPT, LEVEL_CLEAR);
	client_expect(up, "\1\1u\1p", 5);
	say(up, "\1\1", 2);
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	close(up);
	fd = to_exchange(&up, 2, 3, &sid);
	result(sid, VERDICT_FAILED, LEVEL_CLEAR);
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	assert_int_equal(
	    ((const struct msg_close *)world_last(MSG_CLOSE))->reason, REASON_UPSTREAM_CREDENTIALS);
	close(up);
	assert_false(W.authd_ended);
	world_end();
}

/* The whole of RFC 1961 with tokens that only the initiator understands; the reply and data behind
 * it come in one message, cut in every place. */
static void
test_gssapi(void **state)
{
	struct encap_params params = made_up_keys(LEVEL_CONFIDENTIALITY, true);
	static const char clear[] = REPLY EARLY;
	uint8_t message[512], got[512], *data;
	struct sid sid;
	int up;

	(void)state;
	start_initiator(METHOD_GSSAPI, LEVEL_CONFIDENTIALITY);
	for (unsigned cut = 1, n = 1; cut < 100; cut += 7, n++) {
		int fd = to_exchange(&up, 1, n, &sid);

		piece(sid, TOKEN_CONTEXT, 6, 0, "tok", 3);
		piece(sid, TOKEN_CONTEXT, 6, 3, "en1", 3);
		client_expect(up, "\1\1\0\6token1", 10);
		say(up, "\1\1\0", 3);
		world_run(1);
		say(up, "\2ab", 3);
		world_until(world_count(MSG_AUTH_TOKEN) > 0);
		piece(sid, TOKEN_LEVEL, 1, 0, "L", 1);
		client_expect(up, "\1\2\0\1L", 5);
		say(up, "\1\2\0\1M", 5);
		world_until(world_count(MSG_AUTH_TOKEN) >= 2);
		keys(sid, LEVEL_CONFIDENTIALITY);
		result(sid, VERDICT_ACCEPT, LEVEL_CONFIDENTIALITY);
		struct token_context *t = token_new(&params);
		size_t len = GSS_HEADER + 10 + token_overhead(t);
		client_read(up, got, len);
		const uint8_t *request;
		size_t request_len;
		assert_int_equal(
		    token_unwrap(t, got + GSS_HEADER, len - GSS_HEADER, &request, &request_len),
		    TOKEN_OK);
		assert_int_equal(request_len, 10);
		assert_memory_equal(request, "\5\1\0\1\177\0\0\1\0\120", 10);
		data = message + GSS_HEADER;
		len = token_wrap(t, (const uint8_t *)clear, sizeof(clear) - 1, data);
		gss_header_put(message, GSS_DATA, len);
		len += GSS_HEADER;
		say(up, message, cut < len ? cut : len);
		world_run(1);
		if (cut < len)
			say(up, message + cut, len - cut);
		expect_ok(fd);
		client_expect(fd, EARLY, strlen(EARLY));
		token_free(t);
		close(fd);
		close(up);
		world_until(W.w->sessions == 0);
		world_forget();
		n = 0;
	}
	assert_false(W.authd_ended);
	world_end();
}

/* A token of an upstream's that is cut, of the wrong kind, or an abort: it failed, and nothing
 * waits. */
static void
test_hostile_tokens(void **state)
{
	static const struct {
		const char *octets;
		size_t len;
	} says[] = { { "\1\377", 2 }, { "\1\2\0\1x", 5 }, { "\1\3\0\1x", 5 }, { "\2\1\0\1x", 5 },
		{ "\5\0", 2 }, { "\1\1", 2 }, { "\1\1\377\377xx", 6 } };
	struct sid sid;
	int up, fd;

	(void)state;
	start_initiator(METHOD_GSSAPI, LEVEL_CONFIDENTIALITY);
	for (unsigned i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		fd = to_exchange(&up, 1, i + 1, &sid);
		piece(sid, TOKEN_CONTEXT, 1, 0, "t", 1);
		client_expect(up, "\1\1\0\1t", 5);
		say(up, says[i].octets, says[i].len);
		world_run(2);
		shutdown(up, SHUT_WR);
		client_expect_failure(fd, SOCKS_REP_GENERAL);
		close(up);
		world_until(world_count(MSG_AUTH_ABORT) == i + 1);
		result(sid, VERDICT_ABORTED, LEVEL_CLEAR); /* it crosses the session's end */
	}
	world_settle();
	assert_false(W.authd_ended);
	world_end();
}

/* Each of these ends the initiator's channel, and the session fails over in order. */
static void
lie(enum method method, void (*act)(struct sid sid))
{
	struct sid sid;
	int up, fd;

	start_initiator(method, method == METHOD_GSSAPI ? LEVEL_CONFIDENTIALITY : LEVEL_CLEAR);
	fd = to_exchange(&up, method == METHOD_GSSAPI ? 1 : 2, 1, &sid);
	act(sid);
	world_until(W.authd_ended);
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	close(up);
	assert_int_equal(world_count(MSG_PEER_FAULT), 1);
	world_end();
}

static void
act_password_of_gssapi(struct sid sid)
{
	piece(sid, TOKEN_PASSWORD, 5, 0, "\1\1u\1p", 5);
}
static void
act_out_of_order(struct sid sid)
{
	piece(sid, TOKEN_CONTEXT, 6, 3, "en1", 3);
}
static void
act_another_length(struct sid sid)
{
	piece(sid, TOKEN_CONTEXT, 6, 0, "tok", 3);
	piece(sid, TOKEN_CONTEXT, 7, 3, "en1", 3);
}
static void
act_out_of_turn(struct sid sid)
{
	piece(sid, TOKEN_CONTEXT, 1, 0, "t", 1);
	piece(sid, TOKEN_CONTEXT, 1, 0, "t", 1);
}
static void
act_too_long(struct sid sid)
{
	piece(sid, TOKEN_CONTEXT, TOKEN_MAX + 1, 0, "t", 1);
}
static void
act_early_keys(struct sid sid)
{
	keys(sid, LEVEL_CONFIDENTIALITY);
}
static void
act_weak_keys(struct sid sid)
{
	piece(sid, TOKEN_LEVEL, 1, 0, "L", 1);
	keys(sid, LEVEL_INTEGRITY);
}
static void
act_two_results(struct sid sid)
{
	piece(sid, TOKEN_PASSWORD, 5, 0, "\1\1u\1p", 5);
	result(sid, VERDICT_ACCEPT, LEVEL_CLEAR);
	result(sid, VERDICT_ACCEPT, LEVEL_CLEAR);
}
static void
act_no_such_session(struct sid sid)
{
	sid.gen += 7;
	result(sid, VERDICT_ACCEPT, LEVEL_CLEAR);
}
static void
act_no_verdict(struct sid sid)
{
	result(sid, VERDICT_COUNT, LEVEL_CLEAR);
}

static void
test_lying_initiator(void **state)
{
	(void)state;
	lie(METHOD_GSSAPI, act_password_of_gssapi);
	lie(METHOD_GSSAPI, act_out_of_order);
	lie(METHOD_GSSAPI, act_another_length);
	lie(METHOD_GSSAPI, act_out_of_turn);
	lie(METHOD_GSSAPI, act_too_long);
	lie(METHOD_GSSAPI, act_early_keys);
	lie(METHOD_GSSAPI, act_weak_keys);
	lie(METHOD_PASSWORD, act_two_results);
	lie(METHOD_PASSWORD, act_no_such_session);
	lie(METHOD_PASSWORD, act_no_verdict);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_every_end),
		cmocka_unit_test(test_password),
		cmocka_unit_test(test_gssapi),
		cmocka_unit_test(test_hostile_tokens),
		cmocka_unit_test(test_lying_initiator),
	};

	if (token_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
