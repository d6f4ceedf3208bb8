/*
 * Names in a worker: hosts, cache, merging, cancelling from inside a callback, the loss of the
 * resolver, and a resolver that breaks the rules. The test plays the resolver on a real channel.
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

#include "worker/names.h"

#define TURN_MS 20 /* long enough for what was sent to arrive */
#define BOTH    (LOOKUP_A | LOOKUP_AAAA)

static struct loop *l;
static struct names *n;
static uint32_t reported; /* spawn number of the resolver that was reported */

/* --- the resolver --- */

#define SEEN_MAX (NAMES_WINDOW + 100)

static struct {
	struct chan chan;
	bool up;
	unsigned seen;
	struct {
		uint32_t id;
		unsigned families;
		char name[NAME_MAX_LEN + 1];
	} q[SEEN_MAX];
} R;

static bool
on_lookup(struct chan *c, struct msg *m)
{
	struct msg_lookup head;

	(void)c;
	assert_int_equal(m->type, MSG_LOOKUP);
	memcpy(&head, m->payload, sizeof(head));
	assert_int_equal(m->len, sizeof(head) + head.name_len);
	assert_true(R.seen < SEEN_MAX);
	R.q[R.seen].id = head.id;
	R.q[R.seen].families = head.families;
	memcpy(R.q[R.seen].name, (const char *)m->payload + sizeof(head), head.name_len);
	R.q[R.seen++].name[head.name_len] = '\0';
	return true;
}

static void
on_gone(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
	R.up = false;
}

static void
resolver_start(uint32_t spawn)
{
	int fd[2];

	assert_int_equal(chan_pair(fd), 0);
	chan_stop(&R.chan);
	memset(&R, 0, sizeof(R));
	R.chan.on_msg = on_lookup;
	R.chan.on_end = on_gone;
	R.up = true;
	assert_int_equal(chan_start(&R.chan, l, fd[1], ROLE_RESOLVER, ROLE_WORKER, 1), 0);
	assert_int_equal(names_resolver(n, fd[0], spawn), 0);
}

/* `naddr` addresses 192.0.2.1, ... or 2001::1, ... */
static void
answer(uint32_t id, unsigned family, unsigned status, unsigned naddr, uint32_t ttl)
{
	struct addr addr[ANSWER_ADDRS];
	struct msg_answer m = { .id = id,
		.family = (uint8_t)family,
		.status = (uint8_t)status,
		.naddr = (uint8_t)naddr,
		.ttl = ttl };

	memset(addr, 0, sizeof(addr));
	for (unsigned i = 0; i < naddr; i++) {
		addr[i].family = family == LOOKUP_A ? ADDR_V4 : ADDR_V6;
		memcpy(addr[i].b, family == LOOKUP_A ? "\300\0\2" : "\40\1\0", 3);
		addr[i].b[family == LOOKUP_A ? 3 : 15] = (uint8_t)(i + 1);
	}
	chan_send_tail(&R.chan, MSG_ANSWER, &m, sizeof(m), addr, naddr * sizeof(addr[0]), -1);
}

static void
stop_loop(struct deadline *d)
{
	(void)d;
	loop_stop(l);
}

static void
turn(void)
{
	struct deadline d = { .cb = stop_loop };

	deadline_arm(l, &d, TURN_MS);
	assert_int_equal(loop_run(l), 0);
}

/* --- a session --- */

struct asker {
	struct name_query q;
	unsigned calls, of[4]; /* of[family] */
	enum answer_status status[4];
	struct addr first[4];
	size_t naddr[4];
	void (*then)(struct asker *a, unsigned family);
};

static void
on_answer(struct name_query *q, unsigned family, enum answer_status status,
    const struct addr *addrs, size_t count)
{
	struct asker *a = (struct asker *)((char *)q - offsetof(struct asker, q));

	a->calls++;
	a->of[family]++;
	a->status[family] = status;
	a->naddr[family] = count;
	if (count > 0)
		a->first[family] = addrs[0];
	if (a->then != NULL)
		a->then(a, family);
}

static void
ask(struct asker *a, const char *name, unsigned families)
{
	a->q.cb = on_answer;
	names_lookup(n, &a->q, (const uint8_t *)name, strlen(name), families);
}

static void
report(void *arg, uint32_t spawn)
{
	assert_ptr_equal(arg, &reported);
	reported = spawn;
}

static int
start(void **state)
{
	(void)state;
	l = loop_new();
	n = names_new(l);
	if (l == NULL || n == NULL)
		return -1;
	reported = 0;
	names_on_fault(n, report, &reported);
	resolver_start(7);
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	chan_stop(&R.chan);
	names_free(n);
	loop_free(l);
	return 0;
}

