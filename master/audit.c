/*
 * Audit records: made of typed fields, formatted as one line of logfmt or JSON; and the same tables
 * printed for sallyport-audit(7). Owns the format; trusts none of the octets in a field of kind S
 * or T.
 */
#include "master/audit.h"

#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "master/escape.h"

enum kind { KIND_S, KIND_T, KIND_W, KIND_N, KIND_A };

/* What stands before a value, which is all but the first of a line. */
struct before {
	const char *text;
	size_t len;
};

#define BEFORE_FORM(text)              \
	{                              \
		text, sizeof(text) - 1 \
	}
#define BEFORE(key)                                           \
	{                                                     \
		[FORMAT_LOGFMT] = BEFORE_FORM(" " key "="),   \
		[FORMAT_JSON] = BEFORE_FORM(",\"" key "\":"), \
	}

static const struct {
	const char *key;
	enum kind kind;
	const char *help;
	struct before before[2];
} fields[FIELD_COUNT] = {
#define X(id, key, kind, help) [id] = { key, KIND_##kind, help, BEFORE(key) },
	AUDIT_FIELDS(X)
#undef X
};
static const struct before before_seq[2] = BEFORE("seq"), before_time[2] = BEFORE("time");

static const struct {
	const char *name;
	int severity;
	bool capped;
	const char *help;
} events[EVENT_COUNT] = {
#define X(id, name, severity, capped, help) [id] = { name, severity, capped, help },
	AUDIT_EVENTS(X)
#undef X
};

#define WORD_MAX 64 /* octets of a word of the gateway's own; the longest has 30 */

/* The longest that a field of each kind makes of a line, with quotes and key. */
enum {
	LONGEST_KEY = 24,
	LONGEST_S = LONGEST_KEY + AUDIT_OCTETS_MAX * 6,
	LONGEST_T = LONGEST_S,
	LONGEST_W = LONGEST_KEY + WORD_MAX * 6,
	LONGEST_N = LONGEST_KEY + 20,
	LONGEST_A = LONGEST_KEY + ADDR_TEXT,
#define X(id, key, kind, help) +LONGEST_##kind
	LONGEST_LINE = 256 AUDIT_FIELDS(X) /* and event, seq, time */
#undef X
};

_Static_assert(FIELD_COUNT <= 32, "a bit per field in struct audit_rec");
_Static_assert(LONGEST_LINE <= AUDIT_LINE_MAX, "every record fits in a line");

void
audit_begin(struct audit_rec *r, enum audit_event e)
{
	r->event = e;
	r->set = 0; /* so that no value counts */
	r->time_ms = 0;
	r->severity = events[e].severity;
}

static void
audit_set(struct audit_rec *r, enum audit_field f, const void *p, size_t len, uint64_t n)
{
	r->v[f].p = p;
	r->v[f].len = len;
	r->v[f].n = n;
	r->set |= 1u << f;
}

void
audit_str(struct audit_rec *r, enum audit_field f, const void *octets, size_t len)
{
	audit_set(r, f, octets, len < AUDIT_OCTETS_MAX ? len : AUDIT_OCTETS_MAX, 0);
}

void
audit_word(struct audit_rec *r, enum audit_field f, const char *word)
{
	if (word != NULL)
		audit_set(r, f, word, strnlen(word, WORD_MAX), 0);
}

void
audit_num(struct audit_rec *r, enum audit_field f, uint64_t n)
{
	audit_set(r, f, NULL, 0, n);
}

void
audit_addr(struct audit_rec *r, enum audit_field f, const struct addrport *ap)
{
	if (ap->a.family != ADDR_NONE)
		audit_set(r, f, ap, sizeof(*ap), 0);
}

/* RFC 3339, UTC, milliseconds. The date is made once a second. */
static void
put_time(struct text *t, uint64_t ms)
{
	static uint64_t made = UINT64_MAX;
	static char date[32];
	uint64_t second = ms / 1000;
	time_t s = (time_t)second;
	struct tm tm;

	if (second != made) {
		if (gmtime_r(&s, &tm) == NULL || strftime(date, sizeof(date), "%FT%T.", &tm) == 0) {
			made = UINT64_MAX;
			text_string(t, "1970-01-01T00:00:00.000Z");
			return;
		}
		made = second;
	}
	text_string(t, date);
	for (unsigned tens = 100; tens > 0; tens /= 10)
		text_char(t, (char)('0' + ms / tens % 10));
	text_char(t, 'Z');
}

