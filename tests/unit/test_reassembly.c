/*
 * The reassembly queue: sequences of fragments, what each comes to, and what is dropped of it
 * (RFC 1928 section 7). Each row of the table is a test of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/reassembly.h"

/*
 * What comes in: [target A-Z][+]FRAG[:data][@ms], with + for the high-order bit, and target A and
 * the time of the datagram before (0) where they are not told. What goes out: "-" for nothing, or
 * target:data. dropped: of DROP_FRAGMENT, held: what is dropped at the end on top.
 */
struct sequence {
	const char *name, *in, *out;
	unsigned dropped, held;
};

static const struct sequence sequences[] = {
	/* "a value of X'00' indicates that this datagram is standalone" */
	{ "standalone", "0:a 0:b", "A:a A:b", 0, 0 },
	{ "standalone and empty", "0", "A:", 0, 0 },
	/* "Values between 1 and 127 indicate the fragment position", "the high-order bit indicates
	 * end-of-fragment sequence" */
	{ "in order", "1:a 2:b +3:c", "- - A:abc", 0, 0 },
	{ "two", "1:a +2:b", "- A:ab", 0, 0 },
	{ "end at position 1", "+1:a", "A:a", 0, 0 },
	{ "empty fragments", "1 2 +3", "- - A:", 0, 0 },
	{ "data in the middle only", "1 2:b +3", "- - A:b", 0, 0 },
	{ "no end", "1:a 2:b 3:c", "- - -", 0, 3 },
	{ "two sequences", "1:a +2:b 1:c +2:d", "- A:ab - A:cd", 0, 0 },
	{ "two sequences, two targets", "A1:a A+2:b B1:c B+2:d", "- A:ab - B:cd", 0, 0 },
	{ "after a standalone", "0:s 1:a +2:b 0:t", "A:s - A:ab A:t", 0, 0 },
	/* "whose value is less than the highest FRAG value processed": abandoned */
	{ "lower than the highest", "1:a 2:b 3:c 2:d +4:e", "- - - - -", 5, 0 },
	{ "lower, and from the start", "1:a 2:b 1:c +2:d", "- - - A:cd", 2, 0 },
	{ "lower with the high bit", "1:a 2:b 3:c +2:d +4:e", "- - - - -", 5, 0 },
	{ "position 1 with the high bit", "1:a 2:b +1:c +3:d", "- - A:c -", 3, 0 },
	{ "standalone in the middle", "1:a 2:b 0:s +3:c", "- - A:s -", 3, 0 },
	{ "standalone to another target", "1:a B0:s +2:c", "- B:s -", 2, 0 },
	{ "lower to another target", "1:a 2:b 3:c B2:d +4:e", "- - - - -", 5, 0 },
	{ "another target from the start", "1:a 2:b B1:c B+2:d", "- - - B:cd", 2, 0 },
	{ "another target after one", "1:a B1:c B+2:d", "- - B:cd", 1, 0 },
	/* gaps: the missing one would be lower than the highest */
	{ "a gap", "1:a 3:c +4:d", "- - -", 3, 0 },
	{ "a gap at the end", "1:a +3:c", "- -", 2, 0 },
	{ "a gap filled too late", "1:a 3:c 2:b +4:d", "- - - -", 4, 0 },
	{ "a gap, and anew", "1:a 3:c 1:d +2:e", "- - - A:de", 2, 0 },
	{ "no beginning", "2:b +3:c", "- -", 2, 0 },
	{ "backwards", "+3:c 2:b 1:a", "- - -", 2, 1 },
	/* repeats: not lower, so nothing is abandoned; the latest of a position stands */
	{ "a repeat", "1:a 2:b 2:b +3:c", "- - - A:abc", 1, 0 },
	{ "a repeat of the first", "1:a 1:a +2:b", "- - A:ab", 1, 0 },
	{ "repeats of all but the end", "1:a 1:a 2:b 2:b 2:b +3:c", "- - - - - A:abc", 3, 0 },
	{ "a repeat that ends", "1:a 2:b +2:c", "- - A:ac", 1, 0 },
	{ "a repeat of the end", "1:a +2:b +2:b 1:c +2:d", "- A:ab - - A:cd", 1, 0 },
	{ "a shorter repeat", "1:abc 2:def 2:x +3:g", "- - - A:abcxg", 1, 0 },
	{ "a longer repeat", "1:a 2:b 2:xyz +3:g", "- - - A:axyzg", 1, 0 },
	{ "another beginning", "1:old 1:new +2:x", "- - A:newx", 1, 0 },
	/* X'80': the high bit without a position */
	{ "no position", "+0:x", "-", 1, 0 },
	{ "no position in the middle", "1:a +0:x +2:b", "- - -", 3, 0 },
	/* a fragment of another header is not of this sequence */
	{ "another target", "1:a B2:x 2:b +3:c", "- - - A:abc", 1, 0 },
	{ "another target at the end", "1:a B+2:x +2:b", "- - A:ab", 1, 0 },
	{ "another target past a gap", "1:a B9:x +2:b", "- - A:ab", 1, 0 },
	/* "The reassembly timer MUST be no less than 5 seconds" */
	{ "5 seconds", "1:a +2:b@5000", "- A:ab", 0, 0 },
	{ "just before the timer", "1:a +2:b@5099", "- A:ab", 0, 0 },
	{ "the timer", "1:a +2:b@5100", "- -", 2, 0 },
	{ "long after the timer", "1:a +2:b@1000000", "- -", 2, 0 },
	{ "the timer runs from the first", "1:a 2:b@3000 3:c@5000 +4:d@5100", "- - - -", 4, 0 },
	{ "anew after the timer", "1:a 1:b@6000 +2:c@6000", "- - A:bc", 1, 0 },
	{ "the timer starts with each", "1:a 1:b@4000 +2:c@9000", "- - A:bc", 1, 0 },
	{ "standalone after the timer", "1:a 0:b@6000", "- A:b", 1, 0 },
};

