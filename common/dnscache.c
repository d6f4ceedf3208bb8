/*
 * The cache of answers about names. Owns its entries; trusts its caller for nothing but the length
 * of the name: TTLs are cut to the bounds of the header.
 */
#include "common/dnscache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/tree.h"

struct entry {
	RB_ENTRY(entry) node;
	TAILQ_ENTRY(entry) used;
	uint64_t until; /* ms */
	size_t octets;  /* what it counts for */
	enum answer_status status;
	uint8_t family;
	uint8_t naddr;
	uint8_t len;
	const uint8_t *name;
	struct addr *addr;
	uint8_t data[]; /* addresses, then the name; an entry to look for points elsewhere */
};

_Static_assert(_Alignof(struct addr) == 1, "addresses stand in data[] without padding");
_Static_assert(NAME_MAX_LEN <= UINT8_MAX && ANSWER_ADDRS <= UINT8_MAX, "struct entry's fields");

RB_HEAD(entry_tree, entry);

struct dnscache {
	struct entry_tree tree;
	TAILQ_HEAD(entry_list, entry) used; /* the first was used last */
	size_t entries, octets;
	size_t max_entries, max_octets;
};

static int
entry_cmp(const struct entry *a, const struct entry *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->name, b->name, a->len);
}

TREE_GENERATE(entry_tree, entry, node, entry_cmp)

struct dnscache *
dnscache_new(size_t entries, size_t octets)
{
	struct dnscache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	RB_INIT(&c->tree);
	TAILQ_INIT(&c->used);
	c->max_entries = entries;
	c->max_octets = octets;
	return c;
}

static void
drop(struct dnscache *c, struct entry *e)
{
	RB_REMOVE(entry_tree, &c->tree, e);
	TAILQ_REMOVE(&c->used, e, used);
	c->entries--;
	c->octets -= e->octets;
	free(e);
}

void
dnscache_clear(struct dnscache *c)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&c->used)) != NULL)
		drop(c, e);
}

void
dnscache_free(struct dnscache *c)
{
	if (c == NULL)
		return;
	dnscache_clear(c);
	free(c);
}

static struct entry *
find(struct dnscache *c, const uint8_t *name, size_t len, unsigned family)
{
	struct entry key = { .family = (uint8_t)family, .len = (uint8_t)len, .name = name };

	return len <= NAME_MAX_LEN ? RB_FIND(entry_tree, &c->tree, &key) : NULL;
}

uint32_t
dns_lifetime(const struct dns_answer *a)
{
	uint32_t max = DNS_TTL_MAX;

	switch (a->status) {
	case ANSWER_OK:
		break;
	case ANSWER_NO_NAME:
	case ANSWER_NO_DATA:
		max = DNS_NEGATIVE_MAX;
		break;
	case ANSWER_FAILED:
	case ANSWER_STATUSES:
		return a->ttl < DNS_FAILED_MAX ? a->ttl : DNS_FAILED_MAX;
	}
	if (a->ttl < DNS_TTL_MIN)
		return DNS_TTL_MIN;
	return a->ttl < max ? a->ttl : max;
}

void
dnscache_put(struct dnscache *c, uint64_t now, const uint8_t *name, size_t len, unsigned family,
    const struct dns_answer *a)
{
	struct entry *e = find(c, name, len, family);
	unsigned naddr = a->naddr < ANSWER_ADDRS ? a->naddr : ANSWER_ADDRS;
	size_t size = sizeof(*e) + naddr * sizeof(struct addr) + len;
	uint32_t life = dns_lifetime(a);

	if (e != NULL)
		drop(c, e);
	if (life == 0 || len > NAME_MAX_LEN || c->max_entries == 0 || size > c->max_octets)
		return;
	if ((e = malloc(size)) == NULL)
		return;
	memset(e, 0, sizeof(*e));
	e->until = now + life * UINT64_C(1000);
	e->octets = size;
	e->status = a->status;
	e->family = (uint8_t)family;
	e->naddr = (uint8_t)naddr;
	e->len = (uint8_t)len;
	e->addr = (struct addr *)e->data;
	e->name = e->data + naddr * sizeof(struct addr);
	memcpy(e->data, a->addr, naddr * sizeof(struct addr));
	memcpy(e->data + naddr * sizeof(struct addr), name, len);

	while (c->entries >= c->max_entries || c->octets + size > c->max_octets)
		drop(c, TAILQ_LAST(&c->used, entry_list));
	RB_INSERT(entry_tree, &c->tree, e);
	TAILQ_INSERT_HEAD(&c->used, e, used);
	c->entries++;
	c->octets += size;
}

int
dnscache_get(struct dnscache *c, uint64_t now, const uint8_t *name, size_t len, unsigned family,
    struct dns_answer *a)
{
	struct entry *e = find(c, name, len, family);

	if (e == NULL)
		return -1;
	if (e->until <= now) {
		drop(c, e);
		return -1;
	}
	TAILQ_REMOVE(&c->used, e, used);
	TAILQ_INSERT_HEAD(&c->used, e, used);
	a->status = e->status;
	a->ttl = (uint32_t)((e->until - now + 999) / 1000);
	a->naddr = e->naddr;
	memcpy(a->addr, e->addr, e->naddr * sizeof(struct addr));
	return 0;
}

size_t
dnscache_entries(const struct dnscache *c)
{
	return c->entries;
}

size_t
dnscache_octets(const struct dnscache *c)
{
	return c->octets;
}
