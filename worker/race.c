/*
 * Happy Eyeballs (RFC 8305). Owns the addresses of one target and the attempts under way. An
 * address that a name gave meets the rules right before its connect(2), and the master is told of
 * each attempt first.
 */
#include "worker/race.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/image.h"
#include "worker/connect.h"
#include "worker/egress.h"
#include "worker/link.h"
#include "worker/names.h"
#include "worker/request.h"
#include "worker/session.h"
#include "worker/upstream.h"
#include "worker/worker.h"

#define RESOLUTION_DELAY_MS 50  /* RFC 8305 section 8 */
#define ATTEMPT_DELAY_MS    250 /* likewise */
#define ATTEMPTS_MAX        16  /* sockets that one session holds at a time while it connects */

enum { FAMILY_V6, FAMILY_V4, FAMILIES }; /* in the order of preference */

struct attempt {
	struct ev ev;
	struct race *race;
	struct addrport target;
	uint32_t rule;
	int fd; /* -1: not in use */
};

struct candidates {
	unsigned next, n; /* of the family's part of `found` */
};

struct race {
	struct session *s;
	struct name_query q;
	unsigned waiting;     /* LOOKUP_ bits of answers to come */
	struct deadline next; /* the resolution delay, then the attempt delay */
	struct candidates family[FAMILIES];
	unsigned turn; /* the family that the next attempt prefers */
	bool started;
	bool name_failed;
	enum reason why; /* the best explanation so far; REASON_NONE: nothing failed yet */
	int error;
	uint32_t rule;              /* the first that blocked an address */
	uint32_t via;               /* the addresses are an upstream's: 1 + its index */
	uint32_t judged;            /* what passes each of them; RULE_NONE: the rules are asked */
	uint16_t port;              /* an upstream's, or that which was asked for */
	const struct attempt *told; /* that which the master was told of last */
	unsigned under_way;
	unsigned used;      /* attempts[] that have been in use */
	unsigned most;      /* addresses of a family */
	struct addr *found; /* FAMILIES times `most`, behind the attempts */
	struct attempt attempts[];
};

/* Of several failures the one that says most about the target is told. */
static unsigned
rank(enum reason why)
{
	static const enum reason order[] = { REASON_RULES, REASON_EGRESS, REASON_GENERAL,
		REASON_NET_UNREACHABLE, REASON_HOST_UNREACHABLE, REASON_CONNECT, REASON_REFUSED };
	unsigned i = sizeof(order) / sizeof(order[0]);

	while (i > 0 && order[i - 1] != why)
		i--;
	return i;
}

static void
note(struct race *r, enum reason why, int error)
{
	if (rank(why) <= rank(r->why))
		return;
	r->why = why;
	r->error = error;
}

/* --- attempts --- */

static void
attempt_end(struct attempt *a)
{
	ev_close(a->race->s->w->loop, &a->ev, a->fd);
	a->fd = -1;
	a->race->under_way--;
}

void
race_free(struct session *s)
{
	struct race *r = s->hs->race;

	if (r == NULL)
		return;
	s->hs->race = NULL;
	deadline_disarm(&r->next);
	if (r->waiting != 0)
		names_cancel(s->w->names, &r->q);
	for (unsigned i = 0; i < r->used; i++)
		if (r->attempts[i].fd != -1)
			attempt_end(&r->attempts[i]);
	free(r);
}

/* The master records the attempt that it was told of last. */
static void
tell(struct attempt *a)
{
	struct race *r = a->race;

	r->told = a;
	link_attempt(r->s, a->rule, &a->target, r->via);
}

/* The first to connect; the others are closed. */
static void
won(struct attempt *a)
{
	struct race *r = a->race;
	struct session *s = r->s;
	int fd = a->fd;

	if (r->told != a)
		tell(a);
	a->fd = -1;
	r->under_way--;
	if (r->via != 0) {
		struct addrport at = a->target;

		ev_del(s->w->loop, &a->ev);
		race_free(s);
		upstream_connected(s, fd, &at);
		return;
	}
	s->fd[TARGET] = fd;
	s->hs->target = a->target;
	s->hs->rule = a->rule;
	/* What it sends is not read before the grant, but remembered. */
	if (a->ev.fd != -1 && ev_move(s->w->loop, &a->ev, &s->ev[TARGET], 0) == -1)
		abort(); /* it costs no system call that could fail */
	race_free(s);
	if (addr_local(fd, &s->hs->outgoing) == -1)
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
	else
		request_connected(s);
}

