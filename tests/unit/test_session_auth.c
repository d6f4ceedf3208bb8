/*
 * RFC 1929 in a worker, with the test as authd: what passes between them, and an authd that is
 * slow, gone, or breaks the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"

#define SPAWN 9 /* of the authd */

static struct world_policy
password_policy(void)
{
	struct world_policy p = world_default;

	p.methods = METHOD_BIT(METHOD_PASSWORD);
	return p;
}

static void
start(void)
{
	struct world_policy p = password_policy();

	world_start(&p);
	world_peer(&W.authd, ROLE_PASSWORD, SPAWN);
}

static int
client_gives(const char *credentials, size_t len)
{
	int fd = client_new();

	client_send(fd, "\5\2\0\2", 4);
	client_expect(fd, "\5\2", 2);
	client_send(fd, credentials, len);
	return fd;
}

static int
alice(void)
{
	return client_gives("\1\5Alice\6secret", 14);
}

static struct sid
asked(unsigned n)
{
	world_until(world_count(MSG_AUTH_PASSWORD) == n);
	return ((const struct msg_auth_password *)world_last(MSG_AUTH_PASSWORD))->sid;
}

static void
result(struct sid sid, uint8_t accepted, const char *user, const char *groups, size_t groups_len)
{
	struct msg_auth_result r = { .sid = sid,
		.accepted = accepted,
		.method = METHOD_PASSWORD,
		.user_len = (uint8_t)strlen(user),
		.groups_len = (uint32_t)groups_len };
	uint8_t tail[600];

	memcpy(tail, user, r.user_len);
	memcpy(tail + r.user_len, groups, groups_len);
	chan_send_tail(&W.authd, MSG_AUTH_RESULT, &r, sizeof(r), tail, r.user_len + groups_len, -1);
}

static void
test_accepted(void **state)
{
	uint8_t in[16];
	int fd, t;

	(void)state;
	start();
	fd = alice();
	struct sid sid = asked(1);
	const struct msg_auth_password *a = world_last(MSG_AUTH_PASSWORD);
	assert_int_equal(a->user_len, 5);
	assert_int_equal(a->password_len, 6);
	assert_memory_equal(a + 1, "Alicesecret", 11);
	assert_int_equal(a->client.a.family, ADDR_V4);
	assert_true(client_silent(fd));
	result(sid, 1, "alice", "\3web\5staff", 10);
	client_expect(fd, "\1\0", 2);
	client_send(fd, in, request_v4(in, target_port()));
	client_expect(fd, "\5\0", 2);
	/* The canonical name, not the one that was given. */
	const struct msg_open *o = world_last(MSG_OPEN);
	assert_int_equal(o->method, METHOD_PASSWORD);
	assert_int_equal(o->user_len, 5);
	assert_memory_equal(o + 1, "alice", 5);
	t = target_accept();
	close(fd);
	close(t);
	world_end();
}

/* A block that served one handshake serves another: nothing of the first is in it. */
static void
test_nothing_is_left_for_the_next(void **state)
{
	static const struct handshake none;
	const struct handshake *first;
	struct handshake next;
	uint8_t in[300];
	int fd;

	(void)state;
	start();
	world_peer(&W.resolver, ROLE_RESOLVER, SPAWN);
	fd = alice();
	result(asked(1), 1, "alice", "\3web\5staff", 10);
	client_expect(fd, "\1\0", 2);
	client_send(fd, in, request_name(in, "www.example.com", 80));
	world_until(world_count(MSG_LOOKUP) == 1);
	first = W.w->slots[0].hs;
	assert_int_equal(first->user_len, 5);
	assert_int_equal(first->norm_len, 15);
	assert_non_null(first->groups);
	close(fd);
	world_until(W.w->slots[0].state == SESSION_FREE);
	fd = client_new();
	world_until(W.w->slots[0].hs != NULL);
#if !SANITIZED
	assert_ptr_equal(W.w->slots[0].hs, first);
#endif
	memcpy(&next, W.w->slots[0].hs, sizeof(next));
	memset(&next.client, 0, sizeof(next.client));
	memset(&next.gateway, 0, sizeof(next.gateway));
	next.socks = 0;
	assert_memory_equal(&next, &none, sizeof(none));
	close(fd);
	world_end();
}

