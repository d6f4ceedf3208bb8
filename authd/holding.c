/*
 * What exchanges hold. Owns the records of sources, each of which lives while it holds something;
 * trusts nothing of an exchange but its source's address, which a worker gave.
 */
#include "authd/holding.h"

#include <stdint.h>
#include <stdlib.h>

TAILQ_HEAD(holding_list, holding);

struct holding_source {
	TAILQ_ENTRY(holding_source) entry;
	LIST_ENTRY(holding_source) bucket;
	struct addr key;
	struct holding_list list;
	size_t octets;
};

void
holding_init(struct holdings *h)
{
	TAILQ_INIT(&h->all);
	for (unsigned i = 0; i < HOLDING_BUCKETS; i++)
		LIST_INIT(&h->buckets[i]);
	h->octets = 0;
}

static struct holding_source *
source_get(struct holdings *h, const struct addr *key)
{
	uint32_t hash = 2166136261u;
	struct holding_source *s;

	/* Chains are short whatever the addresses: a worker has a bounded number of exchanges. */
	for (size_t i = 0; i < sizeof(key->b); i++)
		hash = (hash ^ key->b[i]) * 16777619u;
	hash = (hash ^ hash >> 16) % HOLDING_BUCKETS;
	LIST_FOREACH (s, &h->buckets[hash], bucket) {
		if (addr_cmp(&s->key, key) == 0)
			return s;
	}
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->key = *key;
	TAILQ_INIT(&s->list);
	LIST_INSERT_HEAD(&h->buckets[hash], s, bucket);
	TAILQ_INSERT_TAIL(&h->all, s, entry);
	return s;
}

static void
source_put(struct holdings *h, struct holding_source *s)
{
	if (!TAILQ_EMPTY(&s->list))
		return;
	LIST_REMOVE(s, bucket);
	TAILQ_REMOVE(&h->all, s, entry);
	free(s);
}

/* The newest of the source that holds most, where that is more than `than`. */
static struct holding *
newest_of_heaviest(struct holdings *h, size_t than)
{
	struct holding_source *s, *heaviest = NULL;

	TAILQ_FOREACH (s, &h->all, entry) {
		if (s->octets > than) {
			than = s->octets;
			heaviest = s;
		}
	}
	return heaviest != NULL ? TAILQ_LAST(&heaviest->list, holding_list) : NULL;
}

bool
holding_add(struct holdings *h, const struct addr *source, struct holding *x, size_t octets,
    struct holding **victim)
{
	struct holding_source *s = x->source != NULL ? x->source : source_get(h, source);

	*victim = x;
	if (s == NULL)
		return false;
	if (s->octets + octets > HOLDING_SOURCE_MAX) {
		source_put(h, s);
		return false;
	}
	if (h->octets + octets > HOLDING_LANE_MAX) {
		struct holding *other = newest_of_heaviest(h, s->octets + octets);

		if (other != NULL)
			*victim = other;
		source_put(h, s);
		return false;
	}
	if (x->source == NULL) {
		x->source = s;
		TAILQ_INSERT_TAIL(&s->list, x, entry);
	}
	x->octets += octets;
	s->octets += octets;
	h->octets += octets;
	return true;
}

void
holding_cut(struct holdings *h, struct holding *x, size_t octets)
{
	struct holding_source *s = x->source;

	if (s == NULL)
		return;
	s->octets -= x->octets - octets;
	h->octets -= x->octets - octets;
	x->octets = octets;
	if (octets > 0)
		return;
	TAILQ_REMOVE(&s->list, x, entry);
	x->source = NULL;
	source_put(h, s);
}
