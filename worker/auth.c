/*
 * What the methods of authentication have in common: the channels to authd's processes, their final
 * answers, and their loss. Trusts authd to say who a client is, and nothing more: what it sends is
 * checked like any peer's.
 */
#include "worker/auth.h"

#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "worker/handshake.h"
#include "worker/link.h"
#include "worker/session.h"
#include "worker/worker.h"

/* --- what is asked --- */

bool
auth_ready(const struct worker *w, enum service v)
{
	return w->authd[v].up && !chan_full(&w->authd[v].chan);
}

int
auth_ask(struct session *s, enum service v, enum msg_type t, const void *head, size_t head_len,
    const void *tail, size_t tail_len)
{
	if (chan_send_tail(&s->w->authd[v].chan, t, head, head_len, tail, tail_len, -1) == -1)
		return -1;
	s->auth_wait = (uint8_t)v;
	return 0;
}

void
auth_abort(struct session *s)
{
	struct authd *v = &s->w->authd[s->auth_wait];
	struct msg_auth_abort m;

	if (s->auth_wait == SERVICE_NONE || !v->up)
		return;
	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	(void)chan_send(&v->chan, MSG_AUTH_ABORT, &m, sizeof(m), -1);
}

enum step
auth_step(struct session *s)
{
	return s->hs->method == METHOD_GSSAPI ? auth_gssapi_step(s) : auth_password_step(s);
}

/* --- the end of an exchange --- */

void
auth_denied(struct session *s, enum reason why)
{
	uint8_t out[2];
	size_t len = s->hs->method == METHOD_GSSAPI ? auth_gssapi_abort(s, out)
						    : auth_password_final(false, out);

	session_turn_away(s, why, 0, out, len);
}

/* Whole credentials that no authd could take are a failed authentication; so are those whose check
 * takes too long. */
void
auth_timeout(struct session *s)
{
	enum reason why = s->hs->held ? REASON_AUTH : REASON_HANDSHAKE;

	if (s->hs->method == METHOD_PASSWORD && s->state == SESSION_AUTH && !s->hs->held)
		session_turn_away(s, why, 0, NULL, 0);
	else
		auth_denied(s, why);
}

static void
auth_accepted(
    struct session *s, const struct msg_auth_result *r, const uint8_t *user, const uint8_t *groups)
{
	struct handshake *hs = s->hs;
	uint8_t out[2];

	if (r->groups_len > 0) {
		hs->groups = malloc(r->groups_len);
		if (hs->groups == NULL) {
			auth_denied(s, REASON_GENERAL);
			return;
		}
		memcpy(hs->groups, groups, r->groups_len);
		hs->groups_len = r->groups_len;
	}
	memcpy(hs->user, user, r->user_len);
	hs->user_len = r->user_len;
	hs->level = r->level;
	if (hs->method == METHOD_PASSWORD && !session_send(s, out, auth_password_final(true, out)))
		return;
	session_set_state(s, SESSION_REQUEST);
	if (handshake_protected(s))
		handshake_run(s);
}

/* --- what authd says --- */

struct session *
auth_session(struct worker *w, enum service v, struct sid sid, bool *sane)
{
	struct session *s = session_find(w, sid, sane);

	if (s == NULL)
		return NULL;
	*sane = s->auth_wait == v;
	return *sane ? s : NULL;
}

static bool
in_exchange(const struct session *s)
{
	return s->state == SESSION_AUTH || s->state == SESSION_AUTH_WAIT;
}

/* Packed groups: each a length octet and the name, none empty. */
static bool
groups_sound(const uint8_t *p, size_t len)
{
	struct wire w = wire_from(p, len);

	while (!w.bad && wire_left(&w) > 0) {
		size_t n = wire_u8(&w);
		if (n == 0 || wire_take(&w, n) == NULL)
			return false;
	}
	return wire_done(&w);
}

