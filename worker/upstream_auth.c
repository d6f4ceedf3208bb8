/*
 * The authentication to an upstream: between the upstream and authd's initiator, which alone has
 * the credentials, the worker carries messages. Keeps none of them. The initiator is checked like
 * any peer: what it sends is for a session that asked, or was its until a moment ago.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/gss.h"
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
	u->level_asked = u->in_token = false;
	u->reply_at = 0;
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

/* --- for the upstream --- */

static bool
password_reply(struct upstream *u, const struct msg_auth_token *t, const uint8_t *piece, size_t len)
{
	if (t->at != 0 || len != t->total || t->total > SOCKS_AUTH_MAX)
		return false;
	if (upstream_put(u, piece, len) == -1)
		upstream_skip(u, REASON_UPSTREAM, errno);
	return true;
}

/* A piece of a token; with the last it is the upstream's turn. */
static bool
token_reply(struct upstream *u, const struct msg_auth_token *t, const uint8_t *piece, size_t len)
{
	uint8_t head[GSS_HEADER];
	bool level = t->kind == TOKEN_LEVEL;

	if (t->at != u->reply_at || (t->at > 0 && t->total != u->reply_total) ||
	    (len == 0 && t->total > 0) || t->total > TOKEN_MAX || (u->level_asked && !level) ||
	    u->in_token || (t->at == 0 && (u->ev.events & EPOLLIN) != 0))
		return false;
	gss_header_put(head, level ? GSS_LEVEL : GSS_CONTEXT, t->total);
	u->level_asked = level;
	u->reply_total = t->total;
	u->reply_at += (uint32_t)len;
	if ((t->at == 0 && upstream_put(u, head, sizeof(head)) == -1) ||
	    upstream_put(u, piece, len) == -1)
		goto fail;
	if (u->reply_at < t->total)
		return true;
	u->reply_at = 0;
	if (ev_set(u->s->w->loop, &u->ev, EPOLLIN | (u->out != NULL ? EPOLLOUT : 0)) == 0)
		return true;
fail:
	upstream_skip(u, REASON_UPSTREAM, errno);
	return true;
}

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
	if (c.bad || t.at > t.total || len > t.total - t.at)
		return false;
	if ((u = find(w, t.sid, &sane)) == NULL)
		return sane;
	switch (upstream_of(u)->method) {
	case METHOD_PASSWORD:
		return t.kind == TOKEN_PASSWORD && password_reply(u, &t, piece, len);
	case METHOD_GSSAPI:
		return (t.kind == TOKEN_CONTEXT || t.kind == TOKEN_LEVEL) &&
		       token_reply(u, &t, piece, len);
	default:
		return false;
	}
}

static bool
on_keys(struct worker *w, const struct msg *m)
{
	const struct msg_auth_keys *k = m->payload;
	struct upstream *u;
	bool sane;

	if ((u = find(w, k->sid, &sane)) == NULL)
		return sane;
	if (u->protected != NULL || !u->level_asked || k->params.acceptor != 0 ||
	    k->params.level < upstream_of(u)->level)
		return false;
	u->protected = protected_new(&k->params);
	return u->protected != NULL || errno == ENOMEM;
}

/* --- from the upstream: RFC 1961 sections 3 and 4 --- */

/* What has come of a token's octets goes on; 0: nothing has. */
static ssize_t
pass_piece(struct upstream *u, enum token_kind kind)
{
	struct worker *w = u->s->w;
	struct msg_auth_token t;
	size_t most = u->token_left < TOKEN_PIECE_MAX ? u->token_left : TOKEN_PIECE_MAX;
	ssize_t n = most > 0 ? recv(u->fd, w->scratch, most, 0) : 0;

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0 && most > 0) {
		errno = 0;
		return -1;
	}
	errno = ENOBUFS;
	if (chan_full(&w->initiator))
		return -1;
	memset(&t, 0, sizeof(t));
	t.sid = session_sid(u->s);
	t.total = u->token_total;
	t.at = u->token_total - u->token_left;
	t.kind = (uint8_t)kind;
	if (chan_send_tail(
		&w->initiator, MSG_AUTH_TOKEN, &t, sizeof(t), w->scratch, (size_t)n, -1) == -1)
		return -1;
	u->token_left -= (uint32_t)n;
	if (u->token_left == 0) { /* the initiator's turn */
		u->in_token = false;
		return ev_set(w->loop, &u->ev, u->out != NULL ? EPOLLOUT : 0);
	}
	return n;
}

/* A header: of a token of the kind whose turn it is, or an abort (section 3.8). -1: neither. */
static int
take_header(struct upstream *u)
{
	struct gss_header h;
	enum got g = upstream_more(u, GSS_ABORT_LEN);

	if (g == GOT_ALL && u->in[1] != GSS_ABORT)
		g = upstream_more(u, GSS_HEADER);
	if (g == GOT_LESS)
		return 0;
	errno = g == GOT_END ? errno : EPROTO;
	if (g == GOT_END || gss_header(u->in, u->in_len, &h) <= 0)
		return -1;
	if (h.type == GSS_ABORT)
		errno = 0;
	if (h.type != (u->level_asked ? GSS_LEVEL : GSS_CONTEXT))
		return -1;
	u->in_len = 0;
	u->in_token = true;
	u->token_total = u->token_left = h.len;
	return 0;
}

void
upstream_auth_event(struct upstream *u)
{
	enum token_kind kind = u->level_asked ? TOKEN_LEVEL : TOKEN_CONTEXT;
	int error = 0;

	if ((u->ev.events & EPOLLIN) == 0) /* it is not its turn: this is its end */
		error = -1;
	else if (!u->in_token)
		error = take_header(u);
	if (error == 0 && u->in_token && pass_piece(u, kind) == -1)
		error = -1;
	if (error == -1)
		upstream_skip(u, REASON_UPSTREAM_AUTH, errno);
}

/* --- the end --- */

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
	if (upstream_of(u)->method == METHOD_GSSAPI) {
		if (u->protected == NULL)
			upstream_skip(u, REASON_GENERAL, ENOMEM);
		else if (ev_set(w->loop, &u->ev, EPOLLIN) == -1)
			upstream_skip(u, REASON_GENERAL, errno);
		else
			upstream_ask(u);
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
	case MSG_AUTH_KEYS:
		return on_keys(c->owner, m);
	default: /* the table lets it send nothing else */
		return false;
	}
}

/* No answer will come any more. */
static void
lost(struct worker *w)
{
	w->initiator_up = false;
	for (uint32_t i = 0; i < w->touched; i++) {
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
