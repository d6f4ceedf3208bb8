/*
 * The channel to the master: the one switch of what may be asked of a worker, and the typed
 * messages that it sends. The master is trusted, so a message from it that cannot be is fatal
 * (false).
 */
#include "worker/link.h"

#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "common/wire.h"
#include "worker/accept.h"
#include "worker/auth.h"
#include "worker/bind.h"
#include "worker/egress.h"
#include "worker/handshake.h"
#include "worker/request.h"
#include "worker/session.h"
#include "worker/udp.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

/* How long the last messages may take to leave after STOP. */
#define STOP_TICK_MS 10
#define STOP_TICKS   500

/* --- policy images --- */

struct policy *
link_policy_hold(struct worker *w)
{
	w->policy->refs++;
	return w->policy;
}

/*
 * Frees the images that nothing uses. Once those before the oldest that is left are gone, no
 * message will name them: that is what the acknowledgement says.
 */
static void
policy_sweep(struct worker *w)
{
	struct policy *oldest = STAILQ_FIRST(&w->policies), *p;

	while ((p = STAILQ_FIRST(&w->policies)) != w->policy && p->refs == 0) {
		STAILQ_REMOVE_HEAD(&w->policies, entry);
		image_unmap(p->img);
		free(p);
	}
	if (p == oldest)
		return;
	struct msg_policy_ack ack = { .version = p->img->version };
	(void)chan_send(&w->master, MSG_POLICY_ACK, &ack, sizeof(ack), -1);
}

void
link_policy_release(struct worker *w, struct policy *p)
{
	if (p == NULL)
		return;
	p->refs--;
	policy_sweep(w);
}

static bool
on_policy(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_policy in;
	struct policy *p;

	wire_copy(&c, &in, sizeof(in));
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return false;
	p->img = image_map(m->fd, in.size);
	if (p->img == NULL || p->img->version != in.version ||
	    (w->policy != NULL && in.version <= w->policy->img->version)) {
		image_unmap(p->img);
		free(p);
		return false;
	}
	p->open_methods = rules_open_methods(p->img);
	bool first = w->policy == NULL;
	STAILQ_INSERT_TAIL(&w->policies, p, entry);
	w->policy = p;
	names_image(w->names, p->img);
	egress_policy(w);
	if (first) {
		struct msg_policy_ack ack = { .version = in.version };
		(void)chan_send(&w->master, MSG_POLICY_ACK, &ack, sizeof(ack), -1);
	} else {
		policy_sweep(w);
	}
	accept_update(w);
	return true;
}

/* --- the other things a master may say --- */

static bool
on_counts(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_counts in;

	wire_copy(&c, &in, sizeof(in));
	if (w->counts != NULL || in.slots != w->nslots)
		return false;
	w->counts = counts_map(m->fd, in.slots, 1);
	accept_update(w);
	return w->counts != NULL;
}

static bool
on_peer(struct worker *w, struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_peer in;
	int fd = m->fd;

	wire_copy(&c, &in, sizeof(in));
	m->fd = -1;
	switch (in.role) {
	case ROLE_RESOLVER:
		return names_resolver(w->names, fd, in.spawn) == 0;
	case ROLE_PASSWORD:
	case ROLE_PAM:
	case ROLE_ACCEPTOR:
		return auth_peer(w, fd, (enum role)in.role, in.spawn) == 0;
	case ROLE_INITIATOR:
		return upstream_peer(w, fd, in.spawn) == 0;
	default:
		m->fd = fd;
		return false;
	}
}

static bool
on_listener(struct worker *w, struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_listener in;
	int fd = m->fd;

	wire_copy(&c, &in, sizeof(in));
	if (w->policy == NULL || w->counts == NULL)
		return false;
	m->fd = -1;
	return accept_listen(w, fd, in.index) == 0;
}

static bool
on_unlisten(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_unlisten in;

	wire_copy(&c, &in, sizeof(in));
	accept_unlisten(w, in.index);
	return true;
}

/* An answer to `open`; one for a session that has ended meanwhile is dropped. */
static bool
on_grant(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_grant in;
	bool sane;

	wire_copy(&c, &in, sizeof(in));
	struct session *s = session_find(w, in.sid, &sane);
	if (s != NULL && s->opened && !s->closed)
		request_granted(s);
	return sane;
}

/* BIND's listener, which is the grant too; it is closed where its session has ended meanwhile. */
static bool
on_listening(struct worker *w, struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_listening in;
	bool sane;

	wire_copy(&c, &in, sizeof(in));
	struct session *s = session_find(w, in.sid, &sane);
	if (s == NULL || s->state != SESSION_CONNECT || s->hs->bind == NULL)
		return sane;
	int fd = m->fd;
	m->fd = -1;
	bind_listening(s, fd, &in.bound, &in.advertised);
	return true;
}

