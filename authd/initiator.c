/*
 * Exchanges with upstreams: each from a worker's UPSTREAM_BEGIN to its one UPSTREAM_RESULT. Trusts
 * the master, and no worker: one that is an attacker's gets this gateway authenticated to the
 * upstreams of the configuration, which it may do anyway, and neither credentials nor anything of
 * another worker's. Nobody waits for long behind another: workers are served in turn.
 */
#include "authd/initiator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "authd/filter.h"
#include "authd/initiation.h"
#include "authd/initiator_parts.h"
#include "authd/keys.h"
#include "authd/pieces.h"
#include "authd/threads.h"
#include "common/child.h"
#include "common/wire.h"

#define BUCKETS 256
#define THREADS 8             /* they may wait for a KDC */
#define STACK   (512u * 1024) /* octets: the Kerberos library and the look-up of names are deep */

enum exchange_state {
	EXCHANGE_QUEUED,  /* a step is to be made */
	EXCHANGE_RUNNING, /* a thread makes it */
	EXCHANGE_WAITING  /* for the upstream's next token */
};

struct exchange {
	LIST_ENTRY(exchange) bucket;
	TAILQ_ENTRY(exchange) queue; /* while EXCHANGE_QUEUED */
	struct job job;
	struct peer *peer; /* NULL: nobody waits for it any more; it ends with its step */
	struct sid sid;
	enum exchange_state state;
	size_t total; /* of the token that comes in pieces; in_len of it are here */
	struct initiation i;
};

/* A worker's channel. */
struct peer {
	struct chan chan;
	LIST_ENTRY(peer) entry;
	TAILQ_HEAD(, exchange) queue;
	LIST_HEAD(, exchange) exchanges[BUCKETS];
};

static struct {
	struct loop *loop;
	struct chan master;
	uint32_t slots;
	LIST_HEAD(peers, peer) peers;
	const struct image *image;
	time_t told; /* when the library's words were last told */
} here;

static struct exchange *
find(struct peer *p, uint32_t slot)
{
	struct exchange *x;

	LIST_FOREACH (x, &p->exchanges[slot % BUCKETS], bucket)
		if (x->sid.slot == slot)
			return x;
	return NULL;
}

/* Takes it from its worker. One that runs is freed at the end of its step. */
static void
leave(struct exchange *x)
{
	LIST_REMOVE(x, bucket);
	if (x->state == EXCHANGE_QUEUED)
		TAILQ_REMOVE(&x->peer->queue, x, queue);
	x->peer = NULL;
	if (x->state == EXCHANGE_RUNNING)
		return;
	initiation_end(&x->i);
	free(x);
}

/* The final answer. */
static void
answer(struct exchange *x, enum verdict_code v)
{
	struct msg_upstream_result r = { .sid = x->sid, .verdict = (uint8_t)v };

	if (v == VERDICT_ACCEPT)
		r.level = x->i.params.level;
	(void)chan_send(&x->peer->chan, MSG_UPSTREAM_RESULT, &r, sizeof(r), -1);
	leave(x);
}

/* What stands in the way is for the operator to know, and no secret; but it could fill a disk. */
static void
tell(const struct initiation *i)
{
	time_t now = time(NULL);

	if (i->why[0] == '\0' || now - here.told < 1)
		return;
	here.told = now;
	fprintf(stderr, "sallyport initiator: %s: %s\n", i->target, i->why);
}

/* --- steps --- */

static struct peer *
next_peer(void)
{
	struct peer *p;

	LIST_FOREACH (p, &here.peers, entry)
		if (!TAILQ_EMPTY(&p->queue))
			return p;
	return NULL;
}

/* The next step of the worker whose turn it is; it is the last to have one again. */
static void
run_queued(void)
{
	struct peer *p, *last;

	while (threads_room() && (p = next_peer()) != NULL) {
		struct exchange *x = TAILQ_FIRST(&p->queue);

		TAILQ_REMOVE(&p->queue, x, queue);
		x->state = EXCHANGE_RUNNING;
		threads_run(&x->job);
		for (last = p; LIST_NEXT(last, entry) != NULL; last = LIST_NEXT(last, entry))
			;
		if (last != p) {
			LIST_REMOVE(p, entry);
			LIST_INSERT_AFTER(last, p, entry);
		}
	}
}

static struct exchange *
exchange_of(struct job *j)
{
	return (struct exchange *)((char *)j - offsetof(struct exchange, job));
}

static void
run(struct job *j)
{
	initiation_step(&exchange_of(j)->i);
}

