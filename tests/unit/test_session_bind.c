/*
 * BIND in the worker: what it asks of the master, the two replies, and whom it takes. The master
 * and its listener are played by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker_world.h"

static const struct world_policy quick = { .version = 1,
	.handshake = 2000,
	.connect = 300,
	.idle = 60000,
	.half_closed = 60000,
	.handshakes = 8,
	.methods = METHOD_BIT(METHOD_NONE),
	.bind = 300 };

/* What the first reply has to name, as the master says. */
static const struct addrport outside = { .a = { .family = ADDR_V4, .b = { 198, 51, 100, 7 } },
	.port = 4711 };
static const uint8_t first_reply[] = { 5, 0, 0, 1, 198, 51, 100, 7, 0x12, 0x67 };

static int listener;
static struct sockaddr_in listener_addr;

static int
client_binds(const char *host)
{
	uint8_t out[16];
	int fd = client_greeted();

	request_v4(out, 7);
	out[1] = SOCKS_CMD_BIND;
	assert_int_equal(inet_pton(AF_INET, host, out + 4), 1);
	client_send(fd, out, 10);
	return fd;
}

static struct sid
asked_for(void)
{
	world_until(world_count(MSG_LISTEN) > 0);
	assert_int_equal(world_count(MSG_OPEN), 1); /* before it, in the same channel */
	return ((const struct msg_listen *)world_last(MSG_LISTEN))->sid;
}

static void
give_listener(struct sid sid)
{
	struct msg_listening l = { .sid = sid,
		.bound = { .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } } },
		.advertised = outside };

	listener = world_listen(&listener_addr);
	l.bound.port = ntohs(listener_addr.sin_port);
	assert_int_equal(
	    chan_send(&W.master, MSG_LISTENING, &l, sizeof(l), fcntl(listener, F_DUPFD_CLOEXEC, 0)),
	    0);
	close(listener); /* the worker's is the last */
}

/* A client that waits for its peer. */
static int
client_waits(const char *host)
{
	int fd = client_binds(host);

	give_listener(asked_for());
	client_expect(fd, first_reply, sizeof(first_reply));
	return fd;
}

static int
peer_from(const char *host)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, host, &from.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&listener_addr, sizeof(listener_addr)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static bool
nobody_listens(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, (struct sockaddr *)&listener_addr, sizeof(listener_addr));

	close(fd);
	return r == -1;
}

static void
expect_closed(enum reason why)
{
	world_until(world_count(MSG_CLOSE) == 1);
	assert_int_equal(((const struct msg_close *)world_last(MSG_CLOSE))->reason, why);
	assert_true(nobody_listens());
}

static void
turned_away(int fd)
{
	client_expect_end(fd);
	close(fd);
}

/* The second reply names the peer. */
static void
expect_peer(int fd, int peer)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	uint8_t reply[10];

	client_read(fd, reply, sizeof(reply));
	assert_int_equal(getsockname(peer, (struct sockaddr *)&at, &len), 0);
	assert_memory_equal(reply, "\5\0\0\1", 4);
	assert_memory_equal(reply + 4, &at.sin_addr, 4);
	assert_memory_equal(reply + 8, &at.sin_port, 2);
}

static void
test_two_replies(void **state)
{
	const struct msg_listen *l;
	const struct msg_connected *c;
	int fd, peer;

	(void)state;
	world_start(&world_default);
	fd = client_binds("127.0.0.2");
	struct sid sid = asked_for();
	world_run(30);
	assert_true(client_silent(fd)); /* no reply before it listens */
	l = world_last(MSG_LISTEN);
	assert_int_equal(l->rule, RULE_PASS_ANY);
	assert_int_equal(l->asked.port, 7);
	assert_memory_equal(l->asked.a.b, ((uint8_t[]){ 127, 0, 0, 2 }), 4);
	give_listener(sid);
	client_expect(fd, first_reply, sizeof(first_reply));
	client_send(fd, "early", 5);
	peer = peer_from("127.0.0.2");
	expect_peer(fd, peer);
	assert_int_equal(world_count(MSG_ATTEMPT), 1);
	c = world_last(MSG_CONNECTED);
	assert_int_equal(c->outgoing.port, ntohs(listener_addr.sin_port));
	assert_memory_equal(c->target.a.b, ((uint8_t[]){ 127, 0, 0, 2 }), 4);
	assert_true(nobody_listens());
	client_expect(peer, "early", 5);
	client_send(peer, "answer", 6);
	client_expect(fd, "answer", 6);
	close(peer);
	close(fd);
	world_end();
}

