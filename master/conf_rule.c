/*
 * Rules: collects the criteria of each, and after the whole text is read, makes its addresses one
 * table. A list and the named tables in it are one: the longest prefix decides, wherever it stands.
 */
#include <string.h>

#include "master/conf_grammar.h"
#include "master/conf_parse.h"

void
conf_rule_begin(struct conf_parse *ps, const struct conf_where *w, bool pass)
{
	struct conf_rule_src *src = conf_alloc(ps, sizeof(*src));
	struct conf_rule *r = conf_alloc(ps, sizeof(*r));

	r->where = *w;
	r->action = pass ? RULE_PASS : RULE_BLOCK;
	STAILQ_INIT(&r->to_names);
	STAILQ_INIT(&r->ports);
	STAILQ_INIT(&r->users);
	STAILQ_INIT(&r->groups);
	STAILQ_INIT(&r->bind_ports);
	STAILQ_INIT(&r->egress.addrs);
	STAILQ_INIT(&src->from);
	STAILQ_INIT(&src->to);
	STAILQ_INIT(&src->via);
	src->rule = r;
	ps->rule = src;
}

bool
conf_rule_criterion(struct conf_parse *ps, enum conf_criterion g, const struct conf_item *word)
{
	if (ps->rule->given & (1u << g)) {
		conf_error(ps, &word->where,
		    "%s stands twice in a rule, expected it once, with a list in { }", word->s);
		return false;
	}
	ps->rule->given |= 1u << g;
	return true;
}

void
conf_rule_commands(struct conf_parse *ps, struct conf_items *l)
{
	struct conf_rule *r = ps->rule->rule;
	const struct conf_item *it;

	STAILQ_FOREACH (it, l, entry) {
		unsigned bit = COMMAND_BIT(it->token == T_CONNECT ? COMMAND_CONNECT
					   : it->token == T_BIND  ? COMMAND_BIND
								  : COMMAND_UDP);

		if (r->commands & bit)
			conf_error(ps, &it->where,
			    "command %s stands twice in a rule, expected it once", it->s);
		r->commands |= (uint8_t)bit;
	}
}

void
conf_rule_ports(struct conf_parse *ps, struct conf_items *l, struct conf_port_list *out)
{
	const struct conf_item *it;
	struct conf_ports *p;
	uint16_t first, last;

	STAILQ_FOREACH (it, l, entry) {
		if (!conf_port_range(ps, it, &first, &last))
			continue;
		STAILQ_FOREACH (p, out, entry)
			if (p->first == first && p->last == last)
				conf_error(ps, &it->where,
				    "port %s stands twice in the list, expected it once", it->s);
		p = conf_alloc(ps, sizeof(*p));
		p->first = first;
		p->last = last;
		STAILQ_INSERT_TAIL(out, p, entry);
	}
}

void
conf_rule_methods(struct conf_parse *ps, struct conf_items *l)
{
	struct conf_rule *r = ps->rule->rule;
	const struct conf_item *it;

	STAILQ_FOREACH (it, l, entry) {
		unsigned bit = METHOD_BIT(conf_method(it));

		if (r->methods & bit)
			conf_error(ps, &it->where,
			    "auth %s stands twice in a rule, expected it once", it->s);
		r->methods |= (uint8_t)bit;
	}
}

void
conf_rule_protection(struct conf_parse *ps, const struct conf_item *word)
{
	ps->rule->rule->protection =
	    word->token == T_INTEGRITY ? PROTECTION_INTEGRITY : PROTECTION_CONFIDENTIALITY;
}

void
conf_rule_end(struct conf_parse *ps)
{
	STAILQ_INSERT_TAIL(&ps->rules, ps->rule, entry);
	STAILQ_INSERT_TAIL(&ps->conf->rules, ps->rule->rule, entry);
	ps->rule = NULL;
}

void
conf_rule_abandon(struct conf_parse *ps)
{
	if (ps->rule != NULL)
		STAILQ_INSERT_TAIL(&ps->rules, ps->rule, entry);
	ps->rule = NULL;
}

/* A list being made into a table: what was met in it. */
struct targets {
	struct conf_rule *rule;
	struct conf_table *own;  /* the list's own prefixes; NULL: none yet */
	struct conf_table *only; /* the last named table */
	unsigned tables;         /* how many named ones */
	struct conf_items hosts; /* the names, as compared */
	bool any, names, negated;
};

static struct conf_table *
targets_own(struct conf_parse *ps, struct targets *t)
{
	if (t->own == NULL)
		t->own = conf_table_new(ps, "", &t->rule->where);
	return t->own;
}