/* Is it a sound result of this service? */
static bool
result_sound(const struct msg_auth_result *r, enum service v)
{
	enum method method = v == SERVICE_ACCEPTOR ? METHOD_GSSAPI : METHOD_PASSWORD;

	if (r->accepted > 1 || r->level >= LEVEL_COUNT)
		return false;
	if (r->accepted == 0)
		return r->level == LEVEL_CLEAR;
	return r->user_len > 0 && r->method == method &&
	       (method == METHOD_GSSAPI || r->level == LEVEL_CLEAR);
}

/* The final answer. One for a session that does not wait for any is early or repeated. */
static bool
on_result(struct worker *w, enum service v, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_auth_result r;
	bool sane;

	wire_copy(&c, &r, sizeof(r));
	const uint8_t *user = wire_take(&c, r.user_len);
	const uint8_t *groups = wire_take(&c, r.groups_len);
	if (!wire_done(&c) || !result_sound(&r, v) || !groups_sound(groups, r.groups_len))
		return false;
	struct session *s = auth_session(w, v, r.sid, &sane);
	if (s == NULL)
		return sane;
	if (v == SERVICE_ACCEPTOR && in_exchange(s) && !auth_gssapi_may_end(s, &r))
		return false;
	session_auth_done(s);
	if (!in_exchange(s))
		return true;
	/* A denial has its record already: authd told the master first. */
	if (r.accepted == 0)
		auth_denied(s, REASON_NONE);
	else
		auth_accepted(s, &r, user, groups);
	return true;
}

static enum service
service_of(const struct worker *w, const struct chan *c)
{
	for (unsigned v = SERVICE_NONE + 1; v < SERVICES; v++)
		if (c == &w->authd[v].chan)
			return (enum service)v;
	return SERVICE_NONE;
}

static bool
on_authd(struct chan *c, struct msg *m)
{
	struct worker *w = c->owner;
	enum service v = service_of(w, c);

	if (m->type == MSG_AUTH_RESULT)
		return on_result(w, v, m);
	if (m->type == MSG_AUTH_REPLY && v == SERVICE_ACCEPTOR)
		return auth_gssapi_reply(w, m);
	if (m->type == MSG_AUTH_KEYS && v == SERVICE_ACCEPTOR)
		return auth_gssapi_keys(w, m);
	return false;
}

/* --- channels --- */

/* No answer of this service will come any more. */
static void
auth_lost(struct worker *w, enum service v)
{
	w->authd[v].up = false;
	for (uint32_t i = 0; i < w->touched; i++) {
		struct session *s = &w->slots[i];
		if (s->auth_wait != v)
			continue;
		session_auth_done(s);
		if (in_exchange(s))
			auth_denied(s, REASON_AUTH);
	}
}

static void
on_authd_end(struct chan *c, enum chan_end why)
{
	struct worker *w = c->owner;

	if (why == CHAN_FAULT)
		link_peer_fault(w, c->peer_spawn);
	auth_lost(w, service_of(w, c));
}

static void
on_authd_room(struct chan *c)
{
	handshake_resume(c->owner);
}

static enum service
service_for(enum role role)
{
	if (role == ROLE_ACCEPTOR)
		return SERVICE_ACCEPTOR;
	return role == ROLE_INITIATOR ? SERVICE_INITIATOR : SERVICE_PASSWORD;
}

int
auth_peer(struct worker *w, int fd, enum role role, uint32_t spawn)
{
	enum service v = service_for(role);
	struct chan *c = &w->authd[v].chan;

	if (w->authd[v].up) {
		chan_stop(c);
		auth_lost(w, v);
	}
	*c = (struct chan){
		.on_msg = on_authd, .on_end = on_authd_end, .on_room = on_authd_room, .owner = w
	};
	if (chan_start(c, w->loop, fd, ROLE_WORKER, role, spawn) == -1)
		return -1;
	w->authd[v].up = true;
	handshake_resume(w);
	return 0;
}
