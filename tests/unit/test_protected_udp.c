/*
 * Datagrams of an association whose client is protected, RFC 1961 section 5: each is a message,
 * each way; lost, doubled, reordered, changed and bare ones; who the client is; sizes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/datagram.h"
#include "tests/unit/gssapi_world.h"

static int control, client, target; /* the client's TCP and UDP, and where it sends to */
static struct sockaddr_in relay, target_at;
static uint8_t in[65536], out[70000];

static void
associate(enum level level)
{
	struct sockaddr_in mine;

	gssapi_start(&world_default);
	target = world_udp(&target_at);
	client = world_udp(&mine);
	control = gssapi_accepted(level);
	client_seals(control, "\5\3\0\1\0\0\0\0\0\0", 10);
	world_grant_association();
	assert_int_equal(client_opens(control, in), 10);
	assert_memory_equal(in, "\5\0\0\1", 4);
	relay = world_relay(in);
	token_datagrams(peer);
}

/* The association's end: its closing record. */
static struct msg_close
dissociate(void)
{
	struct msg_close c = world_closing(control);

	close(client);
	close(target);
	gssapi_end();
	return c;
}

/* The message of a datagram for the target with these data, into out. */
static size_t
message(const void *data, size_t len)
{
	static uint8_t clear[70000];

	memcpy(clear, "\0\0\0\1", 4);
	memcpy(clear + 4, &target_at.sin_addr, 4);
	memcpy(clear + 8, &target_at.sin_port, 2);
	memcpy(clear + 10, data, len);
	return sealed(out, clear, 10 + len);
}

static void
to_relay(int fd, const void *data, size_t len)
{
	assert_int_equal(
	    sendto(fd, data, len, 0, (struct sockaddr *)&relay, sizeof(relay)), (ssize_t)len);
	world_run(5);
}

static ssize_t
comes(int fd)
{
	ssize_t n = -1;

	for (unsigned waited = 0; n == -1 && waited < 50; waited++) {
		world_run(1);
		n = recv(fd, in, sizeof(in), 0);
	}
	return n;
}

static void
test_both_ways(void **state)
{
	const uint8_t *clear;
	size_t len;

	(void)state;
	for (enum level l = LEVEL_INTEGRITY; l < LEVEL_COUNT; l++) {
		associate(l);
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		to_relay(client, out, message("ping", 4));
		world_run(5);
		assert_int_equal(
		    recvfrom(target, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len), 4);
		assert_memory_equal(in, "ping", 4);
		/* Replies of many lengths in one go: each is a message of its own. */
		for (size_t i = 0; i < 40; i++) {
			uint8_t data[1400];
			memset(data, (int)i, sizeof(data));
			sendto(target, data, i * 30, 0, (struct sockaddr *)&from, from_len);
		}
		for (size_t i = 0; i < 40; i++) {
			ssize_t n = comes(client);
			assert_true(n > GSS_HEADER);
			assert_memory_equal(in, "\1\3", 2);
			assert_int_equal(in[2] << 8 | in[3], n - GSS_HEADER);
			assert_int_equal(token_unwrap(peer, in + GSS_HEADER, (size_t)n - GSS_HEADER,
					     &clear, &len),
			    TOKEN_OK);
			assert_int_equal(len, 10 + i * 30);
			assert_memory_equal(clear + 4, &target_at.sin_addr, 4);
			assert_memory_equal(clear + 8, &target_at.sin_port, 2);
			for (size_t k = 10; k < len; k++)
				assert_int_equal(clear[k], i);
		}
		struct msg_close c = dissociate();
		assert_int_equal(c.datagrams_up, 1);
		assert_int_equal(c.up, 4);
		assert_int_equal(c.datagrams_down, 40);
		assert_int_equal(c.down, 30 * 780);
	}
}

