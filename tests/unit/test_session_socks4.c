/*
 * SOCKS4 and 4a in a worker, in a world where the test plays the master: what the master is told,
 * the replies, and everything that is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/worker_world.h"

static const uint8_t refused[8] = { 0, 91, 0, 0, 0, 0, 0, 0 };

static void
start_allowed(void)
{
	struct world_policy p = world_default;

	p.socks4 = true;
	world_start(&p);
}

/* A request into out; its length. `name` NULL: for 127.0.0.1, by version 4. */
static size_t
request(uint8_t *out, uint16_t port, const char *claim, const char *name)
{
	uint8_t *p = mempcpy(out, (uint8_t[]){ 4, 1, (uint8_t)(port >> 8), (uint8_t)port }, 4);

	p = mempcpy(p, name == NULL ? (uint8_t[]){ 127, 0, 0, 1 } : (uint8_t[]){ 0, 0, 0, 1 }, 4);
	p = mempcpy(p, claim, strlen(claim) + 1);
	if (name != NULL)
		p = mempcpy(p, name, strlen(name) + 1);
	return (size_t)(p - out);
}

static int
client_says(const void *in, size_t len)
{
	int fd = client_new();

	client_send(fd, in, len);
	return fd;
}

static void
expect_refused(const void *in, size_t len)
{
	int fd = client_says(in, len);

	client_expect(fd, refused, sizeof(refused));
	client_expect_end(fd);
	close(fd);
}

/* Refused before any open: only the early record tells of it. */
static void
expect_turned_away(const void *in, size_t len, enum reason why, uint32_t detail)
{
	unsigned early = world_count(MSG_EARLY);

	expect_refused(in, len);
	assert_int_equal(world_count(MSG_EARLY), early + 1);
	const struct msg_early *e = world_last(MSG_EARLY);
	assert_int_equal(e->reason, why);
	assert_int_equal(e->detail, detail);
	assert_int_equal(world_count(MSG_OPEN), 0);
}

static void
expect_failure(const void *in, size_t len, enum reason why)
{
	expect_refused(in, len);
	assert_int_equal(((const struct msg_close *)world_last(MSG_CLOSE))->reason, why);
	assert_int_equal(((const struct msg_open *)world_last(MSG_OPEN))->socks, 4);
}

/* The last OPEN: version 4, nobody, and this claim. */
static const struct msg_open *
check_open(const char *claim, const char *name)
{
	const struct msg_open *o = world_last(MSG_OPEN);
	const char *tail = (const char *)(o + 1);

	assert_int_equal(o->socks, 4);
	assert_int_equal(o->method, METHOD_NONE);
	assert_int_equal(o->user_len, 0);
	assert_int_equal(o->name_len, strlen(name));
	assert_memory_equal(tail, name, strlen(name));
	assert_int_equal(o->claim_len, strlen(claim));
	assert_memory_equal(tail + strlen(name), claim, strlen(claim));
	return o;
}

/* The success reply with what the target sees as BND. */
static int
expect_granted(int fd)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	uint8_t reply[8];

	client_read(fd, reply, sizeof(reply));
	int t = target_accept();
	assert_int_equal(getpeername(t, (struct sockaddr *)&peer, &len), 0);
	assert_memory_equal(reply, "\0\132", 2);
	assert_memory_equal(reply + 2, &peer.sin_port, 2);
	assert_memory_equal(reply + 4, "\177\0\0\1", 4);
	return t;
}

/* --- served --- */

static void
test_every_split(void **state)
{
	uint8_t in[64];

	(void)state;
	start_allowed();
	for (size_t cut = 1;; cut++) {
		size_t n = request(in, target_port(), "mel", NULL);
		memcpy(in + n, "data", 4);
		n += 4;
		if (cut == n)
			break;
		int fd = client_says(in, cut);
		world_run(1);
		client_send(fd, in + cut, n - cut);
		int t = expect_granted(fd);
		client_expect(t, "data", 4);
		assert_int_equal(check_open("mel", "")->command, COMMAND_CONNECT);
		close(fd);
		close(t);
		world_until(W.w->sessions == 0);
	}
	world_end();
	assert_int_equal(world_count(MSG_EARLY), 0);
}

