/*
 * The fair queue. Owns the records of sources, each of which lives while it has an item; trusts
 * nothing of an item but its source's address, which a worker gave.
 */
#include "authd/queue.h"

#include <stdlib.h>
#include <string.h>

TAILQ_HEAD(queue_line, queue_item);

struct queue_source {
	TAILQ_ENTRY(queue_source) turn;  /* in lane->turns while it has ready items */
	LIST_ENTRY(queue_source) bucket; /* in lane->sources */
	struct queue_lane *lane;
	struct addr key;
	struct queue_line line;
	unsigned ready, held;
};

struct addr
queue_source_of(const struct addr *client)
{
	struct addr a = addr_canon(client, NULL, 0);

	if (a.family == ADDR_V6)
		memset(a.b + 8, 0, 8);
	return a;
}

static unsigned
bucket_of(const struct addr *key)
{
	uint32_t h = 2166136261u;

	/* Chains are short whatever the addresses: a lane has a bounded number of items. */
	for (size_t i = 0; i < sizeof(key->b); i++)
		h = (h ^ key->b[i]) * 16777619u;
	return (h ^ h >> 16) % QUEUE_BUCKETS;
}

static struct queue_source *
source_get(struct queue_lane *l, const struct addr *key)
{
	unsigned b = bucket_of(key);
	struct queue_source *s;

	LIST_FOREACH (s, &l->sources[b], bucket) {
		if (addr_cmp(&s->key, key) == 0)
			return s;
	}
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->lane = l;
	s->key = *key;
	TAILQ_INIT(&s->line);
	LIST_INSERT_HEAD(&l->sources[b], s, bucket);
	return s;
}

static void
source_put(struct queue_source *s)
{
	if (s->ready + s->held > 0)
		return;
	LIST_REMOVE(s, bucket);
	free(s);
}

void
queue_init(struct queue *q, unsigned lanes)
{
	TAILQ_INIT(&q->lanes);
	q->lane_max = QUEUE_TOTAL / (lanes > 0 ? lanes : 1);
	if (q->lane_max < QUEUE_LANE_MIN)
		q->lane_max = QUEUE_LANE_MIN;
}

void
queue_lane_add(struct queue *q, struct queue_lane *l)
{
	memset(l, 0, sizeof(*l));
	TAILQ_INIT(&l->turns);
	for (unsigned i = 0; i < QUEUE_BUCKETS; i++)
		LIST_INIT(&l->sources[i]);
	TAILQ_INSERT_TAIL(&q->lanes, l, entry);
}

void
queue_lane_remove(struct queue *q, struct queue_lane *l)
{
	TAILQ_REMOVE(&q->lanes, l, entry);
}

/* Out of wherever it is; its source stays, even with nothing left. */
static struct queue_source *
item_detach(struct queue_item *i)
{
	struct queue_source *s = i->source;

	if (i->state == QUEUE_READY) {
		TAILQ_REMOVE(&s->line, i, entry);
		s->lane->ready--;
		if (--s->ready == 0)
			TAILQ_REMOVE(&s->lane->turns, s, turn);
	} else {
		s->lane->held--;
		s->held--;
	}
	i->state = QUEUE_OUT;
	i->source = NULL;
	return s;
}

void
queue_remove(struct queue_item *i)
{
	if (i->state != QUEUE_OUT)
		source_put(item_detach(i));
}

int
queue_hold(struct queue_lane *l, const struct addr *source, struct queue_item *i)
{
	struct queue_source *s = source_get(l, source);

	if (s == NULL)
		return -1;
	if (l->held >= QUEUE_HELD_MAX || s->held + s->ready >= QUEUE_SOURCE_MAX) {
		source_put(s);
		return -1;
	}
	i->state = QUEUE_HELD;
	i->source = s;
	s->held++;
	l->held++;
	return 0;
}

/* The source with the most ready items, where that is more than `than`. */
static struct queue_source *
source_longest(struct queue_lane *l, unsigned than)
{
	struct queue_source *s, *longest = NULL;

	TAILQ_FOREACH (s, &l->turns, turn) {
		if (s->ready > than) {
			than = s->ready;
			longest = s;
		}
	}
	return longest;
}

int
queue_push(struct queue *q, struct queue_lane *l, const struct addr *source, struct queue_item *i,
    struct queue_item **evicted)
{
	struct queue_source *s;

	*evicted = NULL;
	queue_remove(i);
	if ((s = source_get(l, source)) == NULL)
		return -1;
	if (s->held + s->ready >= QUEUE_SOURCE_MAX) {
		source_put(s);
		return -1;
	}
	if (l->ready >= q->lane_max) {
		struct queue_source *longest = source_longest(l, s->ready + 1);
		if (longest == NULL) {
			source_put(s);
			return -1;
		}
		*evicted = TAILQ_LAST(&longest->line, queue_line);
		queue_remove(*evicted);
	}
	i->state = QUEUE_READY;
	i->source = s;
	TAILQ_INSERT_TAIL(&s->line, i, entry);
	l->ready++;
	if (s->ready++ == 0)
		TAILQ_INSERT_TAIL(&l->turns, s, turn);
	return 0;
}

struct queue_item *
queue_pop(struct queue *q)
{
	struct queue_lane *l;

	TAILQ_FOREACH (l, &q->lanes, entry) {
		if (l->ready > 0)
			break;
	}
	if (l == NULL)
		return NULL;
	TAILQ_REMOVE(&q->lanes, l, entry);
	TAILQ_INSERT_TAIL(&q->lanes, l, entry);

	struct queue_source *s = TAILQ_FIRST(&l->turns);
	struct queue_item *i = TAILQ_FIRST(&s->line);
	item_detach(i);
	if (s->ready > 0) {
		TAILQ_REMOVE(&l->turns, s, turn);
		TAILQ_INSERT_TAIL(&l->turns, s, turn);
	}
	source_put(s);
	return i;
}
