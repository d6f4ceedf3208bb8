/*
 * The rules, evaluated over the policy image for the facts known so far. Owns nothing. The image
 * has been checked; every fact in the query is foreign: a client's words or an address that a name
 * gave.
 *
 * Each criterion answers no, maybe or yes. A rule's answer is the least of its criteria's, a list's
 * the greatest of its items'.
 */
#include "common/rules.h"

#include <string.h>

#include "common/wire.h"

enum answer { NO, MAYBE, YES };

/* An address in the one spelling, and what the large table that was asked last has said of it: one
 * that holds the bad of this world is named by several rules. */
struct looked_up {
	struct addr a;
	uint32_t table;
	uint8_t plen;
};

/* A query with its addresses, and what is special about the target. */
struct facts {
	const struct image *img;
	const struct query *q;
	struct looked_up source, target;
	enum addr_special special; /* of target, where it is known */
	uint8_t special_len;
};

static bool
knows(const struct facts *f, uint32_t fact)
{
	return (f->q->known & fact) != 0;
}

static uint8_t
look_up(const struct facts *f, uint32_t table, struct looked_up *l)
{
	if (l->table == table)
		return l->plen;
	uint8_t plen = image_table_lookup(f->img, table, &l->a);
	if (image_table_is_large(f->img, table)) {
		l->table = table;
		l->plen = plen;
	}
	return plen;
}

static enum answer
answer(bool yes)
{
	return yes ? YES : NO;
}

static bool
str_is(const struct image *img, struct image_str s, const uint8_t *p, size_t len)
{
	return s.len == len && len > 0 && memcmp(image_octets(img, s), p, len) == 0;
}

static bool
strs_have(const struct image *img, struct image_list l, const uint8_t *p, size_t len)
{
	const struct image_str *s = image_at(img, l);

	for (uint32_t i = 0; i < l.n; i++) {
		if (str_is(img, s[i], p, len))
			return true;
	}
	return false;
}

static enum answer
match_command(struct facts *f, const struct image_rule *r)
{
	if (r->commands == 0)
		return YES;
	if (!knows(f, KNOW_COMMAND))
		return MAYBE;
	return answer((r->commands & COMMAND_BIT(f->q->command)) != 0);
}

/* `auth none` is met by any session; without `auth` a pass rule is met by any authenticated one, a
 * block rule by any. */
static enum answer
match_method(struct facts *f, const struct image_rule *r)
{
	uint32_t methods = r->methods;

	if (methods == 0)
		methods =
		    r->action == RULE_BLOCK ? METHOD_BIT(METHOD_NONE) : ~METHOD_BIT(METHOD_NONE);
	if (methods & METHOD_BIT(METHOD_NONE))
		return YES;
	if (!knows(f, KNOW_METHOD))
		return (f->img->methods & methods) != 0 ? MAYBE : NO;
	return answer((methods & METHOD_BIT(f->q->method)) != 0);
}

/* RFC 1961 section 4.2: level 3 leaves it to each message, so it promises integrity alone. */
static bool
level_meets(enum level level, enum protection wanted)
{
	switch (level) {
	case LEVEL_CLEAR:
		return wanted == PROTECTION_ANY;
	case LEVEL_INTEGRITY:
	case LEVEL_SELECTIVE:
		return wanted != PROTECTION_CONFIDENTIALITY;
	case LEVEL_CONFIDENTIALITY:
		return true;
	case LEVEL_COUNT:
		break;
	}
	return false;
}

static enum answer
match_protection(struct facts *f, const struct image_rule *r)
{
	if (r->protection == PROTECTION_ANY)
		return YES;
	if (knows(f, KNOW_METHOD) && f->q->method != METHOD_GSSAPI)
		return NO;
	if (!knows(f, KNOW_LEVEL))
		return (f->img->methods & METHOD_BIT(METHOD_GSSAPI)) != 0 ? MAYBE : NO;
	return answer(level_meets(f->q->level, (enum protection)r->protection));
}