static void
test_octet_by_octet(void **state)
{
	uint8_t in[64];
	size_t n;

	(void)state;
	start_allowed();
	n = request(in, target_port(), "", "127.0.0.1");
	int fd = client_new();
	for (size_t i = 0; i < n; i++) {
		client_send(fd, in + i, 1);
		world_run(1);
	}
	int t = expect_granted(fd);
	/* A literal in the name's place is an address, recorded as it was asked for. */
	assert_int_equal(check_open("", "127.0.0.1")->asked.a.family, ADDR_NONE);
	const struct msg_attempt *a = world_last(MSG_ATTEMPT);
	assert_memory_equal(a->target.a.b, "\177\0\0\1", 4);
	close(fd);
	close(t);
	world_end();
}

/* Both at their longest, with data behind them. */
static void
test_longest(void **state)
{
	uint8_t in[SOCKS4_REQUEST_MAX + 8];
	char claim[CLAIM_MAX + 1], name[NAME_MAX_LEN + 1];

	(void)state;
	start_allowed();
	memset(claim, 0xfe, CLAIM_MAX);
	claim[CLAIM_MAX] = '\0';
	for (size_t i = 0; i < NAME_MAX_LEN; i++)
		name[i] = i % 64 == 63 ? '.' : 'n';
	name[NAME_MAX_LEN] = '\0';
	size_t n = request(in, BLOCKED_PORT, claim, name);
	assert_int_equal(n, SOCKS4_REQUEST_MAX);
	memcpy(in + n, "data", 4);
	expect_failure(in, n + 4, REASON_RULES);
	check_open(claim, name);
	world_end();
}

/* SOCKS4's reply has no room for an IPv6 address. */
static void
test_ipv6_target(void **state)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(at);
	uint8_t in[64], reply[8];
	int six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	if (six == -1 || bind(six, (struct sockaddr *)&at, sizeof(at)) == -1)
		skip();
	assert_int_equal(listen(six, 4), 0);
	assert_int_equal(getsockname(six, (struct sockaddr *)&at, &len), 0);
	start_allowed();
	int fd = client_says(in, request(in, ntohs(at.sin6_port), "", "::1"));
	client_read(fd, reply, sizeof(reply));
	const struct msg_connected *c = world_last(MSG_CONNECTED);
	assert_int_equal(c->outgoing.a.family, ADDR_V6);
	assert_memory_equal(reply, "\0\132", 2);
	assert_int_equal(reply[2] << 8 | reply[3], c->outgoing.port);
	assert_memory_equal(reply + 4, "\0\0\0\0", 4);
	close(fd);
	close(six);
	world_end();
}

/* --- refused --- */

/* Off, which is the default: version 4's own refusal whole, whatever the client goes on to send. */
static void
test_off(void **state)
{
	static uint8_t junk[200000];
	uint8_t in[64];

	(void)state;
	world_start(&world_default);
	expect_turned_away("\4", 1, REASON_VERSION, 4);
	expect_turned_away(in, request(in, 80, "mel", "example.com"), REASON_VERSION, 4);
	int fd = client_says(in, request(in, 80, "", NULL));
	assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	world_run(20);
	assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	world_run(20);
	client_expect(fd, refused, sizeof(refused));
	client_expect_end(fd);
	close(fd);
	world_end();
}

/* Where every rule asks for a password, SOCKS4 has nothing to offer, whoever it says it is. */
static void
test_no_rule_without_authentication(void **state)
{
	struct world_policy p = world_default;
	uint8_t in[64];

	(void)state;
	p.socks4 = true;
	p.methods = METHOD_BIT(METHOD_PASSWORD);
	world_start(&p);
	expect_turned_away("\4", 1, REASON_NO_METHOD, METHOD_BIT(METHOD_NONE));
	expect_turned_away(
	    in, request(in, 80, "alice", NULL), REASON_NO_METHOD, METHOD_BIT(METHOD_NONE));
	world_end();
}

static void
test_malformed(void **state)
{
	uint8_t in[SOCKS4_REQUEST_MAX + 8];
	size_t n;

	(void)state;
	start_allowed();
	memset(in, 'u', sizeof(in));
	in[0] = 4;
	expect_turned_away(in, 8 + CLAIM_MAX + 1, REASON_PROTOCOL, 0);
	n = request(in, 80, "mel", "");
	expect_turned_away(in, n, REASON_PROTOCOL, 0);
	memset(in + n - 1, 'n', NAME_MAX_LEN + 1);
	expect_turned_away(in, n + NAME_MAX_LEN, REASON_PROTOCOL, 0);
	world_end();
}

