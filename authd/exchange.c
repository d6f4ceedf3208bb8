/*
 * The life of an exchange. Trusts neither the worker, which may be an attacker's (what it sends is
 * checked, and it can name only its own exchanges), nor the client, whose rounds wait in their
 * turn.
 */
#include "authd/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "authd/link.h"
#include "common/child.h"
#include "common/wire.h"

#define ANSWER_RETRY 10 /* ms, while the master's socket is full */
#define TURN_ROUNDS  64 /* begun in one turn; between turns channels are read */

static struct {
	struct loop *loop;
	struct chan *master;
	const struct check_role *role;
	struct queue queue;
	uint32_t slots; /* of a worker; the master takes a verdict on any other for a lie of ours */
	struct deadline turn;           /* begins checks and sends answers, once a turn */
	TAILQ_HEAD(, exchange) answers; /* in the order of their marks */
} here;

static void on_turn(struct deadline *d);

void
exchange_init(
    struct loop *l, struct chan *master, const struct check_role *role, const struct msg_init *init)
{
	here.loop = l;
	here.master = master;
	here.role = role;
	here.turn.cb = on_turn;
	TAILQ_INIT(&here.answers);
	queue_init(&here.queue, init->workers);
	here.slots = init->slots;
}

static void
turn_soon(void)
{
	deadline_arm(here.loop, &here.turn, 0);
}

void
exchange_room(void)
{
	turn_soon();
}

/* --- memory --- */

static void
exchange_free(struct exchange *x)
{
	queue_remove(&x->item);
	deadline_disarm(&x->delay);
	if (x->worker != NULL)
		LIST_REMOVE(x, bucket);
	if (x->worker != NULL && x->state == EXCHANGE_ANSWERED)
		TAILQ_REMOVE(&here.answers, x, answer);
	if (here.role->release != NULL && x->state != EXCHANGE_ANSWERED)
		here.role->release(x);
	if (here.role->forget != NULL)
		here.role->forget(x);
	free(x->groups);
	explicit_bzero(x, sizeof(*x));
	free(x);
}

struct exchange *
exchange_find(struct worker *w, uint32_t slot)
{
	struct exchange *x;

	LIST_FOREACH (x, &w->exchanges[slot % EXCHANGE_BUCKETS], bucket) {
		if (x->sid.slot == slot)
			return x;
	}
	return NULL;
}

/* --- the answer --- */

static void
answer(struct exchange *x, enum verdict_code v)
{
	struct msg_verdict m = { 0 };

	queue_remove(&x->item);
	deadline_disarm(&x->delay);
	if (here.role->release != NULL)
		here.role->release(x);
	explicit_bzero(x->password, sizeof(x->password));
	x->verdict = v;
	x->state = EXCHANGE_ANSWERED;

	m.sid = x->sid;
	m.spawn = x->worker->chan.peer_spawn;
	m.verdict = (uint8_t)v;
	m.method = (uint8_t)here.role->method;
	m.user_len = v == VERDICT_ACCEPT ? x->name_len : x->user_len;
	m.level = v == VERDICT_ACCEPT ? x->level : LEVEL_CLEAR;
	m.client = x->client;
	/* It fails only when the master is gone: its channel's end then ends this process. */
	(void)chan_send_tail(here.master, MSG_VERDICT, &m, sizeof(m),
	    v == VERDICT_ACCEPT ? x->name : x->user, m.user_len, -1);
	x->mark = chan_mark(here.master);
	TAILQ_INSERT_TAIL(&here.answers, x, answer);
	turn_soon();
}

static void
result_send(struct exchange *x)
{
	struct msg_auth_result m = { 0 };
	uint8_t tail[USER_MAX + GROUPS_MAX];
	size_t n = 0;

	m.sid = x->sid;
	m.method = (uint8_t)here.role->method;
	if (x->verdict == VERDICT_ACCEPT) {
		if (here.role->accepted != NULL)
			here.role->accepted(x);
		m.accepted = 1;
		m.level = x->level;
		m.user_len = x->name_len;
		m.groups_len = (uint32_t)x->groups_len;
		memcpy(tail, x->name, x->name_len);
		n = x->name_len;
		if (x->groups_len > 0)
			memcpy(tail + n, x->groups, x->groups_len);
		n += x->groups_len;
	}
	/* Where it fails the worker is gone, or does not read: its channel's end follows. */
	(void)chan_send_tail(&x->worker->chan, MSG_AUTH_RESULT, &m, sizeof(m), tail, n, -1);
}

/* Design, "A session, message by message", 1: the worker learns a verdict only after the master's
 * socket holds it, so that the master always finds an accept that a worker relies on. */