static void
target_name(struct conf_parse *ps, struct targets *t, const struct conf_item *it)
{
	struct conf_rule *r = t->rule;
	struct conf_str *s;
	const char *name;

	if (!t->names || it->negated) {
		conf_error(ps, &it->where, "%s is no prefix, expected ADDRESS or ADDRESS/LENGTH %s",
		    conf_show(ps, it), it->negated ? "behind !" : "in from");
		return;
	}
	if ((name = conf_host_name(ps, it)) == NULL)
		return;
	s = conf_alloc(ps, sizeof(*s));
	s->len = strlen(name);
	s->s = conf_copy(ps, name, s->len);
	STAILQ_INSERT_TAIL(&r->to_names, s, entry);
	struct conf_item *host = conf_alloc(ps, sizeof(*host));
	host->s = s->s;
	host->len = s->len;
	host->where = it->where;
	STAILQ_INSERT_TAIL(&t->hosts, host, entry);
}

/* An address, or meant as one: then what is wrong with it is said as of an address. */
static bool
looks_like_prefix(const struct conf_item *it)
{
	struct prefix p;
	bool host_bits;

	return prefix_parse(it->s, &p, &host_bits) == 0 || strpbrk(it->s, "/:") != NULL ||
	       (strpbrk(it->s, "0123456789") != NULL && strspn(it->s, "0123456789.") == it->len);
}

static void
target(struct conf_parse *ps, struct targets *t, const struct conf_item *it)
{
	struct conf_table *named;
	struct prefix p;

	switch (it->kind) {
	case ITEM_ANY:
		if (t->any)
			conf_error(
			    ps, &it->where, "any stands twice in the list, expected it once");
		t->any = true;
		break;
	case ITEM_TABLE:
		if ((named = conf_table_find(ps, it)) != NULL) {
			named->index++; /* counts uses until the tables are numbered */
			t->only = named;
			t->tables++;
		} else if (!(ps->spoiled & SPOILED_TABLE)) {
			conf_error(ps, &it->where,
			    "table <%s> is not defined, expected table <%s> { ... }", it->s, it->s);
		}
		break;
	case ITEM_TEXT:
		if (!looks_like_prefix(it)) {
			target_name(ps, t, it);
		} else if (conf_prefix(ps, it, &p)) {
			conf_table_add(ps, targets_own(ps, t), &p, it->negated, &it->where);
			t->negated = t->negated || it->negated;
		}
		break;
	}
}

/* Puts the named tables of a list into its own. */
static void
targets_merge(struct conf_parse *ps, struct targets *t, const struct conf_items *l)
{
	const struct conf_item *it;
	const struct conf_prefix *p;
	const struct conf_table *named;

	STAILQ_FOREACH (it, l, entry) {
		if (it->kind != ITEM_TABLE || (named = conf_table_find(ps, it)) == NULL)
			continue;
		STAILQ_FOREACH (p, &named->prefixes, entry) {
			conf_table_add(ps, targets_own(ps, t), &p->p, p->negated, &p->where);
			t->negated = t->negated || p->negated;
		}
	}
}

/* The table of a list; NULL: it has no addresses, or they are all covered by any. */
static struct conf_table *
targets_resolve(struct conf_parse *ps, struct targets *t, const struct conf_items *l)
{
	const struct prefix all4 = { .a = { .family = ADDR_V4 } },
			    all6 = { .a = { .family = ADDR_V6 } };
	const struct conf_item *it;
	bool everything;

	STAILQ_INIT(&t->hosts);
	STAILQ_FOREACH (it, l, entry)
		target(ps, t, it);
	conf_each_once(ps, &t->hosts, "name");
	if (t->own == NULL && t->tables == 1 && !t->any)
		return t->only;
	everything = t->any && t->negated;
	if (everything) { /* "any" is then the shortest prefix, from which the others are taken */
		conf_table_add(ps, t->own, &all4, false, &t->rule->where);
		conf_table_add(ps, t->own, &all6, false, &t->rule->where);
	}
	if (t->own != NULL)
		conf_table_check(ps, t->own, false);
	targets_merge(ps, t, l);
	if (t->any && t->negated && !everything) {
		conf_table_add(ps, t->own, &all4, false, &t->rule->where);
		conf_table_add(ps, t->own, &all6, false, &t->rule->where);
	}
	if (t->tables > 0 && t->own != NULL)
		conf_table_check(ps, t->own, true);
	if (t->own != NULL)
		conf_table_positive(ps, t->own);
	if (t->any && t->negated)
		t->any = false;
	return t->own;
}

void
conf_rules_resolve(struct conf_parse *ps)
{
	struct conf_rule_src *src;

	STAILQ_FOREACH (src, &ps->rules, entry) {
		struct conf_rule *r = src->rule;
		struct targets from = { .rule = r }, to = { .rule = r, .names = true };

		r->from = targets_resolve(ps, &from, &src->from);
		if (from.any)
			r->from = NULL;
		r->to = targets_resolve(ps, &to, &src->to);
		r->to_given = (src->given & (1u << GIVEN_TO)) != 0;
		r->to_any = to.any;
	}
}