static void
put_text(struct text *t, enum conf_log_format f, const void *octets, size_t len, uint8_t lowest)
{
	if (f == FORMAT_LOGFMT && escape_plain(octets, len)) {
		text_octets(t, octets, len);
		return;
	}
	text_string(t, "\"");
	if (f == FORMAT_JSON)
		escape_json(t, octets, len, lowest);
	else
		escape_logfmt(t, octets, len, lowest);
	text_string(t, "\"");
}

static void
put_key(struct text *t, enum conf_log_format f, const struct before *before)
{
	text_octets(t, before[f].text, before[f].len);
}

/* What cannot hold anything to escape: quoted in JSON alone. */
static void
put_quote(struct text *t, enum conf_log_format f)
{
	if (f == FORMAT_JSON)
		text_char(t, '"');
}

static void
put_addr(struct text *t, enum conf_log_format f, const struct addrport *ap)
{
	char addr[ADDR_TEXT];

	put_quote(t, f);
	text_string(t, addrport_format(ap, addr, sizeof(addr)));
	put_quote(t, f);
}

static void
put_field(struct text *t, enum conf_log_format f, const struct audit_rec *r, enum audit_field i)
{
	put_key(t, f, fields[i].before);
	switch (fields[i].kind) {
	case KIND_N:
		text_number(t, r->v[i].n);
		break;
	case KIND_A:
		put_addr(t, f, r->v[i].p);
		break;
	case KIND_S:
	case KIND_W: /* quoted too if it should ever need it */
		put_text(t, f, r->v[i].p, r->v[i].len, 0x21);
		break;
	case KIND_T:
		put_text(t, f, r->v[i].p, r->v[i].len, 0x20);
		break;
	}
}

size_t
audit_format(
    const struct audit_rec *r, enum conf_log_format f, uint64_t seq, char *buf, size_t size)
{
	struct text t = text_in(buf, size);
	bool json = f == FORMAT_JSON;

	text_string(&t, json ? "@cee: {\"event\":" : "event=");
	put_quote(&t, f);
	text_string(&t, events[r->event].name);
	put_quote(&t, f);
	put_key(&t, f, before_seq);
	text_number(&t, seq);
	put_key(&t, f, before_time);
	put_quote(&t, f);
	put_time(&t, r->time_ms);
	put_quote(&t, f);
	for (enum audit_field i = 0; i < FIELD_COUNT; i++)
		if (r->set & 1u << i)
			put_field(&t, f, r, i);
	if (json)
		text_char(&t, '}');
	return t.len;
}

const char *
audit_event_name(enum audit_event e)
{
	return events[e].name;
}

bool
audit_event_capped(enum audit_event e)
{
	return events[e].capped;
}

/* --- the man page's lists --- */

/* The tables quote words of the configuration in grave accents, which roff would turn. */
static void
print_help(FILE *out, const char *help)
{
	for (const char *p = help; *p != '\0'; p++) {
		if (*p == '`')
			fputs("\\(ga", out);
		else
			fputc(*p, out);
	}
	fputs(".\n", out);
}

static void
print_head(FILE *out, const char *title)
{
	fprintf(out, ".Ss %s\n.Bl -tag -width \"reload-failed\"\n", title);
}

static void
print_events(FILE *out)
{
	static const char *const severity[] = { "emerg", "alert", "crit", "err", "warning",
		"notice", "info", "debug" };

	print_head(out, "Events");
	for (enum audit_event e = 0; e < EVENT_COUNT; e++) {
		fprintf(out, ".It Cm %s Pq %s%s\n", events[e].name, severity[events[e].severity],
		    events[e].capped ? ", capped" : "");
		print_help(out, events[e].help);
	}
	fputs(".El\n", out);
}

static void
print_fields(FILE *out)
{
	static const char *const kind[] = {
		[KIND_S] = "octets",
		[KIND_T] = "text",
		[KIND_W] = "word",
		[KIND_N] = "number",
		[KIND_A] = "address",
	};

	print_head(out, "Fields");
	for (enum audit_field i = 0; i < FIELD_COUNT; i++) {
		fprintf(out, ".It Cm %s Pq %s\n", fields[i].key, kind[fields[i].kind]);
		print_help(out, fields[i].help);
	}
	fputs(".El\n", out);
}

static void
print_word(FILE *out, const char *word, const char *help)
{
	fprintf(out, ".It Cm %s\n", word);
	print_help(out, help);
}

void
audit_print_tables(FILE *out)
{
	print_events(out);
	print_fields(out);
	print_head(out, "Reasons");
#define X(id, text, help) print_word(out, text, help);
	REASONS(X)
	fputs(".El\n", out);
	print_head(out, "Verdicts");
	VERDICTS(X)
	fputs(".El\n", out);
	print_head(out, "Drops");
	DROPS(X)
#undef X
	fputs(".El\n", out);
}
