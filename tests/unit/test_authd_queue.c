/*
 * authd's queue: order, the turns of lanes and sources, every bound, and who gives way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "authd/queue.h"

#define ITEMS 2048

struct job {
	struct queue_item item;
	unsigned lane, source, n;
};

static struct queue q;
static struct queue_lane lane[4];
static struct job job[ITEMS];
static unsigned used;

static struct addr
source(unsigned n)
{
	struct addr a = { .family = ADDR_V4, .b = { 10, 0, (uint8_t)(n >> 8), (uint8_t)n } };

	return a;
}

static struct job *
job_of(struct queue_item *i)
{
	return i == NULL ? NULL : (struct job *)((char *)i - offsetof(struct job, item));
}

static void
begin(unsigned lanes)
{
	memset(job, 0, sizeof(job));
	used = 0;
	queue_init(&q, lanes);
	for (unsigned i = 0; i < lanes && i < 4; i++)
		queue_lane_add(&q, &lane[i]);
}

static void
finish(void)
{
	for (unsigned i = 0; i < used; i++)
		queue_remove(&job[i].item);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(lane[i].ready, 0);
		assert_int_equal(lane[i].held, 0);
	}
}

static struct job *
make(unsigned l, unsigned s)
{
	struct job *j = &job[used];

	assert_in_range(used, 0, ITEMS - 1);
	*j = (struct job){ .lane = l, .source = s, .n = used++ };
	return j;
}

/* 0, -1, or 1 where another gave way. */
static int
push_job(struct job *j, struct job **evicted)
{
	struct addr a = source(j->source);
	struct queue_item *e;
	int error = queue_push(&q, &lane[j->lane], &a, &j->item, &e);

	*evicted = job_of(e);
	if (e != NULL)
		assert_int_equal(e->state, QUEUE_OUT);
	return error == 0 && e != NULL ? 1 : error;
}

static int
push(unsigned l, unsigned s)
{
	struct job *evicted;

	return push_job(make(l, s), &evicted);
}

static int
hold(unsigned l, unsigned s)
{
	struct job *j = make(l, s);
	struct addr a = source(s);

	return queue_hold(&lane[l], &a, &j->item);
}

static struct job *
pop(void)
{
	return job_of(queue_pop(&q));
}

static void
test_one_source_is_first_in_first_out(void **state)
{
	(void)state;
	begin(1);
	assert_null(pop());
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(push(0, 1), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(pop()->n, i);
	assert_null(pop());
	finish();
}

static void
test_sources_take_turns(void **state)
{
	static const unsigned order[] = { 1, 2, 3, 1, 3, 1, 1 };

	(void)state;
	begin(1);
	for (unsigned i = 0; i < 4; i++)
		push(0, 1);
	push(0, 2);
	push(0, 3);
	push(0, 3);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(pop()->source, order[i]);
	assert_null(pop());
	finish();
}

static void
test_lanes_take_turns(void **state)
{
	(void)state;
	begin(3);
	for (unsigned s = 0; s < 60; s++)
		push(0, s); /* many sources of one worker count as one worker */
	push(1, 1);
	push(2, 1);
	push(2, 2);
	unsigned seen[3] = { 0 };
	for (unsigned i = 0; i < 5; i++)
		seen[pop()->lane]++;
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 2);
	assert_int_equal(seen[0], 2);
	finish();
}

