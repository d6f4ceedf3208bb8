/*
 * What a hostile worker may say about BIND: a listener is made by a rule that has the command, for
 * a session that asked for it, once; the peer that is taken is one that the master was told of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sessions_world.h"

enum { RULE_BLOCKS, RULE_PASSES, RULE_CONNECT_ONLY }; /* in the order of the configuration */

static const struct addrport home = { .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } },
	.port = 7 };
static const struct addrport peer_addr = { .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } },
	.port = 5555 };
static struct addrport bound; /* as the last LISTENING said */

static int
setup_bind(void **state)
{
	(void)state;
	return setup_with("egress from 127.0.0.1\n"
			  "block from any to 203.0.113.0/24\n"
			  "pass log bind from any to any auth none\n"
			  "pass connect from any to any auth none\n");
}

static bool
open_as(uint32_t slot, enum command command)
{
	struct open_message p = open_for(slot, 1, "");

	p.o.command = (uint8_t)command;
	p.o.command_raw = (uint8_t)command;
	p.o.asked = home;
	return send_open(&worker[0], &p);
}

static bool
ask(struct child *w, uint32_t slot, uint32_t version, uint32_t rule, const struct addrport *to)
{
	struct msg_listen l = {
		.sid = { slot, 1 }, .version = version, .rule = rule, .asked = *to
	};
	struct msg m = message(MSG_LISTEN, &l, sizeof(l));

	return sessions_listen(sessions, w, &m);
}

static bool
listens(uint32_t slot)
{
	return ask(&worker[0], slot, 1, RULE_PASSES, &home);
}

static bool
stranger(uint32_t slot, const struct addrport *who)
{
	struct msg_stranger t = {
		.sid = { slot, 1 }, .version = 1, .rule = RULE_NONE, .peer = *who
	};
	struct msg m = message(MSG_STRANGER, &t, sizeof(t));

	return sessions_stranger(sessions, &worker[0], &m);
}

static bool
peer_taken(uint32_t slot, const struct addrport *who, const struct addrport *at)
{
	struct msg_connected c = { .sid = { slot, 1 }, .target = *who, .outgoing = *at };
	struct msg m = message(MSG_CONNECTED, &c, sizeof(c));

	return sessions_connected(sessions, &worker[0], &m);
}

static bool
peer_tried(uint32_t slot, uint32_t rule)
{
	struct msg_attempt a = {
		.sid = { slot, 1 }, .version = 1, .rule = rule, .target = peer_addr
	};
	struct msg m = message(MSG_ATTEMPT, &a, sizeof(a));

	return sessions_attempt(sessions, &worker[0], &m);
}

/* The answer to LISTEN: the listening descriptor, or -1 and the reason. */
static int
answer_fd(uint32_t *reason)
{
	_Alignas(8) unsigned char buf[512], control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	struct msg_head h;
	int fd = -1;

	chan_flush(&worker[0].chan);
	assert_true(recvmsg(peer[0], &mh, MSG_DONTWAIT) > (ssize_t)sizeof(h));
	memcpy(&h, buf, sizeof(h));
	if (h.type == MSG_REFUSE) {
		struct msg_refuse r;
		memcpy(&r, buf + sizeof(h), sizeof(r));
		*reason = r.reason;
		return -1;
	}
	assert_int_equal(h.type, MSG_LISTENING);
	struct msg_listening l;
	memcpy(&l, buf + sizeof(h), sizeof(l));
	bound = l.bound;
	assert_non_null(CMSG_FIRSTHDR(&mh));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	return fd;
}

static void
test_honest(void **state)
{
	uint32_t reason;
	int fd;

	(void)state;
	assert_true(open_as(1, COMMAND_BIND));
	assert_true(listens(1));
	assert_int_equal(records("event=session-open"), 1); /* the record first ... */
	fd = answer_fd(&reason);                            /* ... then the listener */
	assert_true(fd != -1);
	close(fd);
	assert_true(stranger(1, &target));
	assert_int_equal(records("event=peer-refused"), 1);
	assert_true(peer_tried(1, RULE_PASSES));
	assert_true(peer_taken(1, &peer_addr, &bound));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("event=session-close"), 1);
	assert_int_equal(records("target=127.0.0.1:5555"), 1);
}