static bool
on_refuse(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_refuse in;
	bool sane;

	wire_copy(&c, &in, sizeof(in));
	struct session *s = session_find(w, in.sid, &sane);
	if (in.reason >= REASON_COUNT)
		return false;
	if (s != NULL && s->state == SESSION_CONNECT && s->opened)
		session_fail(s, (enum reason)in.reason, 0, RULE_NONE);
	else if (s != NULL && s->state == SESSION_UDP) /* the trail takes no more targets */
		session_hang_up(s, (enum reason)in.reason, 0);
	return sane;
}

/* Waits, bounded, until the closing records have left. */
static void
on_stop_tick(struct deadline *d)
{
	struct worker *w = (struct worker *)((char *)d - offsetof(struct worker, stop));

	chan_flush(&w->master);
	if (chan_sent(&w->master) >= chan_mark(&w->master) || ++w->stop_ticks >= STOP_TICKS)
		loop_stop(w->loop);
	else
		deadline_arm(w->loop, d, STOP_TICK_MS);
}

static bool
on_stop(struct worker *w)
{
	if (w->stopping)
		return false;
	w->stopping = true;
	accept_stop(w);
	for (uint32_t i = 0; i < w->touched; i++) {
		struct session *s = &w->slots[i];
		if (s->state != SESSION_FREE && s->state != SESSION_ABORTED)
			session_close(s, REASON_SHUTDOWN, 0);
	}
	w->stop = (struct deadline){ .cb = on_stop_tick };
	deadline_arm(w->loop, &w->stop, 0);
	return true;
}

/* The master's answers. */
static bool
of_session(struct worker *w, struct msg *m)
{
	switch (m->type) {
	case MSG_GRANT:
		return on_grant(w, m);
	case MSG_REFUSE:
		return on_refuse(w, m);
	case MSG_LISTENING:
		return on_listening(w, m);
	case MSG_TWINNED:
		return udp_twinned(w, m);
	default: /* not asked about others */
		return false;
	}
}

bool
link_on_msg(struct chan *c, struct msg *m)
{
	struct worker *w = c->owner;

	switch (m->type) {
	case MSG_POLICY:
		return on_policy(w, m);
	case MSG_PEER:
		return on_peer(w, m);
	case MSG_COUNTS:
		return on_counts(w, m);
	case MSG_LISTENER:
		return on_listener(w, m);
	case MSG_UNLISTEN:
		return on_unlisten(w, m);
	case MSG_STOP:
		return on_stop(w);
	case MSG_MARKED:
		return egress_marked(w, m);
	case MSG_GRANT:
	case MSG_REFUSE:
	case MSG_LISTENING:
	case MSG_TWINNED:
		return of_session(w, m);
	case MSG_INIT:
	case MSG_READY:
	case MSG_FAILED:
	case MSG_POLICY_ACK:
	case MSG_PEER_FAULT:
	case MSG_USERS:
	case MSG_USERS_ACK:
	case MSG_OPEN:
	case MSG_ATTEMPT:
	case MSG_MARK:
	case MSG_BESIDE:
	case MSG_TWIN:
	case MSG_CONNECTED:
	case MSG_CLOSE:
	case MSG_EARLY:
	case MSG_AUTH_PASSWORD:
	case MSG_AUTH_ABORT:
	case MSG_AUTH_RESULT:
	case MSG_AUTH_TOKEN:
	case MSG_AUTH_REPLY:
	case MSG_AUTH_KEYS:
	case MSG_KEYTAB:
	case MSG_KEYTAB_ACK:
	case MSG_UPSTREAM_BEGIN:
	case MSG_UPSTREAM_RESULT:
	case MSG_VERDICT:
	case MSG_LISTEN:
	case MSG_STRANGER:
	case MSG_ASSOCIATE:
	case MSG_TARGET:
	case MSG_LOOKUP:
	case MSG_ANSWER:
	case MSG_COUNT:
		break;
	}
	return false;
}

void
link_on_room(struct chan *c)
{
	struct worker *w = c->owner;

	handshake_resume(w);
	accept_update(w);
}

/* --- what a worker says; a channel that cannot take it ends the process --- */

