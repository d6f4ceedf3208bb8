/*
 * What is told of a session: the facts that its records are made from, and who decided on it, as
 * texts that outlive the policy's version.
 */
#include <string.h>

#include "master/sessions_parts.h"

struct session_facts
sessions_facts(const struct sessions *s, const struct ledger_entry *e)
{
	return (struct session_facts){
		.e = e, .text = ledger_text(s->ledger, e), .instance = s->setup.instance
	};
}

static struct ledger_octets
octets_of(const void *at, size_t len)
{
	return (struct ledger_octets){ at, len };
}

static struct ledger_octets
rule_text(const struct sessions *s, uint32_t version, uint32_t rule)
{
	const char *text = policies_rule_text(s->setup.policies, version, rule);

	return octets_of(text, strlen(text));
}

/* `via`: the upstream's name, or NULL: as it was. */
static void
decided(struct sessions *s, struct ledger_entry *e, uint32_t version, uint32_t rule,
    const struct ledger_octets *via)
{
	e->rule = rule;
	e->log = policies_rule_logs(s->setup.policies, version, rule);
	if (via != NULL)
		e->by_upstream = via->len > 0;
	ledger_decided(s->ledger, e, via, rule_text(s, version, rule));
}

/* The name of the upstream that an attempt names; empty: none. */
static struct ledger_octets
via_of(const struct sessions *s, const struct msg_attempt *a)
{
	const struct image *img = policies_image(s->setup.policies, a->version);
	const struct image_upstream *u = a->via != 0 ? image_upstream(img, a->via - 1) : NULL;

	return u != NULL ? octets_of(image_octets(img, u->name), u->name.len) : octets_of(NULL, 0);
}

void
sessions_attempted(struct sessions *s, struct ledger_entry *e, const struct msg_attempt *a)
{
	struct ledger_octets via = via_of(s, a);

	decided(s, e, a->version, a->rule, &via);
}

void
sessions_decided_by(struct sessions *s, struct ledger_entry *e, uint32_t version, uint32_t rule)
{
	decided(s, e, version, rule, NULL);
}

struct session_facts
sessions_told(const struct sessions *s, const struct ledger_entry *e, struct ledger_entry *told,
    uint32_t version, uint32_t rule)
{
	struct session_facts f = sessions_facts(s, e);

	*told = *e;
	told->log = policies_rule_logs(s->setup.policies, version, rule);
	f.e = told;
	f.text.rule = rule_text(s, version, rule);
	return f;
}
