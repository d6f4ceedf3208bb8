/*
 * For tests: a policy written as text becomes the configuration's structs and an image. One
 *statement a line; commas and braces are as good as blanks; what a list holds ends at the next key
 *word.
 *
 *	table NAME PREFIX... | group NAME USER... | nat64 PREFIX | own PREFIX... | password | gssapi
 *	prefer METHOD... | pass|block [log] [connect] [from ...] [to ...] [port ...] [user ...]
 *	    [group ...] [auth ...] [integrity|confidentiality]
 */
#ifndef TESTS_POLICY_H
#define TESTS_POLICY_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/image.h"
#include "common/rules.h"
#include "master/conf.h"
#include "master/image_build.h"

#define POLICY_KEPT 4096

struct policy {
	struct conf conf;
	struct prefix own[16];
	size_t nown;
	void *kept[POLICY_KEPT];
	size_t nkept;
	uint32_t ntables;
	const char *hosts, *resolv;
	void *block;
	size_t size;
	const struct image *img;
};

static inline void *
policy_keep(struct policy *p, size_t size)
{
	void *m = calloc(1, size);

	assert(m != NULL && p->nkept < POLICY_KEPT);
	p->kept[p->nkept++] = m;
	return m;
}

static inline char *
policy_strdup(struct policy *p, const char *s)
{
	return strcpy(policy_keep(p, strlen(s) + 1), s);
}

static inline void
policy_str(struct policy *p, struct conf_strs *list, const char *word)
{
	struct conf_str *s = policy_keep(p, sizeof(*s));

	s->s = policy_strdup(p, word);
	s->len = strlen(word);
	STAILQ_INSERT_TAIL(list, s, entry);
}

static inline void
policy_egress(struct policy *p, struct conf_egress *e, struct addr addr)
{
	struct conf_addr *a = policy_keep(p, sizeof(*a));

	a->a = addr;
	STAILQ_INSERT_TAIL(&e->addrs, a, entry);
	e->naddrs++;
}

static inline struct conf_table *
policy_table(struct policy *p, const char *name)
{
	struct conf_table *t;

	STAILQ_FOREACH (t, &p->conf.tables, entry) {
		if (*name != '\0' && strcmp(t->name, name) == 0)
			return t;
	}
	t = policy_keep(p, sizeof(*t));
	t->name = policy_strdup(p, name);
	t->index = p->ntables++;
	STAILQ_INIT(&t->prefixes);
	STAILQ_INSERT_TAIL(&p->conf.tables, t, entry);
	return t;
}

/* True if the word is a prefix, which is then in the table. */
static inline bool
policy_prefix(struct policy *p, struct conf_table **t, const char *word)
{
	struct prefix prefix;
	bool bits, negated = *word == '!';

	if (prefix_parse(word + negated, &prefix, &bits) == -1)
		return false;
	assert(!bits && !prefix_is_spelling(&prefix, NULL, 0));
	if (*t == NULL)
		*t = policy_table(p, "");
	struct conf_prefix *cp = policy_keep(p, sizeof(*cp));
	cp->p = prefix;
	cp->negated = negated;
	STAILQ_INSERT_TAIL(&(*t)->prefixes, cp, entry);
	return true;
}

static inline void
policy_port(struct policy *p, struct conf_rule *r, const char *word)
{
	struct conf_ports *ports = policy_keep(p, sizeof(*ports));
	const char *dash = strchr(word, '-');

	ports->first = (uint16_t)atoi(word);
	ports->last = dash != NULL ? (uint16_t)atoi(dash + 1) : ports->first;
	STAILQ_INSERT_TAIL(&r->ports, ports, entry);
}

static inline enum method
policy_method(const char *word)
{
	assert(strcmp(word, "none") == 0 || strcmp(word, "password") == 0 ||
	       strcmp(word, "gssapi") == 0);
	if (strcmp(word, "gssapi") == 0)
		return METHOD_GSSAPI;
	return strcmp(word, "none") == 0 ? METHOD_NONE : METHOD_PASSWORD;
}

static inline void
policy_address(struct policy *p, struct conf_rule *r, bool to, const char *word)
{
	char name[64];

	if (to)
		r->to_given = true;
	if (strcmp(word, "any") == 0)
		r->to_any |= to;
	else if (sscanf(word, "<%63[^>]>", name) == 1)
		*(to ? &r->to : &r->from) = policy_table(p, name);
	else if (!policy_prefix(p, to ? &r->to : &r->from, word))
		policy_str(p, &r->to_names, word);
}

/* One without authentication, made at its first mention. */
static inline struct conf_upstream *
policy_upstream(struct policy *p, const char *name)
{
	struct conf_upstream *u;
	uint32_t n = 0;

	STAILQ_FOREACH (u, &p->conf.upstreams, entry) {
		if (strcmp(u->name, name) == 0)
			return u;
		n++;
	}
	u = policy_keep(p, sizeof(*u));
	u->name = policy_strdup(p, name);
	u->host = policy_strdup(p, "gateway.example");
	u->port = 1080;
	u->index = n;
	STAILQ_INSERT_TAIL(&p->conf.upstreams, u, entry);
	return u;
}

