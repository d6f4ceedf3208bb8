/*
 * Blocks that wait for the next who wants one: they come back, as they were given; a new one is
 * zeroed; no more than a few wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* after those that it needs */
#include <cmocka.h>

#include "worker/spare.h"

#define SIZE 2000
#define MANY 100

static uint8_t *
take(struct spare *p)
{
	uint8_t *block = spare_take(p, SIZE);

	assert_non_null(block);
	return block;
}

static void
test_a_new_block_is_zeroed(void **state)
{
	static const uint8_t zeros[SIZE];
	struct spare p = { 0 };
	uint8_t *block = malloc(SIZE);

	(void)state;
	assert_non_null(block);
	memset(block, 0xa5, SIZE);
	__asm__ volatile(""
			 :
			 : "r"(block)
			 : "memory"); /* what the allocator has next is not zero */
	free(block);
	block = take(&p);
	assert_memory_equal(block, zeros, SIZE);
	spare_give(&p, block);
	spare_end(&p);
	assert_int_equal(p.n, 0);
}

static void
test_as_it_was_given(void **state)
{
	static const uint8_t zeros[sizeof(void *)];
	struct spare p = { 0 };
	uint8_t *block = take(&p), *other = take(&p);

	(void)state;
	memset(block, 0xa5, SIZE);
	memset(other, 0x5a, SIZE);
	spare_give(&p, other);
	spare_give(&p, block);
#if SANITIZED
	assert_int_equal(p.n, 0); /* what is freed is AddressSanitizer's to know */
	(void)zeros;
#else
	assert_int_equal(p.n, 2);
	assert_ptr_equal(take(&p), block);
	assert_memory_equal(block, zeros, sizeof(zeros));
	assert_int_equal(block[SIZE - 1], 0xa5);
	assert_ptr_equal(take(&p), other);
	assert_int_equal(other[SIZE - 1], 0x5a);
	spare_give(&p, block);
	spare_give(&p, other);
#endif
	spare_end(&p);
}

static void
test_few_wait(void **state)
{
	struct spare p = { 0 };
	uint8_t *block[MANY];

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		block[i] = take(&p);
	for (unsigned i = 0; i < MANY; i++)
		spare_give(&p, block[i]);
	assert_in_range(p.n, 0, MANY / 4);
	spare_end(&p);
	assert_null(p.first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_new_block_is_zeroed),
		cmocka_unit_test(test_as_it_was_given),
		cmocka_unit_test(test_few_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
