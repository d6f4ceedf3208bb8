/*
 * Tables of prefixes: from a list in the configuration or from a file of their own, and what is
 * wrong with them: repeated, contradicting, and written in a spelling that no rule ever sees.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "master/conf_parse.h"

struct conf_table *
conf_table_new(struct conf_parse *ps, const char *name, const struct conf_where *w)
{
	struct conf_table *t = conf_alloc(ps, sizeof(*t));

	t->name = conf_copy(ps, name, strlen(name));
	t->where = *w;
	STAILQ_INIT(&t->prefixes);
	STAILQ_INSERT_TAIL(&ps->conf->tables, t, entry);
	return t;
}

struct conf_table *
conf_table_find(struct conf_parse *ps, const struct conf_item *name)
{
	struct conf_table *t;

	STAILQ_FOREACH (t, &ps->conf->tables, entry)
		if (strcmp(t->name, name->s) == 0)
			return t;
	return NULL;
}

void
conf_table_add(struct conf_parse *ps, struct conf_table *t, const struct prefix *p, bool negated,
    const struct conf_where *w)
{
	struct conf_prefix *n = conf_alloc(ps, sizeof(*n));

	n->p = *p;
	n->negated = negated;
	n->where = *w;
	STAILQ_INSERT_TAIL(&t->prefixes, n, entry);
}

static struct conf_table *
table_named(struct conf_parse *ps, const struct conf_item *name)
{
	const struct conf_table *first = conf_table_find(ps, name);

	if (first != NULL)
		conf_error(ps, &name->where,
		    "table <%s> is defined a second time, expected it once (first: %s:%u)", name->s,
		    first->where.file, first->where.line);
	return conf_table_new(ps, name->s, &name->where);
}

void
conf_table_inline(struct conf_parse *ps, const struct conf_item *name, struct conf_items *prefixes)
{
	struct conf_table *t = table_named(ps, name);
	const struct conf_item *it;
	struct prefix p;

	STAILQ_FOREACH (it, prefixes, entry)
		if (conf_prefix(ps, it, &p))
			conf_table_add(ps, t, &p, it->negated, &it->where);
}

/* One line of a table's file, NUL-terminated: [!] prefix, and a comment maybe. */
static void
table_line(
    struct conf_parse *ps, struct conf_table *t, char *s, size_t len, const struct conf_where *w)
{
	struct conf_item it = { .where = *w };
	const char *hash = memchr(s, '#', len);
	struct prefix p;

	if (hash != NULL)
		len = (size_t)(hash - s);
	while (len > 0 && strchr(" \t\r", s[len - 1]) != NULL && s[len - 1] != '\0')
		len--;
	s[len] = '\0';
	while (*s == ' ' || *s == '\t' || (*s == '!' && !it.negated)) {
		it.negated = it.negated || *s == '!';
		s++;
		len--;
	}
	if (len == 0 && !it.negated)
		return;
	it.s = s;
	it.len = len;
	if (conf_prefix(ps, &it, &p))
		conf_table_add(ps, t, &p, it.negated, w);
}

void
conf_table_file(struct conf_parse *ps, const struct conf_item *name, const struct conf_item *path)
{
	struct conf_table *t = table_named(ps, name);
	const char *file = conf_text(ps, path, "a table's file", CONF_FILE_MAX);
	size_t len;

	if (file == NULL)
		return;
	file = conf_beside(ps, &path->where, file);
	if ((ps->scratch = conf_slurp(ps, file, &len)) == NULL) {
		conf_error(ps, &path->where,
		    "cannot read table <%s> from %s: %s, expected a readable file", name->s, file,
		    strerror(errno));
		return;
	}
	struct conf_where w = { file, 1 };
	for (char *s = ps->scratch, *end = s + len; s < end; w.line++) {
		char *nl = memchr(s, '\n', (size_t)(end - s));
		char *stop = nl != NULL ? nl : end; /* there is room for one octet behind the end */

		table_line(ps, t, s, (size_t)(stop - s), &w);
		s = stop + 1;
	}
	free(ps->scratch);
	ps->scratch = NULL;
}

/* --- checks --- */

static int
prefix_order(const void *a, const void *b)
{
	const struct conf_prefix *x = *(const struct conf_prefix *const *)a;
	const struct conf_prefix *y = *(const struct conf_prefix *const *)b;
	int c = addr_cmp(&x->p.a, &y->p.a);

	if (c != 0)
		return c;
	if (x->p.len != y->p.len)
		return x->p.len < y->p.len ? -1 : 1;
	/* Equal ones in the order of the file, so that a message points back. */
	return x->where.line < y->where.line ? -1 : x->where.line > y->where.line;
}