static void
send_keys(struct exchange *x)
{
	struct msg_auth_keys k = { .sid = x->sid, .lifetime = UINT32_MAX, .params = x->i.params };

	(void)chan_send(&x->peer->chan, MSG_AUTH_KEYS, &k, sizeof(k), -1);
	explicit_bzero(&k, sizeof(k));
}

static void
done(struct job *j)
{
	struct exchange *x = exchange_of(j);
	struct initiation *i = &x->i;

	x->state = EXCHANGE_WAITING;
	free(i->in);
	i->in = NULL;
	i->in_len = x->total = 0;
	tell(i);
	if (x->peer == NULL) {
		initiation_end(i);
		free(x);
	} else if (i->verdict == VERDICT_NONE) {
		if (i->has_context)
			pieces_send(
			    &x->peer->chan, x->sid, TOKEN_CONTEXT, i->context, i->context_len);
		if (i->has_level)
			pieces_send(
			    &x->peer->chan, x->sid, TOKEN_LEVEL, i->wrapped, i->wrapped_len);
		free(i->context);
		free(i->wrapped);
		i->context = i->wrapped = NULL;
	} else {
		if (i->verdict == VERDICT_ACCEPT)
			send_keys(x);
		answer(x, i->verdict);
	}
	run_queued();
}

static void
queue(struct exchange *x)
{
	x->state = EXCHANGE_QUEUED;
	TAILQ_INSERT_TAIL(&x->peer->queue, x, queue);
	run_queued();
}

/* --- what a worker asks --- */

/* Without a thread: the message of RFC 1929 is made. */
static void
begin_password(struct exchange *x, const char *name)
{
	uint8_t message[SOCKS_AUTH_MAX];
	size_t len = credentials_password(name, message);

	if (len == 0) {
		answer(x, VERDICT_FAILED);
		return;
	}
	pieces_send(&x->peer->chan, x->sid, TOKEN_PASSWORD, message, len);
	explicit_bzero(message, sizeof(message));
	answer(x, VERDICT_ACCEPT);
}

static bool
on_begin(struct peer *p, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_upstream_begin b;
	char name[UPSTREAM_NAME_MAX + 1];

	wire_copy(&in, &b, sizeof(b));
	const uint8_t *text = wire_take(&in, b.name_len);
	if (!wire_done(&in) || b.name_len == 0 || b.name_len > UPSTREAM_NAME_MAX ||
	    b.sid.gen == 0 || b.sid.slot >= here.slots || find(p, b.sid.slot) != NULL)
		return false;
	struct exchange *x = calloc(1, sizeof(*x));
	if (x == NULL)
		child_fail("no memory for an exchange");
	x->peer = p;
	x->sid = b.sid;
	x->state = EXCHANGE_WAITING;
	x->i.kind = TOKEN_CONTEXT;
	LIST_INSERT_HEAD(&p->exchanges[b.sid.slot % BUCKETS], x, bucket);
	memcpy(name, text, b.name_len);
	name[b.name_len] = '\0';
	/* A worker may name one that a reload has taken away. */
	const struct image_upstream *up = upstream_named(here.image, name);
	if (up != NULL && up->method == METHOD_PASSWORD)
		begin_password(x, name);
	else if (up != NULL && up->method == METHOD_GSSAPI &&
		 credentials_fill(here.image, up, name, &x->i))
		queue(x);
	else
		answer(x, VERDICT_FAILED);
	return true;
}

/* A piece of the upstream's token: in order, and only while one is waited for. */
static bool
on_token(struct peer *p, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_auth_token t;

	wire_copy(&in, &t, sizeof(t));
	size_t len = wire_left(&in);
	const uint8_t *piece = wire_take(&in, len);
	if (in.bad || t.total > TOKEN_MAX || t.at > t.total || len > t.total - t.at ||
	    (t.kind != TOKEN_CONTEXT && t.kind != TOKEN_LEVEL) || (len == 0 && t.total > 0))
		return false;
	struct exchange *x = find(p, t.sid.slot);
	if (x == NULL || x->sid.gen != t.sid.gen)
		return true; /* it crossed our answer */
	struct initiation *i = &x->i;
	if (x->state != EXCHANGE_WAITING || t.at != i->in_len ||
	    (t.at > 0 && t.total != x->total) || (t.at > 0 && t.kind != i->kind))
		return false;
	if (t.at == 0) {
		free(i->in);
		x->total = t.total;
		i->kind = t.kind;
		if ((i->in = malloc((size_t)t.total + 1)) == NULL)
			child_fail("no memory for a token");
	}
	memcpy(i->in + i->in_len, piece, len);
	i->in_len += len;
	if (i->in_len == x->total)
		queue(x);
	return true;
}

