/*
 * What takes the whole configuration to judge: statements that contradict each other, rules that
 * can never match, and files that the gateway could not use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/users.h"
#include "master/conf_parse.h"

static void
check_users_file(struct conf_parse *ps)
{
	const struct conf *c = ps->conf;
	const char *what = "";
	int fd;

	if (c->users_file == NULL)
		return;
	if ((fd = open(c->users_file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) ==
	    -1) {
		conf_error(ps, &c->auth_where,
		    errno == ELOOP
			? "the users file %s is a symbolic link (%s), expected the name of the file itself"
			: "cannot open the users file %s: %s, expected a readable file (sallyportctl passwd add makes it)",
		    c->users_file, strerror(errno));
		return;
	}
	if (users_file_safe(fd, &what) == -1)
		conf_error(
		    ps, &c->auth_where, "the users file %s is not safe: %s", c->users_file, what);
	close(fd);
}

#define SAY_WHO (METHOD_BIT(METHOD_PASSWORD) | METHOD_BIT(METHOD_GSSAPI))

/* The methods that say who a client is and that are configured; any may be, where the statement of
 * one had an error. */
static unsigned
have(const struct conf_parse *ps)
{
	const struct conf *c = ps->conf;

	if (ps->spoiled & SPOILED_AUTH)
		return SAY_WHO;
	return (c->users_file != NULL || c->pam_service != NULL ? METHOD_BIT(METHOD_PASSWORD) : 0) |
	       (c->gssapi.keytab != NULL ? METHOD_BIT(METHOD_GSSAPI) : 0);
}

static unsigned
preferred(const struct conf_parse *ps)
{
	unsigned bits = ps->spoiled & SPOILED_AUTH ? SAY_WHO : 0;

	for (unsigned i = 0; i < ps->conf->prefer_n; i++)
		bits |= METHOD_BIT(ps->conf->prefer[i]);
	return bits;
}

static void
check_auth(struct conf_parse *ps)
{
	struct conf *c = ps->conf;
	char path[sizeof("/usr/lib/pam.d/") + PATH_MAX_MSG];
	bool usable = false;

	if (c->users_file != NULL && c->pam_service != NULL)
		conf_error(ps, &c->auth_where,
		    "both auth password file and auth password pam are there, expected one of them");
	if (c->pam_service != NULL) {
		snprintf(path, sizeof(path), "/etc/pam.d/%s", c->pam_service);
		if (access(path, F_OK) == -1) {
			snprintf(path, sizeof(path), "/usr/lib/pam.d/%s", c->pam_service);
			if (access(path, F_OK) == -1)
				conf_warn(ps, &c->auth_where,
				    "no /etc/pam.d/%s: PAM will take its service \"other\"",
				    c->pam_service);
		}
	}
	for (unsigned i = 0; i < c->prefer_n; i++)
		usable =
		    usable || c->prefer[i] == METHOD_NONE || (have(ps) & METHOD_BIT(c->prefer[i]));
	if (!usable)
		conf_error(ps, &ps->once[ONCE_AUTH_PREFER],
		    "auth prefer has no method that is configured, expected an auth password or auth gssapi statement, or none in the list");
	check_users_file(ps);
}

#define STATEMENTS "a statement auth password file, auth password pam or auth gssapi keytab"

/* Encapsulation is agreed by GSSAPI alone. In a block rule `protection` would block what is
 * protected and let through what is not. */
static void
check_rule_protection(struct conf_parse *ps, const struct conf_rule *r)
{
	if (r->action == RULE_BLOCK)
		conf_error(ps, &r->where,
		    "protection stands in a block rule, which would block the sessions that are protected, expected it in a pass rule");
	else if (r->methods != 0 && !(r->methods & METHOD_BIT(METHOD_GSSAPI)))
		conf_error(ps, &r->where,
		    "protection stands beside auth %s, which protects nothing, expected auth gssapi",
		    r->methods & METHOD_BIT(METHOD_PASSWORD) ? "password" : "none");
	else if (!(have(ps) & METHOD_BIT(METHOD_GSSAPI)))
		conf_error(ps, &r->where,
		    "the rule asks for protection and auth gssapi is not configured, expected a statement auth gssapi keytab");
	else if (!(preferred(ps) & METHOD_BIT(METHOD_GSSAPI)))
		conf_error(ps, &r->where,
		    "the rule can never match: auth prefer leaves out gssapi, expected gssapi in auth prefer");
}

