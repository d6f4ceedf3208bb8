/*
 * `upstream` and `via`: the gateways whose client this one is, and the rules that use them. Judges
 * values; whether a file can be used, the start finds out.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/rules.h"
#include "master/conf_grammar.h"
#include "master/conf_parse.h"
#include "master/credentials.h"

#define SERVICE_MAX    64 /* octets: of a principal's first part */
#define CREDENTIAL_MAX (PATH_MAX_MSG - 1)

/* Letters, digits, - and _: a word that messages and records can name. */
static const char *
upstream_name(struct conf_parse *ps, const struct conf_item *it)
{
	static const char *const letters =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	const char *s = conf_text(ps, it, "an upstream's name", UPSTREAM_NAME_MAX);

	if (s == NULL || strspn(s, letters) == it->len)
		return s;
	conf_error(ps, &it->where,
	    "%s is no upstream's name, expected letters, digits, dots, - and _", conf_show(ps, it));
	return NULL;
}

static struct conf_upstream *
find(const struct conf *c, const char *name)
{
	struct conf_upstream *u;

	STAILQ_FOREACH (u, &c->upstreams, entry)
		if (strcmp(u->name, name) == 0)
			return u;
	return NULL;
}

static bool
host(struct conf_parse *ps, const struct conf_item *it, struct conf_upstream *u)
{
	if (addr_parse(it->s, &u->addr) == 0 && strlen(it->s) == it->len) {
		u->host = it->s;
		if (conf_unicast(&u->addr))
			return true;
		conf_error(ps, &it->where, "%s is no host's address, expected one", it->s);
		return false;
	}
	u->addr.family = ADDR_NONE;
	if (it->len > 0 && it->s[0] == '.') {
		conf_error(ps, &it->where, "%s is no host, expected a name or an address",
		    conf_show(ps, it));
		return false;
	}
	u->host = conf_host_name(ps, it);
	return u->host != NULL;
}

void
conf_upstream_begin(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *name,
    const struct conf_item *at, const struct conf_item *port)
{
	struct conf_upstream *u = conf_alloc(ps, sizeof(*u));
	const struct conf_upstream *other;

	u->where = *w;
	u->method = METHOD_NONE;
	u->level = LEVEL_CONFIDENTIALITY;
	ps->upstream = u;
	u->name = upstream_name(ps, name);
	if (!host(ps, at, u) || !conf_port(ps, port, &u->port) || u->name == NULL) {
		ps->spoiled |= SPOILED_UPSTREAM;
		return;
	}
	if ((other = find(ps->conf, u->name)) != NULL)
		conf_error(ps, w,
		    "upstream %s is defined a second time, expected it once (first: %s:%u)",
		    u->name, other->where.file, other->where.line);
	else
		STAILQ_INSERT_TAIL(&ps->conf->upstreams, u, entry);
}

void
conf_upstream_password(struct conf_parse *ps, const struct conf_item *file)
{
	ps->upstream->method = METHOD_PASSWORD;
	ps->upstream->file = conf_path(ps, file, "a credentials file", CREDENTIAL_MAX);
}

void
conf_upstream_gssapi(struct conf_parse *ps)
{
	ps->upstream->method = METHOD_GSSAPI;
}

/* Where an option's text goes, and what it is. */
static const char **
option_place(struct conf_upstream *u, int token, const char **what, size_t *max)
{
	*max = CREDENTIAL_MAX;
	switch (token) {
	case T_SERVICE:
		*what = "a service's name";
		*max = SERVICE_MAX;
		return &u->service;
	case T_KEYTAB:
		*what = "a keytab";
		return &u->keytab;
	case T_PRINCIPAL:
		*what = "a principal";
		return &u->principal;
	default:
		*what = "a credential cache";
		return &u->ccache;
	}
}

void
conf_upstream_option(
    struct conf_parse *ps, const struct conf_item *word, const struct conf_item *value)
{
	struct conf_upstream *u = ps->upstream;
	const char *what, **place;
	bool twice;
	size_t max;

	if (word->token == T_PROTECTION) {
		twice = u->level_given;
		u->level_given = true;
		u->level = value->token == T_INTEGRITY ? LEVEL_INTEGRITY : LEVEL_CONFIDENTIALITY;
	} else {
		place = option_place(u, word->token, &what, &max);
		twice = *place != NULL;
		*place = word->token == T_KEYTAB ? conf_path(ps, value, what, max)
						 : conf_text(ps, value, what, max);
		if (word->token == T_SERVICE && *place != NULL && strpbrk(*place, "@/") != NULL)
			conf_error(ps, &value->where,
			    "%s is no service's name, expected the part of the principal before the /",
			    conf_show(ps, value));
	}
	if (twice)
		conf_error(ps, &word->where, "%s stands twice for one upstream, expected it once",
		    word->s);
}