/* Lost and reordered ones arrive; a doubled one does not, and is counted. */
static void
test_order(void **state)
{
	static uint8_t first[200], second[200];
	size_t n1, n2;

	(void)state;
	associate(LEVEL_CONFIDENTIALITY);
	n1 = message("1", 1);
	memcpy(first, out, n1);
	(void)message("lost", 4);
	n2 = message("2", 1);
	memcpy(second, out, n2);
	to_relay(client, second, n2);
	to_relay(client, first, n1);
	to_relay(client, second, n2);
	assert_int_equal(comes(target), 1);
	assert_int_equal(in[0], '2');
	assert_int_equal(comes(target), 1);
	assert_int_equal(in[0], '1');
	assert_int_equal(comes(target), -1);
	struct msg_close c = dissociate();
	assert_int_equal(c.drops[DROP_REPLAY], 1);
	assert_int_equal(c.drops[DROP_TOKEN], 0);
	assert_int_equal(c.datagrams_up, 2);
}

/* What is no message, not all of one, more than one, or was changed is dropped; the session goes
 * on. */
static void
test_bad(void **state)
{
	static uint8_t bad[400];
	size_t n;

	(void)state;
	associate(LEVEL_CONFIDENTIALITY);
	to_relay(client, "\0\0\0\1\177\0\0\1\0\7bare", 14);
	to_relay(client, "\1\3\0\0", 4);
	to_relay(client, "\1\xff", 2);
	n = message("changed", 7);
	memcpy(bad, out, n);
	bad[n - 1] ^= 1;
	to_relay(client, bad, n);
	to_relay(client, out, n - 1);
	memcpy(bad, out, n);
	memcpy(bad + n, out, n);
	to_relay(client, bad, 2 * n);
	assert_int_equal(comes(target), -1);
	to_relay(client, out, n); /* positive control: it had not been taken yet */
	assert_int_equal(comes(target), 7);
	struct msg_close c = dissociate();
	assert_int_equal(c.drops[DROP_TOKEN], 6);
	assert_int_equal(c.datagrams_up, 1);
}

/* The port is learnt from a datagram that unwraps alone: one who sends first, from the client's own
 * host, does not take the association over. */
static void
test_port_learnt(void **state)
{
	struct sockaddr_in at;
	int thief;

	(void)state;
	associate(LEVEL_INTEGRITY);
	thief = world_udp(&at);
	to_relay(thief, "\0\0\0\1\177\0\0\1\0\7bare", 14);
	to_relay(client, out, message("mine", 4));
	assert_int_equal(comes(target), 4);
	/* Nor does he with a genuine message later. */
	to_relay(thief, out, message("his", 3));
	assert_int_equal(comes(target), -1);
	close(thief);
	struct msg_close c = dissociate();
	assert_int_equal(c.drops[DROP_TOKEN], 1);
	assert_int_equal(c.drops[DROP_SOURCE], 1);
}

/* The longest reply that fits once it is encapsulated, and one octet more, which is dropped. */
static void
test_longest_reply(void **state)
{
	static uint8_t data[65507];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);

	(void)state;
	associate(LEVEL_CONFIDENTIALITY);
	to_relay(client, out, message("x", 1));
	assert_int_equal(recvfrom(target, in, sizeof(in), 0, (struct sockaddr *)&from, &len), 1);
	size_t most = DATAGRAM_MAX_V4 - GSS_HEADER - token_overhead(peer) - 10;
	assert_int_equal(
	    sendto(target, data, most + 1, 0, (struct sockaddr *)&from, len), most + 1);
	assert_int_equal(comes(client), -1);
	assert_int_equal(sendto(target, data, most, 0, (struct sockaddr *)&from, len), most);
	assert_int_equal(comes(client), DATAGRAM_MAX_V4);
	struct msg_close c = dissociate();
	assert_int_equal(c.drops[DROP_SIZE], 1);
	assert_int_equal(c.datagrams_down, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_port_learnt),
		cmocka_unit_test(test_longest_reply),
	};

	if (token_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
