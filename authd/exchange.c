/*
 * The life of an exchange. Trusts neither the worker, which may be an attacker's (what it sends is
 * checked, and it can name only its own exchanges), nor the client, who is slowed and bounded here.
 */
#include "authd/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "authd/link.h"
#include "authd/throttle.h"
#include "common/child.h"
#include "common/wire.h"

#define DELAY_STEP   THROTTLE_FIRST /* ms: delays are multiples, for the loop's deadline queues */
#define ANSWER_RETRY 10             /* ms, while the master's socket is full */

static struct {
	struct loop *loop;
	struct chan *master;
	const struct check_role *role;
	struct throttle *throttle;
	struct queue queue;
	uint32_t slots; /* of a worker; the master takes a verdict on any other for a lie of ours */
	struct deadline turn;           /* begins checks and sends answers, once a turn */
	TAILQ_HEAD(, exchange) answers; /* in the order of their marks */
} here;

static void on_turn(struct deadline *d);

int
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
	here.throttle = throttle_new();
	return here.throttle != NULL ? 0 : -1;
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
	free(x->groups);
	explicit_bzero(x, sizeof(*x));
	free(x);
}

static struct exchange *
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
	explicit_bzero(x->password, sizeof(x->password));
	x->verdict = v;
	x->state = EXCHANGE_ANSWERED;

	m.sid = x->sid;
	m.spawn = x->worker->chan.peer_spawn;
	m.verdict = (uint8_t)v;
	m.method = METHOD_PASSWORD;
	m.user_len = v == VERDICT_ACCEPT ? x->name_len : x->user_len;
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
	m.method = METHOD_PASSWORD;
	if (x->verdict == VERDICT_ACCEPT) {
		m.accepted = 1;
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

void
exchange_done(struct exchange *x, enum verdict_code v)
{
	uint64_t now = loop_now(here.loop);

	switch (v) {
	case VERDICT_ACCEPT:
		throttle_succeeded(here.throttle, &x->source, x->user, x->user_len);
		break;
	case VERDICT_UNKNOWN:
	case VERDICT_WRONG:
	case VERDICT_LOCKED:
	case VERDICT_EXPIRED:
		/* Also where the client did not wait for it, or leaving early would cost nothing.
		 */
		throttle_failed(here.throttle, now, &x->source, x->user, x->user_len);
		break;
	case VERDICT_NONE:
	case VERDICT_BUSY:
	case VERDICT_ABORTED:
	case VERDICT_FAILED:
	case VERDICT_GSSAPI: /* no one guesses keys of Kerberos by trying */
	case VERDICT_REPLAY:
	case VERDICT_SKEW:
	case VERDICT_TICKET:
	case VERDICT_SERVICE:
	case VERDICT_ENCTYPE:
	case VERDICT_LEVEL:
	case VERDICT_NO_NAME:
	case VERDICT_COUNT:
		break;
	}
	if (x->worker == NULL)
		exchange_free(x);
	else
		answer(x, x->aborted ? VERDICT_ABORTED : v);
	turn_soon();
}

/* --- waiting --- */

/* How long the throttle holds x now; no exchange is held for longer than THROTTLE_MAX in all. */
static uint64_t
delay_of(const struct exchange *x)
{
	uint64_t now = loop_now(here.loop), last = x->arrived + THROTTLE_MAX;
	uint64_t ms = throttle_delay(here.throttle, now, &x->source, x->user, x->user_len);

	if (ms > 0 && now + ms > last)
		ms = last > now ? last - now : 0;
	return (ms + DELAY_STEP - 1) / DELAY_STEP * DELAY_STEP;
}

static void
wait_in_queue(struct exchange *x)
{
	struct queue_item *evicted;

	if (queue_push(&here.queue, &x->worker->lane, &x->source, &x->item, &evicted) == -1)
		answer(x, VERDICT_BUSY);
	if (evicted != NULL)
		answer((struct exchange *)((char *)evicted - offsetof(struct exchange, item)),
		    VERDICT_BUSY);
	turn_soon();
}

static void
schedule(struct exchange *x)
{
	uint64_t ms = delay_of(x);

	if (ms == 0)
		wait_in_queue(x);
	else if (queue_hold(&x->worker->lane, &x->source, &x->item) == -1)
		answer(x, VERDICT_BUSY);
	else
		deadline_arm(here.loop, &x->delay, ms);
}

static void
on_delay(struct deadline *d)
{
	struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, delay));

	wait_in_queue(x);
}

static void
on_turn(struct deadline *d)
{
	struct queue_item *i;

	(void)d;
	while (here.role->room() && (i = queue_pop(&here.queue)) != NULL) {
		struct exchange *x =
		    (struct exchange *)((char *)i - offsetof(struct exchange, item));

		/* Tries sent all at once wait for each other's failures too. */
		if (delay_of(x) > 0) {
			schedule(x);
			continue;
		}
		x->state = EXCHANGE_RUNNING;
		here.role->begin(x);
	}
	answers_send();
}

/* --- what a worker asks --- */

static bool
client_sane(const struct addrport *c)
{
	switch (c->a.family) {
	case ADDR_NONE:
	case ADDR_V4:
	case ADDR_V6:
		return true;
	default:
		return false;
	}
}

bool
exchange_ask(struct worker *w, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_auth_password a;

	wire_copy(&in, &a, sizeof(a));
	const uint8_t *user = wire_take(&in, a.user_len);
	const uint8_t *password = wire_take(&in, a.password_len);
	if (!wire_done(&in) || a.user_len == 0 || a.password_len == 0 || a.sid.gen == 0 ||
	    a.sid.slot >= here.slots || !client_sane(&a.client) ||
	    exchange_find(w, a.sid.slot) != NULL)
		return false;

	struct exchange *x = calloc(1, sizeof(*x));
	if (x == NULL)
		child_fail("no memory for an exchange");
	x->worker = w;
	x->sid = a.sid;
	x->client = a.client;
	x->source = queue_source_of(&a.client.a);
	x->arrived = loop_now(here.loop);
	x->delay.cb = on_delay;
	x->user_len = a.user_len;
	x->password_len = a.password_len;
	memcpy(x->user, user, a.user_len);
	memcpy(x->password, password, a.password_len);
	LIST_INSERT_HEAD(&w->exchanges[a.sid.slot % EXCHANGE_BUCKETS], x, bucket);
	schedule(x);
	return true;
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
	if (x->state == EXCHANGE_WAITING)
		answer(x, VERDICT_ABORTED);
	return true;
}

void
exchange_worker_begin(struct worker *w)
{
	for (unsigned i = 0; i < EXCHANGE_BUCKETS; i++)
		LIST_INIT(&w->exchanges[i]);
	queue_lane_add(&here.queue, &w->lane);
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
}
