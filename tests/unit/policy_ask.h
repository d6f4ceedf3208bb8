/*
 * For tests of the rules: what is known of a request, written as text, and the answer of a policy
 * to it: "pass N", "block N" or "maybe N" with the number of the rule that decides, "block -" where
 * none does.
 */
#ifndef TESTS_POLICY_ASK_H
#define TESTS_POLICY_ASK_H

#include <stdio.h>

#include "tests/unit/policy.h"

static inline const char *
query_parse(struct query *q, char *text, uint8_t *groups, uint8_t *name)
{
	char *save, *key;

	memset(q, 0, sizeof(*q));
	for (key = strtok_r(text, " ", &save); key != NULL; key = strtok_r(NULL, " ", &save)) {
		if (strcmp(key, "nobody") == 0) {
			q->known |= KNOW_USER;
			continue;
		}
		char *v = strtok_r(NULL, " ", &save);
		if (strcmp(key, "src") == 0) {
			q->known |= KNOW_SOURCE;
			assert_int_equal(addr_parse(v, &q->source), 0);
		} else if (strcmp(key, "method") == 0) {
			q->known |= KNOW_METHOD;
			q->method = policy_method(v);
		} else if (strcmp(key, "user") == 0) {
			q->known |= KNOW_USER;
			q->user = (const uint8_t *)v;
			q->user_len = strlen(v);
		} else if (strcmp(key, "group") == 0) {
			groups[q->groups_len] = (uint8_t)strlen(v);
			memcpy(groups + q->groups_len + 1, v, strlen(v));
			q->groups_len += strlen(v) + 1;
			q->groups = groups;
		} else if (strcmp(key, "level") == 0) {
			q->known |= KNOW_LEVEL;
			q->level = (enum level)atoi(v);
		} else if (strcmp(key, "cmd") == 0) {
			q->known |= KNOW_COMMAND;
			q->command = *v == 'c' ? COMMAND_CONNECT : COMMAND_NONE;
		} else if (strcmp(key, "port") == 0) {
			q->known |= KNOW_PORT;
			q->port = (uint16_t)atoi(v);
		} else if (strcmp(key, "addr") == 0) {
			q->known |= KNOW_ADDR;
			assert_int_equal(addr_parse(v, &q->target), 0);
		} else if (strcmp(key, "name") == 0) {
			q->known |= KNOW_NAME;
			if (strcmp(v, "-") == 0)
				continue;
			int len = name_normalise((const uint8_t *)v, strlen(v), name);
			assert_true(len > 0);
			q->name = name;
			q->name_len = (size_t)len;
		} else
			return key;
	}
	return NULL;
}

/* The answer in a row's form. */
static inline const char *
ask(const struct image *img, const char *query, char out[64])
{
	static const char *const words[] = { "block", "pass", "maybe" };
	uint8_t groups[512], name[NAME_MAX_LEN];
	char text[512];
	struct query q;
	uint32_t rule = 12345;

	snprintf(text, sizeof(text), "%s", query);
	const char *bad = query_parse(&q, text, groups, name);
	if (bad != NULL)
		fail_msg("query: %s", bad);
	enum rules_answer a = rules_eval(img, &q, &rule);
	assert_int_equal(rules_eval(img, &q, NULL), a);
	if (q.known == KNOW_ALL)
		assert_int_not_equal(a, RULES_MAYBE);
	if (rule == RULE_NONE) {
		assert_null(rules_rule(img, rule));
		snprintf(out, 64, "%s -", words[a]);
	} else {
		assert_non_null(rules_rule(img, rule));
		snprintf(out, 64, "%s %u", words[a], rule + 1);
	}
	return out;
}

#endif
