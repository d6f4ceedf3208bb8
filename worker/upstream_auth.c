/*
 * The authentication to an upstream: between the upstream and authd's initiator, which alone has
 * the credentials, the worker carries messages. Keeps none of them. The initiator is checked like
 * any peer: what it sends is for a session that asked, or was its until a moment ago.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/wire.h"
#include "worker/link.h"
#include "worker/session.h"
#include "worker/upstream_parts.h"

int
upstream_auth_begin(struct upstream *u)
{
	const struct image_upstream *up = upstream_of(u);
	struct worker *w = u->s->w;
	struct msg_upstream_begin m;

	errno = EAGAIN;
	if (!w->initiator_up || chan_full(&w->initiator))
		return -1;
	memset(&m, 0, sizeof(m));
	m.sid = session_sid(u->s);
	m.name_len = (uint8_t)up->name.len;
	if (chan_send_tail(&w->initiator, MSG_UPSTREAM_BEGIN, &m, sizeof(m),
		image_octets(u->s->hs->policy->img, up->name), up->name.len, -1) == -1)
		return -1;
	u->asked = true;
	u->state = UPSTREAM_AUTH;
	u->in_len = 0;
	return ev_set(w->loop, &u->ev, 0);
}

void
upstream_auth_end(struct upstream *u)
{
	struct msg_auth_abort m;

	if (!u->asked)
		return;
	u->asked = false;
	u->owed++;
	memset(&m, 0, sizeof(m));
	m.sid = session_sid(u->s);
	(void)chan_send(&u->s->w->initiator, MSG_AUTH_ABORT, &m, sizeof(m), -1);
}

/* The exchange of this session that the initiator's message is about, or NULL; *sane is false where
 * there cannot have been any. */
static struct upstream *
find(struct worker *w, struct sid sid, bool *sane)
{
	struct session *s = session_find(w, sid, sane);
	struct upstream *u = s != NULL && s->hs != NULL ? s->hs->upstream : NULL;

	if (u == NULL || u->owed > 0)
		return NULL;
	if (!u->asked)
		*sane = false;
	return u->asked ? u : NULL;
}

/* For the upstream. */
static bool
on_reply(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_auth_token t;
	struct upstream *u;
	bool sane;

	wire_copy(&c, &t, sizeof(t));
	size_t len = wire_left(&c);
	const uint8_t *piece = wire_take(&c, len);
	if (c.bad || t.at > t.total || len > t.total - t.at || t.kind != TOKEN_PASSWORD ||
	    t.total > SOCKS_AUTH_MAX || t.at != 0 || len != t.total)
		return false;
	if ((u = find(w, t.sid, &sane)) == NULL)
		return sane;
	if (upstream_of(u)->method != METHOD_PASSWORD)
		return false;
	if (upstream_put(u, piece, len) == -1)
		upstream_skip(u, REASON_UPSTREAM, errno);
	return true;
}

static enum reason
reason_of(uint8_t verdict)
{
	return verdict == VERDICT_TICKET || verdict == VERDICT_FAILED ? REASON_UPSTREAM_CREDENTIALS
								      : REASON_UPSTREAM_AUTH;
}

static bool
on_result(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_upstream_result r;
	bool sane;

	wire_copy(&c, &r, sizeof(r));
	if (!wire_done(&c) || r.verdict == VERDICT_NONE || r.verdict >= VERDICT_COUNT)
		return false;
	struct session *s = session_find(w, r.sid, &sane);
	struct upstream *u = s != NULL && s->hs != NULL ? s->hs->upstream : NULL;
	if (u == NULL)
		return sane;
	if (u->owed > 0) {
		u->owed--;
		return true;
	}
	if (!u->asked)
		return false;
	u->asked = false;
	if (r.verdict != VERDICT_ACCEPT) {
		upstream_skip(u, reason_of(r.verdict), 0);
		return true;
	}
	u->state = UPSTREAM_STATUS;
	if (ev_set(w->loop, &u->ev, EPOLLIN | (u->out != NULL ? EPOLLOUT : 0)) == -1)
		upstream_skip(u, REASON_GENERAL, errno);
	return true;
}

static bool
on_initiator(struct chan *c, struct msg *m)
{
	switch (m->type) {
	case MSG_AUTH_REPLY:
		return on_reply(c->owner, m);
	case MSG_UPSTREAM_RESULT:
		return on_result(c->owner, m);
	default: /* the table lets it send nothing else but keys, which no method here has */
		return false;
	}
}

/* No answer will come any more. */
static void
lost(struct worker *w)
{
	w->initiator_up = false;
	for (uint32_t i = 0; i < w->nslots; i++) {
		struct session *s = &w->slots[i];
		struct upstream *u = s->hs != NULL ? s->hs->upstream : NULL;

		if (u == NULL)
			continue;
		u->owed = 0;
		if (!u->asked)
			continue;
		u->asked = false;
		upstream_skip(u, REASON_UPSTREAM, EPIPE);
	}
}

static void
on_end(struct chan *c, enum chan_end why)
{
	struct worker *w = c->owner;

	if (why == CHAN_FAULT)
		link_peer_fault(w, c->peer_spawn);
	lost(w);
}

int
upstream_peer(struct worker *w, int fd, uint32_t spawn)
{
	if (w->initiator_up) {
		chan_stop(&w->initiator);
		lost(w);
	}
	w->initiator = (struct chan){ .on_msg = on_initiator, .on_end = on_end, .owner = w };
	if (chan_start(&w->initiator, w->loop, fd, ROLE_WORKER, ROLE_INITIATOR, spawn) == -1)
		return -1;
	w->initiator_up = true;
	return 0;
}