static void
test_bounds(void **state)
{
	struct job *evicted;

	(void)state;
	begin(1);
	assert_int_equal(q.lane_max, QUEUE_TOTAL);
	/* A source has 32 places, held and ready together; another is not touched by that. */
	for (unsigned i = 0; i < QUEUE_SOURCE_MAX / 2; i++) {
		assert_int_equal(push(0, 1), 0);
		assert_int_equal(hold(0, 1), 0);
	}
	assert_int_equal(push(0, 1), -1);
	assert_int_equal(hold(0, 1), -1);
	assert_int_equal(push(0, 2), 0);
	assert_int_equal(hold(0, 2), 0);
	/* A held one that becomes ready keeps its place. */
	struct job *held = &job[1];
	assert_int_equal(held->item.state, QUEUE_HELD);
	assert_int_equal(push_job(held, &evicted), 0);
	assert_int_equal(held->item.state, QUEUE_READY);
	assert_int_equal(push(0, 1), -1);
	/* And a place that was given up is there again. */
	queue_remove(&held->item);
	assert_int_equal(push(0, 1), 0);
	finish();

	begin(1);
	for (unsigned i = 0; i < QUEUE_HELD_MAX; i++)
		assert_int_equal(hold(0, i), 0);
	assert_int_equal(hold(0, 5000), -1);
	assert_int_equal(push(0, 5000), 0); /* what is held takes no place of what is ready */
	finish();

	begin(4);
	assert_int_equal(q.lane_max, QUEUE_TOTAL / 4);
	for (unsigned s = 0; s < QUEUE_TOTAL / 4; s++)
		assert_int_equal(push(0, s), 0);
	assert_int_equal(push(0, 5000), -1); /* all have one: no one has more than a share */
	assert_int_equal(push(1, 5000), 0);
	finish();
	queue_init(&q, 1000);
	assert_int_equal(q.lane_max, QUEUE_LANE_MIN);
	queue_init(&q, 0);
	assert_int_equal(q.lane_max, QUEUE_TOTAL);
}

static void
test_who_has_most_gives_way(void **state)
{
	struct job *evicted;

	(void)state;
	begin(1);
	for (unsigned s = 0; s < QUEUE_TOTAL / QUEUE_SOURCE_MAX; s++) {
		for (unsigned i = 0; i < QUEUE_SOURCE_MAX - (s != 3); i++)
			assert_int_equal(push(0, s), 0);
	}
	while (lane[0].ready < QUEUE_TOTAL)
		assert_int_equal(push(0, 100 + lane[0].ready), 0);
	assert_int_equal(push_job(make(0, 999), &evicted), 1);
	assert_int_equal(evicted->source, 3); /* it had the most, and its last goes */
	assert_int_equal(evicted->n, 4 * (QUEUE_SOURCE_MAX - 1));
	assert_int_equal(lane[0].ready, QUEUE_TOTAL);
	for (unsigned i = 0; i < 500; i++) /* never more than all, never fewer than its share */
		(void)push(0, 2000 + i);
	assert_int_equal(lane[0].ready, QUEUE_TOTAL);
	finish();
}

static void
test_removal_anywhere(void **state)
{
	(void)state;
	begin(2);
	for (unsigned i = 0; i < 300; i++) {
		unsigned s = (unsigned)random() % 20, l = (unsigned)random() % 2;
		random() % 2 ? (void)push(l, s) : (void)hold(l, s);
	}
	for (unsigned i = 0; i < 200; i++)
		queue_remove(&job[(unsigned)random() % used].item);
	unsigned ready = lane[0].ready + lane[1].ready;
	while (pop() != NULL)
		ready--;
	assert_int_equal(ready, 0);
	finish();
	queue_lane_remove(&q, &lane[0]);
	assert_null(pop());
}

static void
test_what_is_one_source(void **state)
{
	struct addr a, b;

	(void)state;
	assert_int_equal(addr_parse("2001:db8:0:1::1", &a), 0);
	assert_int_equal(addr_parse("2001:db8:0:1:ffff::2", &b), 0);
	a = queue_source_of(&a);
	b = queue_source_of(&b);
	assert_int_equal(addr_cmp(&a, &b), 0);
	assert_int_equal(addr_parse("2001:db8:0:2::1", &b), 0);
	b = queue_source_of(&b);
	assert_int_not_equal(addr_cmp(&a, &b), 0);
	assert_int_equal(addr_parse("::ffff:192.0.2.1", &a), 0);
	assert_int_equal(addr_parse("192.0.2.1", &b), 0);
	a = queue_source_of(&a);
	b = queue_source_of(&b);
	assert_int_equal(addr_cmp(&a, &b), 0);
	assert_int_equal(addr_parse("192.0.2.2", &b), 0);
	b = queue_source_of(&b);
	assert_int_not_equal(addr_cmp(&a, &b), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_source_is_first_in_first_out),
		cmocka_unit_test(test_sources_take_turns),
		cmocka_unit_test(test_lanes_take_turns),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_who_has_most_gives_way),
		cmocka_unit_test(test_removal_anywhere),
		cmocka_unit_test(test_what_is_one_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