/* --- answers --- */

static void
asked_answered_kept(void **state)
{
	struct asker a = { .calls = 0 }, b = { .calls = 0 }, c = { .calls = 0 };

	(void)state;
	ask(&a, "www.example", BOTH);
	turn();
	assert_int_equal(R.seen, 1);
	assert_string_equal(R.q[0].name, "www.example");
	assert_int_equal(R.q[0].families, BOTH);
	assert_int_equal(a.calls, 0);
	answer(R.q[0].id, LOOKUP_AAAA, ANSWER_NO_DATA, 0, 60);
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.status[LOOKUP_AAAA], ANSWER_NO_DATA);
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 3, 60);
	turn();
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.naddr[LOOKUP_A], 3);
	assert_int_equal(a.first[LOOKUP_A].b[3], 1);
	/* From the cache, at once. */
	ask(&b, "www.example", BOTH);
	assert_int_equal(b.calls, 2);
	assert_int_equal(b.naddr[LOOKUP_A], 3);
	assert_int_equal(b.status[LOOKUP_AAAA], ANSWER_NO_DATA);
	ask(&c, "www.example", LOOKUP_A);
	assert_int_equal(c.calls, 1);
	turn();
	assert_int_equal(R.seen, 1);
	assert_int_equal(reported, 0);
}

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

static void
half_of_it_is_known(void **state)
{
	struct asker a = { .calls = 0 }, b = { .calls = 0 };

	(void)state;
	ask(&a, "www.example", LOOKUP_A);
	turn();
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	turn();
	ask(&b, "www.example", BOTH);
	assert_int_equal(b.of[LOOKUP_A], 1);
	turn();
	assert_int_equal(R.seen, 2);
	assert_int_equal(R.q[1].families, LOOKUP_AAAA);
	answer(R.q[1].id, LOOKUP_AAAA, ANSWER_OK, 1, 60);
	turn();
	assert_int_equal(b.of[LOOKUP_AAAA], 1);
}

/* --- hosts --- */

static struct {
	struct image img;
	struct image_host host;
	char name[8];
	struct addr addr[2];
	struct addrport server;
} image;

static void
hosts_come_first(void **state)
{
	struct asker a = { .calls = 0 }, b = { .calls = 0 }, c = { .calls = 0 };

	(void)state;
	ask(&c, "other", LOOKUP_A);
	turn();
	answer(R.q[0].id, LOOKUP_A, ANSWER_OK, 1, 60);
	turn();
	memset(&image, 0, sizeof(image));
	memcpy(image.name, "printer", 7);
	image.addr[0] = image.addr[1] = (struct addr){ .family = ADDR_V4, .b = { 127, 0, 0, 5 } };
	image.addr[1].b[3] = 6;
	image.host.name.off = (uint32_t)((char *)image.name - (char *)&image);
	image.host.name.len = 7;
	image.host.addrs.off = (uint32_t)((char *)image.addr - (char *)&image);
	image.host.addrs.n = 2;
	image.img.hosts.off = (uint32_t)((char *)&image.host - (char *)&image);
	image.img.hosts.n = 1;
	image.server.a.family = ADDR_V4;
	image.img.servers.off = (uint32_t)((char *)&image.server - (char *)&image);
	names_image(n, &image.img);
	ask(&a, "printer", BOTH);
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.status[LOOKUP_A], ANSWER_OK);
	assert_int_equal(a.naddr[LOOKUP_A], 2);
	assert_int_equal(a.first[LOOKUP_A].b[3], 5);
	assert_int_equal(a.status[LOOKUP_AAAA], ANSWER_NO_DATA);
	ask(&b, "printe", BOTH);
	assert_int_equal(b.calls, 0);
	turn();
	assert_int_equal(R.seen, 2);
	/* What was kept is kept by an image with the same servers, and forgotten with others. */
	memset(&c, 0, sizeof(c));
	ask(&c, "other", LOOKUP_A);
	assert_int_equal(c.calls, 1);
	image.img.servers.n = 1;
	names_image(n, &image.img);
	memset(&c, 0, sizeof(c));
	ask(&c, "other", LOOKUP_A);
	assert_int_equal(c.calls, 0);
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
		cmocka_unit_test_setup_teardown(asked_answered_kept, start, finish),
		cmocka_unit_test_setup_teardown(equal_questions_are_asked_once, start, finish),
		cmocka_unit_test_setup_teardown(half_of_it_is_known, start, finish),
		cmocka_unit_test_setup_teardown(hosts_come_first, start, finish),
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
