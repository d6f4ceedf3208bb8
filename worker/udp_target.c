/*
 * The targets of an association: which the rules let pass, the sockets that reach them, and what
 * comes back. Owns targets and outgoing sockets. Trusts no target: what it sends reaches the client
 * only with its real source in front, and only if the client has sent something there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/egress.h"
#include "worker/link.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

static int
target_cmp(const struct udp_target *a, const struct udp_target *b)
{
	int d = memcmp(&a->at, &b->at, sizeof(a->at));

	if (d == 0)
		d = (int)a->name_len - (int)b->name_len;
	return d != 0 ? d : memcmp(a->name, b->name, a->name_len);
}

TREE_GENERATE(udp_targets, udp_target, entry, target_cmp)

/* Large enough for any name, to look one up. */
union target_key {
	struct udp_target t;
	uint8_t octets[sizeof(struct udp_target) + NAME_MAX_LEN];
};

static struct udp_target *
find(struct udp *u, const struct addrport *at, const uint8_t *name, size_t len)
{
	union target_key key;

	key.t.at = *at;
	key.t.name_len = (uint8_t)len;
	if (len > 0)
		memcpy(key.t.name, name, len);
	return RB_FIND(udp_targets, &u->targets, &key.t);
}

/* Has the client sent something there, by whatever name? */
static bool
was_sent_to(struct udp *u, const struct addrport *at)
{
	union target_key key;
	struct udp_target *t;

	key.t.at = *at;
	key.t.name_len = 0;
	for (t = RB_NFIND(udp_targets, &u->targets, &key.t);
	     t != NULL && memcmp(&t->at, at, sizeof(*at)) == 0;
	     t = RB_NEXT(udp_targets, &u->targets, t))
		if (t->passes)
			return true;
	return false;
}

/* --- replies --- */

/* The header of replies from there, or NULL: the client has sent nothing there. */
static const struct udp_last *
heading(struct udp *u, const struct addrport *from)
{
	struct udp_last *l = &u->last[DOWN];
	struct addrport at = *from;

	if (l->head_len > 0 && memcmp(from, &l->from, sizeof(*from)) == 0)
		return l;
	at.scope = 0; /* no target is asked for with one */
	if (!u->replies_any && !was_sent_to(u, &at))
		return NULL;
	l->from = *from;
	l->head_len = (uint8_t)datagram_header(l->head, &at);
	return l;
}

static void
reply(struct udp *u, struct udp_packet *p)
{
	struct udp_sending one = { .u = u, .direction = DOWN, .data = p->data, .len = p->len };
	const struct udp_last *l = heading(u, p->from);

	if (l == NULL) {
		udp_drop(u, DROP_REPLY);
		return;
	}
	one.token = udp_token(u, CLIENT);
	one.head_len = l->head_len;
	one.head = l->head;
	if (one.head_len <= p->room)
		one.head = memcpy(p->data - one.head_len, l->head, one.head_len);
	if (udp_fits(&one, u->client.a.family))
		udp_put_client(u, &one);
	else
		udp_drop(u, DROP_SIZE);
}

unsigned
udp_from_targets(struct udp *u, struct ev *e, const struct addrport *peer)
{
	struct udp_packet *p;
	unsigned n = udp_receive(e, peer, &p);

	for (unsigned i = 0; i < n; i++)
		reply(u, &p[i]);
	udp_flush();
	return n;
}

static void
on_out(struct ev *e, uint32_t events)
{
	struct udp_out *o = (struct udp_out *)((char *)e - offsetof(struct udp_out, ev));

	(void)events;
	udp_from_targets(o->u, &o->ev, NULL);
}

/* --- outgoing sockets --- */

static struct udp_out *
out_new(struct udp *u, uint8_t family, const struct egress_way *way)
{
	enum reason why;
	struct udp_out *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->u = u;
	o->family = family;
	o->way = *way;
	o->ev = (struct ev){ .fd = -1, .cb = on_out };
	o->fd = egress_open(u->s->w, way, family, SOCK_DGRAM, &why);
	if (o->fd == -1 || ev_add(u->s->w->loop, &o->ev, o->fd, EPOLLIN | EPOLLET) == -1) {
		if (o->fd != -1)
			close(o->fd);
		free(o);
		return NULL;
	}
	udp_prepare(o->fd);
	SLIST_INSERT_HEAD(&u->outs, o, entry);
	u->nouts++;
	return o;
}

struct udp_out *
udp_out(struct udp *u, uint32_t rule, uint8_t family)
{
	const struct image *img = u->s->w->policy->img;
	uint32_t turn = u->turn; /* an association leaves by one address */
	struct egress_way way;
	struct udp_out *o;

	if (egress_way(img, rules_rule(img, rule), family, &u->client.a, &turn, &way) == -1)
		return NULL;
	SLIST_FOREACH (o, &u->outs, entry)
		if (o->family == family && egress_same(&o->way, &way))
			return o;
	return u->nouts < UDP_OUTS_MAX ? out_new(u, family, &way) : NULL;
}

