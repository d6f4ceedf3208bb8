/*
 * Policy versions and their rule tables. Owns the sealed descriptors; children get duplicates.
 */
#include "master/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/rules.h"

struct rule_info {
	char *text;
	bool log, pass;
};

struct policy {
	LIST_ENTRY(policy) entry;
	uint32_t version, size, nrules;
	int fd;
	const struct image *img; /* of fd: what the children read */
	struct rule_info *rules;
};

struct policies {
	LIST_HEAD(, policy) all; /* newest first */
	uint32_t next;
};

struct policies *
policies_new(void)
{
	struct policies *p = calloc(1, sizeof(*p));

	if (p != NULL) {
		LIST_INIT(&p->all);
		p->next = 1;
	}
	return p;
}

static void
policy_free(struct policy *v)
{
	for (uint32_t i = 0; v->rules != NULL && i < v->nrules; i++)
		free(v->rules[i].text);
	free(v->rules);
	image_unmap(v->img);
	if (v->fd != -1)
		close(v->fd);
	free(v);
}

void
policies_free(struct policies *p)
{
	struct policy *v;

	if (p == NULL)
		return;
	while ((v = LIST_FIRST(&p->all)) != NULL) {
		LIST_REMOVE(v, entry);
		policy_free(v);
	}
	free(p);
}

static int
keep_rules(struct policy *v, const struct conf *c)
{
	const struct conf_rule *r;
	uint32_t n = 0;

	STAILQ_FOREACH (r, &c->rules, entry)
		v->nrules++;
	v->rules = calloc(v->nrules + 1, sizeof(*v->rules));
	if (v->rules == NULL)
		return -1;
	STAILQ_FOREACH (r, &c->rules, entry) {
		struct rule_info *i = &v->rules[n++];
		i->log = r->log;
		i->pass = r->action == RULE_PASS;
		if (asprintf(&i->text, "%s:%u", r->where.file, r->where.line) == -1) {
			i->text = NULL;
			return -1;
		}
	}
	return 0;
}

int
policies_add(struct policies *p, const struct conf *c, const struct image_inputs *in)
{
	struct policy *v = calloc(1, sizeof(*v));
	size_t size = 0;
	void *block = NULL;

	if (v == NULL)
		return -1;
	v->fd = -1;
	v->version = p->next;
	if (keep_rules(v, c) == -1 || (block = image_build(c, in, v->version, &size)) == NULL ||
	    (v->fd = image_seal(block, size)) == -1)
		goto fail;
	v->size = (uint32_t)size;
	if ((v->img = image_map(v->fd, v->size)) == NULL)
		goto fail;
	free(block);
	p->next++;
	LIST_INSERT_HEAD(&p->all, v, entry);
	return 0;
fail:;
	int saved = errno;
	free(block);
	policy_free(v);
	errno = saved;
	return -1;
}

uint32_t
policies_version(const struct policies *p)
{
	return LIST_EMPTY(&p->all) ? 0 : LIST_FIRST(&p->all)->version;
}

int
policies_fd(const struct policies *p, uint32_t *size)
{
	const struct policy *v = LIST_FIRST(&p->all);

	*size = v->size;
	return fcntl(v->fd, F_DUPFD_CLOEXEC, 0);
}

static const struct policy *
find(const struct policies *p, uint32_t version)
{
	const struct policy *v;

	LIST_FOREACH (v, &p->all, entry)
		if (v->version == version)
			return v;
	return NULL;
}

static const struct rule_info *
rule(const struct policies *p, uint32_t version, uint32_t index)
{
	const struct policy *v = find(p, version);

	return v != NULL && index < v->nrules ? &v->rules[index] : NULL;
}

bool
policies_has(const struct policies *p, uint32_t version, uint32_t index)
{
	const struct policy *v = find(p, version);

	return v != NULL && (index == RULE_NONE || index < v->nrules);
}

const char *
policies_rule_text(const struct policies *p, uint32_t version, uint32_t index)
{
	const struct rule_info *r = rule(p, version, index);

	return r != NULL ? r->text : "default";
}

bool
policies_rule_logs(const struct policies *p, uint32_t version, uint32_t index)
{
	const struct rule_info *r = rule(p, version, index);

	return r != NULL && r->log;
}

bool
policies_rule_passes(const struct policies *p, uint32_t version, uint32_t index)
{
	const struct rule_info *r = rule(p, version, index);

	return r != NULL && r->pass;
}

const struct image *
policies_image(const struct policies *p, uint32_t version)
{
	const struct policy *v = find(p, version);

	return v != NULL ? v->img : NULL;
}

const struct image_rule *
policies_serving(const struct policies *p, uint32_t version, uint32_t index, enum command command)
{
	const struct image *img = policies_image(p, version);
	const struct image_rule *r = img != NULL ? rules_rule(img, index) : NULL;

	if (r == NULL || r->action != RULE_PASS ||
	    (r->commands != 0 && (r->commands & COMMAND_BIT(command)) == 0))
		return NULL;
	return r;
}

void
policies_trim(struct policies *p, uint32_t oldest)
{
	struct policy *v = LIST_FIRST(&p->all);

	/* Never the newest. */
	while (v != NULL && (v = LIST_NEXT(v, entry)) != NULL) {
		if (v->version >= oldest)
			continue;
		struct policy *gone = v;
		v = LIST_FIRST(&p->all);
		LIST_REMOVE(gone, entry);
		policy_free(gone);
	}
}