static enum answer
match_from(struct facts *f, const struct image_rule *r)
{
	if (r->from == RULE_ANY)
		return YES;
	if (!knows(f, KNOW_SOURCE))
		return MAYBE;
	return answer(look_up(f, r->from, &f->source) != PLEN_NONE);
}

static enum answer
match_port(struct facts *f, const struct image_rule *r)
{
	const struct image_ports *p = image_at(f->img, r->ports);

	if (r->ports.n == 0)
		return YES;
	if (!knows(f, KNOW_PORT))
		return MAYBE;
	for (uint32_t i = 0; i < r->ports.n; i++) {
		if (f->q->port >= p[i].first && f->q->port <= p[i].last)
			return YES;
	}
	return NO;
}

/* Who did not authenticate is no user and in no group. */
static bool
knows_nobody(struct facts *f)
{
	return knows(f, KNOW_METHOD) && f->q->method == METHOD_NONE;
}

static enum answer
match_user(struct facts *f, const struct image_rule *r)
{
	if (r->users.n == 0)
		return YES;
	if (knows_nobody(f))
		return NO;
	if (!knows(f, KNOW_USER))
		return MAYBE;
	return answer(strs_have(f->img, r->users, f->q->user, f->q->user_len));
}

/* A packed list that is not whole gives the groups before the fault. */
static bool
packed_groups_match(struct facts *f, const struct image_rule *r)
{
	struct wire w = wire_from(f->q->groups, f->q->groups_len);

	while (wire_left(&w) > 0) {
		size_t len = wire_u8(&w);
		const uint8_t *group = wire_take(&w, len);
		if (group == NULL)
			return false;
		if (strs_have(f->img, r->groups, group, len))
			return true;
	}
	return false;
}

static bool
image_groups_match(struct facts *f, const struct image_rule *r)
{
	const struct image_group *g = image_at(f->img, f->img->groups);

	for (uint32_t i = 0; i < f->img->groups.n; i++) {
		const uint8_t *name = image_octets(f->img, g[i].name);
		if (strs_have(f->img, r->groups, name, g[i].name.len) &&
		    strs_have(f->img, g[i].users, f->q->user, f->q->user_len))
			return true;
	}
	return false;
}

static enum answer
match_group(struct facts *f, const struct image_rule *r)
{
	if (r->groups.n == 0)
		return YES;
	if (knows_nobody(f))
		return NO;
	if (!knows(f, KNOW_USER))
		return MAYBE;
	return answer(packed_groups_match(f, r) || image_groups_match(f, r));
}

static bool
name_matches(struct facts *f, const struct image_name *n)
{
	const uint8_t *name = f->q->name;
	size_t len = f->q->name_len, own = n->name.len;

	if (str_is(f->img, n->name, name, len))
		return true;
	return n->suffix && len > own && name[len - own - 1] == '.' &&
	       str_is(f->img, n->name, name + len - own, own);
}

static enum answer
match_names(struct facts *f, const struct image_rule *r)
{
	const struct image_name *n = image_at(f->img, r->to_names);

	if (r->to_names.n == 0)
		return NO;
	if (!knows(f, KNOW_NAME))
		return MAYBE;
	for (uint32_t i = 0; f->q->name != NULL && i < r->to_names.n; i++) {
		if (name_matches(f, &n[i]))
			return YES;
	}
	return NO;
}

/* May a pass rule that names the target by a prefix of this length pass it? Only one inside the
 * special range names a special address; `any` and names (length 0) never do. */
static bool
may_pass(struct facts *f, uint8_t plen)
{
	return f->special == ADDR_ORDINARY || plen >= f->special_len;
}

static enum answer
match_to(struct facts *f, const struct image_rule *r)
{
	bool known = knows(f, KNOW_ADDR), pass = r->action == RULE_PASS;
	enum answer by_name = r->to == RULE_ANY ? YES : match_names(f, r);

	if (known && pass && !may_pass(f, 0))
		by_name = NO;
	if (by_name == YES || r->to == RULE_ANY || r->to == RULE_NO_TABLE)
		return by_name;
	if (!known)
		return MAYBE;
	uint8_t plen = look_up(f, r->to, &f->target);
	if (plen != PLEN_NONE && (!pass || may_pass(f, plen)))
		return YES;
	return by_name;
}

