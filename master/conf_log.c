/*
 * `log`: where audit records go.
 */
#define SYSLOG_NAMES /* syslog.h then has the table of facilities */
#include <string.h>
#include <syslog.h>

#include "master/conf_parse.h"

#define LOG_OPTION_FACILITY 0x1u
#define LOG_OPTION_SOCKET   0x2u
#define LOG_OPTION_FORMAT   0x4u

static bool
option(struct conf_parse *ps, const struct conf_where *w, unsigned bit, const char *name,
    bool syslog_only)
{
	if (syslog_only && ps->log->kind != LOGTO_SYSLOG) {
		conf_error(
		    ps, w, "log file and log stderr have no %s, expected it with log syslog", name);
		return false;
	}
	if (ps->log_given & bit) {
		conf_error(ps, w, "%s stands twice in a log statement, expected it once", name);
		return false;
	}
	ps->log_given |= bit;
	return true;
}

void
conf_log_begin(struct conf_parse *ps, const struct conf_where *w, enum conf_log_kind kind,
    const struct conf_item *path)
{
	struct conf_log *l = conf_alloc(ps, sizeof(*l));
	const char *s;

	l->where = *w;
	l->kind = kind;
	l->format = FORMAT_LOGFMT;
	l->facility = LOG_DAEMON;
	if (path != NULL && (s = conf_path(ps, path, "a log file", PATH_MAX_MSG - 1)) != NULL)
		l->path = conf_copy(ps, s, strlen(s));
	ps->log = l;
	ps->log_given = 0;
}

void
conf_log_facility(struct conf_parse *ps, const struct conf_item *name)
{
	if (!option(ps, &name->where, LOG_OPTION_FACILITY, "facility", true))
		return;
	for (const CODE *c = facilitynames; c->c_name != NULL; c++)
		if (strcmp(c->c_name, name->s) == 0 && c->c_val != INTERNAL_MARK) {
			ps->log->facility = c->c_val;
			return;
		}
	conf_error(ps, &name->where,
	    "unknown facility %s, expected one of syslog(3): daemon, auth, authpriv, local0 to local7, user",
	    conf_show(ps, name));
}

void
conf_log_socket(struct conf_parse *ps, const struct conf_item *path)
{
	const char *s;

	if (option(ps, &path->where, LOG_OPTION_SOCKET, "socket", true) &&
	    (s = conf_path(ps, path, "a socket", CONF_SOCKET_MAX)) != NULL)
		ps->log->path = conf_copy(ps, s, strlen(s));
}

void
conf_log_format(struct conf_parse *ps, const struct conf_where *w, enum conf_log_format f)
{
	if (option(ps, w, LOG_OPTION_FORMAT, "format", false))
		ps->log->format = f;
}

void
conf_log_end(struct conf_parse *ps)
{
	struct conf_log *l = ps->log;
	const struct conf_log *o;

	STAILQ_FOREACH (o, &ps->conf->logs, entry)
		if (o->kind == l->kind && (o->path == NULL) == (l->path == NULL) &&
		    (o->path == NULL || strcmp(o->path, l->path) == 0))
			conf_error(ps, &l->where,
			    "a second log to the same place, expected one (first: %s:%u)",
			    o->where.file, o->where.line);
	STAILQ_INSERT_TAIL(&ps->conf->logs, l, entry);
}

void
conf_log_update(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *time)
{
	conf_once(ps, ONCE_LOG_UPDATE, w, "log update");
	conf_time(ps, time, "log update", CONF_TIME_MIN, CONF_UPDATE_MAX, &ps->conf->log_update);
}

void
conf_log_overflow(struct conf_parse *ps, const struct conf_where *w, bool drop)
{
	conf_once(ps, ONCE_LOG_OVERFLOW, w, "log overflow");
	ps->conf->log_overflow_drop = drop;
}
