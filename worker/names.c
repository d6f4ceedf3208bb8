/*
 * Names in a worker: hosts of the policy image, the cache, then the resolver. Owns the channel to
 * the resolver and the questions under way. Clients choose the names; the resolver is trusted for
 * its answers only (which the rules judge), never for their form: a message that it must not send
 * ends its channel, and the master is told.
 */
#include "worker/names.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/dnscache.h"
#include "common/tree.h"
#include "common/wire.h"

#define CACHE_ENTRIES 8192
#define CACHE_OCTETS  (2u * 1024 * 1024)
#define ALL_FAMILIES  (LOOKUP_A | LOOKUP_AAAA)

/* A question for the resolver, with all who wait for it. Those whose last query was cancelled stay
 * until they are answered if they were sent: the answer is worth keeping. */
struct name_pending {
	RB_ENTRY(name_pending) by_name;  /* by name and families still to come */
	RB_ENTRY(name_pending) by_id;    /* while sent */
	TAILQ_ENTRY(name_pending) entry; /* in names.waiting or names.sent */
	TAILQ_HEAD(query_list, name_query) queries;
	uint32_t id;
	bool sent;
	bool named;   /* in by_name: others may join */
	uint8_t left; /* LOOKUP_ bits still to come */
	uint8_t len;
	uint8_t name[NAME_MAX_LEN];
};

RB_HEAD(name_tree, name_pending);
RB_HEAD(id_tree, name_pending);
TAILQ_HEAD(pending_list, name_pending);

/* A names_lookup that is calling back: `query` is NULL once it was cancelled. */
struct calling {
	struct calling *outer;
	struct name_query *query;
};

struct names {
	struct loop *loop;
	const struct image *img;
	struct addrport servers[DNS_SERVERS_MAX]; /* of img */
	size_t nservers;
	struct dnscache *cache;
	struct chan chan;
	bool connected;
	uint32_t last_id; /* used on this channel, from 1 */
	bool wrapped;     /* ... and all others too */
	struct name_tree by_name;
	struct id_tree by_id;
	struct pending_list waiting; /* for the resolver, room, or the window */
	struct pending_list sent;
	unsigned nsent;
	struct calling *calling;
	void (*report)(void *arg, uint32_t spawn);
	void *report_arg;
};

static int
by_name_cmp(const struct name_pending *a, const struct name_pending *b)
{
	if (a->left != b->left)
		return a->left < b->left ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->name, b->name, a->len);
}

