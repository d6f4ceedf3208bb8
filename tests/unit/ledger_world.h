/*
 * A ledger in a directory of its own, what is entered into it, and what is handed over from it.
 * Included by its tests after cmocka.h.
 */
#ifndef TESTS_UNIT_LEDGER_WORLD_H
#define TESTS_UNIT_LEDGER_WORLD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/ledger.h"

#define INSTANCE 0x1122334455667788ull

static char dir[64], path[80], aside[80];

static inline int
make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sallyport-ledger.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/ledger", dir);
	snprintf(aside, sizeof(aside), "%s/ledger.old", dir);
	return 0;
}

static inline int
remove_dir(void **state)
{
	(void)state;
	unlink(path);
	rmdir(path);
	unlink(aside);
	return rmdir(dir);
}

/* --- what is entered --- */

static inline struct ledger_octets
string(const char *s)
{
	return (struct ledger_octets){ (const uint8_t *)s, strlen(s) };
}

static inline struct ledger_entry
sample(uint32_t gen)
{
	struct ledger_entry e = { .state = LEDGER_CONNECTED, .worker = 9, .sid = { 1, gen } };

	e.client.a.family = ADDR_V4;
	e.method = METHOD_PASSWORD;
	e.command = COMMAND_CONNECT;
	e.up = 5;
	return e;
}

static inline bool
enter(
    struct ledger *lg, struct ledger_entry *at, struct ledger_entry e, const struct ledger_text *t)
{
	enum ledger_state state = e.state;

	e.state = LEDGER_FREE;
	*at = e;
	bool whole = ledger_enter(lg, at, state, t);
	ledger_decided(lg, at, &t->via, t->rule);
	return whole;
}

/* --- what is handed over --- */

struct orphans {
	unsigned n;
	uint64_t instance;
	struct ledger_entry last;
	uint8_t octets[5][256];
	struct ledger_text text; /* in octets */
};

static inline void
keep(struct ledger_octets *to, uint8_t *octets, struct ledger_octets from)
{
	if (from.len > 0)
		memcpy(octets, from.at, from.len);
	*to = (struct ledger_octets){ octets, from.len };
}

static inline void
on_orphan(const struct ledger_entry *e, const struct ledger_text *t, uint64_t instance, void *arg)
{
	struct orphans *o = arg;

	o->n++;
	o->instance = instance;
	o->last = *e;
	keep(&o->text.user, o->octets[0], t->user);
	keep(&o->text.name, o->octets[1], t->name);
	keep(&o->text.claim, o->octets[2], t->claim);
	keep(&o->text.via, o->octets[3], t->via);
	keep(&o->text.rule, o->octets[4], t->rule);
}

static inline void
assert_octets(struct ledger_octets got, struct ledger_octets want)
{
	assert_int_equal(got.len, want.len);
	if (want.len > 0)
		assert_memory_equal(got.at, want.at, want.len);
}

static inline void
assert_texts(const struct ledger_text *got, const struct ledger_text *want)
{
	assert_octets(got->user, want->user);
	assert_octets(got->name, want->name);
	assert_octets(got->claim, want->claim);
	assert_octets(got->via, want->via);
	assert_octets(got->rule, want->rule);
}

/* But for what is the ledger's own. */
static inline void
assert_handed(
    const struct orphans *o, const struct ledger_entry *want, const struct ledger_text *text)
{
	assert_memory_equal(&o->last, want, offsetof(struct ledger_entry, far));
	assert_texts(&o->text, text);
}

#endif
