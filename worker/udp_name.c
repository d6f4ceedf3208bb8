/*
 * Names that an association sends to. Owns the questions under way and the datagrams that wait for
 * their answers: those of one name wait in their order, and hold up no other target's. Trusts
 * neither the client's names nor the answers: every address meets the rules before it is sent to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/udp_parts.h"
#include "worker/worker.h"

#define FRESH_MS            1000 /* then the cache is asked again, which knows the answer's TTL */
#define RESOLUTION_DELAY_MS 50   /* RFC 8305 section 8 */

static int
name_cmp(const struct udp_name *a, const struct udp_name *b)
{
	int d = (int)a->port - (int)b->port;

	if (d == 0)
		d = (int)a->len - (int)b->len;
	return d != 0 ? d : memcmp(a->name, b->name, a->len);
}

TREE_GENERATE(udp_names, udp_name, entry, name_cmp)

static struct udp_name *
find(struct udp *u, const uint8_t *name, size_t len, uint16_t port)
{
	union {
		struct udp_name n;
		uint8_t octets[sizeof(struct udp_name) + NAME_MAX_LEN];
	} key;

	key.n.port = port;
	key.n.len = (uint8_t)len;
	memcpy(key.n.name, name, len);
	return RB_FIND(udp_names, &u->names, &key.n);
}

/* --- what waits --- */

static void
keep(struct udp_name *n, const struct datagram *d)
{
	size_t size = sizeof(struct udp_waiting) + d->data_len;
	struct udp_waiting *w;

	if (n->u->waiting + size > UDP_QUEUE_MAX ||
	    n->u->s->w->udp_waiting + size > UDP_QUEUE_ALL || (w = malloc(size)) == NULL) {
		udp_drop(n->u, DROP_QUEUE);
		return;
	}
	w->len = d->data_len;
	memcpy(w->data, d->data, d->data_len);
	STAILQ_INSERT_TAIL(&n->waiting, w, entry);
	n->u->waiting += size;
	n->u->s->w->udp_waiting += size;
}

/* The next that waits, which is the caller's now; NULL: none does. */
static struct udp_waiting *
take(struct udp_name *n)
{
	struct udp_waiting *w = STAILQ_FIRST(&n->waiting);

	if (w == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&n->waiting, entry);
	n->u->waiting -= sizeof(*w) + w->len;
	n->u->s->w->udp_waiting -= sizeof(*w) + w->len;
	return w;
}

static void
send_waiting(struct udp_name *n)
{
	struct udp_waiting *w;

	while ((w = take(n)) != NULL) {
		struct udp_sending one = {
			.u = n->u, .direction = UP, .name = n, .data = w->data, .len = w->len
		};

		if (n->now == NULL) {
			udp_drop(n->u, n->why);
		} else {
			udp_put_target(n->now, &one);
			udp_flush();
		}
		free(w);
	}
}

uint32_t
udp_names_waiting(const struct udp *u)
{
	struct udp_names *all = (struct udp_names *)(uintptr_t)&u->names;
	const struct udp_waiting *w;
	struct udp_name *n;
	uint32_t count = 0;

	RB_FOREACH(n, udp_names, all)
	STAILQ_FOREACH (w, &n->waiting, entry)
		count++;
	return count;
}

/* --- the choice of an address --- */

/* Takes the first from n->at on that the rules pass and that there is egress for. What they refuse
 * is told only where none is left. */
static void
choose(struct udp_name *n)
{
	struct addrport at = { .port = n->port }, blocked = { .port = 0 };
	uint32_t rule;

	n->now = NULL;
	n->why = n->naddrs > 0 ? DROP_SEND : DROP_NAME;
	for (; n->at < n->naddrs; n->at++) {
		at.a = n->addrs[n->at];
		if (udp_rules(n->u, &at, n->name, n->len, &rule) != RULES_PASS ||
		    rules_via(n->u->s->w->policy->img, rule)) {
			if (blocked.a.family == ADDR_NONE)
				blocked = at;
		} else if (udp_out(n->u, rule, at.a.family) != NULL) {
			n->now = udp_target(n->u, &at, n->name, n->len, &n->why);
			return;
		}
	}
	if (blocked.a.family != ADDR_NONE)
		(void)udp_target(n->u, &blocked, n->name, n->len, &n->why);
}

static uint8_t
family_bit(uint8_t family)
{
	return family == ADDR_V6 ? 2 : 1;
}

/* The order in which they are tried: the one that is in use, then those whose family has not
 * failed, IPv6 first (RFC 6724 section 10.3), then the others. */
static void
sort(struct udp_name *n)
{
	struct addr in[UDP_ADDRS_MAX];
	uint8_t k = 0;

	memcpy(in, n->addrs, sizeof(in));
	for (unsigned pass = 0; pass < 5; pass++) {
		for (unsigned i = 0; i < n->naddrs; i++) {
			bool used = n->now != NULL && addr_cmp(&in[i], &n->now->at.a) == 0;
			unsigned rank = (n->u->unreachable & family_bit(in[i].family)) ? 3 : 1;

			rank += in[i].family == ADDR_V6 ? 0 : 1;
			if ((used ? 0 : rank) == pass)
				n->addrs[k++] = in[i];
		}
	}
}

/* All that will be known is known: the waiting datagrams go on. */
static void
settle(struct udp_name *n)
{
	deadline_disarm(&n->d);
	if (n->asked != 0)
		names_cancel(n->u->s->w->names, &n->q);
	n->asked = 0;
	n->fresh = loop_now(n->u->s->w->loop) + FRESH_MS;
	sort(n);
	n->at = 0;
	choose(n);
	send_waiting(n);
}

static void
on_deadline(struct deadline *d)
{
	settle((struct udp_name *)((char *)d - offsetof(struct udp_name, d)));
}

