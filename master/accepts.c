/*
 * The register of unused accepts. Filled by authd's verdicts only; emptied by workers' opens.
 */
#include "master/accepts.h"

#include <stdlib.h>
#include <string.h>

struct accept_entry {
	uint32_t gen; /* 0: none */
	uint8_t method, level, user_len;
	uint8_t user[USER_MAX];
};

struct accepts {
	unsigned workers;
	uint32_t slots;
	struct accept_entry *entries; /* untouched pages of it cost nothing */
};

struct accepts *
accepts_new(unsigned workers, uint32_t slots)
{
	struct accepts *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->workers = workers;
	a->slots = slots;
	a->entries = calloc((size_t)workers * slots, sizeof(*a->entries));
	if (a->entries == NULL) {
		free(a);
		return NULL;
	}
	return a;
}

void
accepts_free(struct accepts *a)
{
	if (a == NULL)
		return;
	free(a->entries);
	free(a);
}

static struct accept_entry *
at(struct accepts *a, unsigned worker, uint32_t slot)
{
	if (worker >= a->workers || slot >= a->slots)
		return NULL;
	return &a->entries[(size_t)worker * a->slots + slot];
}

bool
accepts_put(struct accepts *a, unsigned worker, struct sid sid, const struct accepted *what)
{
	struct accept_entry *e = at(a, worker, sid.slot);

	if (e == NULL || sid.gen == 0)
		return false;
	e->gen = sid.gen;
	e->method = (uint8_t)what->method;
	e->level = (uint8_t)what->level;
	e->user_len = what->user_len;
	memcpy(e->user, what->user, what->user_len);
	return true;
}

bool
accepts_take(struct accepts *a, unsigned worker, struct sid sid, const struct accepted *what)
{
	struct accept_entry *e = at(a, worker, sid.slot);

	if (e == NULL || e->gen == 0 || e->gen != sid.gen || e->method != what->method ||
	    e->level != what->level || e->user_len != what->user_len ||
	    memcmp(e->user, what->user, what->user_len) != 0)
		return false;
	e->gen = 0;
	return true;
}

void
accepts_drop_worker(struct accepts *a, unsigned worker)
{
	for (uint32_t i = 0; i < a->slots; i++) {
		struct accept_entry *e = at(a, worker, i);
		if (e->gen != 0)
			e->gen = 0; /* only touched pages are written */
	}
}
