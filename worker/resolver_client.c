/*
 * The workers' channels. A worker may be hostile: what it sends is checked whole, it has its share
 * of the look-ups under way and a bounded queue behind that, and one that does not read its answers
 * stops only itself.
 */
#include "worker/resolver_client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/rules.h"
#include "common/tree.h"
#include "common/wire.h"
#include "worker/names.h"

#define LOOKUPS_SHARED 8192 /* under way, divided among the workers ... */
#define LOOKUPS_MAX    1024 /* ... of which one never has more than this ... */
#define LOOKUPS_MIN    64   /* ... nor, with very many workers, less than this */
#define WAITING_MAX                                                                  \
	4096 /* of one worker, behind those; further ones are answered ANSWER_FAILED \
	      */

_Static_assert(WAITING_MAX >= NAMES_WINDOW, "an honest worker's look-ups all find room");

struct client;

struct lookup {
	RB_ENTRY(lookup) node;
	TAILQ_ENTRY(lookup) entry; /* in client.waiting */
	struct client *client;
	uint32_t id;
	bool started;
	uint8_t left; /* LOOKUP_ bits still to be answered */
	uint8_t len;
	uint8_t name[NAME_MAX_LEN];
	struct ask a, aaaa;
};

RB_HEAD(lookup_tree, lookup);

struct client {
	LIST_ENTRY(client) entry;
	struct chan chan;
	struct clients *all;
	struct lookup_tree lookups;
	TAILQ_HEAD(lookup_list, lookup) waiting;
	unsigned nwaiting, under_way;
	bool starting; /* start_waiting is at work further up the stack */
};

struct clients {
	struct loop *loop;
	struct questions *questions;
	unsigned share;
	bool serving;
	LIST_HEAD(client_list, client) list;
	void (*report)(void *arg, uint32_t spawn);
	void *report_arg;
};

