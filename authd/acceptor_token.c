/*
 * The pieces of a client's tokens, put together again. Trusts no worker: what cannot be, by the
 * order of its messages and the state of the exchange, is refused. What a client sends costs memory
 * only within authd/holding.h's bounds, and each whole token waits for its turn in the fair queue.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "authd/acceptor.h"
#include "common/child.h"
#include "common/wire.h"

/* What an exchange holds besides its token, GSSAPI's context among it, rounded up. */
#define EXCHANGE_OCTETS 4096

/* A worker's, in worker->role. */
struct lane {
	struct holdings holdings;
	/* By slot, the generation of its last exchange (0: none yet): pieces that crossed its
	 * AUTH_RESULT must not begin it again. */
	uint32_t gen[];
};

static uint32_t slots;

void
acceptor_token_init(const struct msg_init *init)
{
	slots = init->slots;
}

void
acceptor_worker_begin(struct worker *w)
{
	struct lane *l = calloc(1, sizeof(*l) + slots * sizeof(l->gen[0]));

	if (l == NULL)
		child_fail("no memory for a worker");
	holding_init(&l->holdings);
	w->role = l;
}

void
acceptor_worker_end(struct worker *w)
{
	free(w->role);
	w->role = NULL;
}

static struct holdings *
holdings_of(struct exchange *x)
{
	struct lane *l = x->worker->role;

	return &l->holdings;
}

void
acceptor_token_drop(struct exchange *x)
{
	struct acceptor *a = x->check;

	free(a->token);
	a->token = NULL;
	a->total = a->at = 0;
	holding_cut(holdings_of(x), &a->holding, EXCHANGE_OCTETS);
}

void
acceptor_holding_drop(struct exchange *x)
{
	struct acceptor *a = x->check;

	free(a->token);
	a->token = NULL;
	holding_cut(holdings_of(x), &a->holding, 0);
}

/* Room for so much more. False: x is answered. */
static bool
hold(struct exchange *x, size_t octets)
{
	struct acceptor *a = x->check;
	struct holding *victim;

	while (!holding_add(holdings_of(x), &x->source, &a->holding, octets, &victim)) {
		struct acceptor *other =
		    (struct acceptor *)((char *)victim - offsetof(struct acceptor, holding));

		if (other == a) {
			exchange_refuse(x, VERDICT_BUSY);
			return false;
		}
		exchange_refuse(other->owner, VERDICT_BUSY);
	}
	return true;
}

/* Sound by itself: what no worker of ours sends is none. */
static bool
piece_sound(const struct msg_auth_token *t, size_t len)
{
	return exchange_sane(&t->sid, &t->client) && t->total <= TOKEN_MAX && t->at <= t->total &&
	       len <= t->total - t->at && (len > 0) == (t->total > 0) &&
	       (t->kind == TOKEN_CONTEXT || t->kind == TOKEN_LEVEL);
}

/* May it be x's next? */
static bool
piece_fits(const struct exchange *x, const struct msg_auth_token *t)
{
	const struct acceptor *a = x->check;

	if (x->state != EXCHANGE_OPEN || t->at != a->at)
		return false;
	if (t->at > 0)
		return t->total == a->total && t->kind == a->kind;
	return t->kind == (a->complete ? TOKEN_LEVEL : TOKEN_CONTEXT);
}

static void
piece_take(struct exchange *x, const struct msg_auth_token *t, const uint8_t *data, size_t len)
{
	struct acceptor *a = x->check;

	if (len > 0) {
		if (!hold(x, len))
			return;
		uint8_t *token = realloc(a->token, a->at + len);
		if (token == NULL)
			child_fail("no memory for a token");
		a->token = token;
		memcpy(token + a->at, data, len);
	}
	a->at += (uint32_t)len;
	a->total = t->total;
	a->kind = t->kind;
	if (a->at < a->total)
		return;
	if (++a->rounds > ACCEPTOR_ROUNDS)
		exchange_refuse(x, VERDICT_GSSAPI);
	else
		exchange_queue(x);
}

/* The first piece of a session's first token. NULL: x has been answered, there is no room. */
static struct exchange *
begin(struct worker *w, const struct msg_auth_token *t)
{
	struct exchange *x = exchange_new(w, &t->sid, &t->client);
	struct acceptor *a = calloc(1, sizeof(*a));

	if (a == NULL)
		child_fail("no memory for an exchange");
	a->owner = x;
	a->context = GSS_C_NO_CONTEXT;
	x->check = a;
	return hold(x, EXCHANGE_OCTETS) ? x : NULL;
}

bool
acceptor_piece(struct worker *w, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct lane *l = w->role;
	struct msg_auth_token t;

	wire_copy(&in, &t, sizeof(t));
	size_t len = wire_left(&in);
	const uint8_t *data = wire_take(&in, len);
	if (in.bad || !piece_sound(&t, len))
		return false;

	struct exchange *x = exchange_find(w, t.sid.slot);
	if (x != NULL) {
		if (x->sid.gen != t.sid.gen || x->aborted)
			return false;
		if (x->state == EXCHANGE_ANSWERED)
			return true; /* it crossed our answer */
		if (!piece_fits(x, &t))
			return false;
	} else {
		if (t.sid.gen == l->gen[t.sid.slot])
			return true; /* likewise */
		if (t.at > 0 || t.kind != TOKEN_CONTEXT)
			return false;
		l->gen[t.sid.slot] = t.sid.gen;
		if ((x = begin(w, &t)) == NULL)
			return true;
	}
	piece_take(x, &t, data, len);
	return true;
}
