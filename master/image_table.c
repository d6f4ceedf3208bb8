/*
 * Flattens a prefix table: nested prefixes become disjoint intervals, each with the length of the
 * longest prefix over it, so that a look-up is one binary search however many prefixes there are.
 * Trusts the configuration's prefixes to be canonical (conf.c sees to it).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "master/image_parts.h"

#define DEPTH_MAX (128 + 1) /* nested prefixes: each is longer than the one around it */

struct item {
	struct prefix p;
	bool negated;
};

/* Prefixes that are open at the sweep's place, outermost first; and the intervals so far. */
struct sweep {
	struct item open[DEPTH_MAX];
	size_t depth;
	struct image_range6 *out; /* of both families; IPv4 in the first four octets */
	size_t n;
};

/* By start, the shorter (outer) first; of equal ones the negated is the last. */
static int
item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = addr_cmp(&x->p.a, &y->p.a);

	if (order != 0)
		return order;
	if (x->p.len != y->p.len)
		return x->p.len < y->p.len ? -1 : 1;
	return x->negated - y->negated;
}

/* An interval begins: one that begins at the same place is none, nor one like that before it. */
static void
emit(struct sweep *s, const uint8_t start[16])
{
	const struct item *inner = s->depth > 0 ? &s->open[s->depth - 1] : NULL;
	uint8_t plen = inner != NULL && !inner->negated ? inner->p.len : PLEN_NONE;

	if (s->n > 0 && memcmp(s->out[s->n - 1].start, start, 16) == 0)
		s->n--;
	if (s->n > 0 && s->out[s->n - 1].plen == plen)
		return;
	struct image_range6 *r = &s->out[s->n++];
	memset(r, 0, sizeof(*r));
	memcpy(r->start, start, 16);
	r->plen = plen;
}

/* Closes the innermost prefix: what is around it goes on behind it, unless the space ends there. */
static void
close_innermost(struct sweep *s)
{
	const struct prefix *p = &s->open[--s->depth].p;
	uint8_t next[16];
	unsigned carry;

	if (p->len == 0)
		return;
	memcpy(next, p->a.b, sizeof(next));
	size_t i = (p->len - 1u) / 8;
	carry = 1u << (7 - (p->len - 1u) % 8);
	for (;; i--) {
		carry += next[i];
		next[i] = (uint8_t)carry;
		carry >>= 8;
		if (carry == 0)
			break;
		if (i == 0)
			return;
	}
	emit(s, next);
}

/* Items sorted, all of one family; out has room for 2n + 1. The number of intervals; 0 where no
 * address matches. */
static size_t
flatten(const struct item *items, size_t n, struct image_range6 *out)
{
	static const uint8_t zero[16];
	struct sweep s = { .out = out };

	emit(&s, zero);
	for (size_t i = 0; i < n; i++) {
		while (s.depth > 0 && !addr_in_prefix(&items[i].p.a, &s.open[s.depth - 1].p))
			close_innermost(&s);
		/* The same prefix again: the later counts. */
		if (s.depth > 0 && s.open[s.depth - 1].p.len == items[i].p.len)
			s.depth--;
		s.open[s.depth++] = items[i];
		emit(&s, items[i].p.a.b);
	}
	while (s.depth > 0)
		close_innermost(&s);
	return s.n == 1 && s.out[0].plen == PLEN_NONE ? 0 : s.n;
}

static struct image_list
put4(struct blob *b, const struct image_range6 *r, size_t n)
{
	struct image_range4 *r4 = calloc(n + 1, sizeof(*r4));
	struct image_list l = { 0 };

	if (r4 == NULL) {
		b->error = ENOMEM;
		return l;
	}
	for (size_t i = 0; i < n; i++) {
		const uint8_t *s = r[i].start;
		r4[i].start =
		    (uint32_t)s[0] << 24 | (uint32_t)s[1] << 16 | (uint32_t)s[2] << 8 | s[3];
		r4[i].plen = r[i].plen;
	}
	l = blob_list(b, r4, n, sizeof(*r4));
	free(r4);
	return l;
}

/* The table's prefixes and, with any, the two empty ones, sorted; *n counts them. */
static struct item *
items_of(const struct conf_table *t, bool any, size_t *n)
{
	const struct conf_prefix *cp;
	size_t room = 2;

	if (t != NULL)
		STAILQ_FOREACH (cp, &t->prefixes, entry)
			room++;
	struct item *items = calloc(room, sizeof(*items));
	if (items == NULL)
		return NULL;
	*n = 0;
	if (any) {
		items[(*n)++].p.a.family = ADDR_V4;
		items[(*n)++].p.a.family = ADDR_V6;
	}
	if (t != NULL)
		STAILQ_FOREACH (cp, &t->prefixes, entry)
			items[(*n)++] = (struct item){ .p = cp->p, .negated = cp->negated };
	qsort(items, *n, sizeof(*items), item_cmp);
	return items;
}

struct image_table
table_flatten(struct blob *b, const struct conf_table *t, bool any)
{
	struct image_table out = { 0 };
	size_t n = 0, n4 = 0;
	struct item *items = items_of(t, any, &n);
	struct image_range6 *ranges = calloc(2 * n + 1, sizeof(*ranges));

	if (items == NULL || ranges == NULL) {
		b->error = ENOMEM;
		goto done;
	}
	while (n4 < n && items[n4].p.a.family == ADDR_V4)
		n4++;
	out.v4 = put4(b, ranges, flatten(items, n4, ranges));
	size_t n6 = flatten(items + n4, n - n4, ranges);
	out.v6 = blob_list(b, ranges, n6, sizeof(*ranges));
done:
	free(items);
	free(ranges);
	return out;
}