static enum answer
match_rule(struct facts *f, const struct image_rule *r)
{
	static enum answer (*const criteria[])(
	    struct facts *, const struct image_rule *) = { match_command, match_method,
		match_protection, match_from, match_port, match_user, match_group, match_to };
	enum answer all = YES;

	for (size_t i = 0; all != NO && i < sizeof(criteria) / sizeof(criteria[0]); i++) {
		enum answer one = criteria[i](f, r);
		if (one < all)
			all = one;
	}
	return all;
}

static struct facts
facts_of(const struct image *img, const struct query *q)
{
	struct facts f = { .img = img,
		.q = q,
		.source.table = RULE_NO_TABLE,
		.target.table = RULE_NO_TABLE,
		.special = ADDR_ORDINARY };
	const struct prefix *nat64 = image_at(img, img->nat64);

	if (knows(&f, KNOW_SOURCE))
		f.source.a = addr_canon(&q->source, nat64, img->nat64.n);
	if (knows(&f, KNOW_ADDR)) {
		f.target.a = addr_canon(&q->target, nat64, img->nat64.n);
		f.special = rules_special(img, &f.target.a, &f.special_len);
	}
	return f;
}

/*
 * A destination whose address is not known, where all else is: a name, or whoever will come to
 * BIND. The first pass rule that is met decides whether it leaves unresolved: one with `via` is met
 * though its address criteria answer maybe, one without only where they do not. What an earlier
 * block may mean cannot be found out then, so it refuses.
 */
static bool
decided_via(struct facts *f, uint32_t *rule, enum rules_answer *decided)
{
	const struct image_rule *r = image_at(f->img, f->img->rules);
	uint32_t blocked = RULE_NONE;

	for (uint32_t i = 0; i < f->img->rules.n; i++) {
		enum answer a = match_rule(f, &r[i]);

		if (a == NO)
			continue;
		if (r[i].action == RULE_BLOCK) {
			if (a == YES)
				return false;
			blocked = blocked == RULE_NONE ? i : blocked;
		} else if (r[i].upstreams.n > 0) {
			*rule = blocked != RULE_NONE ? blocked : i;
			*decided = blocked != RULE_NONE ? RULES_BLOCK : RULES_PASS;
			return true;
		} else if (a == YES) {
			return false;
		}
	}
	return false;
}

enum rules_answer
rules_eval(const struct image *img, const struct query *q, uint32_t *rule)
{
	struct facts f = facts_of(img, q);
	const struct image_rule *r = image_at(img, img->rules);
	uint32_t candidate = RULE_NONE, unused;
	enum rules_answer via;
	bool uncertain = false;

	if (rule == NULL)
		rule = &unused;
	if ((q->known | KNOW_ADDR) == KNOW_ALL && !knows(&f, KNOW_ADDR) &&
	    decided_via(&f, rule, &via))
		return via;
	for (uint32_t i = 0; i < img->rules.n; i++) {
		enum answer a = match_rule(&f, &r[i]);
		if (a == NO)
			continue;
		if (r[i].action == RULE_PASS && candidate == RULE_NONE)
			candidate = i;
		if (a == YES) {
			*rule = candidate != RULE_NONE ? candidate : i;
			if (candidate == RULE_NONE)
				return RULES_BLOCK;
			return uncertain ? RULES_MAYBE : RULES_PASS;
		}
		uncertain = true;
	}
	*rule = candidate;
	return candidate == RULE_NONE ? RULES_BLOCK : RULES_MAYBE;
}

/* Does each source come to a pass rule that could match before it comes to a block rule that does?
 * A block rule's own sources are taken for everyone, a pass rule's for no one. */
