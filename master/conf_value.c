/*
 * Values of the configuration: numbers, times, ports, addresses, paths and names, each with the
 * message that says what was expected in its place.
 */
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "master/conf_parse.h"

/* A decimal number of at most ten digits; *end is behind it. False: no digit, or too many. */
static bool
digits(const char *s, uint64_t *out, const char **end)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < 11 && s[i] >= '0' && s[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(s[i] - '0');
	*out = n;
	*end = s + i;
	return i > 0 && i < 11;
}

bool
conf_number(struct conf_parse *ps, const struct conf_item *it, const char *what, uint32_t lo,
    uint32_t hi, uint32_t *out)
{
	const char *end;
	uint64_t n;

	if (!digits(it->s, &n, &end) || *end != '\0' || strlen(it->s) != it->len || n < lo ||
	    n > hi) {
		conf_error(ps, &it->where, "%s is no %s, expected a number from %u to %u",
		    conf_show(ps, it), what, lo, hi);
		return false;
	}
	*out = (uint32_t)n;
	return true;
}

/* 90000 as 90s, for messages. */
static const char *
time_show(struct conf_parse *ps, uint32_t ms)
{
	if (ms % 86400000 == 0)
		return conf_sprintf(ps, "%ud", ms / 86400000);
	if (ms % 60000 == 0)
		return conf_sprintf(ps, "%um", ms / 60000);
	if (ms % 1000 == 0)
		return conf_sprintf(ps, "%us", ms / 1000);
	return conf_sprintf(ps, "%ums", ms);
}

bool
conf_time(struct conf_parse *ps, const struct conf_item *it, const char *what, uint32_t lo,
    uint32_t hi, uint32_t *out)
{
	static const struct {
		const char *unit;
		uint32_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
		{ "d", 86400000 } };
	const char *end;
	uint64_t n;

	if (digits(it->s, &n, &end) && strlen(it->s) == it->len)
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strcmp(end, units[i].unit) == 0 && n * units[i].ms >= lo &&
			    n * units[i].ms <= hi) {
				*out = (uint32_t)(n * units[i].ms);
				return true;
			}
	conf_error(ps, &it->where,
	    "%s is no time for %s, expected a number with ms, s, m, h or d behind it, from %s to %s",
	    conf_show(ps, it), what, time_show(ps, lo), time_show(ps, hi));
	return false;
}

bool
conf_port_range(struct conf_parse *ps, const struct conf_item *it, uint16_t *first, uint16_t *last)
{
	const char *end;
	uint64_t a, b;
	bool ok = digits(it->s, &a, &end);

	b = a;
	if (ok && *end == '-')
		ok = digits(end + 1, &b, &end);
	if (!ok || *end != '\0' || strlen(it->s) != it->len || a < 1 || b < 1 || a > 65535 ||
	    b > 65535) {
		conf_error(ps, &it->where,
		    "%s is no port, expected a number from 1 to 65535 or a range N-M",
		    conf_show(ps, it));
		return false;
	}
	if (a > b) {
		conf_error(ps, &it->where, "the range %s is reversed, expected %u-%u",
		    conf_show(ps, it), (unsigned)b, (unsigned)a);
		return false;
	}
	*first = (uint16_t)a;
	*last = (uint16_t)b;
	return true;
}

bool
conf_port(struct conf_parse *ps, const struct conf_item *it, uint16_t *out)
{
	uint32_t n;

	if (!conf_number(ps, it, "port", 1, 65535, &n))
		return false;
	*out = (uint16_t)n;
	return true;
}

bool
conf_address(struct conf_parse *ps, const struct conf_item *it, const char *what, struct addr *out)
{
	if (strlen(it->s) == it->len && addr_parse(it->s, out) == 0)
		return true;
	conf_error(ps, &it->where, "%s is no address for %s, expected an IPv4 or IPv6 address",
	    conf_show(ps, it), what);
	return false;
}

bool
conf_unicast(const struct addr *a)
{
	struct addr canon = addr_canon(a, NULL, 0);
	uint8_t plen;
	enum addr_special special = addr_special(&canon, &plen);

	return addr_cmp(a, &canon) == 0 && special != ADDR_MULTICAST && special != ADDR_BROADCAST &&
	       special != ADDR_THIS_HOST &&
	       /* Of a link-local IPv6 address alone the kernel would not know the network. */
	       !(special == ADDR_LINK_LOCAL && a->family == ADDR_V6);
}