/* What the initiator will be handed must be there, and be nobody else's. */
static void
check_file(struct conf_parse *ps, const struct conf_upstream *u, const char *path)
{
	const char *what;
	int fd;

	if (path == NULL)
		return;
	if ((fd = credentials_open(u, &what)) != -1)
		close(fd);
	else
		conf_error(ps, &u->where, "cannot use %s: %s, expected a file of root's, mode 0600",
		    path, what != NULL ? what : strerror(errno));
}

void
conf_upstream_end(struct conf_parse *ps)
{
	const struct conf_upstream *u = ps->upstream;

	check_file(ps, u, u->file != NULL ? u->file : u->keytab);

	if (u->keytab != NULL && u->ccache != NULL)
		conf_error(
		    ps, &u->where, "the upstream has a keytab and a ccache, expected one of them");
	if (u->principal != NULL && u->keytab == NULL)
		conf_error(
		    ps, &u->where, "the upstream has a principal and no keytab, expected both");
}

bool
conf_initiator(const struct conf *c)
{
	const struct conf_upstream *u;

	STAILQ_FOREACH (u, &c->upstreams, entry)
		if (u->method != METHOD_NONE)
			return true;
	return false;
}

/* --- after the whole text --- */

static void
rule_via(struct conf_parse *ps, struct conf_rule_src *src)
{
	struct conf_rule *r = src->rule;
	const struct conf_item *it;
	struct conf_upstream *u;

	conf_each_once(ps, &src->via, "via");
	STAILQ_FOREACH (it, &src->via, entry) {
		if ((u = find(ps->conf, it->s)) != NULL && r->nvia < VIA_MAX)
			r->via[r->nvia++] = u;
		else if (u != NULL)
			conf_error(ps, &it->where, "via has more than %d upstreams, expected fewer",
			    VIA_MAX);
		else if (!(ps->spoiled & SPOILED_UPSTREAM))
			conf_error(ps, &it->where,
			    "upstream %s is not defined, expected upstream %s socks5 HOST port N",
			    conf_show(ps, it), conf_show(ps, it));
	}
	if (!STAILQ_EMPTY(&src->via) && r->action == RULE_BLOCK)
		conf_error(ps, &r->where, "via stands in a block rule, expected it in a pass rule");
}

/* A gateway that is its own upstream would be its own client until its sessions are used up. */
static void
check_loop(struct conf_parse *ps, const struct conf_upstream *u)
{
	const struct conf_listen *l;
	struct addr a;

	STAILQ_FOREACH (l, &ps->conf->listens, entry) {
		bool same = addr_parse(l->host, &a) == 0 ? addr_cmp(&a, &u->addr) == 0
							 : strcmp(l->host, u->host) == 0;

		if (same && l->port == u->port)
			conf_error(ps, &u->where,
			    "upstream %s is this gateway itself (it listens there: %s:%u), expected another",
			    u->name, l->where.file, l->where.line);
	}
}

/* Names that leave by `via` are not looked up: what address criteria then do is easily overlooked.
 */
static void
warn_addresses(struct conf_parse *ps)
{
	const struct conf_rule *r, *wall = NULL;

	STAILQ_FOREACH (r, &ps->conf->rules, entry) {
		if (r->action == RULE_BLOCK && r->to != NULL && wall == NULL)
			wall = r;
		if (r->nvia == 0)
			continue;
		if (wall != NULL)
			conf_warn(ps, &r->where,
			    "names are not looked up before via, so that the block of addresses in %s:%u blocks every name that comes as far; put it behind, or let it block names",
			    wall->where.file, wall->where.line);
		if (r->to != NULL && !r->to_any)
			conf_warn(ps, &r->where,
			    "via passes every name whatever address it has, and the rule is for addresses; names of its own would tell which");
	}
}

void
conf_upstreams_resolve(struct conf_parse *ps)
{
	struct conf_rule_src *src;
	struct conf_upstream *u;
	uint32_t n = 0;

	STAILQ_FOREACH (u, &ps->conf->upstreams, entry) {
		u->index = n++;
		check_loop(ps, u);
	}
	if (n > UPSTREAMS_MAX)
		conf_error(ps, &ps->end, "more than %d upstreams, expected fewer", UPSTREAMS_MAX);
	STAILQ_FOREACH (src, &ps->rules, entry)
		rule_via(ps, src);
	warn_addresses(ps);
}