/* Greeting, credentials, request and data in one write. */
static void
test_coalesced(void **state)
{
	uint8_t in[64] = "\5\1\2\1\1u\1p";
	size_t n = 8;
	int fd, t;

	(void)state;
	start();
	n += request_v4(in + n, target_port());
	memcpy(in + n, "data", 4);
	fd = client_new();
	client_send(fd, in, n + 4);
	result(asked(1), 1, "u", "", 0);
	client_expect(fd, "\5\2\1\0\5\0", 6);
	t = target_accept();
	client_expect(t, "data", 4);
	close(fd);
	close(t);
	world_end();
}

static void
test_longest(void **state)
{
	uint8_t in[SOCKS_AUTH_MAX];
	int fd;

	(void)state;
	start();
	memset(in, 0xff, sizeof(in));
	in[0] = 1;
	fd = client_new();
	client_send(fd, "\5\1\2", 3);
	for (size_t i = 0; i < sizeof(in); i++) {
		client_send(fd, in + i, 1);
		if (i % 64 == 0)
			world_run(1);
	}
	struct sid sid = asked(1);
	const struct msg_auth_password *a = world_last(MSG_AUTH_PASSWORD);
	assert_int_equal(a->user_len, 255);
	assert_int_equal(a->password_len, 255);
	result(sid, 0, "", "", 0);
	client_expect(fd, "\5\2\1\1", 4);
	client_expect_end(fd);
	close(fd);
	world_end();
}

static void
test_denied(void **state)
{
	int fd;

	(void)state;
	start();
	fd = alice();
	result(asked(1), 0, "", "", 0);
	client_expect(fd, "\1\1", 2);
	client_expect_end(fd);
	close(fd);
	world_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

static void
test_malformed(void **state)
{
	static const struct {
		const char *in;
		size_t len;
	} tries[] = { { "\5\1\0", 3 }, { "\1\0\0", 3 }, { "\1\1a\0", 4 } };

	(void)state;
	start();
	for (unsigned i = 0; i < 3; i++) {
		int fd = client_gives(tries[i].in, tries[i].len);
		client_expect(fd, "\1\1", 2);
		client_expect_end(fd);
		close(fd);
	}
	world_end();
	assert_int_equal(world_count(MSG_AUTH_PASSWORD), 0);
}

/* Nothing of the password is left in the worker once authd has it. */
static void
test_wiped(void **state)
{
	int fd;

	(void)state;
	start();
	fd = alice();
	struct sid sid = asked(1);
	const struct handshake *hs = W.w->slots[sid.slot].hs;
	assert_null(memmem(hs, sizeof(*hs), "secret", 6));
	result(sid, 0, "", "", 0);
	client_expect(fd, "\1\1", 2);
	close(fd);
	world_end();
}

/* The client goes first: authd is told, and the id is kept until its answer. */
static void
test_abort(void **state)
{
	int fd;

	(void)state;
	start();
	fd = alice();
	struct sid sid = asked(1);
	close(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 1);
	assert_int_equal(W.w->slots[sid.slot].state, SESSION_ABORTED);
	assert_int_equal(W.w->sessions, 1);
	fd = alice();
	assert_int_not_equal(asked(2).slot, sid.slot);
	result(sid, 1, "alice", "", 0);
	world_until(W.w->sessions == 1);
	close(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 2);
	chan_stop(&W.authd);
	world_end();
}

/* authd takes longer than the handshake may. */
static void
test_slow_authd(void **state)
{
	struct world_policy p = password_policy();
	int fd;

	(void)state;
	p.handshake = 60;
	world_start(&p);
	world_peer(&W.authd, ROLE_PAM, SPAWN);
	fd = alice();
	struct sid sid = asked(1);
	client_expect(fd, "\1\1", 2);
	client_expect_end(fd);
	close(fd);
	world_until(world_count(MSG_AUTH_ABORT) == 1);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_HANDSHAKE);
	result(sid, 0, "", "", 0);
	world_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), 0);
}

