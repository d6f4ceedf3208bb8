/*
 * RFC 1929: frames the client's credentials and passes them to authd, whose answer is final. Keeps
 * no password: the buffer is wiped as soon as the message is built. Trusts authd to say who a
 * client is, and nothing more: what it sends is checked like any peer's.
 */
#include "worker/auth.h"

#include <stdlib.h>
#include <string.h>

#include "common/socks.h"
#include "common/wire.h"
#include "worker/handshake.h"
#include "worker/link.h"
#include "worker/session.h"
#include "worker/worker.h"

static const uint8_t auth_success[2] = { SOCKS_AUTH_VERSION, 0 };
static const uint8_t auth_failure[2] = { SOCKS_AUTH_VERSION, 1 };

static int
send_credentials(struct session *s, const struct socks_auth *a)
{
	struct msg_auth_password m;
	uint8_t tail[USER_MAX + PASSWORD_MAX];

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.client = s->hs->client;
	m.user_len = a->user_len;
	m.password_len = a->password_len;
	memcpy(tail, a->user, a->user_len);
	memcpy(tail + a->user_len, a->password, a->password_len);
	int r = chan_send_tail(&s->w->authd, MSG_AUTH_PASSWORD, &m, sizeof(m), tail,
	    (size_t)a->user_len + a->password_len, -1);
	explicit_bzero(tail, sizeof(tail));
	return r;
}

enum step
auth_step(struct session *s)
{
	struct worker *w = s->w;
	struct socks_auth a;
	ssize_t n = socks_auth(s->hs->in, s->hs->in_len, &a);

	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD) {
		session_turn_away(s, REASON_PROTOCOL, 0, auth_failure, sizeof(auth_failure));
		return STEP_OVER;
	}
	if (!w->authd_up || chan_full(&w->authd) || send_credentials(s, &a) == -1)
		return STEP_ROOM;
	handshake_take(s, (size_t)n);
	s->auth_wait = true;
	session_set_state(s, SESSION_AUTH_WAIT);
	return STEP_WAIT;
}

void
auth_abort(struct session *s)
{
	struct msg_auth_abort m;

	if (!s->w->authd_up)
		return;
	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	(void)chan_send(&s->w->authd, MSG_AUTH_ABORT, &m, sizeof(m), -1);
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

static void
auth_denied(struct session *s, enum reason why)
{
	session_turn_away(s, why, 0, auth_failure, sizeof(auth_failure));
}

static void
auth_accepted(
    struct session *s, const struct msg_auth_result *r, const uint8_t *user, const uint8_t *groups)
{
	struct handshake *hs = s->hs;

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
	if (!session_send(s, auth_success, sizeof(auth_success)))
		return;
	session_set_state(s, SESSION_REQUEST);
	handshake_run(s);
}

/* authd's final answer. One for a session that does not wait for any is early or repeated. */
static bool
on_result(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_auth_result r;
	bool sane;

	wire_copy(&c, &r, sizeof(r));
	const uint8_t *user = wire_take(&c, r.user_len);
	const uint8_t *groups = wire_take(&c, r.groups_len);
	if (!wire_done(&c) || r.accepted > 1 || r.level != LEVEL_CLEAR ||
	    (r.accepted == 1 && (r.user_len == 0 || r.method != METHOD_PASSWORD)) ||
	    !groups_sound(groups, r.groups_len))
		return false;
	struct session *s = session_find(w, r.sid, &sane);
	if (s == NULL)
		return sane;
	if (!s->auth_wait)
		return false;
	session_auth_done(s);
	if (s->state != SESSION_AUTH_WAIT)
		return true;
	/* A denial has its record already: authd told the master first. */
	if (r.accepted == 0)
		auth_denied(s, REASON_NONE);
	else
		auth_accepted(s, &r, user, groups);
	return true;
}

static bool
on_authd(struct chan *c, struct msg *m)
{
	return m->type == MSG_AUTH_RESULT && on_result(c->owner, m);
}

/* No answer will come any more. */
static void
auth_lost(struct worker *w)
{
	w->authd_up = false;
	for (uint32_t i = 0; i < w->nslots; i++) {
		struct session *s = &w->slots[i];
		if (!s->auth_wait)
			continue;
		session_auth_done(s);
		if (s->state == SESSION_AUTH_WAIT)
			auth_denied(s, REASON_AUTH);
	}
}

static void
on_authd_end(struct chan *c, enum chan_end why)
{
	struct worker *w = c->owner;

	if (why == CHAN_FAULT)
		link_peer_fault(w, c->peer_spawn);
	auth_lost(w);
}

static void
on_authd_room(struct chan *c)
{
	handshake_resume(c->owner);
}

int
auth_peer(struct worker *w, int fd, enum role role, uint32_t spawn)
{
	if (w->authd_up) {
		chan_stop(&w->authd);
		auth_lost(w);
	}
	w->authd = (struct chan){
		.on_msg = on_authd, .on_end = on_authd_end, .on_room = on_authd_room, .owner = w
	};
	if (chan_start(&w->authd, w->loop, fd, ROLE_WORKER, role, spawn) == -1)
		return -1;
	w->authd_up = true;
	handshake_resume(w);
	return 0;
}