static void
on_answer(struct name_query *q, unsigned family, enum answer_status status,
    const struct addr *addrs, size_t count)
{
	struct udp_name *n = (struct udp_name *)((char *)q - offsetof(struct udp_name, q));
	uint8_t most = n->naddrs + UDP_ADDRS_MAX / 2; /* the other family's have room too */

	n->asked &= ~family;
	for (size_t i = 0; status == ANSWER_OK && i < count && n->naddrs < most; i++)
		n->addrs[n->naddrs++] = addr_dial(&addrs[i]);
	if (n->asked == 0)
		settle(n);
	else if (n->naddrs > 0)
		deadline_arm(n->u->s->w->loop, &n->d, RESOLUTION_DELAY_MS);
}

static void
ask(struct udp_name *n)
{
	struct worker *w = n->u->s->w;

	n->naddrs = 0;
	n->asked = LOOKUP_A | LOOKUP_AAAA;
	deadline_arm(w->loop, &n->d, w->policy->img->timeout_connect);
	names_lookup(w->names, &n->q, n->name, n->len, n->asked);
}

void
udp_name_failed(struct udp_name *n, const struct udp_sending *one, int error)
{
	while (error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL ||
	       error == ENETDOWN) {
		if (n->asked != 0 || n->now == NULL || n->at >= n->naddrs)
			break;
		n->u->unreachable |= family_bit(n->now->at.a.family);
		n->at++;
		choose(n);
		if (n->now == NULL)
			break;
		error = udp_send(n->now->out->fd, &n->now->at, one->data, one->len);
		if (error == 0) {
			udp_passed(n->u, UP, 1, one->len);
			return;
		}
	}
	udp_drop(n->u, error == EMSGSIZE ? DROP_SIZE : DROP_SEND);
}

/* --- names --- */

static void
name_free(struct udp_name *n)
{
	struct udp *u = n->u;
	struct udp_waiting *w;

	if (n->asked != 0)
		names_cancel(u->s->w->names, &n->q);
	deadline_disarm(&n->d);
	while ((w = take(n)) != NULL)
		free(w);
	RB_REMOVE(udp_names, &u->names, n);
	u->nnames--;
	free(n);
}

/* Room for one more: one that led nowhere goes. */
static bool
make_room(struct udp *u)
{
	struct udp_name *n;

	if (u->nnames < u->targets_max)
		return true;
	RB_FOREACH(n, udp_names, &u->names)
	{
		if (n->now == NULL && n->asked == 0) {
			name_free(n);
			return true;
		}
	}
	return false;
}

static struct udp_name *
name_new(struct udp *u, const uint8_t *name, size_t len, uint16_t port)
{
	struct udp_name *n = calloc(1, sizeof(*n) + len);

	if (n == NULL)
		return NULL;
	n->u = u;
	n->q.cb = on_answer;
	n->d.cb = on_deadline;
	STAILQ_INIT(&n->waiting);
	n->port = port;
	n->len = (uint8_t)len;
	memcpy(n->name, name, len);
	RB_INSERT(udp_names, &u->names, n);
	u->nnames++;
	return n;
}

/* The name's entry, a new one if the rules could let it pass; else the datagram is dropped. */
static struct udp_name *
entry(struct udp *u, const struct datagram *d, const uint8_t *name, size_t len)
{
	struct udp_name *n = find(u, name, len, d->port);
	struct addrport unknown = { .port = d->port };
	enum drop why = DROP_TARGETS;

	if (n != NULL)
		return n;
	if (udp_rules(u, &unknown, name, len, NULL) == RULES_BLOCK)
		(void)udp_target(u, &unknown, name, len, &why);
	else if (make_room(u) && (n = name_new(u, name, len, d->port)) == NULL)
		why = DROP_QUEUE;
	if (n == NULL)
		udp_drop(u, why);
	return n;
}

/* A name that leaves by an upstream is not looked up. False: it does not. */
static bool
by_upstream(struct udp *u, const struct datagram *d, const uint8_t *name, size_t len)
{
	struct addrport unknown = { .port = d->port };
	struct udp_target *t;
	enum drop why;
	uint32_t rule;

	if (u->leg == NULL || udp_rules(u, &unknown, name, len, &rule) != RULES_PASS ||
	    !rules_via(u->s->w->policy->img, rule))
		return false;
	t = udp_target(u, &unknown, name, len, &why);
	if (t == NULL)
		udp_drop(u, why);
	else
		udp_leg_put(u, &unknown, name, len, d);
	return true;
}

void
udp_to_name(struct udp *u, const struct datagram *d)
{
	struct udp_sending one = { .u = u, .direction = UP, .data = d->data, .len = d->data_len };
	uint8_t name[NAME_MAX_LEN];
	int len = name_normalise(d->name, d->name_len, name);

	if (len <= 0) {
		udp_drop(u, DROP_NAME);
		return;
	}
	if (by_upstream(u, d, name, (size_t)len))
		return;
	struct udp_name *n = entry(u, d, name, (size_t)len);
	if (n == NULL)
		return;
	if (n->asked != 0 || loop_now(u->s->w->loop) >= n->fresh) {
		keep(n, d);
		if (n->asked == 0)
			ask(n);
		return;
	}
	struct udp_target *t =
	    n->now != NULL ? udp_target(u, &n->now->at, name, (size_t)len, &n->why) : NULL;
	if (t == NULL) {
		udp_drop(u, n->why);
		return;
	}
	one.name = n;
	udp_put_target(t, &one);
}

void
udp_names_free(struct udp *u)
{
	struct udp_name *n;

	while ((n = RB_MIN(udp_names, &u->names)) != NULL)
		name_free(n);
}
