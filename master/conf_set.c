/*
 * The statements of the configuration one by one: judges what the grammar found and puts it into
 * struct conf. What takes more than one statement to judge is in conf_check.c.
 */
#include <string.h>

#include "common/rules.h"
#include "common/run_directory.h"
#include "master/conf_grammar.h"
#include "master/conf_parse.h"

#define LISTEN_PORT  1080 /* RFC 1928 section 3 */
#define DNS_PORT     53   /* RFC 1035 section 4.2 */
#define PAM_NAME_MAX 63   /* octets; struct msg_init carries it */

/* A link-local address alone: the kernel would not know which network is meant. */
static bool
needs_interface(const char *s)
{
	struct addr a;
	uint8_t plen;

	return addr_parse(s, &a) == 0 && a.family == ADDR_V6 &&
	       addr_special(&a, &plen) == ADDR_LINK_LOCAL;
}

/* What may stand behind `listen on`: an address (a link-local one with %interface), an interface, a
 * host's name, or *. Which of them is found at start. */
static bool
listen_host(const struct conf_item *it)
{
	const char *scope = strchr(it->s, '%');
	char text[ADDR_TEXT];
	struct addr a;

	if (strlen(it->s) != it->len || it->len == 0 || it->len > NAME_MAX_LEN)
		return false;
	if (needs_interface(it->s))
		return false;
	if (strcmp(it->s, "*") == 0 || addr_parse(it->s, &a) == 0)
		return true;
	if (scope != NULL && scope[1] != '\0' && (size_t)(scope - it->s) < sizeof(text)) {
		memcpy(text, it->s, (size_t)(scope - it->s));
		text[scope - it->s] = '\0';
		return addr_parse(text, &a) == 0 && a.family == ADDR_V6;
	}
	if (name_is_address((const uint8_t *)it->s, it->len, &a))
		return false;
	return strspn(it->s,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") == it->len;
}

/* Says why it is none, with the right writing where the wrong one is known. */
static void
listen_wrong(struct conf_parse *ps, const struct conf_item *it)
{
	const char *colon = strrchr(it->s, ':'), *shown = conf_show(ps, it);
	size_t n = colon != NULL ? (size_t)(colon - it->s) : 0;
	char host[ADDR_TEXT];
	struct addr a;

	if (needs_interface(it->s)) {
		conf_error(ps, &it->where,
		    "%s is link-local and needs an interface, expected %s%%eth0 with the interface's name",
		    shown, it->s);
		return;
	}
	if (n > 2 && it->s[0] == '[' && it->s[n - 1] == ']')
		snprintf(
		    host, sizeof(host), "%.*s", (int)(n - 2 < sizeof(host) ? n - 2 : 0), it->s + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)(n < sizeof(host) ? n : 0), it->s);
	if (colon != NULL && strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
	    addr_parse(host, &a) == 0)
		conf_error(ps, &it->where, "%s is nothing to listen on, expected %s port %s", shown,
		    host, colon + 1);
	else
		conf_error(ps, &it->where,
		    "%s is nothing to listen on, expected an address, a name, an interface or *",
		    shown);
}

void
conf_set_listen(struct conf_parse *ps, const struct conf_where *w, struct conf_items *hosts,
    const struct conf_item *port, bool freebind)
{
	const struct conf_item *it;
	struct conf_listen *l;
	uint16_t n = LISTEN_PORT;

	if (port != NULL && !conf_port(ps, port, &n))
		ps->spoiled |= SPOILED_LISTEN;
	STAILQ_FOREACH (it, hosts, entry) {
		if (!listen_host(it)) {
			ps->spoiled |= SPOILED_LISTEN;
			listen_wrong(ps, it);
			continue;
		}
		STAILQ_FOREACH (l, &ps->conf->listens, entry)
			if (strcmp(l->host, it->s) == 0 && l->port == n)
				conf_error(ps, &it->where,
				    "listen on %s port %u stands a second time, expected it once (first: %s:%u)",
				    it->s, n, l->where.file, l->where.line);
		l = conf_alloc(ps, sizeof(*l));
		l->where = *w;
		l->host = it->s;
		l->port = n;
		l->freebind = freebind;
		STAILQ_INSERT_TAIL(&ps->conf->listens, l, entry);
	}
}

void
conf_set_workers(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *n)
{
	uint32_t out;

	conf_once(ps, ONCE_WORKERS, w, "workers");
	if (conf_number(ps, n, "number of workers", 1, CONF_WORKERS_MAX, &out))
		ps->conf->workers = out;
}