/* A rule that authentication must come before, and that auth prefer leaves no method for. */
static void
check_rule_preferred(struct conf_parse *ps, const struct conf_rule *r, bool names)
{
	bool any = r->methods == 0 || (r->methods & METHOD_BIT(METHOD_NONE));
	unsigned wanted = any ? have(ps) : r->methods & have(ps);
	bool both = wanted == SAY_WHO;

	if (wanted & preferred(ps))
		return;
	if (names || !any || (r->methods == 0 && r->action == RULE_PASS))
		conf_error(ps, &r->where,
		    "the rule can never match: auth prefer leaves out %s, expected %s in auth prefer",
		    both                                  ? "gssapi and password"
		    : wanted == METHOD_BIT(METHOD_GSSAPI) ? "gssapi"
							  : "password",
		    both                                  ? "one of them"
		    : wanted == METHOD_BIT(METHOD_GSSAPI) ? "gssapi"
							  : "password");
}

/* A rule that asks for a user, or for a method, that no session can have. */
static void
check_rule_auth(struct conf_parse *ps, const struct conf_rule *r)
{
	bool names = !STAILQ_EMPTY(&r->users) || !STAILQ_EMPTY(&r->groups);
	unsigned missing = r->methods & SAY_WHO & ~have(ps);

	if (r->broken) /* the auth may be what was not read */
		return;
	/* `auth none` is met by any session, so that only rules without it are left to judge below.
	 */
	if (names && r->methods == METHOD_BIT(METHOD_NONE))
		conf_error(ps, &r->where,
		    "the rule can never match: auth none asks for no user, expected auth password or auth gssapi, or no user and group");
	else if (missing & METHOD_BIT(METHOD_PASSWORD))
		conf_error(ps, &r->where,
		    "the rule asks for auth password and no such method is configured, expected a statement auth password file or auth password pam");
	else if (missing & METHOD_BIT(METHOD_GSSAPI))
		conf_error(ps, &r->where,
		    "the rule asks for auth gssapi and no such method is configured, expected a statement auth gssapi keytab");
	else if (r->protection != PROTECTION_ANY)
		check_rule_protection(ps, r);
	else if (have(ps) == 0 && names)
		conf_error(ps, &r->where,
		    "the rule asks for a user or group and no method is configured, expected " STATEMENTS);
	else if (have(ps) == 0 && r->action == RULE_PASS && r->methods == 0)
		conf_error(ps, &r->where,
		    "the rule can never match: it passes authenticated sessions and no method is configured, expected auth none on it or " STATEMENTS);
	else if (have(ps) != 0)
		check_rule_preferred(ps, r, names);
}

/* `bind port` says where the listeners of BIND sessions are that the rule lets pass. */
static void
check_rule_bind(struct conf_parse *ps, const struct conf_rule *r)
{
	if (STAILQ_EMPTY(&r->bind_ports))
		return;
	if (r->action == RULE_BLOCK)
		conf_error(
		    ps, &r->where, "bind port stands in a block rule, expected it in a pass rule");
	else if (r->commands != 0 && (r->commands & COMMAND_BIT(COMMAND_BIND)) == 0)
		conf_error(ps, &r->where,
		    "bind port stands in a rule without the command bind, expected bind among its commands");
}

/* SOCKS4 has no authentication. */
static void
check_socks4(struct conf_parse *ps)
{
	const struct conf_rule *r;

	if (!ps->conf->socks4)
		return;
	STAILQ_FOREACH (r, &ps->conf->rules, entry)
		if (r->action == RULE_PASS && (r->methods & METHOD_BIT(METHOD_NONE)))
			return;
	conf_warn(ps, &ps->once[ONCE_SOCKS4],
	    "socks4 allow serves no one: no pass rule has auth none, and SOCKS4 has no authentication");
}

