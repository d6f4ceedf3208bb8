/* The event loop: what is armed fires once and in order; what is taken out does not fire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ev_world.h"

static char trail[64];

static void
mark(char c)
{
	size_t n = strlen(trail);

	assert_true(n + 1 < sizeof(trail));
	trail[n] = c;
	trail[n + 1] = '\0';
}

struct named {
	struct deadline d;
	char name;
	unsigned again; /* arm itself that often, with 0 ms */
};

static void
on_named(struct deadline *d)
{
	struct named *n = (struct named *)d;

	mark(n->name);
	if (n->again > 0) {
		n->again--;
		deadline_arm(loop, d, 0);
	}
}

static int
setup_trail(void **state)
{
	trail[0] = '\0';
	return setup(state);
}

static void
test_deadline_order(void **state)
{
	struct named a = { .d.cb = on_named, .name = 'a' }, b = { .d.cb = on_named, .name = 'b' },
		     c = { .d.cb = on_named, .name = 'c' };

	(void)state;
	deadline_arm(loop, &a.d, 20);
	deadline_arm(loop, &b.d, 5);
	deadline_arm(loop, &c.d, 20);
	run_for(40);
	/* Of one length in their order; lengths that are overdue together, as on a machine that
	 * stands still for a while, one after the other. */
	if (strcmp(trail, "acb") != 0)
		assert_string_equal(trail, "bac");
	assert_false(deadline_armed(&a.d));
}

static void
test_deadline_disarm_and_rearm(void **state)
{
	struct named a = { .d.cb = on_named, .name = 'a' }, b = { .d.cb = on_named, .name = 'b' };

	(void)state;
	deadline_arm(loop, &a.d, 5);
	deadline_arm(loop, &b.d, 5);
	deadline_disarm(&a.d);
	deadline_disarm(&a.d);
	deadline_arm(loop, &b.d, 10); /* moved, not doubled */
	run_for(30);
	assert_string_equal(trail, "b");
}

/* One that arms itself anew at 0 ms must not keep the loop from the others. */
static void
test_zero_deadline_yields(void **state)
{
	struct named a = { .d.cb = on_named, .name = 'a', .again = 1000000 };

	(void)state;
	memset(trail, 0, sizeof(trail));
	struct named quiet = { .d.cb = on_named, .name = 'q' };
	a.again = 20;
	deadline_arm(loop, &a.d, 0);
	deadline_arm(loop, &quiet.d, 0);
	run_for(10);
	assert_int_equal(trail[0], 'a');
	assert_int_equal(trail[1], 'q'); /* before a's second */
	assert_int_equal(strlen(trail), 22);
}

static struct ev one, two;

static void
on_event_deletes_other(struct ev *e, uint32_t events)
{
	char octet;

	(void)events;
	mark('e');
	assert_int_equal(read(e->fd, &octet, 1), 1);
	ev_del(loop, e == &one ? &two : &one);
}

/* Two are ready in one turn; the first takes the second out: it must not be called. */
static void
test_ev_del_in_turn(void **state)
{
	int a[2], b[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	one.cb = two.cb = on_event_deletes_other;
	assert_int_equal(ev_add(loop, &one, a[0], EPOLLIN), 0);
	assert_int_equal(ev_add(loop, &two, b[0], EPOLLIN), 0);
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	run_for(20);
	assert_string_equal(trail, "e");
	ev_del(loop, &one);
	ev_del(loop, &two);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_deadline_order, setup_trail, teardown),
		cmocka_unit_test_setup_teardown(
		    test_deadline_disarm_and_rearm, setup_trail, teardown),
		cmocka_unit_test_setup_teardown(test_zero_deadline_yields, setup_trail, teardown),
		cmocka_unit_test_setup_teardown(test_ev_del_in_turn, setup_trail, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