/* No authd yet: the credentials wait for one, but not for ever. */
static void
test_late_authd(void **state)
{
	struct world_policy p = password_policy();
	int fd;

	(void)state;
	p.handshake = 500;
	world_start(&p);
	fd = alice();
	world_run(30);
	assert_true(client_silent(fd));
	world_peer(&W.authd, ROLE_PASSWORD, SPAWN);
	result(asked(1), 0, "", "", 0);
	client_expect(fd, "\1\1", 2);
	close(fd);
	world_until(W.w->sessions == 0);
	chan_stop(&W.authd);
	world_run(10);
	fd = alice();
	client_expect(fd, "\1\1", 2);
	client_expect_end(fd);
	close(fd);
	assert_int_equal(((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_AUTH);
	world_end();
}

static void
test_lost_authd(void **state)
{
	int fd;

	(void)state;
	start();
	fd = alice();
	asked(1);
	chan_stop(&W.authd);
	client_expect(fd, "\1\1", 2);
	client_expect_end(fd);
	close(fd);
	world_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), 0);
}

/* --- an authd that breaks the rules is reported, and its word counts no more --- */

static void
expect_fault(unsigned n)
{
	world_until(W.authd_ended);
	world_until(world_count(MSG_PEER_FAULT) == n);
	assert_int_equal(((const struct msg_peer_fault *)world_last(MSG_PEER_FAULT))->spawn, SPAWN);
	assert_false(W.w->authd[SERVICE_PASSWORD].up);
	W.authd_ended = false;
	world_peer(&W.authd, ROLE_PASSWORD, SPAWN);
}

static void
test_hostile_authd(void **state)
{
	struct sid sid;
	int fd;

	(void)state;
	start();
	/* For a session that never was; and for a slot that is not there. */
	result((struct sid){ .slot = 0, .gen = 1 }, 1, "root", "", 0);
	expect_fault(1);
	result((struct sid){ .slot = WORLD_SLOTS, .gen = 1 }, 1, "root", "", 0);
	expect_fault(2);
	/* Before it was asked. */
	fd = client_new();
	client_send(fd, "\5\1\2", 3);
	client_expect(fd, "\5\2", 2);
	result((struct sid){ .slot = 0, .gen = 1 }, 1, "root", "", 0);
	expect_fault(3);
	/* Twice. */
	client_send(fd, "\1\1u\1p", 5);
	sid = asked(1);
	result(sid, 1, "u", "", 0);
	client_expect(fd, "\1\0", 2);
	result(sid, 1, "root", "", 0);
	expect_fault(4);
	close(fd);
	/* Accepted as no one; and groups that do not add up. */
	fd = alice();
	result(asked(2), 1, "", "", 0);
	expect_fault(5);
	client_expect(fd, "\1\1", 2);
	close(fd);
	fd = alice();
	result(asked(3), 1, "alice", "\5web", 4);
	expect_fault(6);
	client_expect(fd, "\1\1", 2);
	close(fd);
	/* Positive control: a sound one is heard. */
	fd = alice();
	result(asked(4), 1, "alice", "\3web", 4);
	client_expect(fd, "\1\0", 2);
	close(fd);
	world_end();
	assert_int_equal(world_count(MSG_PEER_FAULT), 6);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_nothing_is_left_for_the_next),
		cmocka_unit_test(test_coalesced),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_wiped),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_slow_authd),
		cmocka_unit_test(test_late_authd),
		cmocka_unit_test(test_lost_authd),
		cmocka_unit_test(test_hostile_authd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
