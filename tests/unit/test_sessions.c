/*
 * What a hostile worker may say about its sessions: every lie is refused, with an honest session
 * beside it as the control; and every session gets exactly one closing record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "master/ledger.h"
#include "tests/unit/sessions_world.h"
#include "tests/unit/turns.h"

static void
test_honest_session(void **state)
{
	(void)state;
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_int_equal(answer(0), MSG_COUNT); /* no grant before the attempt */
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_int_equal(records("event=session-open"), 1); /* the record first ... */
	assert_int_equal(answer(0), MSG_GRANT);             /* ... then the grant */
	assert_true(attempt(&worker[0], 1, 1, 1, 1));       /* RFC 8305: another address */
	assert_int_equal(answer(0), MSG_COUNT);
	assert_true(connected(&worker[0], 1, 1));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("event=session-close"), 1);
	assert_int_equal(records("up=5 down=7"), 1);
	assert_int_equal(sessions_count(sessions), 0);
	assert_true(do_open(&worker[0], 1, 2, "")); /* the slot again */
}

/* The ledger that this gateway would leave to the next one if it were killed now: how many sessions
 * the next one would close. */
static unsigned
ledger_holds(void)
{
	struct ledger_entry e;
	char path[64];
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/ledger", dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fseek(f, 4096, SEEK_SET), 0);
	while (fread(&e, sizeof(e), 1, f) == 1)
		n += e.state != LEDGER_FREE;
	fclose(f);
	return n;
}

/* A closing record waits for the turn's end, and so long the ledger keeps the session; for the
 * worker it is over at once. */
static void
test_closed_in_one_turn(void **state)
{
	(void)state;
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_true(do_open(&worker[0], 2, 1, ""));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(sessions_count(sessions), 1);
	assert_int_equal(ledger_holds(), 2);
	assert_false(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED)); /* once */
	assert_false(attempt(&worker[0], 1, 1, 1, 1));
	assert_false(do_open(&worker[0], 1, 1, "")); /* a generation is used once */
	turns_run(loop, 1);
	assert_int_equal(ledger_holds(), 1);
	/* The slot again, within the turn: the record of the earlier session is handed over first.
	 */
	assert_true(do_close(&worker[0], 2, 1, REASON_CLIENT_CLOSED));
	assert_true(do_open(&worker[0], 2, 2, ""));
	assert_int_equal(ledger_holds(), 1);
	/* And with the worker's end. */
	sessions_worker_end(sessions, &worker[0], REASON_CHILD_LOST);
	assert_int_equal(ledger_holds(), 1);
	sessions_worker_end(sessions, &worker[0], REASON_CHILD_LOST);
	assert_int_equal(sessions_count(sessions), 0);
	turns_run(loop, 1);
	assert_int_equal(ledger_holds(), 0);
	assert_int_equal(records("reason=child-lost"), 1);
	assert_int_equal(records("event=session-"), 4);
}

static void
test_user_needs_accept(void **state)
{
	(void)state;
	assert_false(do_open(&worker[0], 1, 1, "alice")); /* authd never accepted */
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_WRONG));
	assert_false(do_open(&worker[0], 1, 1, "alice"));
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
	assert_false(do_open(&worker[1], 1, 1, "alice")); /* another worker's */
	assert_false(do_open(&worker[0], 2, 1, "alice")); /* another session's */
	assert_false(do_open(&worker[0], 1, 2, "alice"));
	assert_false(do_open(&worker[0], 1, 1, "bobby"));
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	assert_true(do_close(&worker[0], 1, 1, REASON_RULES));
	assert_false(do_open(&worker[0], 1, 2, "alice")); /* an accept is used once */
	assert_int_equal(records("event=auth-failed"), 1);
	assert_int_equal(records("event=auth-ok"), 1);
}

static void
test_verdict_on_its_way(void **state)
{
	(void)state;
	late_verdict = true;
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	late_verdict = false;
	assert_false(do_open(&worker[0], 2, 1, "alice"));
}

static void
test_open_is_checked(void **state)
{
	struct open_message p;

	(void)state;
#define BAD(change)                                      \
	do {                                             \
		p = open_for(3, 1, "");                  \
		change;                                  \
		assert_false(send_open(&worker[0], &p)); \
	} while (0)
	BAD(p.o.sid.slot = SLOTS);
	BAD(p.o.sid.gen = 0);
	BAD(p.o.version = 2);
	BAD(p.o.version = 0);
	BAD(p.o.method = METHOD_COUNT);
	BAD(p.o.method = METHOD_PASSWORD); /* without a user */
	BAD(p.o.user_len = 3);             /* a user without a method */
	BAD(p.o.command = COMMAND_COUNT);
	BAD(p.o.name_len = 3); /* a name and an address */
	BAD(p.o.asked.a.family = ADDR_NONE);
	BAD(p.o.client.a.family = ADDR_NONE);
	BAD(p.o.socks = 0);
	BAD(p.o.socks = 3);
	BAD(p.o.claim_len = 3); /* SOCKS5 has none */
	p = open_for(3, 1, "");
	assert_true(send_open(&worker[0], &p));
	assert_false(send_open(&worker[0], &p)); /* twice */
	assert_true(do_close(&worker[0], 3, 1, REASON_RULES));
	assert_false(send_open(&worker[0], &p));               /* a generation is used once */
	struct msg m = message(MSG_OPEN, &p, sizeof(p.o) + 1); /* an octet that no length claims */
	p.o.sid.gen = 2;
	assert_false(sessions_open(sessions, &worker[0], &m));
	m.len--;
	assert_true(sessions_open(sessions, &worker[0], &m));
}