struct world {
	struct reassembly r;
	struct reassembly_budget budget;
	uint32_t drops[DROP_COUNT];
	uint64_t now;
	struct datagram whole;
};

static void
world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	reassembly_init(&w->r, &w->budget, w->drops);
	w->now = 1;
}

static void
world_close(struct world *w)
{
	reassembly_end(&w->r);
	assert_int_equal(w->budget.used, 0);
	assert_null(w->r.buf);
	assert_int_equal(w->r.until, 0);
}

/* Feeds a datagram to TARGET.example:53 from a copy that is gone afterwards, as from a receive
 * buffer; unless it is whole at once, when it must live as long as what is looked at. */
static bool
feed(struct world *w, char target, uint8_t frag, const uint8_t *data, size_t len)
{
	static uint8_t in[SALLYPORT_HEADER_MAX + DATAGRAM_MAX + 16];
	uint8_t name[] = "X.example";
	struct sallyport_udp u = { .frag = frag,
		.atyp = SALLYPORT_NAME,
		.host = name,
		.host_len = sizeof(name) - 1,
		.port = 53 };
	struct datagram d;
	size_t head;
	bool got;

	name[0] = (uint8_t)target;
	head = sallyport_udp_header(in, sizeof(in), &u);
	if (len > 0)
		memcpy(in + head, data, len);
	assert_int_equal(datagram_parse(in, head + len, &d), 0);
	got = reassembly_feed(&w->r, w->now, &d, &w->whole);
	if (w->whole.head != in)
		memset(in, 0xdb, sizeof(in));
	return got;
}

/* "A:data" or "-", as in the table. */
static void
append_result(struct world *w, bool got, char *out, size_t size)
{
	size_t at = strlen(out);
	const char *space = at > 0 ? " " : "";

	if (!got) {
		snprintf(out + at, size - at, "%s-", space);
		return;
	}
	assert_int_equal(w->whole.frag, 0);
	assert_int_equal(w->whole.port, 53);
	assert_int_equal(w->whole.name_len, 9);
	snprintf(out + at, size - at, "%s%c:%.*s", space, w->whole.name[0], (int)w->whole.data_len,
	    (const char *)w->whole.data);
}

static void
run_step(struct world *w, const char *step, char *out, size_t size)
{
	char target = 'A', data[32] = "", *rest;
	uint8_t frag = 0;

	if (*step >= 'A' && *step <= 'Z')
		target = *step++;
	if (*step == '+') {
		frag = SALLYPORT_FRAG_END;
		step++;
	}
	frag |= (uint8_t)strtoul(step, &rest, 10);
	if (*rest == ':')
		rest += sscanf(rest + 1, "%31[a-z]", data) == 1 ? 1 + strlen(data) : 1;
	if (*rest == '@')
		w->now = 1 + strtoull(rest + 1, &rest, 10);
	assert_int_equal(*rest, '\0');
	append_result(w, feed(w, target, frag, (const uint8_t *)data, strlen(data)), out, size);
}

static void
test_sequence(void **state)
{
	const struct sequence *s = *state;
	char in[128], out[128] = "", *save = NULL;
	struct world w;

	world_open(&w);
	snprintf(in, sizeof(in), "%s", s->in);
	for (char *step = strtok_r(in, " ", &save); step; step = strtok_r(NULL, " ", &save))
		run_step(&w, step, out, sizeof(out));
	assert_string_equal(out, s->out);
	assert_int_equal(w.drops[DROP_FRAGMENT], s->dropped);
	world_close(&w);
	assert_int_equal(w.drops[DROP_FRAGMENT], s->dropped + s->held);
	for (unsigned i = 0; i < DROP_COUNT; i++)
		assert_true(i == DROP_FRAGMENT || w.drops[i] == 0);
}