static inline void
policy_rule(struct policy *p, enum rule_action action, char **save)
{
	struct conf_rule *r = policy_keep(p, sizeof(*r));
	char *word, key = '\0';

	r->action = action;
	STAILQ_INIT(&r->to_names);
	STAILQ_INIT(&r->ports);
	STAILQ_INIT(&r->users);
	STAILQ_INIT(&r->groups);
	STAILQ_INIT(&r->bind_ports);
	STAILQ_INIT(&r->egress.addrs);
	STAILQ_INSERT_TAIL(&p->conf.rules, r, entry);
	while ((word = strtok_r(NULL, " \t,{}", save)) != NULL) {
		if (strcmp(word, "connect") == 0)
			r->commands |= COMMAND_BIT(COMMAND_CONNECT);
		else if (strcmp(word, "log") == 0)
			r->log = true;
		else if (strcmp(word, "from") == 0 || strcmp(word, "to") == 0 ||
			 strcmp(word, "port") == 0 || strcmp(word, "user") == 0 ||
			 strcmp(word, "group") == 0 || strcmp(word, "auth") == 0 ||
			 strcmp(word, "via") == 0)
			key = *word;
		else if (key == 'v')
			r->via[r->nvia++] = policy_upstream(p, word);
		else if (strcmp(word, "integrity") == 0)
			r->protection = PROTECTION_INTEGRITY;
		else if (strcmp(word, "confidentiality") == 0)
			r->protection = PROTECTION_CONFIDENTIALITY;
		else if (key == 'f' || key == 't')
			policy_address(p, r, key == 't', word);
		else if (key == 'p')
			policy_port(p, r, word);
		else if (key == 'a')
			r->methods = (uint8_t)(r->methods | METHOD_BIT(policy_method(word)));
		else
			policy_str(p, key == 'u' ? &r->users : &r->groups, word);
	}
}

static inline void
policy_group(struct policy *p, char **save)
{
	struct conf_group *g = policy_keep(p, sizeof(*g));
	char *word;

	g->name = policy_strdup(p, strtok_r(NULL, " \t,{}", save));
	STAILQ_INIT(&g->users);
	STAILQ_INSERT_TAIL(&p->conf.groups, g, entry);
	while ((word = strtok_r(NULL, " \t,{}", save)) != NULL)
		policy_str(p, &g->users, word);
}

static inline void
policy_list(struct policy *p, const char *key, char **save)
{
	struct conf_table *t = NULL;
	char *word;

	if (strcmp(key, "table") == 0)
		t = policy_table(p, strtok_r(NULL, " \t,{}", save));
	while ((word = strtok_r(NULL, " \t,{}", save)) != NULL) {
		if (strcmp(key, "table") == 0)
			assert(policy_prefix(p, &t, word));
		else if (strcmp(key, "own") == 0)
			assert(prefix_parse(word, &p->own[p->nown++], NULL) == 0);
		else if (strcmp(key, "prefer") == 0)
			p->conf.prefer[p->conf.prefer_n++] = (uint8_t)policy_method(word);
		else {
			struct conf_prefix *cp = policy_keep(p, sizeof(*cp));
			assert(strcmp(key, "nat64") == 0);
			assert(prefix_parse(word, &cp->p, NULL) == 0);
			STAILQ_INSERT_TAIL(&p->conf.nat64, cp, entry);
		}
	}
}

static inline void
policy_line(struct policy *p, char *line)
{
	char *save, *word = strtok_r(line, " \t,{}", &save);

	if (word == NULL)
		return;
	if (strcmp(word, "pass") == 0 || strcmp(word, "block") == 0)
		policy_rule(p, *word == 'p' ? RULE_PASS : RULE_BLOCK, &save);
	else if (strcmp(word, "group") == 0)
		policy_group(p, &save);
	else if (strcmp(word, "gssapi") == 0)
		p->conf.gssapi.keytab = policy_strdup(p, "/dev/null");
	else if (strcmp(word, "password") == 0)
		p->conf.users_file = policy_strdup(p, "/dev/null");
	else
		policy_list(p, word, &save);
}

/* The structs alone; a test may change them before policy_image. */
static inline struct policy *
policy_parse(const char *text)
{
	struct policy *p = calloc(1, sizeof(*p));
	char *save, *line;

	assert(p != NULL);
	STAILQ_INIT(&p->conf.listens);
	STAILQ_INIT(&p->conf.servers);
	STAILQ_INIT(&p->conf.nat64);
	STAILQ_INIT(&p->conf.groups);
	STAILQ_INIT(&p->conf.logs);
	STAILQ_INIT(&p->conf.tables);
	STAILQ_INIT(&p->conf.rules);
	STAILQ_INIT(&p->conf.upstreams);
	STAILQ_INIT(&p->conf.egress.addrs);
	p->hosts = p->resolv = "/nonexistent";
	for (line = strtok_r(policy_strdup(p, text), "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		policy_line(p, line);
	return p;
}

static inline const struct image *
policy_image(struct policy *p)
{
	struct image_inputs in = { .hosts_path = p->hosts,
		.resolv_conf_path = p->resolv,
		.own = p->own,
		.nown = p->nown,
		.workers = 1 };

	free(p->block);
	p->block = image_build(&p->conf, &in, 1, &p->size);
	p->img = p->block;
	return p->img;
}

static inline struct policy *
policy_new(const char *text)
{
	struct policy *p = policy_parse(text);

	assert(policy_image(p) != NULL);
	return p;
}

static inline void
policy_free(struct policy *p)
{
	for (size_t i = 0; i < p->nkept; i++)
		free(p->kept[i]);
	free(p->block);
	free(p);
}

#endif
