/*
 * BIND as the master sees it: its listener is made here, against the session's rule, and not by the
 * worker; then come the strangers that were turned away, and the peer that is taken (an `attempt`
 * and `connected`, as for CONNECT).
 */
#include <string.h>

#include "master/bind.h"
#include "master/session_record.h"
#include "master/sessions_parts.h"

/* Of one worker, all of whose listeners wait for a peer: a few clients must not take every port. */
#define LISTENERS_MAX 256

bool
sessions_listen(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_listen *in = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, in->sid);
	struct worker_sessions *ws = &s->workers[w->index];
	struct bind_request r = {
		.img = policies_image(s->setup.policies, in->version),
		.rule = policies_serving(s->setup.policies, in->version, in->rule, COMMAND_BIND),
		.asked = in->asked,
	};
	struct bind_listener l;
	int error;

	/* Where an upstream does it, it has the listener. */
	if (e == NULL || e->command != COMMAND_BIND || r.rule == NULL || r.rule->upstreams.n > 0 ||
	    (e->state != LEDGER_OPEN && e->state != LEDGER_REFUSED) ||
	    (in->asked.a.family != ADDR_V4 && in->asked.a.family != ADDR_V6))
		return false;
	if (e->state == LEDGER_REFUSED)
		return true; /* our refusal was on its way */
	sessions_decided_by(s, e, in->version, in->rule);
	if (ws->listeners >= LISTENERS_MAX) {
		sessions_refuse(w, e, REASON_LIMIT_BINDS);
		return true;
	}
	r.client = e->client.a;
	r.gateway = e->gateway;
	enum reason why = bind_listen(&r, &l, &error);
	if (why != REASON_NONE) {
		sessions_refuse(w, e, why);
		return true;
	}
	ws->listeners++;
	ws->slot[e->sid.slot].listens = true;
	e->outgoing = l.bound;
	sessions_opened(s, w, e);
	struct msg_listening out = { .sid = in->sid, .bound = l.bound, .advertised = l.advertised };
	chan_send(&w->chan, MSG_LISTENING, &out, sizeof(out), l.fd);
	return true;
}

void
sessions_unlisten(struct worker_sessions *ws, uint32_t slot)
{
	if (ws->slot[slot].listens)
		ws->listeners--;
	ws->slot[slot].listens = false;
	ws->slot[slot].strangers = 0;
}

bool
sessions_stranger(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_stranger *in = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, in->sid), told;
	struct worker_sessions *ws = &s->workers[w->index];

	if (e == NULL || !ws->slot[e->sid.slot].listens || in->peer.a.family == ADDR_NONE ||
	    !policies_has(s->setup.policies, in->version, in->rule) ||
	    ws->slot[e->sid.slot].strangers++ >= STRANGERS_MAX)
		return false;
	/* The session's own rule and target stay as they are. */
	struct session_facts f = sessions_told(s, e, &told, in->version, in->rule);
	told.target = in->peer;
	session_record(s->setup.log, EVENT_STRANGER, &f);
	return true;
}
