/*
 * What a worker knows of a name without asking: what is kept of answers, and the hosts of the
 * image, which come first.
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(asked_answered_kept, start, finish),
		cmocka_unit_test_setup_teardown(half_of_it_is_known, start, finish),
		cmocka_unit_test_setup_teardown(hosts_come_first, start, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