static void
test_strangers(void **state)
{
	int fd, peer;

	(void)state;
	world_start(&world_default);
	fd = client_waits("127.0.0.2");
	for (unsigned i = 0; i < 3; i++)
		turned_away(peer_from("127.0.0.3"));
	assert_int_equal(world_count(MSG_STRANGER), 1); /* once a host */
	for (unsigned i = 0; i < STRANGERS_MAX + 4; i++) {
		char host[32];
		snprintf(host, sizeof(host), "127.0.1.%u", i + 1);
		turned_away(peer_from(host));
	}
	assert_int_equal(world_count(MSG_STRANGER), STRANGERS_MAX);
	assert_int_equal(world_count(MSG_ATTEMPT), 0);
	peer = peer_from("127.0.0.2");
	expect_peer(fd, peer);
	close(peer);
	close(fd);
	world_end();
}

/* All-zero: whoever the rules let pass; the test's let loopback pass, and nothing else is asked. */
static void
test_anybody(void **state)
{
	int fd, peer;

	(void)state;
	world_start(&world_default);
	fd = client_waits("0.0.0.0");
	peer = peer_from("127.0.0.99");
	expect_peer(fd, peer);
	assert_int_equal(world_count(MSG_STRANGER), 0);
	close(peer);
	close(fd);
	world_end();
}

static void
test_rules(void **state)
{
	uint8_t out[16];
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_greeted();
	request_v4(out, BLOCKED_PORT);
	out[1] = SOCKS_CMD_BIND;
	client_send(fd, out, 10);
	client_expect_failure(fd, SOCKS_REP_NOT_ALLOWED);
	client_expect_failure(client_binds("192.0.2.1"), SOCKS_REP_NOT_ALLOWED);
	assert_int_equal(world_count(MSG_LISTEN), 0);
	world_end();
}

static void
test_time_out(void **state)
{
	int fd;

	(void)state;
	world_start(&quick);
	fd = client_waits("127.0.0.2");
	turned_away(peer_from("127.0.0.3")); /* no reason to wait any longer */
	client_expect_failure(fd, SOCKS_REP_TTL_EXPIRED);
	expect_closed(REASON_BIND_TIMEOUT);
	world_end();
}

static void
test_master_refuses(void **state)
{
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_binds("127.0.0.2");
	struct msg_refuse r = { .sid = asked_for(), .reason = REASON_BIND_PORTS };
	chan_send(&W.master, MSG_REFUSE, &r, sizeof(r), -1);
	client_expect_failure(fd, SOCKS_REP_GENERAL);
	world_end();
}

static void
test_master_silent(void **state)
{
	(void)state;
	world_start(&quick);
	client_expect_failure(client_binds("127.0.0.2"), SOCKS_REP_GENERAL);
	/* Its listener comes when the session is over: it is closed. */
	give_listener(((const struct msg_listen *)world_last(MSG_LISTEN))->sid);
	world_settle();
	world_until(nobody_listens());
	world_end();
}

static void
test_client_leaves(void **state)
{
	int fd;

	(void)state;
	world_start(&world_default);
	fd = client_waits("127.0.0.2");
	close(fd);
	expect_closed(REASON_CLIENT_CLOSED);
	world_end();
	world_start(&world_default);
	fd = client_waits("127.0.0.2");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_closed(REASON_CLIENT_CLOSED);
	close(fd);
	world_end();
}

/* A name: all of its addresses are expected, and one is asked for. */
static void
test_name(void **state)
{
	struct {
		struct msg_answer m;
		struct addr a[2];
	} p = { .m = { .family = LOOKUP_A, .status = ANSWER_OK, .naddr = 2, .ttl = 60 },
		.a = { { .family = ADDR_V4, .b = { 127, 0, 0, 2 } },
		    { .family = ADDR_V4, .b = { 127, 0, 0, 3 } } } };
	uint8_t out[64];
	int fd, peer;

	(void)state;
	world_start(&world_default);
	world_peer(&W.resolver, ROLE_RESOLVER, 9);
	fd = client_greeted();
	size_t n = request_name(out, "www.example.com", 7);
	out[1] = SOCKS_CMD_BIND;
	client_send(fd, out, n);
	world_until(world_count(MSG_LOOKUP) > 0);
	p.m.id = ((const struct msg_lookup *)world_last(MSG_LOOKUP))->id;
	chan_send(&W.resolver, MSG_ANSWER, &p, sizeof(p), -1);
	p.m.family = LOOKUP_AAAA;
	p.m.status = ANSWER_NO_DATA;
	p.m.naddr = 0;
	chan_send(&W.resolver, MSG_ANSWER, &p, sizeof(p.m), -1);
	give_listener(asked_for());
	client_expect(fd, first_reply, sizeof(first_reply));
	turned_away(peer_from("127.0.0.4"));
	peer = peer_from("127.0.0.3");
	expect_peer(fd, peer);
	close(peer);
	close(fd);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_replies),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_anybody),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_time_out),
		cmocka_unit_test(test_master_refuses),
		cmocka_unit_test(test_master_silent),
		cmocka_unit_test(test_client_leaves),
		cmocka_unit_test(test_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