/* Positions 1 to 127, and what the RFC has no number for. */
static void
test_all_positions(void **state)
{
	uint8_t data[128];
	struct world w;

	(void)state;
	world_open(&w);
	for (unsigned last = 1; last <= 127; last++) {
		for (unsigned i = 1; i <= last; i++) {
			uint8_t frag = (uint8_t)(i == last ? i | SALLYPORT_FRAG_END : i);
			data[i] = (uint8_t)i;
			assert_int_equal(feed(&w, 'A', frag, &data[i], 1), i == last);
		}
		assert_int_equal(w.whole.data_len, last);
		assert_memory_equal(w.whole.data, data + 1, last);
		assert_memory_equal(w.whole.head,
		    "\0\0\0\3\x09"
		    "A.example\0\x35",
		    w.whole.head_len);
	}
	assert_int_equal(w.drops[DROP_FRAGMENT], 0);
	world_close(&w);
}

/* As much as a datagram can carry, and an octet more. */
static void
test_too_large(void **state)
{
	static uint8_t data[DATAGRAM_MAX];
	struct world w;

	(void)state;
	world_open(&w);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31);
	assert_false(feed(&w, 'A', 1, data, 40000));
	assert_true(feed(&w, 'A', 0x82, data + 40000, DATAGRAM_MAX - 40000));
	assert_int_equal(w.whole.data_len, DATAGRAM_MAX);
	assert_memory_equal(w.whole.data, data, DATAGRAM_MAX);
	assert_true(w.budget.used <= REASSEMBLY_MAX);

	assert_false(feed(&w, 'A', 1, data, 40000));
	assert_false(feed(&w, 'A', 2, data, DATAGRAM_MAX - 40000 + 1));
	assert_int_equal(w.drops[DROP_SIZE], 2);
	assert_int_equal(w.budget.used, 0);
	assert_false(feed(&w, 'A', 0x83, data, 1));
	assert_int_equal(w.drops[DROP_FRAGMENT], 1);

	/* A repeat counts once. */
	assert_false(feed(&w, 'A', 1, data, 40000));
	assert_false(feed(&w, 'A', 2, data, 25000));
	assert_false(feed(&w, 'A', 2, data, 25000));
	assert_true(feed(&w, 'A', 0x83, data, 500));
	assert_int_equal(w.whole.data_len, 65500);
	world_close(&w);
}

/* No association holds more than its share, and all together no more than the worker's. */
static void
test_budget(void **state)
{
	static uint8_t data[60000];
	struct world worlds[512];
	struct reassembly_budget budget = { 0 };
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 512; i++) {
		world_open(&worlds[i]);
		worlds[i].r.budget = &budget;
		assert_false(feed(&worlds[i], 'A', 1, data, sizeof(data)));
		assert_true(worlds[i].r.size <= REASSEMBLY_MAX);
		assert_true(budget.used <= REASSEMBLY_BUDGET);
		refused += worlds[i].drops[DROP_QUEUE];
	}
	assert_true(refused > 200 && refused < 300);
	/* One that ends makes room for another. */
	reassembly_end(&worlds[0].r);
	assert_false(feed(&worlds[511], 'A', 1, data, sizeof(data)));
	assert_true(feed(&worlds[511], 'A', 0x82, data, 100));
	for (unsigned i = 0; i < 512; i++)
		reassembly_end(&worlds[i].r);
	assert_int_equal(budget.used, 0);
}

/* The timer gives the memory back where nothing more comes, also that of a whole datagram. */
static void
test_expire(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	assert_false(feed(&w, 'A', 1, (const uint8_t *)"a", 1));
	assert_int_equal(w.r.until, 1 + REASSEMBLY_MS);
	reassembly_expire(&w.r, REASSEMBLY_MS);
	assert_true(w.budget.used > 0);
	reassembly_expire(&w.r, 1 + REASSEMBLY_MS);
	assert_int_equal(w.budget.used, 0);
	assert_int_equal(w.drops[DROP_FRAGMENT], 1);

	assert_false(feed(&w, 'A', 1, (const uint8_t *)"a", 1));
	assert_true(feed(&w, 'A', 0x82, (const uint8_t *)"b", 1));
	assert_true(w.r.until != 0);
	reassembly_expire(&w.r, w.r.until);
	assert_int_equal(w.budget.used, 0);
	assert_int_equal(w.drops[DROP_FRAGMENT], 1);
	world_close(&w);
}

_Static_assert(REASSEMBLY_MS >= 5000, "RFC 1928 section 7");

int
main(void)
{
	enum { ROWS = sizeof(sequences) / sizeof(sequences[0]) };
	struct CMUnitTest rows[ROWS];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_positions),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_expire),
	};

	for (unsigned i = 0; i < ROWS; i++)
		rows[i] = (struct CMUnitTest){ .name = sequences[i].name,
			.test_func = test_sequence,
			.initial_state = (void *)(uintptr_t)&sequences[i] };
	return cmocka_run_group_tests(rows, NULL, NULL) | cmocka_run_group_tests(tests, NULL, NULL);
}