static bool
matches_all(const struct conf_rule *r)
{
	return r->commands == 0 && r->methods == 0 && r->from == NULL && r->to == NULL &&
	       (!r->to_given || r->to_any) && STAILQ_EMPTY(&r->ports) && STAILQ_EMPTY(&r->users) &&
	       STAILQ_EMPTY(&r->groups);
}

static void
check_rules(struct conf_parse *ps)
{
	const struct conf_rule *r, *wall = NULL;
	bool pass = false;

	STAILQ_FOREACH (r, &ps->conf->rules, entry) {
		check_rule_auth(ps, r);
		check_rule_bind(ps, r);
		if (wall != NULL)
			conf_warn(ps, &r->where,
			    "the rule is never reached: %s:%u blocks everything before it",
			    wall->where.file, wall->where.line);
		if (wall == NULL && r->action == RULE_BLOCK && matches_all(r))
			wall = r;
		pass = pass || r->action == RULE_PASS;
	}
	if (!pass && ps->conf->errors == 0)
		conf_warn(ps, &ps->end, "no pass rule: every client will be turned away");
}

static int
time_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The event loop keeps one queue a length of time-out. */
static void
check_times(struct conf_parse *ps)
{
	const struct conf_rule *r;
	size_t n = 0, k = 0, distinct = 0;

	STAILQ_FOREACH (r, &ps->conf->rules, entry)
		n += 5;
	uint32_t *all = conf_alloc(ps, (n + 1) * sizeof(*all));
	STAILQ_FOREACH (r, &ps->conf->rules, entry) {
		all[k++] = r->timeouts.connect;
		all[k++] = r->timeouts.idle;
		all[k++] = r->timeouts.half_closed;
		all[k++] = r->timeouts.bind;
		all[k++] = r->timeouts.udp;
	}
	qsort(all, n, sizeof(*all), time_order);
	for (k = 0; k < n; k++)
		distinct += all[k] != 0 && (k == 0 || all[k] != all[k - 1]);
	if (distinct > CONF_RULE_TIMES)
		conf_error(ps, &ps->end,
		    "the rules have %zu different time-outs, expected at most %u", distinct,
		    CONF_RULE_TIMES);
}

static void
check_macros(struct conf_parse *ps)
{
	const struct conf_where w = { "-D", 1 };
	const struct conf_macro *m;

	STAILQ_FOREACH (m, &ps->macros, entry)
		if (m->outside && !m->used)
			conf_warn(ps, &w, "macro %s is used nowhere in the configuration", m->name);
}

void
conf_check(struct conf_parse *ps)
{
	uint32_t marks[EGRESS_MARKS_MAX + 1];
	struct conf *c = ps->conf;
	struct conf_table *t;

	STAILQ_FOREACH (t, &c->tables, entry) {
		conf_table_check(ps, t, false);
		conf_table_positive(ps, t);
	}
	conf_rules_resolve(ps);
	conf_upstreams_resolve(ps);
	conf_tables_number(ps);
	if (STAILQ_EMPTY(&c->listens) && !(ps->spoiled & SPOILED_LISTEN))
		conf_error(ps, &ps->end,
		    "no listen statement, expected at least one listen on ADDRESS port N");
	check_auth(ps);
	check_rules(ps);
	check_socks4(ps);
	check_times(ps);
	conf_process_finish(ps);
	if (c->limit_sessions_per_user > c->limit_sessions)
		conf_error(ps, &ps->once[ONCE_SESSIONS_PER_USER],
		    "limit sessions per user %u is above limit sessions %u, expected it below",
		    c->limit_sessions_per_user, c->limit_sessions);
	if (conf_marks(c, marks) > EGRESS_MARKS_MAX)
		conf_error(
		    ps, &ps->end, "more than %u different marks, expected fewer", EGRESS_MARKS_MAX);
	check_macros(ps);
}
