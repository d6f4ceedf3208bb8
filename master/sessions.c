/*
 * Sessions: what a worker asks is checked, counted, entered into the ledger and recorded. A worker
 * is believed only in what concerns its own clients; who a user is, authd says.
 */
#include "master/sessions.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/wire.h"
#include "master/session_record.h"
#include "master/sessions_parts.h"

static uint64_t
realtime_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
orphan(const struct ledger_entry *e, const struct ledger_text *t, uint64_t instance, void *arg)
{
	struct session_facts f = { .e = e, .text = *t, .instance = instance };
	struct sessions *s = arg;

	session_record_end(s->setup.log, &f, REASON_MASTER_LOST, 0);
	log_flush(s->setup.log); /* the entry goes after this */
}

/* What an earlier ledger held that could not be told session by session. */
static void
tell_found(struct sessions *s)
{
	struct ledger_found f = ledger_found(s->ledger);
	struct audit_rec r;
	char text[160];

	if (!f.set_aside && f.unsound == 0)
		return;
	if (f.set_aside)
		snprintf(text, sizeof(text),
		    "the ledger of an earlier gateway cannot be read; it is kept as "
		    "ledger.old in the run directory");
	else
		snprintf(text, sizeof(text),
		    "the ledger of an earlier gateway held %u entries that "
		    "make no sense: dropped",
		    f.unsound);
	audit_begin(&r, EVENT_NOTICE);
	audit_str(&r, FIELD_DETAIL, text, strlen(text));
	log_record(s->setup.log, &r);
}

/* Entries leave the ledger once their closing records were handed to the log, and not before: a
 * master that is killed in between leaves them to the next one. */
static void
sessions_settle(struct sessions *s)
{
	struct session *ss;

	deadline_disarm(&s->settle);
	if (STAILQ_EMPTY(&s->over))
		return;
	log_flush(s->setup.log);
	while ((ss = STAILQ_FIRST(&s->over)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->over, over_entry);
		ss->over = false;
		ledger_leave(s->ledger, ledger_at(s->ledger, ss->worker, ss->slot));
	}
}

static void
on_settle(struct deadline *d)
{
	sessions_settle((struct sessions *)((char *)d - offsetof(struct sessions, settle)));
}

struct sessions *
sessions_new(const struct sessions_setup *setup)
{
	struct sessions *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->setup = *setup;
	STAILQ_INIT(&s->over);
	s->settle.cb = on_settle;
	s->workers = calloc(setup->workers, sizeof(*s->workers));
	s->accepts = accepts_new(setup->workers, setup->slots);
	s->limits = limits_new();
	if (s->workers == NULL || s->accepts == NULL || s->limits == NULL)
		goto fail;
	s->ledger = ledger_open(
	    setup->run_directory, setup->instance, setup->workers, setup->slots, orphan, s);
	if (s->ledger == NULL)
		goto fail;
	tell_found(s);
	return s;
fail:;
	int saved = errno;
	sessions_free(s);
	errno = saved;
	return NULL;
}

void
sessions_free(struct sessions *s)
{
	if (s == NULL)
		return;
	sessions_settle(s);
	if (s->ledger != NULL)
		ledger_close(
		    s->ledger, limits_sessions(s->limits) == 0 ? s->setup.run_directory : NULL);
	for (unsigned i = 0; s->workers != NULL && i < s->setup.workers; i++) {
		counts_unmap(s->workers[i].counts, s->setup.slots);
		free(s->workers[i].slot);
	}
	free(s->workers);
	accepts_free(s->accepts);
	limits_free(s->limits);
	free(s);
}

void
sessions_configure(struct sessions *s, const struct conf *c)
{
	limits_set(s->limits, c->limit_sessions, c->limit_sessions_per_user);
	limits_set_associations(s->limits, c->limit_associations);
	s->update_ms = c->log_update;
}

