/*
 * What the gateway serves besides CONNECT: the statements about BIND, UDP ASSOCIATE and SOCKS4.
 */
#include "master/conf_parse.h"

static void
set_ports(
    struct conf_parse *ps, const struct conf_item *range, const char *what, struct conf_ports *out)
{
	uint16_t first, last;

	if (!conf_port_range(ps, range, &first, &last))
		return;
	if (first < CONF_PORT_MIN) {
		conf_error(ps, &range->where,
		    "%s %s reaches below %u, expected ports from there up", what,
		    conf_show(ps, range), CONF_PORT_MIN);
		return;
	}
	out->first = first;
	out->last = last;
}

void
conf_set_bind_ports(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *range)
{
	if (conf_once(ps, ONCE_BIND_PORTS, w, "bind ports"))
		set_ports(ps, range, "bind ports", &ps->conf->bind_ports);
}

void
conf_set_udp_ports(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *range)
{
	if (conf_once(ps, ONCE_UDP_PORTS, w, "udp ports"))
		set_ports(ps, range, "udp ports", &ps->conf->udp_ports);
}

/* An address that others reach the gateway at, its own or that of a NAT in front of it. */
static void
set_advertise(
    struct conf_parse *ps, struct conf_items *addrs, const char *what, struct conf_advertise *out)
{
	const struct conf_item *it;
	struct addr a;

	STAILQ_FOREACH (it, addrs, entry) {
		if (!conf_address(ps, it, what, &a))
			continue;
		struct addr *slot = a.family == ADDR_V4 ? &out->v4 : &out->v6;

		if (!conf_unicast(&a))
			conf_error(ps, &it->where,
			    "%s is no address to be reached at, expected one of a host", it->s);
		else if (slot->family != ADDR_NONE)
			conf_error(ps, &it->where,
			    "%s has a second IPv%d address %s, expected one a family", what,
			    a.family, it->s);
		else
			*slot = a;
	}
}

void
conf_set_bind_advertise(struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs)
{
	if (conf_once(ps, ONCE_BIND_ADVERTISE, w, "bind advertise"))
		set_advertise(ps, addrs, "bind advertise", &ps->conf->bind_advertise);
}

void
conf_set_udp_advertise(struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs)
{
	if (conf_once(ps, ONCE_UDP_ADVERTISE, w, "udp advertise"))
		set_advertise(ps, addrs, "udp advertise", &ps->conf->udp_advertise);
}

void
conf_set_udp_replies(struct conf_parse *ps, const struct conf_where *w, bool any)
{
	conf_once(ps, ONCE_UDP_REPLIES, w, "udp replies");
	ps->conf->udp_replies_any = any;
}

void
conf_set_udp_fragments(struct conf_parse *ps, const struct conf_where *w, bool on)
{
	conf_once(ps, ONCE_UDP_FRAGMENTS, w, "udp fragments");
	ps->conf->udp_fragments = on;
}

void
conf_set_socks4(struct conf_parse *ps, const struct conf_where *w, bool allow)
{
	conf_once(ps, ONCE_SOCKS4, w, "socks4");
	ps->conf->socks4 = allow;
}