bool
conf_prefix(struct conf_parse *ps, const struct conf_item *it, struct prefix *out)
{
	char text[ADDR_TEXT];
	bool host_bits = false;

	if (strlen(it->s) != it->len || prefix_parse(it->s, out, &host_bits) == -1) {
		const char *slash = strchr(it->s, '/');
		struct addr a;

		if (slash != NULL && slash[1] != '\0' &&
		    strspn(slash + 1, "0123456789") == strlen(slash + 1) &&
		    addr_parse(conf_sprintf(ps, "%.*s", (int)(slash - it->s), it->s), &a) == 0) {
			conf_error(ps, &it->where,
			    "%s is no prefix, expected a length from 0 to %d", conf_show(ps, it),
			    a.family == ADDR_V4 ? 32 : 128);
			return false;
		}
		conf_error(ps, &it->where, "%s is no prefix, expected ADDRESS or ADDRESS/LENGTH",
		    conf_show(ps, it));
		return false;
	}
	if (host_bits) {
		conf_error(ps, &it->where, "%s has bits set behind its length, expected %s",
		    conf_show(ps, it), prefix_format(out, text, sizeof(text)));
		return false;
	}
	return true;
}

const char *
conf_text(struct conf_parse *ps, const struct conf_item *it, const char *what, size_t max)
{
	if (it->len == 0 || it->len > max || strlen(it->s) != it->len) {
		conf_error(ps, &it->where, "%s is not %s, expected 1 to %zu octets without NUL",
		    conf_show(ps, it), what, max);
		return NULL;
	}
	return it->s;
}

const char *
conf_path(struct conf_parse *ps, const struct conf_item *it, const char *what, size_t max)
{
	if (conf_text(ps, it, what, max) == NULL)
		return NULL;
	if (it->s[0] != '/') {
		conf_error(ps, &it->where, "%s is not %s, expected an absolute path",
		    conf_show(ps, it), what);
		return NULL;
	}
	return it->s;
}

struct numbered { /* an item and its place in the list */
	const struct conf_item *item;
	size_t place;
};

static int
same_text(const struct conf_item *a, const struct conf_item *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->s, b->s, a->len);
}

static int
text_order(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;
	int c = same_text(x->item, y->item);

	return c != 0 ? c : x->place < y->place ? -1 : x->place > y->place;
}

void
conf_each_once(struct conf_parse *ps, const struct conf_items *l, const char *what)
{
	const struct conf_item *it;
	size_t n = 0, i = 0;

	STAILQ_FOREACH (it, l, entry)
		n++;
	struct numbered *v = conf_alloc(ps, n * sizeof(*v));
	STAILQ_FOREACH (it, l, entry) {
		v[i] = (struct numbered){ it, i };
		i++;
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), text_order);
	for (i = 1; i < n; i++)
		if (same_text(v[i - 1].item, v[i].item) == 0)
			conf_error(ps, &v[i].item->where,
			    "%s %s stands twice in the list, expected it once", what,
			    conf_show(ps, v[i].item));
}

void
conf_names(
    struct conf_parse *ps, const struct conf_items *l, const char *what, struct conf_strs *out)
{
	const struct conf_item *it;
	struct conf_str *s;

	conf_each_once(ps, l, what);
	STAILQ_FOREACH (it, l, entry) {
		if (it->len == 0 || it->len > USER_MAX) {
			conf_error(ps, &it->where, "%s is no %s, expected 1 to %d octets",
			    conf_show(ps, it), what, USER_MAX);
			continue;
		}
		s = conf_alloc(ps, sizeof(*s));
		s->s = it->s;
		s->len = it->len;
		STAILQ_INSERT_TAIL(out, s, entry);
	}
}

/* Letters, digits, - and _ between dots: what the names of hosts are made of. */
static bool
host_octets(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= '0' && s[i] <= '9') && s[i] != '-' &&
		    s[i] != '_' && s[i] != '.')
			return false;
	return true;
}

const char *
conf_host_name(struct conf_parse *ps, const struct conf_item *it)
{
	uint8_t name[NAME_MAX_LEN];
	struct addr a;
	bool suffix = it->len > 0 && it->s[0] == '.';
	const uint8_t *text = (const uint8_t *)it->s + (suffix ? 1 : 0);
	size_t len = it->len - (suffix ? 1 : 0);
	int n = name_normalise(text, len, name);

	if (it->len > 2 && it->s[0] == '*' && it->s[1] == '.')
		conf_error(ps, &it->where,
		    "%s has a *, expected %s, which covers the name and all below it",
		    conf_show(ps, it), conf_sprintf(ps, "\"%s", conf_show(ps, it) + 2));
	else if (n == -1 || !host_octets((const char *)name, (size_t)n))
		conf_error(ps, &it->where,
		    "%s is neither an address nor a name, expected ADDRESS[/LENGTH], a host's name or .SUFFIX",
		    conf_show(ps, it));
	else if (name_is_address(name, (size_t)n, &a))
		conf_error(ps, &it->where,
		    "%s is an address in another spelling, expected the usual one",
		    conf_show(ps, it));
	else
		return conf_sprintf(ps, "%s%.*s", suffix ? "." : "", n, (const char *)name);
	return NULL;
}