static bool
on_abort(struct peer *p, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_auth_abort a;

	wire_copy(&in, &a, sizeof(a));
	struct exchange *x = find(p, a.sid.slot);
	if (x != NULL && x->sid.gen == a.sid.gen)
		answer(x, VERDICT_ABORTED);
	return true; /* else it crossed our answer */
}

static bool
on_worker(struct chan *c, struct msg *m)
{
	struct peer *p = c->owner;

	switch (m->type) {
	case MSG_UPSTREAM_BEGIN:
		return here.image != NULL && on_begin(p, m);
	case MSG_AUTH_TOKEN:
		return on_token(p, m);
	case MSG_AUTH_ABORT:
		return on_abort(p, m);
	default: /* the table lets a worker send nothing else here */
		return false;
	}
}

static void
on_worker_end(struct chan *c, enum chan_end why)
{
	struct peer *p = c->owner;
	struct msg_peer_fault fault = { .spawn = c->peer_spawn };
	struct exchange *x;

	LIST_REMOVE(p, entry);
	for (unsigned i = 0; i < BUCKETS; i++)
		while ((x = LIST_FIRST(&p->exchanges[i])) != NULL)
			leave(x);
	free(p);
	if (why == CHAN_FAULT)
		(void)chan_send(&here.master, MSG_PEER_FAULT, &fault, sizeof(fault), -1);
}

static bool
worker_add(struct msg *m)
{
	struct msg_peer in;
	struct peer *p;

	memcpy(&in, m->payload, sizeof(in));
	if (in.role != ROLE_WORKER)
		return false;
	LIST_FOREACH (p, &here.peers, entry)
		if (p->chan.peer_spawn == in.spawn)
			return false;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		child_fail("no memory for a worker's channel");
	p->chan.on_msg = on_worker;
	p->chan.on_end = on_worker_end;
	p->chan.owner = p;
	TAILQ_INIT(&p->queue);
	for (unsigned i = 0; i < BUCKETS; i++)
		LIST_INIT(&p->exchanges[i]);
	if (chan_start(&p->chan, here.loop, m->fd, ROLE_INITIATOR, ROLE_WORKER, in.spawn) == -1)
		child_fail("a worker's channel");
	m->fd = -1;
	LIST_INSERT_HEAD(&here.peers, p, entry);
	return true;
}

/* --- the master --- */

static bool
on_keytab(struct msg *m)
{
	struct msg_keytab_ack ack = { 0 };
	struct msg_keytab in;

	memcpy(&in, m->payload, sizeof(in));
	const struct image_upstream *up =
	    here.image != NULL ? image_upstream(here.image, in.index) : NULL;
	if (up == NULL)
		return false;
	ack.index = in.index;
	ack.keys = credentials_load(here.image, up, m->fd, ack.what, sizeof(ack.what));
	close(m->fd);
	m->fd = -1;
	(void)chan_send(&here.master, MSG_KEYTAB_ACK, &ack, sizeof(ack), -1);
	return true;
}

static bool
on_master(struct chan *c, struct msg *m)
{
	switch (m->type) {
	case MSG_POLICY:
		if (!child_policy(c, m, &here.image))
			return false;
		credentials_keep(here.image);
		return true;
	case MSG_PEER:
		return worker_add(m);
	case MSG_KEYTAB:
		return on_keytab(m);
	case MSG_STOP:
		loop_stop(here.loop);
		return true;
	default:
		return false;
	}
}

int
initiator_main(const struct msg_init *init)
{
	struct sandbox sandbox = initiator_sandbox;

	LIST_INIT(&here.peers);
	here.slots = init->slots;
	sandbox.threads = threads_start;
	/* `kerberos config`; the starter's own environment, where there is one, comes first. */
	if (init->directory[0] != '\0' && setenv("KRB5_CONFIG", init->directory, 0) == -1)
		child_fail("its environment");
	if ((here.loop = loop_new()) == NULL)
		child_fail("the event loop");
	if (credentials_init() == -1 || keys_init() == -1)
		child_fail("the Kerberos library");
	if (threads_init(here.loop, THREADS, STACK, run, done) == -1)
		child_fail("the threads");
	child_enter(&sandbox, init);
	child_master(&here.master, here.loop, init, on_master);
	return loop_run(here.loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