/* Nothing is left to try or to wait for. */
static void
lost(struct race *r)
{
	enum reason why = r->why;

	if (why == REASON_NONE)
		why = r->name_failed ? REASON_NAME_FAILED : REASON_NO_NAME;
	if (r->via != 0)
		upstream_unreachable(r->s, why, r->error);
	else
		session_fail(r->s, why, r->error, why == REASON_RULES ? r->rule : RULE_NONE);
}

static void race_next(struct race *r);

static void
on_attempt(struct ev *e, uint32_t events)
{
	struct attempt *a = (struct attempt *)((char *)e - offsetof(struct attempt, ev));
	struct race *r = a->race;
	socklen_t len = sizeof(int);
	int error = 0;

	/* Nothing but room to write: it is connected. */
	if ((events & (EPOLLERR | EPOLLHUP)) != 0 &&
	    getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
		error = errno;
	if (error == 0) {
		won(a);
		return;
	}
	attempt_end(a);
	note(r, connect_reason(error), error);
	race_next(r);
}

/* Attempts that there is room for, where a family has `most` addresses. */
static unsigned
attempts_of(unsigned most)
{
	return most < ATTEMPTS_MAX ? most : ATTEMPTS_MAX;
}

static struct attempt *
attempt_unused(struct race *r)
{
	struct attempt *a = r->attempts;

	for (; a < r->attempts + r->used; a++)
		if (a->fd == -1)
			return a;
	if (r->used == attempts_of(r->most))
		return NULL;
	r->used++;
	*a = (struct attempt){ .race = r, .fd = -1, .ev.fd = -1 };
	return a;
}

/* Tries an address that the rules let pass. 0: under way or connected; -1 with errno and *why. */
static int
attempt_start(struct attempt *a, int *under_way, enum reason *why)
{
	struct race *r = a->race;
	const struct handshake *hs = r->s->hs;
	const struct image *img = hs->policy->img;
	int fd = egress_socket(r->s->w, img, rules_rule(img, a->rule), &hs->client.a,
	    a->target.a.family, SOCK_STREAM, why);

	if (fd == -1)
		return -1;
	session_open(r->s);
	tell(a);
	if (connect_start(fd, &a->target, under_way) == -1) {
		*why = connect_reason(errno);
		goto fail;
	}
	*why = REASON_GENERAL;
	a->ev = (struct ev){ .fd = -1, .cb = on_attempt };
	if (*under_way && ev_add(r->s->w->loop, &a->ev, fd, EPOLLOUT | EPOLLET) == -1)
		goto fail;
	a->fd = fd;
	r->under_way++;
	return 0;
fail:
	fd_drop(fd);
	return -1;
}

/* The next address, families in turn (RFC 8305 section 4). */
static bool
pop(struct race *r, struct addr *out)
{
	for (unsigned i = 0; i < FAMILIES; i++) {
		unsigned family = (r->turn + i) % FAMILIES;
		struct candidates *c = &r->family[family];

		if (c->next < c->n) {
			*out = r->found[family * r->most + c->next++];
			r->turn = (family + 1) % FAMILIES;
			return true;
		}
	}
	return false;
}

/* Takes back the last pop. */
static void
unpop(struct race *r)
{
	r->turn = (r->turn + FAMILIES - 1) % FAMILIES;
	r->family[r->turn].next--;
}

/* The second pass: the rules on the very address that is to be connected to. One that was asked for
 * has met them, and an upstream's is the operator's choice. A name that was looked up does not
 * leave by an upstream after all. */
static bool
passes(struct race *r, struct addrport *target, uint32_t *rule)
{
	uint32_t decided;

	target->a = addr_dial(&target->a);
	if (r->judged != RULE_NONE) {
		*rule = r->judged;
		return true;
	}
	if (request_rules(r->s, &target->a, &decided) == RULES_PASS &&
	    !rules_via(r->s->hs->policy->img, decided)) {
		*rule = decided;
		return true;
	}
	if (r->why == REASON_NONE)
		r->rule = decided;
	note(r, REASON_RULES, 0);
	return false;
}

/* Starts the next attempt; those that fail at once are passed over. r may be gone afterwards. */
static void
race_next(struct race *r)
{
	struct attempt *a;
	struct addr addr;

	r->started = true;
	deadline_disarm(&r->next);
	while ((a = attempt_unused(r)) != NULL && pop(r, &addr)) {
		enum reason why;
		int under_way;

		a->target = (struct addrport){ .a = addr, .port = r->port };
		if (!passes(r, &a->target, &a->rule))
			continue;
		if (attempt_start(a, &under_way, &why) == -1) {
			if (errno == EAGAIN) { /* the master makes one: the address is next again */
				unpop(r);
				deadline_arm(r->s->w->loop, &r->next, EGRESS_WAIT_MS);
				return;
			}
			note(r, why, errno);
			continue;
		}
		if (!under_way)
			won(a);
		else
			deadline_arm(r->s->w->loop, &r->next, ATTEMPT_DELAY_MS);
		return;
	}
	if (r->under_way == 0 && r->waiting == 0)
		lost(r);
}

static void
on_next(struct deadline *d)
{
	race_next((struct race *)((char *)d - offsetof(struct race, next)));
}

/* --- addresses --- */

static void
add(struct race *r, const struct addr *a)
{
	unsigned family = a->family == ADDR_V6 ? FAMILY_V6 : FAMILY_V4;
	struct candidates *c = &r->family[family];

	if (a->family != ADDR_NONE && c->n < r->most)
		r->found[family * r->most + c->n++] = *a;
}

/* RFC 8305 section 3: AAAA starts at once; A waits a little for AAAA. */
static void
on_answer(struct name_query *q, unsigned family, enum answer_status status,
    const struct addr *addrs, size_t n)
{
	struct race *r = (struct race *)((char *)q - offsetof(struct race, q));

	r->waiting &= ~family;
	if (status == ANSWER_FAILED)
		r->name_failed = true;
	for (size_t i = 0; status == ANSWER_OK && i < n; i++)
		add(r, &addrs[i]);
	if (r->started) {
		/* Those under way keep their time; with none to wait for, go on. */
		if (!deadline_armed(&r->next))
			race_next(r);
	} else if (r->waiting == 0 || (family == LOOKUP_AAAA && n > 0)) {
		race_next(r);
	} else if (n > 0) {
		deadline_arm(r->s->w->loop, &r->next, RESOLUTION_DELAY_MS);
	}
}

/* Of `most` addresses of each family. */
static struct race *
race_new(struct session *s, unsigned most)
{
	unsigned room = attempts_of(most);
	struct race *r = malloc(
	    sizeof(*r) + room * sizeof(r->attempts[0]) + FAMILIES * most * sizeof(r->found[0]));

	if (r == NULL) {
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
		return NULL;
	}
	memset(r, 0, sizeof(*r));
	r->s = s;
	r->most = most;
	r->found = (struct addr *)(r->attempts + room);
	r->port = s->hs->asked.port;
	r->rule = r->judged = RULE_NONE;
	r->q.cb = on_answer;
	r->next.cb = on_next;
	s->hs->race = r;
	return r;
}

void
race_address(struct session *s, const struct addr *a, uint32_t rule)
{
	struct race *r = race_new(s, 1);

	if (r == NULL)
		return;
	r->judged = rule;
	add(r, a);
	race_next(r);
}

void
race_name(struct session *s)
{
	struct race *r = race_new(s, ANSWER_ADDRS);

	if (r == NULL)
		return;
	r->waiting = LOOKUP_A | LOOKUP_AAAA;
	names_lookup(s->w->names, &r->q, s->hs->norm, s->hs->norm_len, r->waiting);
}

void
race_upstream(struct session *s, uint32_t rule, uint32_t index)
{
	const struct image *img = s->hs->policy->img;
	const struct image_upstream *u = image_upstream(img, index);
	struct race *r = race_new(s, u->addr.family != ADDR_NONE ? 1 : ANSWER_ADDRS);

	if (r == NULL)
		return;
	r->via = index + 1;
	r->judged = rule;
	r->port = u->port;
	if (u->addr.family != ADDR_NONE) {
		add(r, &u->addr);
		race_next(r);
		return;
	}
	r->waiting = LOOKUP_A | LOOKUP_AAAA;
	names_lookup(s->w->names, &r->q, image_octets(img, u->host), u->host.len, r->waiting);
}

void
race_timeout(struct session *s)
{
	struct race *r = s->hs->race;

	if (r == NULL) /* connected, but the master has not answered */
		session_fail(s, REASON_GENERAL, ETIMEDOUT, RULE_NONE);
	else if (r->under_way == 0 && r->why == REASON_NONE)
		session_fail(
		    s, r->waiting != 0 ? REASON_NAME_FAILED : REASON_EGRESS, ETIMEDOUT, RULE_NONE);
	else
		session_fail(s, REASON_CONNECT, ETIMEDOUT, RULE_NONE);
}
