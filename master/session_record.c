/*
 * From a ledger entry to an audit record: which fields a session's records have.
 */
#include "master/session_record.h"

#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "master/escape.h"

#define ID_TEXT    64
#define DROPS_TEXT (DROP_COUNT * 24) /* each: name, colon, ten digits, comma */
#define ASKED_TEXT (NAME_MAX_LEN + 8)

/* What the record's pointers point to. */
struct texts {
	char id[ID_TEXT];
	char command[8];
	char drops[DROPS_TEXT];
	char asked[ASKED_TEXT];
};

const char *
method_name(unsigned m)
{
	static const char *const names[] = { "none", "password", "gssapi" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == METHOD_COUNT, "a name for each");
	return m < METHOD_COUNT ? names[m] : "none";
}

/* How the client's octets are protected; NULL where no method could. */
static const char *
protection_name(unsigned method, unsigned level)
{
	static const char *const names[] = { "clear", "integrity", "confidentiality", "selective" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == LEVEL_COUNT, "a name for each");
	return method == METHOD_GSSAPI && level < LEVEL_COUNT ? names[level] : NULL;
}

static void
id_text(char *buf, uint64_t instance, uint32_t worker, struct sid sid)
{
	const uint32_t parts[] = { worker, sid.slot, sid.gen };
	struct text t = text_in(buf, ID_TEXT);

	text_hex(&t, instance, 16);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		text_char(&t, '-');
		text_number(&t, parts[i]);
	}
}

/* What was asked for, as octets: a name is not text, and may hold any. */
static size_t
asked_text(char *buf, const struct session_facts *f)
{
	struct text t = text_in(buf, ASKED_TEXT);

	if (f->text.name.len == 0)
		return strlen(addrport_format(&f->e->asked, buf, ASKED_TEXT));
	text_octets(&t, f->text.name.at, f->text.name.len);
	text_char(&t, ':');
	text_number(&t, f->e->asked.port);
	return t.len;
}

static uint64_t
lasted_ms(const struct ledger_entry *e)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	uint64_t now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	return now > e->opened_ms ? now - e->opened_ms : 0;
}

/* "source:3,rules:1"; empty where nothing was dropped. */
static void
drops_text(char *buf, const struct msg_close *c)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < DROP_COUNT; i++)
		if (c->drops[i] > 0)
			at += (size_t)snprintf(buf + at, DROPS_TEXT - at, "%s%s:%u",
			    at > 0 ? "," : "", drop_name((enum drop)i), c->drops[i]);
}

static const char *
command_text(char *buf, size_t size, const struct ledger_entry *e)
{
	switch ((enum command)e->command) {
	case COMMAND_CONNECT:
		return "connect";
	case COMMAND_BIND:
		return "bind";
	case COMMAND_UDP:
		return "udp";
	case COMMAND_NONE:
	case COMMAND_COUNT:
		break;
	}
	snprintf(buf, size, "%u", e->command_raw);
	return buf;
}

/* How much, and for how long. */
static void
fill_counts(struct audit_rec *r, const struct session_facts *f, struct texts *t)
{
	static const struct msg_close none;
	const struct msg_close *c = f->close != NULL ? f->close : &none;
	const struct ledger_entry *e = f->e;

	audit_num(r, FIELD_UP, e->up);
	audit_num(r, FIELD_DOWN, e->down);
	audit_num(r, FIELD_DURATION, lasted_ms(e));
	/* Datagrams are told with a session's end: of one that goes on, or whose worker is lost,
	 * the octets alone are known. */
	if (e->command != COMMAND_UDP ||
	    (e->up + e->down > 0 && c->datagrams_up + c->datagrams_down == 0))
		return;
	audit_num(r, FIELD_DATAGRAMS_UP, c->datagrams_up);
	audit_num(r, FIELD_DATAGRAMS_DOWN, c->datagrams_down);
	drops_text(t->drops, c);
	if (t->drops[0] != '\0')
		audit_str(r, FIELD_DROPS, t->drops, strlen(t->drops));
}

static void
octets(struct audit_rec *r, enum audit_field f, struct ledger_octets o)
{
	if (o.len > 0)
		audit_str(r, f, o.at, o.len);
}

