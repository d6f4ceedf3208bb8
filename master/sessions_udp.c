/*
 * UDP ASSOCIATE as the master sees it: the association is granted and counted, and each of its
 * targets is recorded, once. Owns the targets that a worker has told, since one that repeats itself
 * could fill the trail: it is refused like every other lie.
 */
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "common/tree.h"
#include "common/wire.h"
#include "master/session_record.h"
#include "master/sessions_parts.h"

struct told {
	RB_ENTRY(told) entry;
	struct addrport target;
	uint32_t version;
	bool passes;
	uint8_t name_len;
	uint8_t name[];
};
/* With room for any name, to look one up. */
union told_key {
	struct told t;
	uint8_t octets[sizeof(struct told) + NAME_MAX_LEN];
};
RB_HEAD(told_tree, told);

struct association {
	struct told_tree targets;
	uint32_t limit, passed, refused;
	bool ending; /* the trail takes no more: the worker was told to end it */
};

static int
told_cmp(const struct told *a, const struct told *b)
{
	int d = memcmp(&a->target, &b->target, sizeof(a->target));

	if (d == 0)
		d = (int)a->name_len - (int)b->name_len;
	return d != 0 ? d : memcmp(a->name, b->name, a->name_len);
}

TREE_GENERATE(told_tree, told, entry, told_cmp)

static struct association *
association_new(uint32_t targets)
{
	struct association *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	RB_INIT(&a->targets);
	a->limit = targets;
	return a;
}

void
sessions_udp_end(struct sessions *s, struct session *ss)
{
	struct association *a = ss->udp;
	struct told *t, *next;

	if (a == NULL)
		return;
	for (t = RB_MIN(told_tree, &a->targets); t != NULL; t = next) {
		next = RB_NEXT(told_tree, &a->targets, t);
		RB_REMOVE(told_tree, &a->targets, t);
		free(t);
	}
	free(a);
	ss->udp = NULL;
	limits_dissociate(s->limits);
}

static bool
in_range(struct image_ports ports, uint16_t port)
{
	return port != 0 && (ports.last == 0 || (port >= ports.first && port <= ports.last));
}

bool
sessions_associate(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_associate *a = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, a->sid);
	const struct image *img = policies_image(s->setup.policies, a->version);

	if (e == NULL || e->command != COMMAND_UDP || a->relay.a.family == ADDR_NONE ||
	    policies_serving(s->setup.policies, a->version, a->rule, COMMAND_UDP) == NULL ||
	    !in_range(img->udp_ports, a->relay.port))
		return false;
	if (e->state == LEDGER_REFUSED)
		return true; /* our refusal was on its way */
	if (e->state != LEDGER_OPEN)
		return false;
	enum reason limit = limits_associate(s->limits);
	if (limit != REASON_NONE) {
		sessions_refuse(w, e, limit);
		return true;
	}
	struct session *ss = &s->workers[w->index].slot[e->sid.slot];
	ss->udp = association_new(img->udp_targets);
	if (ss->udp == NULL) {
		limits_dissociate(s->limits);
		sessions_refuse(w, e, REASON_GENERAL);
		return true;
	}
	sessions_decided_by(s, e, a->version, a->rule);
	sessions_grant(s, w, e);
	return true;
}

/* --- targets --- */

/* An upstream is given names as they are. */
static bool
is_via(const struct sessions *s, const struct msg_target *t)
{
	const struct image *img = policies_image(s->setup.policies, t->version);

	return img != NULL && rules_via(img, t->rule);
}

/* Is this a target that a worker may tell? One that passes has an address and a pass rule; one that
 * does not may be a name that was refused before it was looked up. */
static bool
target_is_sound(const struct sessions *s, const struct msg_target *t, size_t len)
{
	struct policies *p = s->setup.policies;
	bool fits = t->passes ? policies_serving(p, t->version, t->rule, COMMAND_UDP) != NULL
			      : !policies_rule_passes(p, t->version, t->rule);

	return len == sizeof(*t) + t->name_len && t->passes <= 1 &&
	       policies_has(p, t->version, t->rule) && fits &&
	       (t->target.a.family != ADDR_NONE ||
		   (t->name_len > 0 && (t->passes == 0 || is_via(s, t))));
}

/* Counts it among those that pass or those that do not. False: there are as many as there may be.
 */
static bool
count_target(struct association *a, bool passes)
{
	uint32_t *n = passes ? &a->passed : &a->refused;

	if (*n >= (passes ? a->limit : TARGETS_REFUSED_MAX))
		return false;
	++*n;
	return true;
}

/* Enters a target, or turns one round that a newer policy judges otherwise. False: it is a
 * repetition, or one too many. *lost: there is no memory. */
static bool
tell(struct association *a, const struct told *new, bool *lost)
{
	size_t size = sizeof(*new) + new->name_len;
	struct told *t = RB_FIND(told_tree, &a->targets, (struct told *)(uintptr_t) new);

	*lost = false;
	if (t != NULL) {
		if (new->version <= t->version || new->passes == t->passes ||
		    !count_target(a, new->passes))
			return false;
		--*(t->passes ? &a->passed : &a->refused);
		t->version = new->version;
		t->passes = new->passes;
		return true;
	}
	if (!count_target(a, new->passes))
		return false;
	t = malloc(size);
	*lost = t == NULL;
	if (t == NULL)
		return true;
	memcpy(t, new, size);
	RB_INSERT(told_tree, &a->targets, t);
	return true;
}

/* Ends an association whose targets cannot be recorded any more. */
static void
end_association(struct association *a, struct child *w, const struct ledger_entry *e)
{
	struct msg_refuse r = { .sid = e->sid, .reason = REASON_LIMIT_AUDIT };

	a->ending = true;
	chan_send(&w->chan, MSG_REFUSE, &r, sizeof(r), -1);
}

/* The record of one target: the session's entry with that target as what was asked. */
static void
record_target(struct sessions *s, const struct ledger_entry *e, const struct told *t, uint32_t rule)
{
	struct ledger_entry one;
	struct session_facts f = sessions_told(s, e, &one, t->version, rule);

	one.asked = t->target;
	one.target = t->target;
	f.text.name = (struct ledger_octets){ t->name, t->name_len };
	if (!rules_via(policies_image(s->setup.policies, t->version), rule))
		f.text.via.len = 0;
	session_record(s->setup.log, t->passes ? EVENT_TARGET : EVENT_TARGET_REFUSED, &f);
}

bool
sessions_target(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_target *t = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, t->sid);
	union told_key key;
	struct told *new = &key.t;
	bool lost;

	if (e == NULL || e->state != LEDGER_GRANTED || e->command != COMMAND_UDP ||
	    !target_is_sound(s, t, m->len))
		return false;
	/* By an upstream only where one was told. */
	if (t->passes != 0 && is_via(s, t) && !e->by_upstream)
		return false;
	struct association *a = s->workers[w->index].slot[e->sid.slot].udp;
	memset(&key, 0, sizeof(key));
	new->target = t->target;
	new->version = t->version;
	new->passes = t->passes != 0;
	new->name_len = t->name_len;
	memcpy(new->name, t + 1, t->name_len);
	if (!tell(a, new, &lost))
		return false;
	if (a->ending)
		return true;
	if (lost || log_refuses(s->setup.log)) {
		end_association(a, w, e);
		return true;
	}
	/* The association's own rule and target are those of the first that passes. */
	if (new->passes && e->target.a.family == ADDR_NONE) {
		e->target = new->target;
		sessions_decided_by(s, e, t->version, t->rule);
	}
	record_target(s, e, new, t->rule);
	return true;
}