void
link_open(struct session *s)
{
	const struct handshake *hs = s->hs;
	struct counts *n = &s->w->counts[session_sid(s).slot];
	uint8_t tail[USER_MAX + NAME_MAX_LEN + CLAIM_MAX], *end = tail;
	struct msg_open m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = hs->policy->img->version;
	m.method = hs->method;
	m.command = hs->command;
	m.command_raw = hs->command_raw;
	m.user_len = hs->user_len;
	m.client = hs->client;
	m.gateway = hs->gateway;
	m.asked = hs->asked;
	m.name_len = hs->name_len;
	m.claim_len = hs->claim_len;
	m.socks = hs->socks;
	m.level = hs->level;
	end = mempcpy(end, hs->user, hs->user_len);
	end = mempcpy(end, hs->name, hs->name_len);
	end = mempcpy(end, hs->claim, hs->claim_len);
	/* The counts are this session's before anyone can read of it. */
	atomic_store_explicit(&n->up, 0, memory_order_relaxed);
	atomic_store_explicit(&n->down, 0, memory_order_relaxed);
	atomic_store_explicit(&n->gen, s->gen, memory_order_release);
	(void)chan_send_tail(
	    &s->w->master, MSG_OPEN, &m, sizeof(m), tail, (size_t)(end - tail), -1);
}

void
link_attempt(struct session *s, uint32_t rule, const struct addrport *target, uint32_t via)
{
	struct msg_attempt m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = s->hs->policy->img->version;
	m.rule = rule;
	m.target = *target;
	m.via = via;
	(void)chan_send(&s->w->master, MSG_ATTEMPT, &m, sizeof(m), -1);
}

void
link_listen(struct session *s, uint32_t rule, const struct addrport *asked)
{
	struct msg_listen m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = s->hs->policy->img->version;
	m.rule = rule;
	m.asked = *asked;
	(void)chan_send(&s->w->master, MSG_LISTEN, &m, sizeof(m), -1);
}

void
link_stranger(struct session *s, uint32_t rule, const struct addrport *peer)
{
	struct msg_stranger m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = s->hs->policy->img->version;
	m.rule = rule;
	m.peer = *peer;
	(void)chan_send(&s->w->master, MSG_STRANGER, &m, sizeof(m), -1);
}

void
link_associate(struct session *s, uint32_t rule)
{
	struct msg_associate m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = s->hs->policy->img->version;
	m.rule = rule;
	m.relay = s->hs->outgoing;
	(void)chan_send(&s->w->master, MSG_ASSOCIATE, &m, sizeof(m), -1);
}

void
link_target(struct session *s, uint32_t rule, bool passes, const struct udp_target *t)
{
	struct msg_target m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.version = s->w->policy->img->version;
	m.rule = rule;
	m.target = t->at;
	m.passes = passes;
	m.name_len = t->name_len;
	(void)chan_send_tail(&s->w->master, MSG_TARGET, &m, sizeof(m), t->name, t->name_len, -1);
}

void
link_connected(struct session *s)
{
	struct msg_connected m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.target = s->hs->target;
	m.outgoing = s->hs->outgoing;
	(void)chan_send_late(&s->w->master, MSG_CONNECTED, &m, sizeof(m));
}

void
link_close(struct session *s, enum reason why, int error, uint32_t version, uint32_t rule)
{
	struct msg_close m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.reason = why;
	m.version = version;
	m.rule = rule;
	m.error = error;
	m.up = s->flow[UP].octets;
	m.down = s->flow[DOWN].octets;
	udp_account(s, &m);
	if (s->w->policy->img->prompt_ends || s->udp != NULL)
		(void)chan_send(&s->w->master, MSG_CLOSE, &m, sizeof(m), -1);
	else
		(void)chan_send_late(&s->w->master, MSG_CLOSE, &m, sizeof(m));
}

void
link_count(struct session *s, enum side d, size_t n)
{
	struct counts *c = &s->w->counts[session_sid(s).slot];

	s->flow[d].octets += n;
	if (d == UP)
		atomic_store_explicit(&c->up, s->flow[d].octets, memory_order_relaxed);
	else
		atomic_store_explicit(&c->down, s->flow[d].octets, memory_order_relaxed);
}

void
link_early(struct worker *w, const struct addrport *client, const struct addrport *gateway,
    enum reason why, uint32_t detail)
{
	struct msg_early m;

	memset(&m, 0, sizeof(m));
	m.client = *client;
	m.gateway = *gateway;
	m.reason = why;
	m.detail = detail;
	(void)chan_send(&w->master, MSG_EARLY, &m, sizeof(m), -1);
}

void
link_peer_fault(struct worker *w, uint32_t spawn)
{
	struct msg_peer_fault m = { .spawn = spawn };

	(void)chan_send(&w->master, MSG_PEER_FAULT, &m, sizeof(m), -1);
}