static void
fill(struct audit_rec *r, enum audit_event ev, const struct session_facts *f, struct texts *t)
{
	const struct ledger_entry *e = f->e;
	bool granted = e->state == LEDGER_GRANTED || e->state == LEDGER_CONNECTED;

	audit_begin(r, ev);
	id_text(t->id, f->instance, e->worker, e->sid);
	audit_word(r, FIELD_ID, t->id);
	audit_num(r, FIELD_WORKER, e->worker);
	octets(r, FIELD_USER, f->text.user);
	if (e->socks == 4)
		audit_num(r, FIELD_SOCKS, 4);
	octets(r, FIELD_CLAIM, f->text.claim);
	audit_word(r, FIELD_METHOD, method_name(e->method));
	audit_word(r, FIELD_PROTECTION, protection_name(e->method, e->level));
	audit_addr(r, FIELD_CLIENT, &e->client);
	audit_addr(r, FIELD_GATEWAY, &e->gateway);
	audit_word(r, FIELD_COMMAND, command_text(t->command, sizeof(t->command), e));
	if (f->text.name.len > 0 || e->asked.a.family != ADDR_NONE)
		audit_str(r, FIELD_ASKED, t->asked, asked_text(t->asked, f));
	audit_addr(r, FIELD_TARGET, &e->target);
	octets(r, FIELD_VIA, f->text.via);
	audit_addr(r, FIELD_OUTGOING, &e->outgoing);
	if (granted || f->text.rule.len > 0)
		audit_str(r, FIELD_RULE, f->text.rule.at, f->text.rule.len);
	if (ev == EVENT_UPDATE || ev == EVENT_CLOSE || ev == EVENT_REFUSED)
		fill_counts(r, f, t);
	if (e->log && r->severity > LOG_WARNING)
		r->severity = LOG_WARNING;
}

void
session_record(struct log *log, enum audit_event ev, const struct session_facts *f)
{
	struct audit_rec r;
	struct texts t;

	fill(&r, ev, f, &t);
	log_record(log, &r);
}

void
session_record_end(struct log *log, const struct session_facts *f, enum reason reason, int error)
{
	bool granted = f->e->state == LEDGER_GRANTED || f->e->state == LEDGER_CONNECTED;
	struct audit_rec r;
	struct texts t;

	fill(&r, granted ? EVENT_CLOSE : EVENT_REFUSED, f, &t);
	audit_word(&r, FIELD_REASON, reason_name(reason));
	if (error > 0)
		audit_word(&r, FIELD_ERROR, strerrorname_np(error));
	log_record(log, &r);
}

void
session_record_verdict(struct log *log, struct early *early, const struct msg_verdict *v,
    const uint8_t *user, uint64_t instance)
{
	bool ok = v->verdict == VERDICT_ACCEPT;
	struct audit_rec r;
	char id[ID_TEXT];

	audit_begin(&r, ok ? EVENT_AUTH_OK : EVENT_AUTH_FAILED);
	id_text(id, instance, v->spawn, v->sid);
	audit_word(&r, FIELD_ID, id);
	audit_num(&r, FIELD_WORKER, v->spawn);
	if (v->user_len > 0 || v->method != METHOD_GSSAPI) /* a token may name no one */
		audit_str(&r, FIELD_USER, user, v->user_len);
	audit_word(&r, FIELD_METHOD, method_name(v->method));
	if (ok)
		audit_word(&r, FIELD_PROTECTION, protection_name(v->method, v->level));
	audit_addr(&r, FIELD_CLIENT, &v->client);
	if (!ok)
		audit_word(&r, FIELD_REASON, verdict_name((enum verdict_code)v->verdict));
	if (ok)
		log_record(log, &r);
	else
		early_auth_failed(early, v, &r);
}

void
session_print(const struct session_facts *f, FILE *out)
{
	struct audit_rec r;
	struct texts t;
	char line[AUDIT_LINE_MAX];

	fill(&r, EVENT_UPDATE, f, &t);
	audit_format(&r, FORMAT_LOGFMT, 0, line, sizeof(line));
	/* From the session's id on: the record's own head is of no use here. */
	const char *from = strstr(line, " id=");
	fprintf(out, "%s\n", from != NULL ? from + 1 : line);
}