/* --- targets --- */

enum rules_answer
udp_rules(const struct udp *u, const struct addrport *at, const uint8_t *name, size_t name_len,
    uint32_t *rule)
{
	struct query q = { .known = KNOW_ALL,
		.method = u->method,
		.level = u->level,
		.command = COMMAND_UDP,
		.port = at->port,
		.source = u->client.a,
		.target = at->a,
		.user = u->user,
		.user_len = u->user_len,
		.groups = u->groups,
		.groups_len = u->groups_len };

	if (name_len > 0) {
		q.name = name;
		q.name_len = name_len;
	}
	if (at->a.family == ADDR_NONE)
		q.known &= ~KNOW_ADDR;
	return rules_eval(u->s->w->policy->img, &q, rule);
}

static struct udp_target *
target_new(struct udp *u, const struct addrport *at, const uint8_t *name, size_t len)
{
	struct udp_target *t = calloc(1, sizeof(*t) + len);

	if (t == NULL)
		return NULL;
	t->at = *at;
	t->name_len = (uint8_t)len;
	if (len > 0)
		memcpy(t->name, name, len);
	RB_INSERT(udp_targets, &u->targets, t);
	return t;
}

/* Is there room for one more of these? *why: what is the matter otherwise. */
static bool
room_for(const struct udp *u, bool passes, enum drop *why)
{
	*why = passes ? DROP_TARGETS : DROP_RULES;
	if (passes ? u->passed >= u->targets_max : u->refused >= TARGETS_REFUSED_MAX)
		return false;
	*why = DROP_QUEUE;
	return !chan_full(&u->s->w->master);
}

static void
count_target(struct udp *u, bool passes, int by)
{
	uint32_t *n = passes ? &u->passed : &u->refused;

	*n += (uint32_t)by;
}

/* What the policy in force says of a target: whether and by which rule, and by what way. A name
 * that was looked up does not leave by an upstream after all: no rule is told then. */
struct judgement {
	bool passes, via;
	uint32_t rule;
	struct udp_out *out;
};

/* -1: it passes, and there is no way. */
static int
decide(
    struct udp *u, const struct addrport *at, const uint8_t *name, size_t len, struct judgement *j)
{
	const struct image *img = u->s->w->policy->img;

	memset(j, 0, sizeof(*j));
	j->passes = udp_rules(u, at, name, len, &j->rule) == RULES_PASS;
	j->via = j->passes && rules_via(img, j->rule);
	if (j->via && len > 0 && at->a.family != ADDR_NONE) {
		*j = (struct judgement){ .rule = RULE_NONE };
		return 0;
	}
	if (j->via)
		return udp_leg_has(u, img, rules_rule(img, j->rule)) ? 0 : -1;
	j->out = j->passes ? udp_out(u, j->rule, at->a.family) : NULL;
	return j->passes && j->out == NULL ? -1 : 0;
}

/* Judges a target; t is what was known of it, or NULL. */
static struct udp_target *
judge(struct udp *u, struct udp_target *t, const struct addrport *at, const uint8_t *name,
    size_t len, enum drop *why)
{
	struct judgement j;

	u->last[UP].target = NULL;
	u->last[DOWN].head_len = 0;
	*why = DROP_SEND;
	if (decide(u, at, name, len, &j) == -1)
		return NULL;
	if (t == NULL || t->passes != j.passes) {
		if (!room_for(u, j.passes, why))
			return NULL;
		if (t != NULL)
			count_target(u, t->passes, -1);
		else if ((t = target_new(u, at, name, len)) == NULL)
			return NULL;
		count_target(u, j.passes, 1);
		link_target(u->s, j.rule, j.passes, t);
	}
	t->version = u->s->w->policy->img->version;
	t->passes = j.passes;
	if (t->out != j.out)
		t->twin = NULL;
	t->out = j.out;
	t->via = j.via;
	return t;
}

struct udp_target *
udp_target(
    struct udp *u, const struct addrport *at, const uint8_t *name, size_t len, enum drop *why)
{
	struct udp_target *t = find(u, at, name, len);

	if (t == NULL || t->version != u->s->w->policy->img->version)
		t = judge(u, t, at, name, len, why);
	if (t != NULL && !t->passes) {
		*why = DROP_RULES;
		return NULL;
	}
	return t;
}

void
udp_targets_free(struct udp *u)
{
	struct udp_target *t, *next;
	struct udp_out *o;

	for (t = RB_MIN(udp_targets, &u->targets); t != NULL; t = next) {
		next = RB_NEXT(udp_targets, &u->targets, t);
		RB_REMOVE(udp_targets, &u->targets, t);
		free(t);
	}
	while ((o = SLIST_FIRST(&u->outs)) != NULL) {
		SLIST_REMOVE_HEAD(&u->outs, entry);
		ev_del(u->s->w->loop, &o->ev);
		close(o->fd);
		free(o);
	}
}
