/*
 * Floods before authentication, told once and then counted. Owns a bounded table of sources; trusts
 * neither how many of them there are (a client of IPv6 has a /64 to choose from, which counts as
 * one source) nor how often they come.
 */
#include "master/early.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/tree.h"
#include "master/audit.h"
#include "master/session_record.h"

enum flood { FLOOD_EARLY, FLOOD_AUTH };

struct source_key {
	struct addr source; /* canonical; IPv6: its /64 */
	uint32_t flood;     /* enum flood */
	uint32_t reason;    /* enum reason, or enum verdict_code */
	uint32_t method;
};

struct source {
	RB_ENTRY(source) node;
	TAILQ_ENTRY(source) entry; /* the one quiet longest first */
	struct deadline window;
	struct early *owner;
	struct source_key key;
	struct addrport client, gateway; /* as of the last event, like the next two */
	uint32_t worker;
	uint32_t detail; /* of struct msg_early; not in the key: a client may choose it */
	uint32_t told;   /* one by one */
	uint64_t count;  /* since then, not told yet */
};

RB_HEAD(sources, source);

struct early {
	struct loop *loop;
	struct log *log;
	struct sources sources;
	TAILQ_HEAD(, source) quiet;
	unsigned n;
};

static int
source_cmp(const struct source *a, const struct source *b)
{
	return memcmp(&a->key, &b->key, sizeof(a->key));
}

_Static_assert(sizeof(struct source_key) == sizeof(struct addr) + 12, "no padding: memcmp");
TREE_GENERATE(sources, source, node, source_cmp)

struct early *
early_new(struct loop *l, struct log *log)
{
	struct early *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->loop = l;
	e->log = log;
	RB_INIT(&e->sources);
	TAILQ_INIT(&e->quiet);
	return e;
}

/* What the reason alone does not say. */
static void
put_detail(struct audit_rec *r, const struct source *s, char *buf, size_t size)
{
	if (s->key.flood != FLOOD_EARLY)
		return;
	if (s->key.reason == REASON_VERSION)
		snprintf(buf, size, "version:%u", s->detail);
	else if (s->key.reason == REASON_NO_METHOD)
		snprintf(buf, size, "offered:0x%x", s->detail);
	else
		return;
	audit_str(r, FIELD_DETAIL, buf, strlen(buf));
}

static void
write_count(struct source *s, uint64_t count)
{
	const struct source_key *k = &s->key;
	struct audit_rec r;
	char detail[32];

	if (k->flood == FLOOD_EARLY) {
		audit_begin(&r, EVENT_EARLY);
		audit_word(&r, FIELD_REASON, reason_name(k->reason));
	} else {
		audit_begin(&r, EVENT_AUTH_FAILED);
		audit_word(&r, FIELD_REASON, verdict_name(k->reason));
		audit_word(&r, FIELD_METHOD, method_name(k->method));
	}
	audit_num(&r, FIELD_WORKER, s->worker);
	audit_addr(&r, FIELD_CLIENT, &s->client);
	audit_addr(&r, FIELD_GATEWAY, &s->gateway);
	audit_num(&r, FIELD_COUNT_, count);
	put_detail(&r, s, detail, sizeof(detail));
	log_record(s->owner->log, &r);
}

static void
source_flush(struct source *s)
{
	uint64_t count = s->count;

	s->count = 0;
	if (count > 0)
		write_count(s, count);
}

static void
source_forget(struct source *s)
{
	struct early *e = s->owner;

	deadline_disarm(&s->window);
	RB_REMOVE(sources, &e->sources, s);
	TAILQ_REMOVE(&e->quiet, s, entry);
	e->n--;
	free(s);
}

/* A window ends: what was counted is told, and counting goes on; a quiet source is forgotten. */
static void
on_window(struct deadline *d)
{
	struct source *s = (struct source *)(void *)((char *)d - offsetof(struct source, window));

	if (s->count == 0) {
		source_forget(s);
		return;
	}
	source_flush(s);
	deadline_arm(s->owner->loop, &s->window, EARLY_WINDOW);
}

static struct source_key
key_for(const struct addrport *client, enum flood flood, uint32_t reason)
{
	struct source_key k = {
		.source = addr_canon(&client->a, NULL, 0), .flood = flood, .reason = reason
	};

	if (k.source.family == ADDR_V6)
		memset(k.source.b + 8, 0, 8);
	return k;
}

/* The source of an event, now the one heard last; NULL if there is no memory. */
static struct source *
source_for(struct early *e, const struct source_key *k)
{
	struct source find = { .key = *k };
	struct source *s = RB_FIND(sources, &e->sources, &find);

	if (s != NULL) {
		TAILQ_REMOVE(&e->quiet, s, entry);
		TAILQ_INSERT_TAIL(&e->quiet, s, entry);
		return s;
	}
	if (e->n >= EARLY_SOURCES) {
		s = TAILQ_FIRST(&e->quiet);
		source_flush(s);
		source_forget(s);
	}
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->owner = e;
	s->key = *k;
	s->window.cb = on_window;
	RB_INSERT(sources, &e->sources, s);
	TAILQ_INSERT_TAIL(&e->quiet, s, entry);
	e->n++;
	deadline_arm(e->loop, &s->window, EARLY_WINDOW);
	return s;
}

void
early_note(struct early *e, const struct msg_early *m, uint32_t worker)
{
	/* The fields come from a worker: a reason out of range is told as none. */
	uint32_t reason = m->reason < REASON_COUNT ? m->reason : REASON_NONE;
	struct source_key k = key_for(&m->client, FLOOD_EARLY, reason);
	struct source alone = { .owner = e, .key = k };

	struct source *s = source_for(e, &k);
	if (s == NULL)
		s = &alone;
	s->client = m->client;
	s->gateway = m->gateway;
	s->worker = worker;
	s->detail = m->detail;
	if (s->told == 0) {
		s->told = 1;
		write_count(s, 1);
	} else {
		s->count++;
	}
}

void
early_auth_failed(struct early *e, const struct msg_verdict *v, struct audit_rec *r)
{
	uint32_t verdict = v->verdict < VERDICT_COUNT ? v->verdict : VERDICT_NONE;
	struct source_key k = key_for(&v->client, FLOOD_AUTH, verdict);

	k.method = v->method;
	struct source *s = source_for(e, &k);
	if (s == NULL || s->told < EARLY_AUTH_BURST) {
		if (s != NULL)
			s->told++;
		log_record(e->log, r);
		return;
	}
	s->client = v->client;
	s->worker = v->spawn;
	s->count++;
}

void
early_flush_all(struct early *e)
{
	struct source *s;

	while ((s = TAILQ_FIRST(&e->quiet)) != NULL) {
		source_flush(s);
		source_forget(s);
	}
}

void
early_free(struct early *e)
{
	struct source *s;

	if (e == NULL)
		return;
	while ((s = TAILQ_FIRST(&e->quiet)) != NULL)
		source_forget(s);
	free(e);
}
