/*
 * What a hostile worker may say about upstreams: an attempt names one that its rule has, at the
 * address and port that the configuration gives it; and by no rule with `via` does anything leave
 * otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sessions_world.h"

enum { RULE_BLOCKS, RULE_VIA_NEAR, RULE_VIA_NAMED, RULE_DIRECT };
enum { NONE, NEAR, NAMED }; /* as attempts name them: 1 + index */

static const struct addrport near = { .a = { .family = ADDR_V4, .b = { 192, 0, 2, 9 } },
	.port = 1080 };

static int
setup_via(void **state)
{
	(void)state;
	return setup_with("upstream near socks5 \"192.0.2.9\" port 1080\n"
			  "upstream named socks5 \"gateway.example\" port 1081\n"
			  "block from any to 203.0.113.0/24\n"
			  "pass from any to any port 1-100 auth none via near\n"
			  "pass from any to any auth none via named\n"
			  "pass from any to any auth none\n");
}

#define VIA(t) cmocka_unit_test_setup_teardown(t, setup_via, teardown)

static void
open_as(uint32_t slot, enum command command)
{
	struct open_message p = open_for(slot, 1, "");

	p.o.command = (uint8_t)command;
	p.o.command_raw = (uint8_t)command;
	assert_true(send_open(&worker[0], &p));
}

static bool
try(uint32_t slot, uint32_t rule, uint32_t via, const struct addrport *at)
{
	struct msg_attempt a = {
		.sid = { slot, 1 }, .version = 1, .rule = rule, .target = *at, .via = via
	};
	struct msg m = message(MSG_ATTEMPT, &a, sizeof(a));

	return sessions_attempt(sessions, &worker[0], &m);
}

static void
test_attempts(void **state)
{
	struct addrport other = near, port = near;

	(void)state;
	other.a.b[3]++;
	port.port++;
	open_as(1, COMMAND_CONNECT);
	assert_false(try(1, RULE_VIA_NEAR, NONE, &near));  /* directly, by a rule that has one */
	assert_false(try(1, RULE_DIRECT, NEAR, &near));    /* by one that has none */
	assert_false(try(1, RULE_VIA_NEAR, NAMED, &near)); /* another rule's */
	assert_false(try(1, RULE_VIA_NEAR, 3, &near));     /* that is none */
	assert_false(try(1, RULE_VIA_NEAR, UINT32_MAX, &near));
	assert_false(try(1, RULE_VIA_NEAR, NEAR, &other)); /* it stands elsewhere */
	assert_false(try(1, RULE_VIA_NEAR, NEAR, &port));
	assert_false(
	    try(1, RULE_VIA_NAMED, NAMED, &near)); /* whatever its address, its port is known */
	assert_false(try(1, RULE_BLOCKS, NEAR, &near));
	assert_int_equal(answer(0), MSG_COUNT);
	assert_true(try(1, RULE_VIA_NEAR, NEAR, &near)); /* the control */
	assert_int_equal(answer(0), MSG_GRANT);
	assert_true(try(1, RULE_VIA_NAMED, NAMED, &port)); /* and the next */
	assert_int_equal(answer(0), MSG_COUNT);
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("event=session-open"), 1);
	assert_int_equal(records("via=near"), 1);
	assert_int_equal(records("event=session-close") & records("via=named"), 1);
	open_as(2, COMMAND_CONNECT);
	assert_true(try(2, RULE_DIRECT, NONE, &target));
	assert_true(do_close(&worker[0], 2, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("via="), 2); /* the direct one has none */
}

static void
test_bind(void **state)
{
	struct msg_listen l = {
		.sid = { 1, 1 }, .version = 1, .rule = RULE_VIA_NEAR, .asked = target
	};
	struct msg m = message(MSG_LISTEN, &l, sizeof(l));

	(void)state;
	open_as(1, COMMAND_BIND);
	assert_false(sessions_listen(sessions, &worker[0], &m)); /* the upstream has the listener */
	assert_false(try(1, RULE_DIRECT, NONE, &target));        /* nor without one */
	assert_true(try(1, RULE_VIA_NEAR, NEAR, &near));
	assert_int_equal(answer(0), MSG_GRANT);
	assert_true(do_close(&worker[0], 1, 1, REASON_BIND_TIMEOUT));
}

static bool
tell(uint32_t slot, uint32_t rule, const struct addrport *at, const char *name)
{
	struct {
		struct msg_target t;
		char name[NAME_MAX_LEN];
	} p = { .t = { .sid = { slot, 1 },
		    .version = 1,
		    .rule = rule,
		    .target = *at,
		    .passes = 1,
		    .name_len = (uint8_t)strlen(name) } };
	struct msg m = message(MSG_TARGET, &p, sizeof(p.t) + strlen(name));

	memcpy(p.name, name, strlen(name));
	return sessions_target(sessions, &worker[0], &m);
}

static bool
associate(uint32_t slot, uint32_t rule)
{
	struct msg_associate a = {
		.sid = { slot, 1 }, .version = 1, .rule = rule, .relay = client
	};
	struct msg m = message(MSG_ASSOCIATE, &a, sizeof(a));

	return sessions_associate(sessions, &worker[0], &m);
}

static void
test_datagrams(void **state)
{
	static const struct addrport unknown = { .port = 53 };

	(void)state;
	open_as(1, COMMAND_UDP);
	assert_false(try(1, RULE_DIRECT, NONE, &target)); /* an association has no attempts */
	assert_true(try(1, RULE_VIA_NEAR, NEAR, &near));  /* but for its upstream, */
	assert_int_equal(answer(0), MSG_COUNT);           /* which are no grant */
	assert_true(associate(1, RULE_VIA_NEAR));
	assert_int_equal(answer(0), MSG_GRANT);
	assert_false(try(1, RULE_VIA_NEAR, NEAR, &near)); /* too late */
	assert_true(tell(1, RULE_VIA_NEAR, &unknown, "far.example"));
	assert_true(tell(1, RULE_VIA_NEAR, &target, ""));
	assert_false(
	    tell(1, RULE_DIRECT, &unknown, "far.example")); /* a name that leaves directly */
	assert_true(tell(1, RULE_DIRECT, &near, ""));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("event=session-target"), 3);
	open_as(2, COMMAND_UDP);
	assert_true(associate(2, RULE_DIRECT));
	assert_false(tell(2, RULE_VIA_NEAR, &target, "")); /* it has no upstream */
	assert_true(tell(2, RULE_DIRECT, &target, ""));
	assert_true(do_close(&worker[0], 2, 1, REASON_CLIENT_CLOSED));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { VIA(test_attempts), VIA(test_bind),
		VIA(test_datagrams) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
