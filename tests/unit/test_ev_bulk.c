/* Those that have much to do (ev_bulk): one at a time, behind those that have little, and neither
 * kind waits for all of the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ev_world.h"

#define MUCH   2000 /* octets, which are taken one a call */
#define LITTLE 100  /* with little to do */

/* A socket that has MUCH to do, or one octet that never goes. */
struct end {
	struct ev ev;
	int peer;
	bool much;
	unsigned calls;
	struct end *closes;
};

static struct end one, two, little[LITTLE];
static char order[2 * MUCH + 1]; /* 1 and 2 as they were called, . for a turn */
static size_t told;
static unsigned littles; /* calls */

static void
note(char what)
{
	if (told < sizeof(order) - 1)
		order[told++] = what;
	order[told] = 0;
}

static void
on_end(struct ev *e, uint32_t events)
{
	struct end *x = (struct end *)e;
	char octet;

	(void)events;
	x->calls++;
	if (!x->much) {
		littles++;
		return; /* what it has is not taken: it is called each turn */
	}
	note(x == &one ? '1' : '2');
	if (x->closes != NULL)
		ev_close(loop, &x->closes->ev, x->closes->ev.fd);
	bool more = recv(e->fd, &octet, 1, MSG_DONTWAIT) == 1;
	ev_bulk(e, more);
	if (!more)
		ev_drained(e, EPOLLIN);
}

static void
on_turn(struct deadline *d)
{
	note('.');
	if (told < sizeof(order) - 1)
		deadline_arm(loop, d, 0);
}

static void
begin(struct end *x, bool much)
{
	static const char octets[MUCH];
	int fd[2];

	memset(x, 0, sizeof(*x));
	x->ev.cb = on_end;
	x->much = much;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	x->peer = fd[1];
	assert_int_equal(ev_add(loop, &x->ev, fd[0], EPOLLIN | EPOLLET), 0);
	assert_int_equal(write(x->peer, octets, much ? MUCH : 1), much ? MUCH : 1);
}

static void
finish(struct end *x)
{
	ev_close(loop, &x->ev, x->ev.fd);
	close(x->peer);
}

static int
setup_order(void **state)
{
	told = littles = 0;
	return setup(state);
}

/* Turns until both have been called so often, and a few more. */
static void
run_until_calls(unsigned calls)
{
	for (unsigned i = 0; i < 100 * MUCH && one.calls + two.calls < calls; i++)
		run_for(0);
	for (unsigned i = 0; i < 10; i++)
		run_for(0);
}

/* How often `what` stands in a row from here. */
static unsigned
row(const char **at, char what)
{
	unsigned n = 0;

	for (; **at == what; (*at)++)
		n++;
	return n;
}

static void
test_one_at_a_time(void **state)
{
	const char *at = order;

	(void)state;
	begin(&one, true);
	begin(&two, true);
	run_until_calls(2 * (MUCH + 1));
	assert_int_equal(one.calls, MUCH + 1); /* all was taken, of both */
	assert_int_equal(two.calls, MUCH + 1);
	row(&at, *at); /* first they are told of, each once */
	row(&at, *at);
	char who = *at;
	unsigned spell = row(&at, who);
	assert_in_range(spell, 8, 64);
	for (unsigned i = 0; i < 50; i++) {
		who = who == '1' ? '2' : '1';
		assert_int_equal(row(&at, who), spell); /* no one starves, no one has more */
	}
	finish(&one);
	finish(&two);
}

/* The positive control: who does not say so is called each turn. */
static void
test_all_in_a_turn_otherwise(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LITTLE; i++)
		begin(&little[i], false);
	for (unsigned i = 0; i < 20; i++)
		run_for(0);
	for (unsigned i = 0; i < LITTLE; i++) {
		assert_in_range(little[i].calls, little[0].calls - 1, little[0].calls);
		finish(&little[i]);
	}
	assert_true(little[0].calls > 10);
}

/* One that is told of anew while it waits is not called out of its turn. */
static void
test_told_again(void **state)
{
	struct deadline turn = { .cb = on_turn };

	(void)state;
	begin(&one, true);
	begin(&two, true);
	deadline_arm(loop, &turn, 0);
	for (unsigned i = 0; i < 20; i++) {
		run_for(0);
		assert_int_equal(write(one.peer, "x", 1), 1);
		assert_int_equal(write(two.peer, "x", 1), 1);
	}
	/* after the first turn, in which both are told of, one call a turn */
	const char *at = strchr(order, '.');
	for (unsigned i = 0; i < 15; i++) {
		assert_int_equal(row(&at, '.'), 1);
		assert_int_equal(row(&at, *at), 1);
	}
	deadline_disarm(&turn);
	finish(&one);
	finish(&two);
}

/* Little is done each turn, however much there is of the other kind; and that goes on at its rate,
 * however many have little to do. */
static void
test_neither_waits_for_all_of_the_other(void **state)
{
	(void)state;
	begin(&one, true);
	begin(&two, true);
	for (unsigned i = 0; i < LITTLE; i++)
		begin(&little[i], false);
	while (one.calls + two.calls < MUCH)
		run_for(0);
	unsigned bulks = one.calls + two.calls;
	assert_in_range(littles / bulks, 40, 64);
	assert_in_range(little[0].calls, bulks / 4, bulks);
	for (unsigned i = 0; i < LITTLE; i++)
		finish(&little[i]);
	finish(&one);
	finish(&two);
}

/* The end of its peer is told at once. */
static void
test_end_is_told(void **state)
{
	(void)state;
	begin(&one, true);
	begin(&two, true);
	run_for(0);
	run_for(0);
	struct end *waits = order[told - 1] == '1' ? &two : &one;
	unsigned calls = waits->calls, all = one.calls + two.calls;
	shutdown(waits->peer, SHUT_RDWR);
	run_for(0);
	assert_int_equal(waits->calls, calls + 1);
	assert_int_equal(one.calls + two.calls, all + 2); /* and the other's own */
	finish(&one);
	finish(&two);
}

/* One that waits is closed by the one that is called. */
static void
test_closed_while_it_waits(void **state)
{
	(void)state;
	begin(&one, true);
	begin(&two, true);
	run_for(0);
	unsigned calls = two.calls;
	one.closes = &two;
	while (two.ev.fd != -1 && two.calls < MUCH) {
		calls = two.calls;
		run_for(0);
	}
	run_until_calls(MUCH + 1 + calls);
	assert_int_equal(two.calls, calls);
	assert_int_equal(one.calls, MUCH + 1);
	finish(&one);
	finish(&two);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_at_a_time, setup_order, teardown),
		cmocka_unit_test_setup_teardown(
		    test_all_in_a_turn_otherwise, setup_order, teardown),
		cmocka_unit_test_setup_teardown(test_told_again, setup_order, teardown),
		cmocka_unit_test_setup_teardown(
		    test_neither_waits_for_all_of_the_other, setup_order, teardown),
		cmocka_unit_test_setup_teardown(test_end_is_told, setup_order, teardown),
		cmocka_unit_test_setup_teardown(test_closed_while_it_waits, setup_order, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