void
conf_set_run_directory(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path)
{
	const char *s;

	conf_once(ps, ONCE_RUN_DIRECTORY, w, "run directory");
	if ((s = conf_path(ps, path, "a run directory", RUN_DIRECTORY_MAX - 1u)) != NULL)
		ps->conf->run_directory = conf_copy(ps, s, strlen(s));
}

void
conf_set_resolver(struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs)
{
	const struct conf_item *it;
	struct conf_server *s;

	if (!conf_once(ps, ONCE_RESOLVER, w, "resolver"))
		return;
	STAILQ_FOREACH (it, addrs, entry) {
		struct addrport ap = { .port = DNS_PORT };

		if (!conf_address(ps, it, "resolver", &ap.a) ||
		    (it->port != NULL && !conf_port(ps, it->port, &ap.port)))
			continue;
		STAILQ_FOREACH (s, &ps->conf->servers, entry)
			if (addr_cmp(&s->ap.a, &ap.a) == 0 && s->ap.port == ap.port)
				conf_error(ps, &it->where,
				    "resolver %s stands twice in the list, expected it once",
				    it->s);
		s = conf_alloc(ps, sizeof(*s));
		s->ap = ap;
		STAILQ_INSERT_TAIL(&ps->conf->servers, s, entry);
	}
}

void
conf_set_nat64(struct conf_parse *ps, struct conf_items *prefixes)
{
	const struct conf_item *it;
	struct conf_prefix *n;
	struct prefix p;

	STAILQ_FOREACH (it, prefixes, entry) {
		if (!conf_prefix(ps, it, &p))
			continue;
		/* RFC 6052 section 2.2: the lengths at which an IPv4 address can stand. */
		if (p.a.family != ADDR_V6 || (p.len != 32 && p.len != 40 && p.len != 48 &&
						 p.len != 56 && p.len != 64 && p.len != 96)) {
			conf_error(ps, &it->where,
			    "%s is no NAT64 prefix, expected an IPv6 prefix of length 32, 40, 48, 56, 64 or 96",
			    it->s);
			continue;
		}
		STAILQ_FOREACH (n, &ps->conf->nat64, entry)
			if (n->p.len == p.len && addr_cmp(&n->p.a, &p.a) == 0)
				conf_error(ps, &it->where,
				    "nat64 %s stands a second time, expected it once (first: %s:%u)",
				    it->s, n->where.file, n->where.line);
		n = conf_alloc(ps, sizeof(*n));
		n->p = p;
		n->where = it->where;
		STAILQ_INSERT_TAIL(&ps->conf->nat64, n, entry);
	}
}

void
conf_set_auth_file(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path)
{
	const char *s;

	conf_once(ps, ONCE_AUTH_FILE, w, "auth password file");
	if ((s = conf_path(ps, path, "a users file", PATH_MAX_MSG - 1)) == NULL) {
		ps->spoiled |= SPOILED_AUTH;
		return;
	}
	ps->conf->users_file = conf_copy(ps, s, strlen(s));
	ps->conf->auth_where = *w;
}

void
conf_set_auth_pam(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *service)
{
	const char *s;

	conf_once(ps, ONCE_AUTH_PAM, w, "auth password pam");
	if ((s = conf_text(ps, service, "a PAM service's name", PAM_NAME_MAX)) != NULL &&
	    strchr(s, '/') == NULL && s[0] != '.') {
		ps->conf->pam_service = conf_copy(ps, s, strlen(s));
		ps->conf->auth_where = *w;
		return;
	}
	ps->spoiled |= SPOILED_AUTH;
	if (s != NULL)
		conf_error(ps, &service->where,
		    "%s is no PAM service's name, expected the name of a file in /etc/pam.d",
		    conf_show(ps, service));
}

enum method
conf_method(const struct conf_item *word)
{
	return word->token == T_GSSAPI     ? METHOD_GSSAPI
	       : word->token == T_PASSWORD ? METHOD_PASSWORD
					   : METHOD_NONE;
}

void
conf_set_prefer(struct conf_parse *ps, const struct conf_where *w, struct conf_items *methods)
{
	const struct conf_item *it;
	struct conf *c = ps->conf;
	unsigned seen = 0;

	if (!conf_once(ps, ONCE_AUTH_PREFER, w, "auth prefer"))
		return;
	STAILQ_FOREACH (it, methods, entry) {
		enum method m = conf_method(it);

		if (seen & METHOD_BIT(m)) {
			conf_error(ps, &it->where,
			    "auth prefer has %s twice, expected each method once", it->s);
			continue;
		}
		seen |= METHOD_BIT(m);
		c->prefer[c->prefer_n++] = (uint8_t)m;
	}
}

