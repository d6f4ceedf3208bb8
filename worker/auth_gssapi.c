/*
 * RFC 1961 sections 3 and 4, as far as the octets go: the client's messages are framed, and their
 * tokens passed to the acceptor in pieces as they come; its answers are framed for the client. What
 * a token says is authd's to know. Trusts neither: the client may send what it likes, and of the
 * acceptor only what it owes is taken, in order and once.
 */
#include <errno.h>
#include <string.h>

#include "common/gss.h"
#include "common/wire.h"
#include "worker/auth.h"
#include "worker/protected.h"
#include "worker/session.h"
#include "worker/worker.h"

_Static_assert((int)TOKEN_CONTEXT == GSS_CONTEXT && (int)TOKEN_LEVEL == GSS_LEVEL,
    "a token's kind is its mtyp");

/* --- from the client --- */

/* May it come now? The level is agreed in a context. */
static bool
may_begin(const struct session *s, uint8_t type)
{
	return type == GSS_CONTEXT || (type == GSS_LEVEL && s->hs->gssapi.context);
}

/* Any other header, or an abort, is the end. */
static enum step
begin(struct session *s)
{
	struct handshake *hs = s->hs;
	struct gss_header h;
	ssize_t n = gss_header(hs->in, hs->in_len, &h);

	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD || !may_begin(s, h.type)) {
		bool gives_up = n != SOCKS_BAD && h.type == GSS_ABORT;
		auth_denied(s, gives_up ? REASON_CLIENT_CLOSED : REASON_PROTOCOL);
		return STEP_OVER;
	}
	handshake_take(s, (size_t)n);
	hs->gssapi = (struct handshake_gssapi){
		.total = h.len, .kind = h.type, .inside = true, .context = hs->gssapi.context
	};
	return STEP_AGAIN;
}

static int
send_piece(struct session *s, size_t len)
{
	const struct handshake *hs = s->hs;
	struct msg_auth_token m;

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.total = hs->gssapi.total;
	m.at = hs->gssapi.at;
	m.client = hs->client;
	m.kind = hs->gssapi.kind;
	return auth_ask(s, SERVICE_ACCEPTOR, MSG_AUTH_TOKEN, &m, sizeof(m), hs->in, len);
}

enum step
auth_gssapi_step(struct session *s)
{
	struct handshake *hs = s->hs;
	struct handshake_gssapi *g = &hs->gssapi;
	size_t n;

	if (!g->inside)
		return begin(s);
	n = g->total - g->at < hs->in_len ? g->total - g->at : hs->in_len;
	if (n == 0 && g->total > 0)
		return STEP_MORE;
	n = n < TOKEN_PIECE_MAX ? n : TOKEN_PIECE_MAX;
	if (!auth_ready(s->w, SERVICE_ACCEPTOR) || send_piece(s, n) == -1)
		return STEP_ROOM;
	handshake_take(s, n);
	g->at += (uint32_t)n;
	if (g->at < g->total)
		return STEP_AGAIN;
	g->inside = false;
	session_set_state(s, SESSION_AUTH_WAIT);
	return STEP_WAIT;
}

/* --- to the client --- */

static bool
reply_cut(const struct handshake_gssapi *g)
{
	return g->reply_at > 0 && !g->answered;
}

size_t
auth_gssapi_abort(const struct session *s, uint8_t out[2])
{
	/* In the middle of a token it would be taken for a part of it. */
	if (s->hs->unsent != NULL || reply_cut(&s->hs->gssapi))
		return 0;
	out[0] = GSS_VERSION;
	out[1] = GSS_ABORT;
	return GSS_ABORT_LEN;
}

/* Sends a piece on; before the first of a token, its header. False: the session has ended. */
static bool
pass_piece(struct session *s, const struct msg_auth_token *r, const uint8_t *data, size_t len)
{
	uint8_t out[GSS_HEADER + TOKEN_PIECE_MAX];
	size_t head = 0;

	if (r->at == 0) {
		gss_header_put(out, r->kind, r->total);
		head = GSS_HEADER;
	}
	memcpy(out + head, data, len);
	return handshake_send(s, out, head + len);
}