/* The IPv4 prefix that a prefix inside one of the other spellings stands for. */
static struct prefix
spelling_meant(const struct conf *c, const struct prefix *p)
{
	struct prefix nat64[64], out = { .len = 32 };
	struct addr a = p->a, base;
	const struct conf_prefix *n;
	size_t nn = 0;

	STAILQ_FOREACH (n, &c->nat64, entry)
		if (nn < sizeof(nat64) / sizeof(nat64[0]))
			nat64[nn++] = n->p;
	if (a.family == ADDR_V6 && p->len < 127)
		a.b[15] |= 2; /* away from :: and ::1, which are themselves */
	base = addr_canon(&a, nat64, nn);
	out.a = base;
	if (base.family != ADDR_V4) {
		out.len = 128;
		return out;
	}
	for (unsigned i = p->len; a.family == ADDR_V6 && i < 128;
	     i++) { /* the first bit that is free */
		struct addr flip = a, got;

		flip.b[i / 8] ^= (uint8_t)(0x80 >> i % 8);
		got = addr_canon(&flip, nat64, nn);
		for (unsigned k = 0; got.family == ADDR_V4 && k < out.len; k++)
			if ((got.b[k / 8] ^ base.b[k / 8]) & (0x80 >> k % 8))
				out.len = (uint8_t)k;
	}
	for (unsigned k = out.len; k < 32; k++)
		out.a.b[k / 8] &= (uint8_t) ~(0x80 >> k % 8);
	return out;
}

static void
spelling_check(struct conf_parse *ps, const struct conf_table *t)
{
	const struct conf_prefix *p, *n;
	char text[ADDR_TEXT], meant[ADDR_TEXT];

	STAILQ_FOREACH (p, &t->prefixes, entry) {
		bool spelling = prefix_is_spelling(&p->p, NULL, 0);

		STAILQ_FOREACH (n, &ps->conf->nat64, entry)
			spelling = spelling || prefix_is_spelling(&p->p, &n->p, 1);
		if (!spelling)
			continue;
		struct prefix m = spelling_meant(ps->conf, &p->p);
		conf_error(ps, &p->where, "%s is another spelling that no rule sees, expected %s",
		    prefix_format(&p->p, text, sizeof(text)),
		    prefix_format(&m, meant, sizeof(meant)));
	}
}

/* Equal prefixes: with and without ! is an error, and so is a plain repetition, but in a merged
 * table (a rule's list with named tables in it) it is only left out. */
void
conf_table_check(struct conf_parse *ps, struct conf_table *t, bool merged)
{
	struct conf_prefix *p, **sorted;
	size_t n = 0, k = 0;
	char text[ADDR_TEXT];

	STAILQ_FOREACH (p, &t->prefixes, entry)
		n++;
	if (n == 0)
		return;
	sorted = conf_alloc(ps, n * sizeof(*sorted));
	STAILQ_FOREACH (p, &t->prefixes, entry)
		sorted[k++] = p;
	qsort(sorted, n, sizeof(*sorted), prefix_order);
	STAILQ_INIT(&t->prefixes);
	for (k = 0; k < n; k++) {
		const struct conf_prefix *o = k > 0 ? sorted[k - 1] : NULL;
		bool again = o != NULL && o->p.len == sorted[k]->p.len &&
			     addr_cmp(&o->p.a, &sorted[k]->p.a) == 0;

		if (again && o->negated != sorted[k]->negated)
			conf_error(ps, &sorted[k]->where,
			    "%s stands both with and without !, expected it once (first: %s:%u)",
			    prefix_format(&o->p, text, sizeof(text)), o->where.file, o->where.line);
		else if (again && !merged)
			conf_error(ps, &sorted[k]->where,
			    "%s stands twice, expected it once (first: %s:%u)",
			    prefix_format(&o->p, text, sizeof(text)), o->where.file, o->where.line);
		if (!again)
			STAILQ_INSERT_TAIL(&t->prefixes, sorted[k], entry);
	}
	if (!merged)
		spelling_check(ps, t);
}

void
conf_table_positive(struct conf_parse *ps, const struct conf_table *t)
{
	const struct conf_prefix *p;

	if (ps->unclosed)
		return;
	STAILQ_FOREACH (p, &t->prefixes, entry)
		if (!p->negated)
			return;
	if (!STAILQ_EMPTY(&t->prefixes))
		conf_error(ps, &t->where,
		    "a list has nothing but ! prefixes, expected one that they are taken from, or any");
}

void
conf_tables_number(struct conf_parse *ps)
{
	struct conf_table *t;
	uint32_t n = 0;

	STAILQ_FOREACH (t, &ps->conf->tables, entry) {
		if (t->name[0] != '\0' && t->index == 0)
			conf_warn(ps, &t->where, "table <%s> is used by no rule", t->name);
		t->index = n++;
	}
}
