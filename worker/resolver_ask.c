/*
 * Questions under way and the resolver's cache. Owns both; names come from clients by way of the
 * workers, answers from the name servers by way of the reader of replies.
 */
#include "worker/resolver_ask.h"

#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "worker/resolver_pool.h"

#define CACHE_ENTRIES 65536
#define CACHE_OCTETS  (16u * 1024 * 1024)
#define QUESTIONS_MAX 32768 /* under way; those of workers that are gone count too */

struct question {
	struct pool_query query;
	struct questions *all;
	RB_ENTRY(question) node;
	TAILQ_HEAD(ask_list, ask) asks;
	uint8_t len;
	uint8_t name[NAME_MAX_LEN];
};

RB_HEAD(question_tree, question);

struct questions {
	struct loop *loop;
	struct pool *pool;
	struct dnscache *cache;
	struct question_tree tree;
	unsigned under_way;
};

static int
question_cmp(const struct question *a, const struct question *b)
{
	if (a->query.family != b->query.family)
		return a->query.family < b->query.family ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->name, b->name, a->len);
}

TREE_GENERATE(question_tree, question, node, question_cmp)

struct questions *
questions_new(struct loop *l)
{
	struct questions *qs = calloc(1, sizeof(*qs));

	if (qs == NULL)
		return NULL;
	qs->loop = l;
	qs->pool = dnspool_new(l);
	qs->cache = dnscache_new(CACHE_ENTRIES, CACHE_OCTETS);
	RB_INIT(&qs->tree);
	if (qs->pool == NULL || qs->cache == NULL) {
		questions_free(qs);
		return NULL;
	}
	return qs;
}

void
questions_free(struct questions *qs)
{
	struct question *q, *next;

	if (qs == NULL)
		return;
	dnspool_free(qs->pool);
	for (q = RB_MIN(question_tree, &qs->tree); q != NULL; q = next) {
		next = RB_NEXT(question_tree, &qs->tree, q);
		RB_REMOVE(question_tree, &qs->tree, q);
		free(q);
	}
	dnscache_free(qs->cache);
	free(qs);
}

void
questions_image(struct questions *qs, const struct image *img)
{
	/* Other servers may see other names. */
	if (dnspool_servers(qs->pool, image_at(img, img->servers), img->servers.n, img->dns_timeout,
		img->dns_attempts))
		dnscache_clear(qs->cache);
}

static void
on_done(struct pool_query *query, const struct dns_answer *found)
{
	struct question *q = (struct question *)((char *)query - offsetof(struct question, query));
	struct questions *qs = q->all;
	struct dns_answer answer = *found;
	struct ask *a;

	RB_REMOVE(question_tree, &qs->tree, q);
	qs->under_way--;
	answer.ttl = dns_lifetime(found);
	dnscache_put(qs->cache, loop_now(qs->loop), q->name, q->len, query->family, &answer);
	while ((a = TAILQ_FIRST(&q->asks)) != NULL) {
		TAILQ_REMOVE(&q->asks, a, entry);
		a->question = NULL;
		a->done(a, query->family, &answer);
	}
	free(q);
}

/* NULL: there are too many, or no memory. */
static struct question *
question_new(struct questions *qs, const struct question *key)
{
	struct question *q;

	if (qs->under_way >= QUESTIONS_MAX || (q = malloc(sizeof(*q))) == NULL)
		return NULL;
	*q = *key;
	q->all = qs;
	q->query.done = on_done;
	TAILQ_INIT(&q->asks);
	RB_INSERT(question_tree, &qs->tree, q);
	qs->under_way++;
	return q;
}

void
questions_ask(struct questions *qs, struct ask *a, const uint8_t *name, size_t len, unsigned family)
{
	struct dns_answer answer = { .status = ANSWER_NO_NAME, .ttl = DNS_NEGATIVE_MAX };
	struct question key = { .query.family = family, .len = (uint8_t)len }, *q;

	a->question = NULL;
	if (len > NAME_MAX_LEN || dns_name_from(name, len, &key.query.name) == -1 ||
	    dnscache_get(qs->cache, loop_now(qs->loop), name, len, family, &answer) == 0) {
		a->done(a, family, &answer);
		return;
	}
	memcpy(key.name, name, len);
	q = RB_FIND(question_tree, &qs->tree, &key);
	bool under_way = q != NULL;
	if (!under_way && (q = question_new(qs, &key)) == NULL) {
		answer = (struct dns_answer){ .status = ANSWER_FAILED };
		a->done(a, family, &answer);
		return;
	}
	a->question = q;
	TAILQ_INSERT_TAIL(&q->asks, a, entry);
	if (!under_way)
		dnspool_ask(qs->pool, &q->query); /* q may be gone when it returns */
}

void
questions_cancel(struct ask *a)
{
	if (a->question == NULL)
		return;
	TAILQ_REMOVE(&a->question->asks, a, entry);
	a->question = NULL;
}