static int
lookup_cmp(const struct lookup *a, const struct lookup *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

TREE_GENERATE(lookup_tree, lookup, node, lookup_cmp)

/* --- answers --- */

static void start_waiting(struct client *c);

static void
send_answer(struct client *c, uint32_t id, unsigned family, const struct dns_answer *answer)
{
	struct msg_answer m = {
		.id = id,
		.family = (uint8_t)family,
		.status = (uint8_t)answer->status,
		.naddr = (uint8_t)answer->naddr,
		.ttl = answer->ttl,
	};

	/* Where it fails, the channel's end follows. */
	chan_send_tail(&c->chan, MSG_ANSWER, &m, sizeof(m), answer->addr,
	    answer->naddr * sizeof(answer->addr[0]), -1);
}

static void
lookup_free(struct lookup *l)
{
	struct client *c = l->client;

	RB_REMOVE(lookup_tree, &c->lookups, l);
	if (l->started) {
		questions_cancel(&l->a);
		questions_cancel(&l->aaaa);
		c->under_way--;
	} else {
		TAILQ_REMOVE(&c->waiting, l, entry);
		c->nwaiting--;
	}
	free(l);
}

static void
answered(struct lookup *l, unsigned family, const struct dns_answer *answer)
{
	struct client *c = l->client;

	send_answer(c, l->id, family, answer);
	l->left &= (uint8_t)~family;
	if (l->left == 0) {
		lookup_free(l);
		start_waiting(c);
	}
}

static void
on_a(struct ask *a, unsigned family, const struct dns_answer *answer)
{
	answered((struct lookup *)((char *)a - offsetof(struct lookup, a)), family, answer);
}

static void
on_aaaa(struct ask *a, unsigned family, const struct dns_answer *answer)
{
	answered((struct lookup *)((char *)a - offsetof(struct lookup, aaaa)), family, answer);
}

/* --- look-ups --- */

/* Starts what waits, while the worker's share and its channel have room. An answer from the cache
 * comes back at once and calls this again: then the loop further up goes on. */
static void
start_waiting(struct client *c)
{
	struct lookup *l;

	if (c->starting)
		return;
	c->starting = true;
	while (c->under_way < c->all->share && !chan_full(&c->chan) &&
	       (l = TAILQ_FIRST(&c->waiting)) != NULL) {
		unsigned families = l->left;

		TAILQ_REMOVE(&c->waiting, l, entry);
		c->nwaiting--;
		c->under_way++;
		l->started = true;
		/* l is gone once the last of its families is answered. */
		if ((families & LOOKUP_A) != 0)
			questions_ask(c->all->questions, &l->a, l->name, l->len, LOOKUP_A);
		if ((families & LOOKUP_AAAA) != 0)
			questions_ask(c->all->questions, &l->aaaa, l->name, l->len, LOOKUP_AAAA);
	}
	c->starting = false;
}

/* Too many: each family asked fails, with nothing to keep. */
static void
turn_away(struct client *c, const struct msg_lookup *m)
{
	struct dns_answer none = { .status = ANSWER_FAILED };

	if ((m->families & LOOKUP_A) != 0)
		send_answer(c, m->id, LOOKUP_A, &none);
	if ((m->families & LOOKUP_AAAA) != 0)
		send_answer(c, m->id, LOOKUP_AAAA, &none);
}

/* False: nothing that an honest worker sends. */
static bool
on_lookup(struct client *c, const struct msg *m)
{
	struct wire w = wire_from(m->payload, m->len);
	struct msg_lookup head;
	struct lookup key, *l;
	uint8_t normal[NAME_MAX_LEN];

	wire_copy(&w, &head, sizeof(head));
	const uint8_t *name = wire_take(&w, head.name_len);
	if (name == NULL || !wire_done(&w) || head.families == 0 ||
	    (head.families & ~(LOOKUP_A | LOOKUP_AAAA)) != 0)
		return false;
	if (name_normalise(name, head.name_len, normal) != head.name_len ||
	    memcmp(name, normal, head.name_len) != 0)
		return false;
	key.id = head.id;
	if (RB_FIND(lookup_tree, &c->lookups, &key) != NULL)
		return false;
	if (c->nwaiting >= WAITING_MAX || (l = calloc(1, sizeof(*l))) == NULL) {
		turn_away(c, &head);
		return true;
	}
	l->client = c;
	l->id = head.id;
	l->left = head.families;
	l->len = head.name_len;
	memcpy(l->name, name, head.name_len);
	l->a.done = on_a;
	l->aaaa.done = on_aaaa;
	RB_INSERT(lookup_tree, &c->lookups, l);
	TAILQ_INSERT_TAIL(&c->waiting, l, entry);
	c->nwaiting++;
	start_waiting(c);
	return true;
}

/* --- channels --- */

static bool
on_msg(struct chan *c, struct msg *m)
{
	return m->type == MSG_LOOKUP && on_lookup(c->owner, m);
}

static void
client_free(struct client *c)
{
	struct lookup *l, *next;

	LIST_REMOVE(c, entry);
	for (l = RB_MIN(lookup_tree, &c->lookups); l != NULL; l = next) {
		next = RB_NEXT(lookup_tree, &c->lookups, l);
		lookup_free(l);
	}
	chan_stop(&c->chan);
	free(c);
}

static void
on_end(struct chan *chan, enum chan_end why)
{
	struct client *c = chan->owner;
	struct clients *cs = c->all;
	uint32_t spawn = chan->peer_spawn;

	client_free(c);
	if (why == CHAN_FAULT)
		cs->report(cs->report_arg, spawn);
}

static void
on_room(struct chan *c)
{
	start_waiting(c->owner);
}

struct clients *
resolver_clients_new(struct loop *l, struct questions *qs, uint32_t workers,
    void (*report)(void *arg, uint32_t spawn), void *arg)
{
	struct clients *cs = calloc(1, sizeof(*cs));

	if (cs == NULL)
		return NULL;
	cs->loop = l;
	cs->questions = qs;
	cs->share = LOOKUPS_SHARED / (workers > 0 ? workers : 1);
	if (cs->share > LOOKUPS_MAX)
		cs->share = LOOKUPS_MAX;
	if (cs->share < LOOKUPS_MIN)
		cs->share = LOOKUPS_MIN;
	cs->report = report;
	cs->report_arg = arg;
	LIST_INIT(&cs->list);
	return cs;
}

void
resolver_clients_free(struct clients *cs)
{
	struct client *c;

	if (cs == NULL)
		return;
	while ((c = LIST_FIRST(&cs->list)) != NULL)
		client_free(c);
	free(cs);
}

int
resolver_clients_add(struct clients *cs, int fd, uint32_t spawn)
{
	struct client *c, *old;

	LIST_FOREACH (old, &cs->list, entry) {
		if (old->chan.peer_spawn == spawn) {
			client_free(old);
			break;
		}
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		close(fd);
		return -1;
	}
	c->all = cs;
	RB_INIT(&c->lookups);
	TAILQ_INIT(&c->waiting);
	c->chan.on_msg = on_msg;
	c->chan.on_end = on_end;
	c->chan.on_room = on_room;
	c->chan.owner = c;
	if (chan_start(&c->chan, cs->loop, fd, ROLE_RESOLVER, ROLE_WORKER, spawn) == -1) {
		close(fd);
		free(c);
		return -1;
	}
	LIST_INSERT_HEAD(&cs->list, c, entry);
	chan_pause(&c->chan, !cs->serving);
	return 0;
}

void
resolver_clients_serve(struct clients *cs)
{
	struct client *c;

	if (cs->serving)
		return;
	cs->serving = true;
	LIST_FOREACH (c, &cs->list, entry)
		chan_pause(&c->chan, false);
}