/* Is it the piece that is due? */
static bool
is_due(const struct session *s, const struct msg_auth_token *r)
{
	const struct handshake_gssapi *g = &s->hs->gssapi;

	return s->state == SESSION_AUTH_WAIT && !g->answered && r->kind == g->kind &&
	       r->at == g->reply_at && (r->at == 0 || r->total == g->reply_total);
}

static void
take_reply(struct session *s, const struct msg_auth_token *r, const uint8_t *data, size_t len)
{
	struct handshake_gssapi *g = &s->hs->gssapi;

	g->reply_total = r->total;
	g->reply_at = r->at + (uint32_t)len;
	g->answered = g->reply_at == g->reply_total;
	if (!pass_piece(s, r, data, len) || !g->answered || g->kind == TOKEN_LEVEL)
		return;
	g->context = true;
	session_set_state(s, SESSION_AUTH);
	handshake_run(s);
}

bool
auth_gssapi_reply(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_auth_token r;
	bool sane;

	wire_copy(&c, &r, sizeof(r));
	size_t len = wire_left(&c);
	const uint8_t *data = wire_take(&c, len);
	if (!wire_done(&c) || r.total > TOKEN_MAX || r.at > r.total || len > r.total - r.at ||
	    (len == 0 && r.total > 0))
		return false;
	struct session *s = auth_session(w, SERVICE_ACCEPTOR, r.sid, &sane);
	if (s == NULL || (s->state != SESSION_AUTH && s->state != SESSION_AUTH_WAIT))
		return sane;
	if (!is_due(s, &r))
		return false;
	take_reply(s, &r, data, len);
	return true;
}

/* --- the end --- */

/* At LEVEL_CLEAR there are none, and nothing is protected. -1 with errno; EINVAL: not sound. */
static int
protect(struct session *s, const struct encap_params *p)
{
	static const struct encap_params none;

	if (p->level == LEVEL_CLEAR && memcmp(p, &none, sizeof(none)) == 0)
		return 0;
	errno = EINVAL;
	if (p->acceptor == 1)
		s->protected[CLIENT] = protected_new(p);
	return s->protected[CLIENT] != NULL ? 0 : -1;
}

/* False: they are not sound. Without memory the client is turned away. */
static bool
take_keys(struct session *s, const struct msg_auth_keys *k)
{
	struct handshake_gssapi *g = &s->hs->gssapi;

	if (s->state != SESSION_AUTH_WAIT || g->kind != TOKEN_LEVEL || !g->answered || g->keys)
		return false;
	int result = protect(s, &k->params);
	if (result == -1 && errno == EINVAL)
		return false;
	g->keys = true;
	g->level = k->params.level;
	if (result == -1 || (k->lifetime != UINT32_MAX && !session_ticket(s, k->lifetime)))
		auth_denied(s, REASON_GENERAL);
	return true;
}

bool
auth_gssapi_keys(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_auth_keys k;
	bool sane;

	wire_copy(&c, &k, sizeof(k));
	struct session *s = auth_session(w, SERVICE_ACCEPTOR, k.sid, &sane);
	if (s != NULL && (s->state == SESSION_AUTH || s->state == SESSION_AUTH_WAIT))
		sane = take_keys(s, &k);
	explicit_bzero(&k, sizeof(k));
	return sane;
}

bool
auth_gssapi_may_end(const struct session *s, const struct msg_auth_result *r)
{
	const struct handshake_gssapi *g = &s->hs->gssapi;

	if (r->accepted == 0)
		return !reply_cut(g);
	return s->state == SESSION_AUTH_WAIT && g->kind == TOKEN_LEVEL && g->answered && g->keys &&
	       r->level == g->level;
}