static void
test_no_listener(void **state)
{
	static const struct addrport nowhere;
	uint32_t reason;

	(void)state;
	assert_false(listens(1)); /* no session */
	assert_true(open_as(1, COMMAND_CONNECT));
	assert_false(listens(1)); /* that asked for something else */
	assert_true(open_as(2, COMMAND_BIND));
	assert_false(ask(&worker[0], 2, 1, RULE_BLOCKS, &home));
	assert_false(ask(&worker[0], 2, 1, RULE_CONNECT_ONLY, &home));
	assert_false(ask(&worker[0], 2, 1, RULE_NONE, &home));
	assert_false(ask(&worker[0], 2, 1, 99, &home));
	assert_false(ask(&worker[0], 2, 2, RULE_PASSES, &home)); /* no such version */
	assert_false(ask(&worker[0], 2, 1, RULE_PASSES, &nowhere));
	assert_false(ask(&worker[1], 2, 1, RULE_PASSES, &home)); /* another worker's */
	assert_true(listens(2));
	close(answer_fd(&reason));
	assert_false(listens(2)); /* a second one */
}

static void
test_no_peer(void **state)
{
	struct addrport other = peer_addr;
	uint32_t reason;

	(void)state;
	assert_true(open_as(1, COMMAND_BIND));
	assert_false(peer_tried(1, RULE_PASSES)); /* before there is a listener */
	assert_false(stranger(1, &target));
	assert_true(listens(1));
	close(answer_fd(&reason));
	assert_false(peer_taken(1, &peer_addr, &bound)); /* never told of */
	assert_false(peer_tried(1, RULE_BLOCKS));
	assert_false(peer_tried(1, RULE_CONNECT_ONLY));
	assert_true(peer_tried(1, RULE_PASSES));
	other.port++;
	assert_false(peer_taken(1, &other, &bound));
	assert_false(peer_taken(1, &peer_addr, &other)); /* not where it listens */
	assert_true(peer_taken(1, &peer_addr, &bound));
	assert_false(peer_taken(1, &peer_addr, &bound));
	assert_false(stranger(1, &target)); /* nobody is waited for any more */
	assert_false(listens(1));
}

/* What strangers can write into the trail is bounded. */
static void
test_strangers(void **state)
{
	uint32_t reason;

	(void)state;
	assert_true(open_as(1, COMMAND_BIND));
	assert_true(listens(1));
	close(answer_fd(&reason));
	for (unsigned i = 0; i < STRANGERS_MAX; i++)
		assert_true(stranger(1, &target));
	assert_false(stranger(1, &target));
	assert_int_equal(records("event=peer-refused"), STRANGERS_MAX);
}

/* A refusal names the rule and the reason; and the worker's close is still to come. */
static void
test_refused(void **state)
{
	static const struct addrport six = { .a = { .family = ADDR_V6, .b = { [15] = 1 } } };
	uint32_t reason = REASON_NONE;

	(void)state;
	assert_true(open_as(1, COMMAND_BIND));
	assert_true(ask(&worker[0], 1, 1, RULE_PASSES, &six));
	assert_int_equal(answer_fd(&reason), -1);
	assert_int_equal(reason, REASON_EGRESS);
	assert_true(listens(1)); /* crossed with the refusal: no answer */
	assert_true(do_close(&worker[0], 1, 1, REASON_GENERAL));
	assert_int_equal(records("event=session-refused"), 1);
	assert_int_equal(records("reason=no-egress"), 1);
	assert_int_equal(records("conf:7 "), 1);
}

#define TEST_BIND(t) cmocka_unit_test_setup_teardown(t, setup_bind, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BIND(test_honest),
		TEST_BIND(test_no_listener),
		TEST_BIND(test_no_peer),
		TEST_BIND(test_strangers),
		TEST_BIND(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