void
conf_set_group(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *name,
    struct conf_items *users)
{
	const char *s = conf_text(ps, name, "a group's name", USER_MAX);
	struct conf_group *g;

	if (s == NULL)
		return;
	STAILQ_FOREACH (g, &ps->conf->groups, entry)
		if (strcmp(g->name, s) == 0)
			conf_error(ps, w,
			    "group %s is defined a second time, expected it once (first: %s:%u)",
			    conf_show(ps, name), g->where.file, g->where.line);
	g = conf_alloc(ps, sizeof(*g));
	g->name = name->s;
	g->where = *w;
	STAILQ_INIT(&g->users);
	conf_names(ps, users, "user", &g->users);
	STAILQ_INSERT_TAIL(&ps->conf->groups, g, entry);
}

void
conf_set_limit(struct conf_parse *ps, enum conf_once which, const struct conf_where *w,
    const struct conf_item *n)
{
	struct conf *c = ps->conf;
	const struct {
		enum conf_once which;
		const char *statement, *what;
		uint32_t max, *out;
	} limits[] = {
		{ ONCE_SESSIONS, "limit sessions", "limit of sessions", CONF_SESSIONS_MAX,
		    &c->limit_sessions },
		{ ONCE_SESSIONS_PER_USER, "limit sessions per user", "limit of sessions per user",
		    CONF_SESSIONS_MAX, &c->limit_sessions_per_user },
		{ ONCE_ASSOCIATIONS, "limit associations", "limit of associations",
		    CONF_SESSIONS_MAX, &c->limit_associations },
		{ ONCE_TARGETS, "limit targets per association", "limit of targets per association",
		    CONF_TARGETS_MAX, &c->limit_targets },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (limits[i].which == which) {
			conf_once(ps, which, w, limits[i].statement);
			conf_number(ps, n, limits[i].what, 1, limits[i].max, limits[i].out);
		}
}

void
conf_set_timeout(struct conf_parse *ps, const struct conf_item *which, const struct conf_item *time)
{
	struct conf_timeouts *t = ps->timeouts;
	const struct {
		int token;
		enum conf_once once;
		uint32_t max, *out;
	} kinds[] = {
		{ T_HANDSHAKE, ONCE_HANDSHAKE, CONF_BRIEF_MAX, &t->handshake },
		{ T_CONNECT, ONCE_CONNECT, CONF_BRIEF_MAX, &t->connect },
		{ T_IDLE, ONCE_IDLE, CONF_LONG_MAX, &t->idle },
		{ T_HALF_CLOSED, ONCE_HALF_CLOSED, CONF_LONG_MAX, &t->half_closed },
		{ T_BIND, ONCE_BIND, CONF_LONG_MAX, &t->bind },
		{ T_UDP, ONCE_UDP, CONF_LONG_MAX, &t->udp },
	};
	bool general = t == &ps->conf->timeouts;
	size_t k = 0;

	while (kinds[k].token != which->token)
		k++;
	if (!general && which->token == T_HANDSHAKE)
		conf_error(ps, &which->where,
		    "timeout handshake stands in a rule, expected it outside: a rule is met behind the handshake");
	else if (!general && *kinds[k].out != 0)
		conf_error(ps, &which->where, "timeout %s stands twice in a rule, expected it once",
		    which->s);
	else if (general)
		conf_once(ps, kinds[k].once, &which->where, which->s);
	conf_time(ps, time, which->s, CONF_TIME_MIN, kinds[k].max, kinds[k].out);
}

void
conf_set_sandbox(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *layer,
    enum layer_mode mode)
{
	const char *known = "";

	for (unsigned l = 0; l < LAYER_COUNT; l++) {
		const char *name = layer_name((enum layer)l);

		if (strcmp(name, layer->s) == 0) {
			if (ps->conf->sandbox_given[l])
				conf_error(ps, w,
				    "sandbox %s stands a second time, expected it once (first: %s:%u)",
				    name, ps->sandbox[l].file, ps->sandbox[l].line);
			ps->conf->sandbox_given[l] = true;
			ps->conf->sandbox[l] = (uint8_t)mode;
			ps->sandbox[l] = *w;
			return;
		}
		known = conf_sprintf(ps, "%s%s%s", known,
		    l == 0                 ? ""
		    : l + 1 == LAYER_COUNT ? " or "
					   : ", ",
		    name);
	}
	conf_error(ps, w, "unknown sandbox layer %s, expected %s", conf_show(ps, layer), known);
}