static int
by_id_cmp(const struct name_pending *a, const struct name_pending *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

TREE_GENERATE(name_tree, name_pending, by_name, by_name_cmp)
TREE_GENERATE(id_tree, name_pending, by_id, by_id_cmp)

struct names *
names_new(struct loop *l)
{
	struct names *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->loop = l;
	n->cache = dnscache_new(CACHE_ENTRIES, CACHE_OCTETS);
	if (n->cache == NULL) {
		free(n);
		return NULL;
	}
	RB_INIT(&n->by_name);
	RB_INIT(&n->by_id);
	TAILQ_INIT(&n->waiting);
	TAILQ_INIT(&n->sent);
	return n;
}

void
names_on_fault(struct names *n, void (*report)(void *arg, uint32_t spawn), void *arg)
{
	n->report = report;
	n->report_arg = arg;
}

/* --- questions before the resolver --- */

static void
unname(struct names *n, struct name_pending *p)
{
	if (p->named)
		RB_REMOVE(name_tree, &n->by_name, p);
	p->named = false;
}

static void
pending_free(struct names *n, struct name_pending *p)
{
	unname(n, p);
	if (p->sent) {
		RB_REMOVE(id_tree, &n->by_id, p);
		TAILQ_REMOVE(&n->sent, p, entry);
		n->nsent--;
	} else {
		TAILQ_REMOVE(&n->waiting, p, entry);
	}
	free(p);
}

/* An id that no question under way has. */
static uint32_t
next_id(struct names *n)
{
	struct name_pending key;

	do {
		if (++n->last_id == 0) {
			n->wrapped = true;
			n->last_id = 1;
		}
		key.id = n->last_id;
	} while (RB_FIND(id_tree, &n->by_id, &key) != NULL);
	return n->last_id;
}

/* Sends what waits, as far as the channel and the window have room. */
static void
send_waiting(struct names *n)
{
	struct name_pending *p;

	while (n->connected && !chan_full(&n->chan) && n->nsent < NAMES_WINDOW &&
	       (p = TAILQ_FIRST(&n->waiting)) != NULL) {
		struct msg_lookup m = { .id = next_id(n), .families = p->left, .name_len = p->len };

		if (chan_send_tail(&n->chan, MSG_LOOKUP, &m, sizeof(m), p->name, p->len, -1) == -1)
			return; /* the channel is ending; on_end follows */
		TAILQ_REMOVE(&n->waiting, p, entry);
		TAILQ_INSERT_TAIL(&n->sent, p, entry);
		p->id = m.id;
		p->sent = true;
		n->nsent++;
		RB_INSERT(id_tree, &n->by_id, p);
	}
}

/* The channel is gone: what was sent is asked again on the next one, oldest first. */
static void
unsend_all(struct names *n)
{
	struct name_pending *p;

	n->connected = false;
	while ((p = TAILQ_LAST(&n->sent, pending_list)) != NULL) {
		RB_REMOVE(id_tree, &n->by_id, p);
		TAILQ_REMOVE(&n->sent, p, entry);
		TAILQ_INSERT_HEAD(&n->waiting, p, entry);
		p->sent = false;
		n->nsent--;
		if (TAILQ_EMPTY(&p->queries))
			pending_free(n, p);
	}
}

void
names_free(struct names *n)
{
	struct name_pending *p;

	if (n == NULL)
		return;
	if (n->connected)
		chan_stop(&n->chan);
	unsend_all(n);
	while ((p = TAILQ_FIRST(&n->waiting)) != NULL)
		pending_free(n, p);
	dnscache_free(n->cache);
	free(n);
}

/* --- answers --- */

/*
 * Tells all who wait for this family. Each may cancel itself or others, or ask anew: so the list is
 * taken from its head up to a marker, and what stays or joins stands behind it.
 */
static void
deliver(struct name_pending *p, unsigned family, const struct dns_answer *a)
{
	struct name_query marker = { .pending = p }, *q;

	TAILQ_INSERT_TAIL(&p->queries, &marker, entry);
	while ((q = TAILQ_FIRST(&p->queries)) != &marker) {
		bool asked = (q->waiting & family) != 0;

		TAILQ_REMOVE(&p->queries, q, entry);
		q->waiting &= ~family;
		if (q->waiting != 0)
			TAILQ_INSERT_TAIL(&p->queries, q, entry);
		else
			q->pending = NULL;
		if (asked)
			q->cb(q, family, a->status, a->addr, a->naddr);
	}
	TAILQ_REMOVE(&p->queries, &marker, entry);
}

static bool
answer_parse(const struct msg *m, struct msg_answer *head, struct dns_answer *a)
{
	struct wire w = wire_from(m->payload, m->len);

	wire_copy(&w, head, sizeof(*head));
	if (w.bad || head->naddr > ANSWER_ADDRS || head->status >= ANSWER_STATUSES ||
	    (head->family != LOOKUP_A && head->family != LOOKUP_AAAA) ||
	    (head->status == ANSWER_OK) != (head->naddr > 0))
		return false;
	a->status = (enum answer_status)head->status;
	a->ttl = head->ttl;
	a->naddr = head->naddr;
	for (unsigned i = 0; i < a->naddr; i++) {
		wire_copy(&w, &a->addr[i], sizeof(a->addr[i]));
		if (a->addr[i].family != (head->family == LOOKUP_A ? ADDR_V4 : ADDR_V6))
			return false;
	}
	return wire_done(&w);
}

static bool
on_answer(struct names *n, const struct msg *m)
{
	struct msg_answer head;
	struct dns_answer a;
	struct name_pending key, *p;

	if (!answer_parse(m, &head, &a))
		return false;
	key.id = head.id;
	p = RB_FIND(id_tree, &n->by_id, &key);
	if (p == NULL) /* ended already, or never asked */
		return head.id != 0 && (n->wrapped || head.id <= n->last_id);
	if ((p->left & head.family) == 0)
		return false;
	dnscache_put(n->cache, loop_now(n->loop), p->name, p->len, head.family, &a);
	unname(n, p);
	p->left &= (uint8_t)~head.family;
	if (p->left != 0)
		p->named = RB_INSERT(name_tree, &n->by_name, p) == NULL;
	deliver(p, head.family, &a);
	if (p->left == 0)
		pending_free(n, p);
	send_waiting(n);
	return true;
}

static bool
on_msg(struct chan *c, struct msg *m)
{
	return m->type == MSG_ANSWER && on_answer(c->owner, m);
}

static void
on_end(struct chan *c, enum chan_end why)
{
	struct names *n = c->owner;

	unsend_all(n);
	if (why == CHAN_FAULT && n->report != NULL)
		n->report(n->report_arg, c->peer_spawn);
}

static void
on_room(struct chan *c)
{
	send_waiting(c->owner);
}

int
names_resolver(struct names *n, int fd, uint32_t spawn)
{
	if (n->connected) {
		chan_stop(&n->chan);
		unsend_all(n);
	}
	memset(&n->chan, 0, sizeof(n->chan));
	n->chan.on_msg = on_msg;
	n->chan.on_end = on_end;
	n->chan.on_room = on_room;
	n->chan.owner = n;
	if (chan_start(&n->chan, n->loop, fd, ROLE_WORKER, ROLE_RESOLVER, spawn) == -1) {
		close(fd);
		return -1;
	}
	n->connected = true;
	n->last_id = 0;
	n->wrapped = false;
	send_waiting(n);
	return 0;
}

void
names_image(struct names *n, const struct image *img)
{
	size_t count = img->servers.n < DNS_SERVERS_MAX ? img->servers.n : DNS_SERVERS_MAX;

	/* Other servers may see other names. The image before this one is unmapped already. */
	if (count != n->nservers ||
	    memcmp(n->servers, image_at(img, img->servers), count * sizeof(*n->servers)) != 0)
		dnscache_clear(n->cache);
	n->nservers = count;
	memcpy(n->servers, image_at(img, img->servers), count * sizeof(*n->servers));
	n->img = img;
}

/* --- questions of sessions --- */

/* Joins a question under way that will bring all of these families, or makes one. 0, or -1. */
static int
attach(struct names *n, struct name_query *q, const uint8_t *name, size_t len, unsigned families)
{
	struct name_pending key = { .left = (uint8_t)families, .len = (uint8_t)len }, *p;

	memcpy(key.name, name, len);
	p = RB_FIND(name_tree, &n->by_name, &key);
	if (p == NULL && families != ALL_FAMILIES) {
		key.left = ALL_FAMILIES;
		p = RB_FIND(name_tree, &n->by_name, &key);
	}
	if (p == NULL) {
		p = calloc(1, sizeof(*p));
		if (p == NULL)
			return -1;
		TAILQ_INIT(&p->queries);
		p->left = (uint8_t)families;
		p->len = (uint8_t)len;
		memcpy(p->name, name, len);
		p->named = RB_INSERT(name_tree, &n->by_name, p) == NULL;
		TAILQ_INSERT_TAIL(&n->waiting, p, entry);
	}
	TAILQ_INSERT_TAIL(&p->queries, q, entry);
	q->pending = p;
	return 0;
}

/* What /etc/hosts says: for a name that it has, it speaks for both families. */
static int
from_hosts(struct names *n, const uint8_t *name, size_t len, unsigned family, struct dns_answer *a)
{
	const struct image_host *h = n->img != NULL ? image_host(n->img, name, len) : NULL;

	if (h == NULL)
		return -1;
	const struct addr *addr = image_at(n->img, h->addrs);
	a->naddr = 0;
	for (uint32_t i = 0; i < h->addrs.n && a->naddr < ANSWER_ADDRS; i++)
		if (addr[i].family == (family == LOOKUP_A ? ADDR_V4 : ADDR_V6))
			a->addr[a->naddr++] = addr[i];
	a->status = a->naddr > 0 ? ANSWER_OK : ANSWER_NO_DATA;
	return 0;
}

/* Calls back for one family at once. False: the query was cancelled meanwhile. */
static bool
answer_now(struct names *n, struct name_query *q, unsigned family, const struct dns_answer *a)
{
	struct calling here = { .outer = n->calling, .query = q };

	q->waiting &= ~family;
	n->calling = &here;
	q->cb(q, family, a->status, a->addr, a->naddr);
	n->calling = here.outer;
	return here.query != NULL;
}

void
names_lookup(
    struct names *n, struct name_query *q, const uint8_t *name, size_t len, unsigned families)
{
	static const unsigned family[2] = { LOOKUP_A, LOOKUP_AAAA };
	struct dns_answer a[2];
	unsigned ask = 0, known = 0;

	q->pending = NULL;
	q->waiting = families & ALL_FAMILIES;
	for (unsigned i = 0; i < 2; i++) {
		if ((q->waiting & family[i]) == 0)
			continue;
		a[i].status = ANSWER_FAILED;
		a[i].naddr = 0;
		if (len == 0 || len > NAME_MAX_LEN ||
		    from_hosts(n, name, len, family[i], &a[i]) == 0 ||
		    dnscache_get(n->cache, loop_now(n->loop), name, len, family[i], &a[i]) == 0)
			known |= family[i];
		else
			ask |= family[i];
	}
	if (ask != 0 && attach(n, q, name, len, ask) == -1)
		known |= ask;
	else
		send_waiting(n);
	for (unsigned i = 0; i < 2; i++)
		if ((known & family[i]) != 0 && !answer_now(n, q, family[i], &a[i]))
			return;
}

void
names_cancel(struct names *n, struct name_query *q)
{
	struct name_pending *p = q->pending;

	for (struct calling *c = n->calling; c != NULL; c = c->outer)
		if (c->query == q)
			c->query = NULL;
	q->waiting = 0;
	q->pending = NULL;
	if (p == NULL)
		return;
	TAILQ_REMOVE(&p->queries, q, entry);
	if (TAILQ_EMPTY(&p->queries) && !p->sent)
		pending_free(n, p);
}