static void
answers_send(void)
{
	struct exchange *x;

	chan_flush(here.master);
	link_pause(chan_full(here.master));
	while ((x = TAILQ_FIRST(&here.answers)) != NULL && !here.master->broken &&
	       !here.master->ended && x->mark <= chan_sent(here.master)) {
		result_send(x);
		exchange_free(x);
	}
	if (!TAILQ_EMPTY(&here.answers) && !deadline_armed(&here.turn))
		deadline_arm(here.loop, &here.turn, ANSWER_RETRY);
}

/* --- rounds --- */

void
exchange_done(struct exchange *x, enum verdict_code v)
{
	if (here.role->checked != NULL)
		here.role->checked(x, v);
	if (x->worker == NULL)
		exchange_free(x);
	else
		answer(x, x->aborted ? VERDICT_ABORTED : v);
	turn_soon();
}

void
exchange_refuse(struct exchange *x, enum verdict_code v)
{
	answer(x, v);
}

void
exchange_next(struct exchange *x)
{
	x->state = EXCHANGE_OPEN;
}

/* Begins up to TURN_ROUNDS of those that wait. */
static void
rounds_begin(void)
{
	struct queue_item *i;

	for (unsigned n = 0; n < TURN_ROUNDS; n++) {
		if (!here.role->room() || (i = queue_pop(&here.queue)) == NULL)
			return;
		struct exchange *x =
		    (struct exchange *)((char *)i - offsetof(struct exchange, item));
		x->state = EXCHANGE_OPEN;
		if (here.role->hold != NULL && here.role->hold(x))
			continue;
		x->state = EXCHANGE_RUNNING;
		here.role->begin(x);
	}
	turn_soon();
}

void
exchange_queue(struct exchange *x)
{
	struct queue_item *evicted;
	bool pushed;

	if (here.role->at_once && x->worker->lane.ready + 1 >= QUEUE_LANE_MIN)
		rounds_begin();
	x->state = EXCHANGE_WAITING;
	pushed = queue_push(&here.queue, &x->worker->lane, &x->source, &x->item, &evicted) == 0;
	if (!pushed)
		answer(x, VERDICT_BUSY);
	if (evicted != NULL)
		answer((struct exchange *)((char *)evicted - offsetof(struct exchange, item)),
		    VERDICT_BUSY);
	turn_soon();
}

static void
on_turn(struct deadline *d)
{
	(void)d;
	rounds_begin();
	answers_send();
}

/* --- what a worker asks --- */

bool
exchange_sane(const struct sid *sid, const struct addrport *client)
{
	return sid->gen != 0 && sid->slot < here.slots &&
	       (client->a.family == ADDR_NONE || client->a.family == ADDR_V4 ||
		   client->a.family == ADDR_V6);
}

struct exchange *
exchange_new(struct worker *w, const struct sid *sid, const struct addrport *client)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		child_fail("no memory for an exchange");
	x->worker = w;
	x->sid = *sid;
	x->client = *client;
	x->source = queue_source_of(&client->a);
	x->arrived = loop_now(here.loop);
	LIST_INSERT_HEAD(&w->exchanges[sid->slot % EXCHANGE_BUCKETS], x, bucket);
	return x;
}

bool
exchange_abort(struct worker *w, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_auth_abort a;

	wire_copy(&in, &a, sizeof(a));
	struct exchange *x = exchange_find(w, a.sid.slot);
	if (x == NULL || x->sid.gen != a.sid.gen)
		return true; /* it crossed our answer */
	if (x->aborted)
		return false;
	x->aborted = true;
	if (x->state == EXCHANGE_WAITING || x->state == EXCHANGE_OPEN)
		answer(x, VERDICT_ABORTED);
	return true;
}

void
exchange_worker_begin(struct worker *w)
{
	for (unsigned i = 0; i < EXCHANGE_BUCKETS; i++)
		LIST_INIT(&w->exchanges[i]);
	queue_lane_add(&here.queue, &w->lane);
	if (here.role->worker_begin != NULL)
		here.role->worker_begin(w);
}

void
exchange_worker_end(struct worker *w)
{
	for (unsigned i = 0; i < EXCHANGE_BUCKETS; i++) {
		struct exchange *x;

		while ((x = LIST_FIRST(&w->exchanges[i])) != NULL) {
			if (x->state == EXCHANGE_RUNNING) {
				LIST_REMOVE(x, bucket);
				x->worker = NULL;
			} else {
				exchange_free(x);
			}
		}
	}
	queue_lane_remove(&here.queue, &w->lane);
	if (here.role->worker_end != NULL)
		here.role->worker_end(w);
}
