/*
 * Everything that may be asked of the master: one switch over the messages of its children. The
 * message table has been checked already (common/msg.h); here is what each may say, and when.
 * False: no honest child sends this; it is killed.
 */
#include <string.h>
#include <unistd.h>

#include "master/credentials.h"
#include "master/gateway.h"
#include "master/marks.h"
#include "master/session_record.h"
#include "master/twins.h"

static bool
ready(struct gateway *g, struct child *c, const struct msg_ready *r)
{
	if (c->ready || (r->lacking >> LAYER_COUNT) != 0)
		return false;
	c->ready = true;
	c->lacking = r->lacking;
	g->lacking |= r->lacking;
	gateway_check_started(g);
	return true;
}

/* The child ends by itself after this. */
static bool
failed(struct child *c, const struct msg_failed *f)
{
	const char *why = f->error != 0 ? strerror(f->error) : "no reason given";
	int len = (int)strnlen(f->what, sizeof(f->what));

	if (f->layer < LAYER_COUNT)
		child_kill(c,
		    "cannot enter the required sandbox layer %s: %s (`sandbox %s try` would go on "
		    "without it)",
		    layer_name((enum layer)f->layer), why, layer_name((enum layer)f->layer));
	else
		child_kill(c, "failed: %.*s: %s", len, f->what, why);
	return true;
}

static void
oldest(struct child *c, void *arg)
{
	uint32_t *version = arg;

	if (c->acked < *version)
		*version = c->acked;
}

static bool
policy_ack(struct gateway *g, struct child *c, const struct msg_policy_ack *a)
{
	uint32_t version = policies_version(g->policies);

	if (a->version <= c->acked || a->version > version)
		return false;
	c->acked = a->version;
	children_each(g->children, ROLE_WORKER, oldest, &version);
	policies_trim(g->policies, version);
	gateway_check_started(g);
	return true;
}

/* One side of a channel between a worker and a service says that the other broke the rules. */
static bool
peer_fault(struct gateway *g, struct child *c, const struct msg_peer_fault *p)
{
	struct child *peer = children_by_spawn(g->children, p->spawn);

	if (peer == NULL)
		return true; /* it has ended meanwhile */
	if ((c->role == ROLE_WORKER) == (peer->role == ROLE_WORKER))
		return false; /* no channel joins these two */
	child_kill(peer, "broke the rules towards %s %u", role_name(c->role), c->spawn);
	return true;
}

/* A role says of the file it was handed that it is in force, or what is wrong with it. */
static bool
handed_ack(
    struct gateway *g, struct child *c, enum handed h, uint32_t line, const char *what, size_t size)
{
	const char *file = handed_path(g->conf, h);
	int len = (int)strnlen(what, size);
	char at[16] = "";

	if (c->handed == 0)
		return false; /* each is acknowledged once: it costs a notice */
	c->handed--;
	if (line == 0 && len == 0) {
		c->loaded = true;
		gateway_check_started(g);
		return true;
	}
	if (line > 0)
		snprintf(at, sizeof(at), ":%u", line);
	if (g->phase == PHASE_STARTING) {
		fprintf(stderr, "sallyportd: cannot start: %s %s%s: %.*s\n", handed_name(h),
		    file != NULL ? file : "-", at, len, what);
		gateway_stop(g, 1);
		return true;
	}
	gateway_notice(g, "%s %s%s: %.*s; what was loaded before stays in force", handed_name(h),
	    file != NULL ? file : "-", at, len, what);
	return true;
}

static bool
users_ack(struct gateway *g, struct child *c, const struct msg_users_ack *a)
{
	return handed_ack(g, c, HANDED_USERS, a->line, a->what, sizeof(a->what));
}

static bool
keytab_ack(struct gateway *g, struct child *c, const struct msg_keytab_ack *a)
{
	if (c->role == ROLE_INITIATOR)
		return credentials_ack(g, a);
	if (c->role != ROLE_ACCEPTOR || a->index != 0)
		return false;
	if (a->what[0] == '\0' && a->keys == 0)
		return handed_ack(
		    g, c, HANDED_KEYTAB, 0, "no key is in it", sizeof("no key is in it"));
	return handed_ack(g, c, HANDED_KEYTAB, 0, a->what, sizeof(a->what));
}