int
sessions_worker_start(struct sessions *s, const struct child *w)
{
	struct worker_sessions *ws = &s->workers[w->index];
	int fd = counts_create(s->setup.slots);

	if (fd == -1)
		return -1;
	sessions_settle(s);
	ws->spawn = w->spawn;
	ws->open = 0;
	ws->listeners = 0;
	counts_unmap(ws->counts, s->setup.slots);
	ws->counts = counts_map(fd, s->setup.slots, 0);
	free(ws->slot);
	ws->slot = calloc(s->setup.slots, sizeof(*ws->slot));
	if (ws->counts == NULL || ws->slot == NULL) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The bytes so far, if the worker's page is about this session. */
static void
read_counts(const struct worker_sessions *ws, struct ledger_entry *e)
{
	const struct counts *c = ws->counts != NULL ? &ws->counts[e->sid.slot] : NULL;

	if (c == NULL || atomic_load(&c->gen) != e->sid.gen)
		return;
	e->up = atomic_load(&c->up);
	e->down = atomic_load(&c->down);
}

/* The closing record of an entry, and the session's end; `c` is what its worker told of it. */
static void
finish(struct sessions *s, unsigned worker, struct ledger_entry *e, const struct msg_close *c,
    enum reason reason)
{
	struct session_facts f = sessions_facts(s, e);
	struct worker_sessions *ws = &s->workers[worker];
	struct session *ss = &ws->slot[e->sid.slot];

	f.close = c;
	session_record_end(s->setup.log, &f,
	    e->state == LEDGER_REFUSED ? (enum reason)e->reason : reason, c != NULL ? c->error : 0);
	deadline_disarm(&ss->update);
	sessions_unlisten(ws, e->sid.slot);
	sessions_udp_end(s, ss);
	if (ss->counted)
		limits_leave(s->limits, ss->user);
	ss->counted = false;
	ss->user = NULL;
	ws->open--;
	ss->over = true;
	STAILQ_INSERT_TAIL(&s->over, ss, over_entry);
	if (!deadline_armed(&s->settle))
		deadline_arm(s->setup.loop, &s->settle, 0);
}

/* Does this entry hold a session of the worker's process, one that is not over? */
static bool
is_live(const struct worker_sessions *ws, const struct ledger_entry *e, uint32_t slot)
{
	return e->state != LEDGER_FREE && e->worker == ws->spawn && !ws->slot[slot].over;
}

void
sessions_worker_end(struct sessions *s, const struct child *w, enum reason reason)
{
	struct worker_sessions *ws = &s->workers[w->index];

	for (uint32_t i = 0; i < s->setup.slots && ws->open > 0; i++) {
		struct ledger_entry *e = ledger_at(s->ledger, w->index, i);
		if (!is_live(ws, e, i))
			continue;
		read_counts(ws, e);
		finish(s, w->index, e, NULL, reason);
	}
	accepts_drop_worker(s->accepts, w->index);
}

/* --- authd's verdicts --- */

/* The method that a role of authd speaks for, and no other. */
static enum method
method_of(const struct child *authd)
{
	return authd->role == ROLE_ACCEPTOR ? METHOD_GSSAPI : METHOD_PASSWORD;
}

/* Encapsulation is GSSAPI's, and only a client that was accepted has agreed on any. */
static bool
level_is_sound(unsigned method, unsigned level, bool accepted)
{
	return level < LEVEL_COUNT &&
	       (level == LEVEL_CLEAR || (method == METHOD_GSSAPI && accepted));
}

bool
sessions_verdict(
    struct sessions *s, const struct child *authd, struct child *worker, const struct msg *m)
{
	const struct msg_verdict *v = m->payload;
	const uint8_t *user = (const uint8_t *)(v + 1);
	struct wire w = wire_from(user, m->len - sizeof(*v));
	bool accept = v->verdict == VERDICT_ACCEPT;
	struct accepted who = { v->method, v->level, user, v->user_len };

	wire_take(&w, v->user_len);
	if (!wire_done(&w) || v->verdict == VERDICT_NONE || v->verdict >= VERDICT_COUNT ||
	    v->method != method_of(authd) || !level_is_sound(v->method, v->level, accept) ||
	    (accept && v->user_len == 0))
		return false;
	/* The worker may have ended meanwhile: messages cross. The failure is still told. */
	if (worker != NULL && accept && !accepts_put(s->accepts, worker->index, v->sid, &who))
		return false;
	if (accept && worker == NULL)
		return true;
	session_record_verdict(s->setup.log, s->setup.early, v, user, s->setup.instance);
	return true;
}

/* --- a session, from open to close --- */

struct ledger_entry *
sessions_entry(struct sessions *s, const struct child *w, struct sid sid)
{
	struct ledger_entry *e = ledger_at(s->ledger, w->index, sid.slot);

	if (e == NULL || !is_live(&s->workers[w->index], e, sid.slot) || e->sid.gen != sid.gen)
		return NULL;
	return e;
}

/* Is this a name and an address that a worker may send? */
static bool
open_is_sound(const struct msg_open *o, size_t len)
{
	bool named = o->name_len > 0;

	return len == sizeof(*o) + o->user_len + o->name_len + o->claim_len &&
	       (o->socks == 5 || (o->socks == 4 && o->method == METHOD_NONE)) &&
	       (o->socks == 4 || o->claim_len == 0) && o->sid.gen != 0 &&
	       o->method < METHOD_COUNT && o->command < COMMAND_COUNT &&
	       (o->method == METHOD_NONE) == (o->user_len == 0) &&
	       level_is_sound(o->method, o->level, true) &&
	       (o->command == COMMAND_NONE || named != (o->asked.a.family != ADDR_NONE)) &&
	       o->client.a.family != ADDR_NONE;
}

/* Did authd accept exactly this for this session: user, method and level? Where its verdict may
 * still be on the way, it is fetched first. */
static bool
was_accepted(
    struct sessions *s, const struct child *w, const struct msg_open *o, const uint8_t *user)
{
	struct accepted who = { o->method, o->level, user, o->user_len };

	if (o->method == METHOD_NONE)
		return true;
	if (accepts_take(s->accepts, w->index, o->sid, &who))
		return true;
	s->setup.drain_authd(s->setup.arg);
	return accepts_take(s->accepts, w->index, o->sid, &who);
}

/* Enters what was asked into its entry. False: not with all of its texts (see ledger_enter). */
static bool
enter(struct ledger *lg, struct ledger_entry *e, const struct child *w, const struct msg_open *o)
{
	const uint8_t *user = (const uint8_t *)(o + 1), *name = user + o->user_len;
	const struct ledger_text t = { .user = { user, o->user_len },
		.name = { name, o->name_len },
		.claim = { name + o->name_len, o->claim_len } };

	*e = (struct ledger_entry){ .state = LEDGER_FREE,
		.worker = w->spawn,
		.sid = o->sid,
		.opened_ms = realtime_ms(),
		.client = o->client,
		.gateway = o->gateway,
		.asked = o->asked,
		.method = o->method,
		.level = o->level,
		.command = o->command,
		.command_raw = o->command_raw,
		.socks = o->socks,
		.rule = RULE_NONE };
	return ledger_enter(lg, e, LEDGER_OPEN, &t);
}

void
sessions_refuse(struct child *w, struct ledger_entry *e, enum reason reason)
{
	struct msg_refuse r = { .sid = e->sid, .reason = reason };

	e->state = LEDGER_REFUSED;
	e->reason = reason;
	chan_send(&w->chan, MSG_REFUSE, &r, sizeof(r), -1);
}

static void on_update(struct deadline *d);

bool
sessions_open(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_open *o = m->payload;
	const uint8_t *user = (const uint8_t *)(o + 1);
	struct worker_sessions *ws = &s->workers[w->index];
	struct ledger_entry *e;
	struct session *ss;

	if (!open_is_sound(o, m->len) || !policies_has(s->setup.policies, o->version, RULE_NONE))
		return false;
	e = ledger_at(s->ledger, w->index, o->sid.slot);
	if (e == NULL)
		return false;
	ss = &ws->slot[o->sid.slot];
	if (ss->over)
		sessions_settle(s);
	if (e->state != LEDGER_FREE)
		return false;
	if (o->sid.gen <= ss->last_gen || !was_accepted(s, w, o, user))
		return false;
	ss->last_gen = o->sid.gen;
	ss->all = s;
	ss->worker = (uint16_t)w->index;
	ss->slot = o->sid.slot;
	ss->update.cb = on_update;
	bool whole = enter(s->ledger, e, w, o);
	ws->open++;
	enum reason limit = !whole || log_refuses(s->setup.log)
				? REASON_LIMIT_AUDIT
				: limits_enter(s->limits, user, o->user_len, &ss->user);
	if (limit != REASON_NONE)
		sessions_refuse(w, e, limit);
	else
		ss->counted = true;
	return true;
}

/* The record first: nothing is granted that is not in the trail. */
void
sessions_grant(struct sessions *s, struct child *w, struct ledger_entry *e)
{
	struct msg_grant g = { .sid = e->sid };

	sessions_opened(s, w, e);
	chan_send(&w->chan, MSG_GRANT, &g, sizeof(g), -1);
}

void
sessions_opened(struct sessions *s, const struct child *w, struct ledger_entry *e)
{
	struct session_facts f = sessions_facts(s, e);

	e->state = LEDGER_GRANTED;
	session_record(s->setup.log, EVENT_OPEN, &f);
	if (s->update_ms != 0)
		deadline_arm(
		    s->setup.loop, &s->workers[w->index].slot[e->sid.slot].update, s->update_ms);
}

/* Is this attempt's target the upstream that it names, and may the rule use that one? Without an
 * upstream the rule must have none. What a name of an upstream stands for is the resolver's to say.
 */
static bool
via_is_sound(const struct sessions *s, const struct msg_attempt *a, const struct image_rule *r)
{
	const struct image *img = policies_image(s->setup.policies, a->version);
	const struct image_upstream *u;

	if (a->via == 0)
		return r->upstreams.n == 0;
	u = image_upstream(img, a->via - 1);
	return u != NULL && image_rule_via(img, r, a->via - 1) && a->target.port == u->port &&
	       (u->addr.family == ADDR_NONE || addr_cmp(&u->addr, &a->target.a) == 0);
}

bool
sessions_attempt(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_attempt *a = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, a->sid);

	const struct image_rule *r;

	if (e == NULL || e->state == LEDGER_CONNECTED || a->target.a.family == ADDR_NONE)
		return false;
	r = policies_serving(s->setup.policies, a->version, a->rule, e->command);
	/* BIND's peers come to a listener, which is the grant; an association has no attempts. Both
	 * are otherwise where an upstream does it. */
	if (r == NULL || !via_is_sound(s, a, r) ||
	    (a->via == 0 && e->command == COMMAND_BIND && e->state == LEDGER_OPEN) ||
	    (a->via == 0 && e->command == COMMAND_UDP) ||
	    (e->command == COMMAND_UDP && e->state == LEDGER_GRANTED))
		return false;
	if (e->state == LEDGER_REFUSED)
		return true; /* our refusal was on its way */
	sessions_attempted(s, e, a);
	if (e->command == COMMAND_UDP) /* ASSOCIATE asks for the grant */
		return true;
	e->target = a->target;
	if (e->state == LEDGER_GRANTED)
		return true;
	sessions_grant(s, w, e);
	return true;
}

