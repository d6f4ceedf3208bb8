/*
 * Names in a worker: merging, cancelling from inside a callback, the loss of the resolver, and a
 * resolver that breaks the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/names_world.h"

/* --- merging --- */

static void
equal_questions_are_asked_once(void **state)
{
	struct asker a[6] = { { .calls = 0 } };

	(void)state;
	ask(&a[0], "www.example", BOTH);
	ask(&a[1], "www.example", BOTH);
	ask(&a[2], "www.example", LOOKUP_AAAA); /* the question for both brings it */
	ask(&a[3], "w.example", BOTH);
	turn();
	assert_int_equal(R.seen, 2);
	answer(R.q[0].id, LOOKUP_A, ANSWER_FAILED, 0, 0);
	turn();
	ask(&a[4], "www.example", LOOKUP_AAAA); /* still to come */
	ask(&a[5], "www.example", BOTH);        /* A failed and was not kept: asked anew */
	turn();
	assert_int_equal(R.seen, 3);
	answer(R.q[0].id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
	turn();
	for (int i = 0; i < 6; i++) {
		assert_int_equal(a[i].of[LOOKUP_A], i < 2 ? 1 : 0);
		assert_int_equal(a[i].of[LOOKUP_AAAA], i == 3 || i == 5 ? 0 : 1);
	}
	assert_int_equal(reported, 0);
}

/* --- cancelling --- */

static struct asker *victim;

static void
cancel_self(struct asker *a, unsigned family)
{
	(void)family;
	names_cancel(n, &a->q);
	memset(&a->q, 0xee, sizeof(a->q)); /* as freed */
}

static void
cancel_victim(struct asker *a, unsigned family)
{
	(void)a;
	(void)family;
	names_cancel(n, &victim->q);
}

static void
ask_again(struct asker *a, unsigned family)
{
	(void)family;
	a->then = NULL;
	names_cancel(n, &a->q);
	ask(a, "again.example", BOTH);
}

static void
cancelled_in_time(void **state)
{
	struct asker a = { .calls = 0 }, b = { .calls = 0 }, c = { .calls = 0 };

	(void)state;
	/* Not sent yet: it never is. */
	chan_stop(&R.chan);
	turn();
	ask(&a, "a.example", BOTH);
	names_cancel(n, &a.q);
	names_cancel(n, &a.q);
	ask(&b, "b.example", BOTH);
	resolver_start(8);
	turn();
	assert_int_equal(R.seen, 1);
	assert_string_equal(R.q[0].name, "b.example");
	/* Sent: its answer is kept all the same. */
	names_cancel(n, &b.q);
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	answer(R.q[0].id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(a.calls + b.calls, 0);
	ask(&c, "b.example", BOTH);
	assert_int_equal(c.calls, 2);
	assert_int_equal(reported, 0);
}

static void
cancelled_by_the_callback(void **state)
{
	struct asker a = { .then = cancel_self }, b = { .then = cancel_victim }, c = { .calls = 0 },
		     d = { .then = cancel_victim }, e = { .then = ask_again };

	(void)state;
	victim = &c;
	ask(&a, "www.example", BOTH);
	ask(&b, "www.example", BOTH);
	ask(&c, "www.example", BOTH);
	ask(&e, "www.example", BOTH);
	turn();
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	assert_int_equal(c.calls, 0);
	assert_int_equal(e.calls, 1);
	answer(R.q[0].id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 2);
	assert_int_equal(c.calls, 0);
	assert_int_equal(R.seen, 2);
	assert_string_equal(R.q[1].name, "again.example");
	answer(R.q[1].id, LOOKUP_A, ANSWER_NO_NAME, 0, 60);
	turn();
	assert_int_equal(e.calls, 2);

	/* From the cache: the first family's call cancels the query. */
	memset(&a, 0, sizeof(a));
	a.then = cancel_self;
	ask(&a, "www.example", BOTH);
	assert_int_equal(a.calls, 1);
	/* ... and one nested in another. */
	memset(&c, 0, sizeof(c));
	ask(&c, "never.example", BOTH);
	ask(&d, "www.example", BOTH);
	assert_int_equal(d.calls, 2);
	names_cancel(n, &e.q);
}

/* --- the resolver lost, full, or hostile --- */

static void
asked_again_after_a_loss(void **state)
{
	struct asker a = { .calls = 0 }, b = { .calls = 0 };

	(void)state;
	ask(&a, "a.example", BOTH);
	ask(&b, "b.example", BOTH);
	turn();
	assert_int_equal(R.seen, 2);
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	turn();
	chan_stop(&R.chan);
	turn();
	resolver_start(8);
	turn();
	assert_int_equal(R.seen, 2);
	assert_string_equal(R.q[0].name, "a.example");
	assert_int_equal(R.q[0].families, LOOKUP_AAAA);
	assert_string_equal(R.q[1].name, "b.example");
	/* A new channel without the loss of the old one. */
	int fd[2];
	assert_int_equal(chan_pair(fd), 0);
	assert_int_equal(names_resolver(n, fd[0], 9), 0);
	close(fd[1]);
	turn();
	resolver_start(10);
	turn();
	assert_int_equal(R.seen, 2);
	for (int i = 0; i < 2; i++)
		for (unsigned f = LOOKUP_A; f <= LOOKUP_AAAA; f++)
			if ((R.q[i].families & f) != 0)
				answer(R.q[i].id, f, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(a.calls, 2);
	assert_int_equal(b.calls, 2);
	assert_int_equal(reported, 0);
}

static void
no_more_than_the_window(void **state)
{
	static struct asker a[NAMES_WINDOW + 50];
	char name[32];

	(void)state;
	memset(a, 0, sizeof(a));
	for (unsigned i = 0; i < NAMES_WINDOW + 50; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		ask(&a[i], name, LOOKUP_A);
	}
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(R.seen, NAMES_WINDOW);
	names_cancel(n, &a[NAMES_WINDOW].q); /* still here: never asked */
	for (unsigned i = 0; i < NAMES_WINDOW; i++)
		answer(R.q[i].id, LOOKUP_A, ANSWER_NO_NAME, 0, 60);
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(R.seen, NAMES_WINDOW + 49);
	for (unsigned i = 0; i < NAMES_WINDOW; i++)
		assert_int_equal(a[i].calls, 1);
	assert_int_equal(reported, 0);
}

static void
the_same_answer_twice(void **state)
{
	struct asker a = { .calls = 0 };

	(void)state;
	ask(&a, "a.example", LOOKUP_A);
	turn();
	/* The second crosses the end of the question: dropped. */
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(reported, 0);
	assert_true(R.up);
}

enum fault {
	NEVER_ASKED,
	ID_ZERO,
	FAMILY_NOT_ASKED,
	FAMILY_TWICE,
	BOTH_FAMILIES,
	NO_FAMILY,
	UNKNOWN_STATUS,
	OK_WITHOUT_ADDRESS,
	NO_NAME_WITH_ADDRESS,
	FAULTS
};

static void
commit(enum fault f)
{
	uint32_t id = R.q[0].id;

	switch (f) {
	case NEVER_ASKED:
		answer(id + 1, LOOKUP_A, ANSWER_OK, 1, 60);
		break;
	case ID_ZERO:
		answer(0, LOOKUP_A, ANSWER_OK, 1, 60);
		break;
	case FAMILY_NOT_ASKED:
		answer(id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
		answer(id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
		break;
	case FAMILY_TWICE:
		answer(id, LOOKUP_A, ANSWER_OK, 1, 60);
		answer(id, LOOKUP_A, ANSWER_OK, 1, 60);
		break;
	case BOTH_FAMILIES:
		answer(id, BOTH, ANSWER_NO_NAME, 0, 60);
		break;
	case NO_FAMILY:
		answer(id, 0, ANSWER_NO_NAME, 0, 60);
		break;
	case UNKNOWN_STATUS:
		answer(id, LOOKUP_A, ANSWER_STATUSES, 0, 60);
		break;
	case OK_WITHOUT_ADDRESS:
		answer(id, LOOKUP_A, ANSWER_OK, 0, 60);
		break;
	case NO_NAME_WITH_ADDRESS:
		answer(id, LOOKUP_A, ANSWER_NO_NAME, 1, 60);
		break;
	case FAULTS:
		break;
	}
}

static void
a_resolver_that_breaks_the_rules(void **state)
{
	(void)state;
	for (enum fault f = NEVER_ASKED; f <= FAULTS; f++) {
		struct asker a = { .calls = 0 };

		reported = 0;
		resolver_start(20 + f);
		ask(&a, "a.example", BOTH);
		turn();
		assert_int_equal(R.seen, 1);
		commit(f);
		turn();
		/* The last one is the control: nothing wrong was sent. */
		assert_int_equal(reported, f == FAULTS ? 0 : 20 + f);
		assert_int_equal(R.up, f == FAULTS);
		names_cancel(n, &a.q);
		chan_stop(&R.chan);
		names_image(n, &image.img); /* forget what it said */
		image.img.servers.n ^= 1;
		turn();
	}
}

static void
an_answer_of_another_size(void **state)
{
	struct msg_answer m = { .family = LOOKUP_A, .status = ANSWER_OK, .naddr = 2 };
	struct addr six[2] = { { .family = ADDR_V6 }, { .family = ADDR_V6 } };
	struct asker a = { .calls = 0 };

	(void)state;
	ask(&a, "a.example", LOOKUP_A);
	for (unsigned i = 0; i < 4; i++) {
		resolver_start(40 + i);
		turn();
		m.id = R.q[0].id;
		if (i > 0) /* of the right family, but one too few, too many, cut short */
			six[0].family = six[1].family = ADDR_V4;
		m.naddr = (uint8_t)(i == 1 ? 3 : i == 2 ? 1 : 2);
		chan_send_tail(&R.chan, MSG_ANSWER, &m, sizeof(m), six, i == 3 ? 39 : 40, -1);
		turn();
		assert_int_equal(reported, 40 + i);
		chan_stop(&R.chan);
	}
	resolver_start(50);
	turn();
	m.id = R.q[0].id;
	m.naddr = 2;
	chan_send_tail(&R.chan, MSG_ANSWER, &m, sizeof(m), six, 40, -1);
	turn();
	assert_int_equal(reported, 43);
	assert_int_equal(a.calls, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(equal_questions_are_asked_once, start, finish),
		cmocka_unit_test_setup_teardown(cancelled_in_time, start, finish),
		cmocka_unit_test_setup_teardown(cancelled_by_the_callback, start, finish),
		cmocka_unit_test_setup_teardown(asked_again_after_a_loss, start, finish),
		cmocka_unit_test_setup_teardown(no_more_than_the_window, start, finish),
		cmocka_unit_test_setup_teardown(the_same_answer_twice, start, finish),
		cmocka_unit_test_setup_teardown(a_resolver_that_breaks_the_rules, start, finish),
		cmocka_unit_test_setup_teardown(an_answer_of_another_size, start, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