static bool
early(struct gateway *g, const struct child *c, const struct msg_early *e)
{
	if (e->reason == REASON_NONE || e->reason >= REASON_COUNT ||
	    e->client.a.family == ADDR_NONE)
		return false;
	early_note(g->early, e, c->spawn);
	return true;
}

static bool
verdict(struct gateway *g, struct child *authd, const struct msg *m)
{
	const struct msg_verdict *v = m->payload;
	struct child *w = children_by_spawn(g->children, v->spawn);

	if (w != NULL && w->role != ROLE_WORKER)
		return false;
	return sessions_verdict(g->sessions, authd, w, m);
}

/* What a worker says of a session. */
static bool
of_session(struct sessions *s, struct child *c, struct msg *m)
{
	switch (m->type) {
	case MSG_OPEN:
		return sessions_open(s, c, m);
	case MSG_ATTEMPT:
		return sessions_attempt(s, c, m);
	case MSG_CONNECTED:
		return sessions_connected(s, c, m);
	case MSG_CLOSE:
		return sessions_close(s, c, m);
	case MSG_LISTEN:
		return sessions_listen(s, c, m);
	case MSG_STRANGER:
		return sessions_stranger(s, c, m);
	case MSG_ASSOCIATE:
		return sessions_associate(s, c, m);
	case MSG_TARGET:
		return sessions_target(s, c, m);
	default: /* not asked about others */
		return false;
	}
}

static bool
handle(struct gateway *g, struct child *c, struct msg *m)
{
	switch (m->type) {
	case MSG_READY:
		return ready(g, c, m->payload);
	case MSG_FAILED:
		return failed(c, m->payload);
	case MSG_POLICY_ACK:
		return policy_ack(g, c, m->payload);
	case MSG_PEER_FAULT:
		return peer_fault(g, c, m->payload);
	case MSG_USERS_ACK:
		return users_ack(g, c, m->payload);
	case MSG_KEYTAB_ACK:
		return keytab_ack(g, c, m->payload);
	case MSG_VERDICT:
		return verdict(g, c, m);
	case MSG_EARLY:
		return early(g, c, m->payload);
	case MSG_MARK:
		return marks_make(g->conf, c, m->payload);
	case MSG_BESIDE:
		return twins_beside(c, m);
	case MSG_TWIN:
		return twins_make(c, m);
	case MSG_OPEN:
	case MSG_ATTEMPT:
	case MSG_CONNECTED:
	case MSG_CLOSE:
	case MSG_LISTEN:
	case MSG_STRANGER:
	case MSG_ASSOCIATE:
	case MSG_TARGET:
		return of_session(g->sessions, c, m);
	case MSG_INIT:
	case MSG_POLICY:
	case MSG_PEER:
	case MSG_COUNTS:
	case MSG_LISTENER:
	case MSG_UNLISTEN:
	case MSG_STOP:
	case MSG_USERS:
	case MSG_LISTENING:
	case MSG_MARKED:
	case MSG_TWINNED:
	case MSG_GRANT:
	case MSG_REFUSE:
	case MSG_AUTH_PASSWORD:
	case MSG_AUTH_ABORT:
	case MSG_AUTH_RESULT:
	case MSG_AUTH_TOKEN:
	case MSG_AUTH_REPLY:
	case MSG_AUTH_KEYS:
	case MSG_KEYTAB:
	case MSG_UPSTREAM_BEGIN:
	case MSG_UPSTREAM_RESULT:
	case MSG_LOOKUP:
	case MSG_ANSWER:
	case MSG_COUNT:
		break; /* not a child's to send to the master */
	}
	return false;
}

bool
requests_handle(struct gateway *g, struct child *c, struct msg *m)
{
	if (!c->ready && m->type != MSG_READY && m->type != MSG_FAILED)
		return false;
	if (m->type != MSG_TWIN)
		twins_forget(c);
	return handle(g, c, m);
}
