/*
 * How sockets to targets leave the machine: `egress from`, `egress device` and `egress mark`, as
 * statements and as parts of rules.
 */
#include <stdlib.h>
#include <string.h>

#include "master/conf_parse.h"

void
conf_set_egress_from(
    struct conf_parse *ps, struct conf_items *addrs, enum egress_pick pick, struct conf_egress *out)
{
	const struct conf_item *it;
	struct conf_addr *a;
	struct addr addr;

	out->pick = pick;
	conf_each_once(ps, addrs, "egress from");
	STAILQ_FOREACH (it, addrs, entry) {
		if (!conf_address(ps, it, "egress from", &addr))
			continue;
		if (!conf_unicast(&addr)) {
			conf_error(ps, &it->where,
			    "%s is no address to go out from, expected one of this machine's",
			    it->s);
			continue;
		}
		if (out->naddrs == CONF_EGRESS_MAX) {
			conf_error(ps, &it->where,
			    "egress from has more than %u addresses, expected fewer",
			    CONF_EGRESS_MAX);
			return;
		}
		a = conf_alloc(ps, sizeof(*a));
		a->a = addr;
		STAILQ_INSERT_TAIL(&out->addrs, a, entry);
		out->naddrs++;
	}
}

void
conf_set_egress_device(struct conf_parse *ps, const struct conf_item *name, struct conf_egress *out)
{
	const char *s = conf_text(ps, name, "a device", EGRESS_DEVICE_MAX);

	if (s == NULL)
		return;
	/* As the kernel judges names (dev_valid_name). */
	if (strpbrk(s, "/: \t\n\v\f\r") != NULL || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
		conf_error(ps, &name->where,
		    "%s is no device, expected the name of a network interface",
		    conf_show(ps, name));
	else
		out->device = s;
}

void
conf_set_egress_mark(struct conf_parse *ps, const struct conf_item *n, struct conf_egress *out)
{
	bool hex = n->s[0] == '0' && (n->s[1] == 'x' || n->s[1] == 'X');
	const char *digits = hex ? n->s + 2 : n->s;
	size_t len = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
	unsigned long long mark = len > 0 && len <= 10 ? strtoull(digits, NULL, hex ? 16 : 10) : 0;

	if (digits + len != n->s + n->len || mark == 0 || mark > UINT32_MAX)
		conf_error(ps, &n->where,
		    "%s is no mark, expected a number from 1 to 4294967295 or 0x1 to 0xffffffff",
		    conf_show(ps, n));
	else
		out->mark = (uint32_t)mark;
}

static unsigned
add_mark(uint32_t *marks, unsigned n, uint32_t mark)
{
	if (mark == 0 || n > EGRESS_MARKS_MAX)
		return n;
	for (unsigned i = 0; i < n; i++)
		if (marks[i] == mark)
			return n;
	marks[n] = mark;
	return n + 1;
}

unsigned
conf_marks(const struct conf *c, uint32_t marks[EGRESS_MARKS_MAX + 1])
{
	unsigned n = add_mark(marks, 0, c->egress.mark);
	const struct conf_rule *r;

	STAILQ_FOREACH (r, &c->rules, entry)
		n = add_mark(marks, n, r->egress.mark);
	return n;
}