static bool
open_with(const struct image *img, enum method method)
{
	struct query q = { .known = KNOW_METHOD, .method = method };
	struct facts f = facts_of(img, &q);
	const struct image_rule *r = image_at(img, img->rules);

	for (uint32_t i = 0; i < img->rules.n; i++) {
		struct image_rule from_any = r[i];

		from_any.from = RULE_ANY;
		enum answer a = match_rule(&f, &from_any);
		if (r[i].action == RULE_BLOCK && a == YES)
			return false;
		if (r[i].action == RULE_PASS && a != NO && r[i].from == RULE_ANY)
			return true;
	}
	return false;
}

uint32_t
rules_open_methods(const struct image *img)
{
	uint32_t methods = 0;

	for (unsigned m = 0; m < METHOD_COUNT; m++)
		if ((img->methods & METHOD_BIT(m)) != 0 && open_with(img, (enum method)m))
			methods |= METHOD_BIT(m);
	return methods;
}

enum method
rules_method(const struct image *img, uint32_t open, const struct addr *source, uint32_t offered)
{
	struct query q = { .known = KNOW_SOURCE | KNOW_METHOD, .source = *source };

	for (unsigned i = 0; i < img->prefer_n; i++) {
		q.method = img->prefer[i];
		if ((offered & img->methods & METHOD_BIT(q.method)) == 0)
			continue;
		if ((open & METHOD_BIT(q.method)) != 0 || rules_eval(img, &q, NULL) != RULES_BLOCK)
			return q.method;
	}
	return METHOD_COUNT;
}

uint32_t
rules_first_via(const struct image *img, const struct query *q)
{
	struct facts f = facts_of(img, q);
	const struct image_rule *r = image_at(img, img->rules);

	for (uint32_t i = 0; i < img->rules.n; i++) {
		enum answer a =
		    r[i].upstreams.n > 0 || r[i].action == RULE_BLOCK ? match_rule(&f, &r[i]) : NO;

		if (r[i].action == RULE_BLOCK && a == YES)
			break;
		if (r[i].action == RULE_PASS && a != NO)
			return i;
	}
	return RULE_NONE;
}

bool
rules_via(const struct image *img, uint32_t rule)
{
	const struct image_rule *r = rules_rule(img, rule);

	return r != NULL && r->upstreams.n > 0;
}

/* A pass rule does not end the walk even where all its criteria are met: it may yet not pass a
 * special address. */
bool
rules_wants_confidentiality(const struct image *img, const struct addr *source, const uint8_t *user,
    size_t user_len, const uint8_t *groups, size_t groups_len)
{
	struct query q = { .known = KNOW_METHOD | KNOW_USER,
		.method = METHOD_GSSAPI,
		.source = *source,
		.user = user,
		.user_len = user_len,
		.groups = groups,
		.groups_len = groups_len };
	const struct image_rule *r = image_at(img, img->rules);

	if (source->family != ADDR_NONE)
		q.known |= KNOW_SOURCE;
	struct facts f = facts_of(img, &q);
	for (uint32_t i = 0; i < img->rules.n; i++) {
		enum answer a = match_rule(&f, &r[i]);

		if (a == YES && r[i].action == RULE_BLOCK)
			return false;
		if (a != NO && r[i].action == RULE_PASS &&
		    r[i].protection == PROTECTION_CONFIDENTIALITY)
			return true;
	}
	return false;
}

const struct image_rule *
rules_rule(const struct image *img, uint32_t rule)
{
	const struct image_rule *r = image_at(img, img->rules);

	return rule < img->rules.n ? &r[rule] : NULL;
}

enum addr_special
rules_special(const struct image *img, const struct addr *a, uint8_t *plen)
{
	enum addr_special kind = addr_special(a, plen);
	uint8_t own = kind == ADDR_ORDINARY ? image_own(img, a) : PLEN_NONE;

	if (own == PLEN_NONE)
		return kind;
	*plen = own;
	return ADDR_OWN;
}
