/*
 * The logs: numbers and stamps each record, formats it once a format, and gives it to every sink.
 * Owns the set of sinks and the count of records.
 */
#include "master/log.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/escape.h"
#include "master/log_sink.h"

#define LOG_REFUSE  (LOG_QUEUE_MAX / 4 * 3) /* octets that wait when new sessions are refused */
#define LOG_HEAD    64                      /* octets of a syslog header; it has about 45 */
#define LOG_STEP_MS 20                      /* between tries at the end */

struct log {
	struct loop *loop;
	struct sinks sinks;
	struct deadline turn; /* hands over at the end of the turn; armed while records wait */
	uint64_t seq;
	bool drop;      /* log overflow drop */
	bool reporting; /* inside log_tell_lost */
	pid_t pid;
	uint64_t head_s; /* the second that `head` names */
	char head[LOG_HEAD];
	char record[AUDIT_LINE_MAX];
	char line[LOG_HEAD + AUDIT_LINE_MAX + 1];
};

/* --- records --- */

/*
 * RFC 3164 section 4.1, without HOSTNAME, as local daemons take it: "<30>Nov  3 18:22:03
 * sallyportd[12]: ". The month is English whatever the locale. All but the priority changes once a
 * second.
 */
static void
head_make(struct log *lg, uint64_t second)
{
	static const char month[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	struct text t = text_in(lg->head, sizeof(lg->head));
	time_t when = (time_t)second;
	struct tm tm;

	if (localtime_r(&when, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	text_format(&t, ">%s %2d %02d:%02d:%02d sallyportd[%d]: ", month[tm.tm_mon], tm.tm_mday,
	    tm.tm_hour, tm.tm_min, tm.tm_sec, (int)lg->pid);
	lg->head_s = second;
}

static void
put_syslog_head(struct log *lg, struct text *t, const struct sink *s, const struct audit_rec *r)
{
	uint64_t second = r->time_ms / 1000;

	if (second != lg->head_s)
		head_make(lg, second);
	text_char(t, '<');
	text_number(t, (uint64_t)(s->facility | r->severity));
	text_string(t, lg->head);
}

static void
log_write(struct log *lg, struct audit_rec *r)
{
	static const enum conf_log_format formats[] = { FORMAT_LOGFMT, FORMAT_JSON };
	/* What is left when sessions are refused is for the ends of those that are open, not for
	 * the refusals. */
	bool capped =
	    audit_event_capped(r->event) || (r->event == EVENT_REFUSED && log_refuses(lg));
	struct timespec ts;

	lg->seq++;
	if (r->time_ms == 0) {
		clock_gettime(CLOCK_REALTIME, &ts);
		r->time_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	}
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		size_t len = 0;
		struct sink *s;

		STAILQ_FOREACH (s, &lg->sinks, entry) {
			struct text t = text_in(lg->line, sizeof(lg->line));

			if (s->format != formats[i])
				continue;
			if (len == 0)
				len = audit_format(
				    r, s->format, lg->seq, lg->record, sizeof(lg->record));
			if (s->kind == LOGTO_SYSLOG)
				put_syslog_head(lg, &t, s, r);
			text_octets(&t, lg->record, len);
			if (s->kind != LOGTO_SYSLOG)
				text_string(&t, "\n");
			sink_put(s, t.p, t.len, capped);
		}
	}
	if (!deadline_armed(&lg->turn))
		deadline_arm(lg->loop, &lg->turn, 0);
}

/* Where there is room again, one record tells how many are missing: in every log, by the name of
 * the one that could not take them. */
static void
log_tell_lost(struct log *lg)
{
	struct sink *s;

	if (lg->reporting)
		return;
	lg->reporting = true;
	STAILQ_FOREACH (s, &lg->sinks, entry) {
		struct audit_rec r;

		if (s->lost == 0 || s->queued > LOG_QUEUE_MAX / 2 ||
		    s->queued_capped > LOG_CAPPED_MAX / 2)
			continue;
		audit_begin(&r, EVENT_LOST);
		audit_num(&r, FIELD_COUNT_, s->lost);
		audit_str(&r, FIELD_FILE, sink_name(s), strlen(sink_name(s)));
		s->lost = 0;
		log_write(lg, &r);
	}
	lg->reporting = false;
}

static void
log_on_room(struct sink *s)
{
	log_tell_lost(s->owner);
}

void
log_record(struct log *lg, struct audit_rec *r)
{
	log_write(lg, r);
	log_tell_lost(lg);
}

/* Also what a log lost by this is told: by a record of the next turn. */
static void
hand_over(struct log *lg)
{
	struct sink *s;

	STAILQ_FOREACH (s, &lg->sinks, entry)
		sink_flush(s);
	log_tell_lost(lg);
}

static void
log_on_turn(struct deadline *d)
{
	hand_over((struct log *)(void *)((char *)d - offsetof(struct log, turn)));
}

void
log_flush(struct log *lg)
{
	if (!deadline_armed(&lg->turn))
		return;
	deadline_disarm(&lg->turn);
	hand_over(lg);
}

bool
log_refuses(const struct log *lg)
{
	const struct sink *s;

	if (lg->drop)
		return false;
	STAILQ_FOREACH (s, &lg->sinks, entry)
		if (s->queued > LOG_REFUSE)
			return true;
	return false;
}

/* --- the set of logs --- */

static void
sinks_free(struct sinks *sinks)
{
	struct sink *s;

	while ((s = STAILQ_FIRST(sinks)) != NULL) {
		STAILQ_REMOVE_HEAD(sinks, entry);
		sink_free(s);
	}
}

/* What is wrong with a log's place, and what to do. */
static void
complain(FILE *errors, const struct conf_log *cl, const char *name, int error)
{
	const char *hint = error == ENOENT   ? "; make its directory first"
			   : error == EINVAL ? "; expected a regular file"
			   : error == ELOOP  ? "; it is a symbolic link: name the file itself"
					     : "";

	fprintf(errors, "%s:%u: cannot open log %s: %s%s\n", cl->where.file, cl->where.line, name,
	    strerror(error), hint);
}

/* Opens the logs of a configuration, all or none. -1: what and why is on `errors`. */
static int
sinks_open(struct log *lg, const struct conf *c, struct sinks *sinks, FILE *errors)
{
	const struct conf_log *cl;

	STAILQ_INIT(sinks);
	STAILQ_FOREACH (cl, &c->logs, entry) {
		struct sink *s = sink_new(lg->loop, cl);

		if (s != NULL) {
			s->owner = lg;
			s->on_room = log_on_room;
			STAILQ_INSERT_TAIL(sinks, s, entry);
		}
		if (s == NULL || sink_open(s) == -1) {
			int e = errno;
			complain(errors, cl, s != NULL ? sink_name(s) : "", e);
			sinks_free(sinks);
			errno = e;
			return -1;
		}
	}
	return 0;
}

struct log *
log_open(struct loop *l, const struct conf *c, FILE *errors)
{
	struct log *lg = calloc(1, sizeof(*lg));

	if (lg == NULL) {
		warn("log");
		return NULL;
	}
	tzset(); /* syslog's header has local time */
	lg->pid = getpid();
	lg->head_s = UINT64_MAX;
	lg->loop = l;
	lg->turn.cb = log_on_turn;
	lg->drop = c->log_overflow_drop;
	if (sinks_open(lg, c, &lg->sinks, errors) == -1) {
		free(lg);
		return NULL;
	}
	return lg;
}

int
log_reopen(struct log *lg, const struct conf *c, FILE *errors)
{
	struct sinks sinks;
	struct sink *s, *old;

	if (sinks_open(lg, c, &sinks, errors) == -1)
		return -1;
	STAILQ_FOREACH (old, &lg->sinks, entry) {
		STAILQ_FOREACH (s, &sinks, entry)
			if (sink_same(s, old))
				break;
		if (s != NULL)
			sink_adopt(s, old);
		else
			sink_pump(old); /* its last chance */
		if (!STAILQ_EMPTY(&old->queue))
			warnx("log %s is given up with records waiting", sink_name(old));
	}
	sinks_free(&lg->sinks);
	STAILQ_CONCAT(&lg->sinks, &sinks);
	lg->drop = c->log_overflow_drop;
	return 0;
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void
log_close(struct log *lg, unsigned ms)
{
	uint64_t end = now_ms() + ms;
	struct sink *s;

	if (lg == NULL)
		return;
	STAILQ_FOREACH (s, &lg->sinks, entry) {
		sink_pump(s);
		while (!STAILQ_EMPTY(&s->queue) && now_ms() < end) {
			poll(NULL, 0, LOG_STEP_MS);
			sink_pump(s);
		}
	}
	log_tell_lost(lg);
	log_flush(lg);
	deadline_disarm(&lg->turn);
	STAILQ_FOREACH (s, &lg->sinks, entry)
		if (!STAILQ_EMPTY(&s->queue))
			warnx("log %s did not take the last records", sink_name(s));
	sinks_free(&lg->sinks);
	free(lg);
}