static void
test_requests_refused(void **state)
{
	uint8_t in[300];
	size_t n;

	(void)state;
	start_allowed();
	/* CD 3 is UDP ASSOCIATE in SOCKS5 alone. */
	n = request(in, 80, "mel", NULL);
	for (unsigned cd = 0; cd <= 255; cd++) {
		in[1] = (uint8_t)cd;
		if (cd == SOCKS_CMD_CONNECT || cd == SOCKS_CMD_BIND)
			continue;
		expect_failure(in, n, REASON_COMMAND);
		const struct msg_open *o = check_open("mel", "");
		assert_int_equal(o->command, COMMAND_NONE);
		assert_int_equal(o->command_raw, cd);
		world_forget();
	}
	expect_failure(in, request(in, BLOCKED_PORT, "", NULL), REASON_RULES);
	expect_failure(in, request(in, BLOCKED_PORT, "", "example.com"), REASON_RULES);
	expect_failure(in, request(in, 80, "", "a..b"), REASON_NO_NAME);
	expect_failure(in, request(in, 80, "", "0x7f.1"), REASON_NO_NAME);
	assert_int_equal(world_count(MSG_ATTEMPT) + world_count(MSG_LOOKUP), 0);
	world_end();
}

static void
test_connection_refused(void **state)
{
	struct sockaddr_in at;
	uint8_t in[64];

	(void)state;
	start_allowed();
	close(world_listen(&at));
	expect_failure(in, request(in, ntohs(at.sin_port), "", NULL), REASON_REFUSED);
	world_end();
}

static void
test_handshake_timeout(void **state)
{
	struct world_policy p = world_default;
	uint8_t in[64];
	size_t n = request(in, 80, "a claim that takes too long", NULL);

	(void)state;
	p.socks4 = true;
	p.handshake = 60;
	world_start(&p);
	int fd = client_says(in, 1);
	for (unsigned i = 1; i < 6 && i < n; i++) {
		(void)send(fd, in + i, 1, MSG_NOSIGNAL);
		world_run(20);
	}
	client_expect_end(fd);
	assert_int_equal(
	    ((const struct msg_early *)world_last(MSG_EARLY))->reason, REASON_HANDSHAKE);
	close(fd);
	world_end();
}

/* A client that goes away inside its message leaves nothing behind. */
static void
test_client_goes(void **state)
{
	uint8_t in[64];
	size_t n = request(in, 80, "mel", "example.com");

	(void)state;
	start_allowed();
	for (size_t cut = 1; cut < n; cut++) {
		int fd = client_says(in, cut);
		close(fd);
		world_until(W.w->sessions == 0);
	}
	world_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

/* The policy in force decides, also one that came in the middle of the message. */
static void
test_policy_during_request(void **state)
{
	struct world_policy p = world_default;
	uint8_t in[64];
	size_t n = request(in, 80, "mel", NULL);

	(void)state;
	start_allowed();
	int fd = client_says(in, n - 1);
	world_until(W.w->sessions == 1);
	p.version = 2;
	world_policy(&p);
	world_until(world_count(MSG_POLICY_ACK) == 2);
	client_send(fd, in + n - 1, 1);
	client_expect(fd, refused, sizeof(refused));
	client_expect_end(fd);
	close(fd);
	world_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

/* Within a SOCKS5 session version 4 is no request. */
static void
test_not_after_a_greeting(void **state)
{
	uint8_t in[64];
	int fd;

	(void)state;
	start_allowed();
	fd = client_greeted();
	client_send(fd, in, request(in, target_port(), "", NULL));
	client_expect_end(fd);
	close(fd);
	world_end();
	assert_int_equal(world_count(MSG_OPEN), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_octet_by_octet),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_ipv6_target),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_no_rule_without_authentication),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_requests_refused),
		cmocka_unit_test(test_connection_refused),
		cmocka_unit_test(test_handshake_timeout),
		cmocka_unit_test(test_client_goes),
		cmocka_unit_test(test_policy_during_request),
		cmocka_unit_test(test_not_after_a_greeting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