bool
sessions_connected(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_connected *c = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, c->sid);

	if (e == NULL || e->state != LEDGER_GRANTED || e->command == COMMAND_UDP ||
	    c->target.a.family == ADDR_NONE)
		return false;
	if (e->command == COMMAND_BIND && !e->by_upstream &&
	    (memcmp(&c->target, &e->target, sizeof(c->target)) != 0 ||
		memcmp(&c->outgoing, &e->outgoing, sizeof(c->outgoing)) != 0))
		return false; /* not the peer of the attempt, not our listener */
	sessions_unlisten(&s->workers[w->index], e->sid.slot);
	e->target = c->target;
	e->outgoing = c->outgoing;
	e->state = LEDGER_CONNECTED;
	return true;
}

bool
sessions_close(struct sessions *s, struct child *w, const struct msg *m)
{
	const struct msg_close *c = m->payload;
	struct ledger_entry *e = sessions_entry(s, w, c->sid);

	if (e == NULL || c->reason == REASON_NONE || c->reason >= REASON_COUNT)
		return false;
	/* Only a session that never made an attempt is told about a rule here: the block rule. */
	if (e->rule == RULE_NONE && (e->state == LEDGER_OPEN || e->state == LEDGER_REFUSED)) {
		if (!policies_has(s->setup.policies, c->version, c->rule))
			return false;
		sessions_decided_by(s, e, c->version, c->rule);
	}
	e->up = c->up;
	e->down = c->down;
	finish(s, w->index, e, c, (enum reason)c->reason);
	return true;
}

/* --- while it lives --- */

static void
on_update(struct deadline *d)
{
	struct session *ss = (struct session *)((char *)d - offsetof(struct session, update));
	struct sessions *s = ss->all;

	struct ledger_entry *e = ledger_at(s->ledger, ss->worker, ss->slot);

	read_counts(&s->workers[ss->worker], e);
	struct session_facts f = sessions_facts(s, e);
	session_record(s->setup.log, EVENT_UPDATE, &f);
	if (s->update_ms != 0)
		deadline_arm(s->setup.loop, d, s->update_ms);
}

unsigned
sessions_count(const struct sessions *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->setup.workers; i++)
		n += s->workers[i].open;
	return n;
}

void
sessions_print(const struct sessions *s, FILE *out)
{
	for (unsigned i = 0; i < s->setup.workers; i++) {
		struct worker_sessions *ws = &s->workers[i];
		for (uint32_t k = 0, seen = 0; k < s->setup.slots && seen < ws->open; k++) {
			struct ledger_entry *e = ledger_at(s->ledger, i, k);
			if (!is_live(ws, e, k))
				continue;
			seen++;
			read_counts(ws, e);
			struct session_facts f = sessions_facts(s, e);
			session_print(&f, out);
		}
	}
}