/* What a SOCKS4 client says of itself is told as that, and makes no one of it. */
static void
test_claim(void **state)
{
	struct open_message p = open_for(1, 1, "");

	(void)state;
	p.o.socks = 4;
	p.o.claim_len = 5;
	memcpy(p.tail, "alice", 5);
	assert_true(send_open(&worker[0], &p));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("claim=alice"), 2);
	assert_int_equal(records("socks=4"), 2);
	assert_int_equal(records("user=alice"), 0);
	/* Not even where authd has accepted the user for this very session. */
	assert_true(verdict(&worker[0], 1, 2, "alice", VERDICT_ACCEPT));
	p = open_for(1, 2, "alice");
	p.o.socks = 4;
	assert_false(send_open(&worker[0], &p));
}

static void
test_order_of_messages(void **state)
{
	(void)state;
	assert_false(attempt(&worker[0], 1, 1, 1, 1)); /* before open */
	assert_false(do_close(&worker[0], 1, 1, REASON_RULES));
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_false(connected(&worker[0], 1, 1));     /* before attempt */
	assert_false(attempt(&worker[0], 1, 1, 1, 0)); /* a block rule */
	assert_false(attempt(&worker[0], 1, 1, 1, 2)); /* no such rule */
	assert_false(attempt(&worker[0], 1, 1, 1, RULE_NONE));
	assert_false(attempt(&worker[0], 1, 1, 7, 1));
	assert_false(attempt(&worker[1], 1, 1, 1, 1)); /* another worker's session */
	assert_false(do_close(&worker[1], 1, 1, REASON_RULES));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_false(connected(&worker[0], 1, 2));
	assert_true(connected(&worker[0], 1, 1));
	assert_false(connected(&worker[0], 1, 1));
	assert_false(attempt(&worker[0], 1, 1, 1, 1)); /* CONNECT connects once */
	assert_false(do_close(&worker[0], 1, 1, REASON_COUNT));
	assert_false(do_close(&worker[0], 1, 1, REASON_NONE));
	assert_true(do_close(&worker[0], 1, 1, REASON_IDLE));
	assert_false(do_close(&worker[0], 1, 1, REASON_IDLE)); /* one close */
	assert_int_equal(records("event=session-close"), 1);
}

static void
test_worker_lost(void **state)
{
	(void)state;
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_true(do_open(&worker[0], 2, 1, ""));
	assert_true(do_open(&worker[1], 2, 1, ""));
	atomic_store(&page[1].gen, 1);
	atomic_store(&page[1].up, 1234);
	sessions_worker_end(sessions, &worker[0], REASON_CHILD_LOST);
	assert_int_equal(records("event=session-close"), 1);
	assert_int_equal(records("up=1234"), 1); /* from the page that the worker shared */
	assert_int_equal(records("event=session-refused"), 1);
	assert_int_equal(records("reason=child-lost"), 2);
	assert_int_equal(sessions_count(sessions), 1); /* the other worker's lives */
}

static void
test_limits_refuse(void **state)
{
	teardown(NULL);
	setup_with("limit { sessions 2, sessions per user 1 }\n");
	(void)state;
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
	assert_true(verdict(&worker[0], 2, 1, "alice", VERDICT_ACCEPT));
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	assert_true(do_open(&worker[0], 2, 1, "alice"));
	assert_int_equal(answer(0), MSG_REFUSE);
	assert_true(attempt(&worker[0], 2, 1, 1, 1)); /* it crossed our refusal: no fault, ... */
	assert_int_equal(answer(0), MSG_COUNT);       /* ... and no grant */
	assert_false(connected(&worker[0], 2, 1));
	assert_true(do_close(&worker[0], 2, 1, REASON_GENERAL));
	assert_int_equal(records("reason=limit-sessions-per-user"), 1);
	assert_true(do_open(&worker[0], 3, 1, ""));
	assert_true(do_open(&worker[1], 4, 1, ""));
	assert_int_equal(answer(1), MSG_REFUSE);
	assert_true(do_close(&worker[1], 4, 1, REASON_GENERAL));
	assert_int_equal(records("reason=limit-sessions "), 0);
	assert_int_equal(records("reason=limit-sessions"), 2);
	assert_true(do_close(&worker[0], 3, 1, REASON_RULES));
	assert_true(do_open(&worker[1], 4, 2, "")); /* room again */
	assert_int_equal(answer(1), MSG_COUNT);
}

