/*
 * A whole handshake of arbitrary octets in arbitrary pieces, through the worker's code: it must
 * leave no session behind, one `close` for each `open`, and nothing that authd was not asked for.
 *
 * The input is a run of pieces: an octet whose low six bits are the length, and whose high two say
 * what authd and the resolver answer meanwhile (0: nothing, 1: yes, 2: no, 3: the client closes its
 * half); then that many octets. The only target that the rules let pass is a socket of this
 * process.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define check(x)                 \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)
#define assert_true(x)               check(x)
#define assert_non_null(x)           check((x) != NULL)
#define assert_int_equal(a, b)       check((a) == (b))
#define assert_memory_equal(a, b, n) check(memcmp((a), (b), (n)) == 0)
#define fail_msg(...)                abort()

#include "tests/unit/worker_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned answered;
static struct chan acceptor;
static bool begun, owed; /* the exchange of GSSAPI: there is one; its end has not been told */

static void
start(void)
{
	struct world_policy p = world_default;

	p.methods =
	    METHOD_BIT(METHOD_NONE) | METHOD_BIT(METHOD_PASSWORD) | METHOD_BIT(METHOD_GSSAPI);
	p.socks4 = true;
	check(token_init() == 0);
	world_start(&p);
	p.version = 2;
	p.only_port = target_port();
	world_policy(&p);
	world_peer(&W.authd, ROLE_PASSWORD, 2);
	world_peer(&acceptor, ROLE_ACCEPTOR, 4);
	world_peer(&W.resolver, ROLE_RESOLVER, 3);
	world_run(5);
}

static void
answer_auth(const struct msg_auth_password *a, bool yes)
{
	struct msg_auth_result r = { .sid = a->sid,
		.accepted = yes,
		.method = METHOD_PASSWORD,
		.user_len = yes ? a->user_len : 0 };

	chan_send_tail(&W.authd, MSG_AUTH_RESULT, &r, sizeof(r), a + 1, r.user_len, -1);
}

/* The last piece of a token: an empty answer, and after that of a level, keys and the end. */
static void
answer_token(const struct msg_auth_token *t)
{
	struct msg_auth_token a = { .sid = t->sid, .kind = t->kind };
	struct msg_auth_keys k = { .sid = t->sid,
		.lifetime = UINT32_MAX,
		.params = {
		    .enctype = ENCTYPE_AES128_SHA1, .level = LEVEL_INTEGRITY, .acceptor = 1 } };
	struct msg_auth_result r = { .sid = t->sid,
		.accepted = 1,
		.method = METHOD_GSSAPI,
		.level = t->total % 2 == 0 ? LEVEL_INTEGRITY : LEVEL_CLEAR,
		.user_len = 1 };

	chan_send(&acceptor, MSG_AUTH_REPLY, &a, sizeof(a), -1);
	if (t->kind != TOKEN_LEVEL)
		return;
	owed = false;
	if (r.level != LEVEL_CLEAR)
		chan_send(&acceptor, MSG_AUTH_KEYS, &k, sizeof(k), -1);
	chan_send_tail(&acceptor, MSG_AUTH_RESULT, &r, sizeof(r), "u", 1, -1);
}

/* A piece of a token, or the client has gone: each exchange has exactly one end. */
static void
answer_gssapi(const struct seen *s, bool yes)
{
	const struct msg_auth_token *t = (const void *)s->payload;
	struct msg_auth_result r = { .sid = t->sid };

	if (s->type == MSG_AUTH_TOKEN && !begun)
		begun = owed = true;
	if (!owed)
		return;
	if (s->type == MSG_AUTH_ABORT || !yes) {
		owed = false;
		chan_send(&acceptor, MSG_AUTH_RESULT, &r, sizeof(r), -1);
	} else if (t->at + s->len - sizeof(*t) == t->total) {
		answer_token(t);
	}
}

static void
answer_name(const struct msg_lookup *l, bool yes)
{
	struct addr home = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } };
	struct msg_answer a = {
		.id = l->id, .family = LOOKUP_AAAA, .status = yes ? ANSWER_NO_DATA : ANSWER_FAILED
	};

	if ((l->families & LOOKUP_AAAA) != 0)
		chan_send(&W.resolver, MSG_ANSWER, &a, sizeof(a), -1);
	if ((l->families & LOOKUP_A) == 0)
		return;
	a.family = LOOKUP_A;
	a.status = yes ? ANSWER_OK : ANSWER_NO_NAME;
	a.naddr = yes;
	chan_send_tail(&W.resolver, MSG_ANSWER, &a, sizeof(a), &home, yes ? sizeof(home) : 0, -1);
}

/* Answers what the worker has asked and not been answered yet. */
static void
answer_all(bool yes)
{
	for (; answered < W.nseen; answered++) {
		const struct seen *s = &W.seen[answered];
		if (s->type == MSG_AUTH_PASSWORD)
			answer_auth((const void *)s->payload, yes);
		else if (s->type == MSG_AUTH_TOKEN || s->type == MSG_AUTH_ABORT)
			answer_gssapi(s, yes);
		else if (s->type == MSG_LOOKUP)
			answer_name((const void *)s->payload, yes);
	}
	world_run(0);
}

static void
play(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		unsigned act = data[0] >> 6;
		size_t n = data[0] & 0x3f;

		data++;
		size--;
		n = n < size ? n : size;
		if (n > 0)
			(void)send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		data += n;
		size -= n;
		world_run(0);
		if (act == 1 || act == 2)
			answer_all(act == 1);
		else if (act == 3)
			shutdown(fd, SHUT_WR);
	}
	world_run(0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addrport a = { .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } }, .port = 1 };
	int pair[2];

	if (W.loop == NULL)
		start();
	if (size > 400)
		return 0;
	W.nseen = answered = 0;
	begun = owed = false;
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	check(session_new(W.w, pair[0], &a, &a) != NULL);
	play(pair[1], data, size);
	close(pair[1]);
	for (unsigned i = 0; i < 2000 && W.w->sessions > 0; i++) {
		answer_all(false);
		int t = accept4(W.target, NULL, NULL, SOCK_CLOEXEC);
		if (t != -1)
			close(t);
	}
	check(W.w->sessions == 0 && W.w->handshakes == 0);
	check(world_count(MSG_OPEN) == world_count(MSG_CLOSE) && world_count(MSG_OPEN) <= 1);
	check(world_count(MSG_PEER_FAULT) == 0);
	return 0;
}
