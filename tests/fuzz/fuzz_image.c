/*
 * A policy image: whatever image_check takes, no look-up and no evaluation reads outside it. Magic
 * and size are set right, so that the rest is reached.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Addresses and names come from the image's own end, where the fuzzer can reach them. */
static void
evaluate(const struct image *img, const uint8_t *tail, size_t n)
{
	struct query q = { .command = COMMAND_CONNECT, .port = 443 };
	uint32_t rule;

	q.source.family = ADDR_V4;
	q.target.family = tail[0] % 2 ? ADDR_V4 : ADDR_V6;
	memcpy(q.source.b, tail, 4);
	memcpy(q.target.b, tail, q.target.family == ADDR_V4 ? 4 : 16);
	q.method = (enum method)(tail[1] % METHOD_COUNT);
	q.level = (enum level)(tail[2] % LEVEL_COUNT);
	q.user = q.groups = q.name = tail;
	q.user_len = n < 5 ? n : 5;
	q.groups_len = q.name_len = n;
	for (q.known = 0; q.known <= KNOW_ALL; q.known++) {
		enum rules_answer a = rules_eval(img, &q, &rule);
		if (rule != RULE_NONE && rules_rule(img, rule) == NULL)
			abort();
		if (q.known == KNOW_ALL && a == RULES_MAYBE)
			abort();
	}
	uint32_t open = rules_open_methods(img);
	for (unsigned m = 0; m < METHOD_COUNT; m++) {
		q.method = (enum method)m;
		q.known = KNOW_SOURCE | KNOW_METHOD;
		if ((open & METHOD_BIT(m)) != 0 && rules_eval(img, &q, NULL) == RULES_BLOCK)
			abort();
	}
	q.known = KNOW_SOURCE;
	if (open != 0 && rules_eval(img, &q, NULL) == RULES_BLOCK)
		abort();
	if (rules_method(img, open, &q.source, UINT32_MAX) !=
	    rules_method(img, 0, &q.source, UINT32_MAX))
		abort();
	rules_wants_confidentiality(img, &q.source, q.user, q.user_len, q.groups, q.groups_len);
	image_has_mark(img, 7);
	for (uint32_t i = 0; i <= img->upstreams.n && i < 8; i++)
		image_upstream(img, i);
	image_host(img, tail, n);
	image_own(img, &q.target);
	for (uint32_t i = 0; i <= img->tables.n && i < 64; i++) {
		image_table_lookup(img, i, &q.source);
		image_table_lookup(img, i, &q.target);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image head;

	if (size < sizeof(head))
		return 0;
	uint8_t *block = malloc(size);
	if (block == NULL)
		return 0;
	memcpy(block, data, size);
	memcpy(&head, block, sizeof(head));
	head.magic = IMAGE_MAGIC;
	head.size = (uint32_t)size;
	memcpy(block, &head, sizeof(head));
	if (image_check(block, size) == 0)
		evaluate((const struct image *)(const void *)block, block + size - 24, 24);
	free(block);
	return 0;
}