static void
test_verdict_is_checked(void **state)
{
	(void)state;
	assert_false(verdict(&worker[0], SLOTS, 1, "alice", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 0, "alice", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 1, "", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_COUNT));
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_NONE));
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
}

/* A role of authd speaks for its own method alone: one that is taken over cannot make users of
 * another. */
static void
test_verdict_is_the_roles_own(void **state)
{
	static const enum role passwords[] = { ROLE_PASSWORD, ROLE_PAM };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		authd.role = passwords[i];
		assert_false(verdict_as(&worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_GSSAPI,
		    LEVEL_CONFIDENTIALITY));
		assert_false(verdict_as(
		    &worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_GSSAPI, LEVEL_CLEAR));
		assert_false(verdict_as(
		    &worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_PASSWORD, LEVEL_INTEGRITY));
		assert_false(
		    verdict_as(&worker[0], 1, 1, "", VERDICT_GSSAPI, METHOD_GSSAPI, LEVEL_CLEAR));
		assert_true(verdict(&worker[0], 2 + i, 1, "alice", VERDICT_ACCEPT));
	}
	authd.role = ROLE_ACCEPTOR;
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_WRONG));
	assert_false(
	    verdict_as(&worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_NONE, LEVEL_CLEAR));
	assert_false(
	    verdict_as(&worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_GSSAPI, LEVEL_COUNT));
	assert_false(
	    verdict_as(&worker[0], 1, 1, "alice", VERDICT_REPLAY, METHOD_GSSAPI, LEVEL_INTEGRITY));
	assert_false(
	    verdict_as(&worker[0], 1, 1, "", VERDICT_ACCEPT, METHOD_GSSAPI, LEVEL_INTEGRITY));
	assert_true(
	    verdict_as(&worker[0], 1, 1, "alice", VERDICT_ACCEPT, METHOD_GSSAPI, LEVEL_INTEGRITY));
	assert_int_equal(records("method=gssapi"), 1);
	assert_true(verdict_as(&worker[0], 4, 1, "", VERDICT_REPLAY, METHOD_GSSAPI, LEVEL_CLEAR));
	assert_int_equal(records("event=auth-failed"), 1);
	assert_int_equal(records("reason=gssapi-replay"), 1);
	assert_int_equal(records("user=\"\""), 0);
}

/* The worker cannot say that more, or less, was agreed than authd did, nor by which method. */
static void
test_level_is_the_verdicts(void **state)
{
	struct open_message p;

	(void)state;
	authd.role = ROLE_ACCEPTOR;
	for (unsigned level = LEVEL_CLEAR; level < LEVEL_COUNT; level++) {
		assert_true(verdict_as(
		    &worker[0], level, 1, "alice", VERDICT_ACCEPT, METHOD_GSSAPI, level));
		p = open_for(level, 1, "alice");
		assert_false(send_open(&worker[0], &p)); /* as by a password */
		p.o.method = METHOD_GSSAPI;
		for (unsigned other = 0; other <= LEVEL_COUNT; other++) {
			p.o.level = (uint8_t)other;
			if (other != level)
				assert_false(send_open(&worker[0], &p));
		}
		p.o.level = (uint8_t)level;
		assert_true(send_open(&worker[0], &p));
		assert_true(attempt(&worker[0], level, 1, 1, 1));
		assert_true(do_close(&worker[0], level, 1, REASON_CLIENT_CLOSED));
	}
	/* The verdict, the opening and the closing of each. */
	assert_int_equal(records(" method=gssapi protection=clear "), 3);
	assert_int_equal(records(" method=gssapi protection=integrity "), 3);
	assert_int_equal(records(" method=gssapi protection=confidentiality "), 3);
	assert_int_equal(records(" method=gssapi protection=selective "), 3);
	/* Without GSSAPI there is no level. */
	authd.role = ROLE_PAM;
	assert_true(verdict(&worker[0], 5, 1, "alice", VERDICT_ACCEPT));
	p = open_for(5, 1, "alice");
	p.o.level = LEVEL_INTEGRITY;
	assert_false(send_open(&worker[0], &p));
	p = open_for(6, 1, "");
	p.o.level = LEVEL_INTEGRITY;
	assert_false(send_open(&worker[0], &p));
	p.o.level = LEVEL_CLEAR;
	assert_true(send_open(&worker[0], &p));
	assert_true(attempt(&worker[0], 6, 1, 1, 1));
	assert_int_equal(records("method=none protection"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_honest_session),
		TEST(test_closed_in_one_turn),
		TEST(test_user_needs_accept),
		TEST(test_verdict_on_its_way),
		TEST(test_open_is_checked),
		TEST(test_claim),
		TEST(test_order_of_messages),
		TEST(test_worker_lost),
		TEST(test_limits_refuse),
		TEST(test_verdict_is_checked),
		TEST(test_verdict_is_the_roles_own),
		TEST(test_level_is_the_verdicts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
