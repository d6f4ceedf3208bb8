/*
 * The machine's own addresses. Owns a netlink socket, which tells that something changed, and the
 * list, which is then read afresh with getifaddrs(3) (a dump over rtnetlink): so no message is
 * interpreted, and a lost one (ENOBUFS) costs nothing. Trusts the kernel.
 */
#include "master/own.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN_SETTLE_MS 50 /* changes come in bursts; one image for each burst */

static struct {
	struct loop *loop;
	struct ev ev;
	struct deadline settle;
	void (*changed)(void);
	struct prefix *addrs;
	size_t n;
} own = { .ev.fd = -1 };

static int
cmp(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int order = addr_cmp(&x->a, &y->a);

	return order != 0 ? order : x->len - y->len;
}

/* Adds an address in its one spelling. */
static void
add(struct prefix *list, size_t *n, const struct addr *a)
{
	if (a->family == ADDR_NONE)
		return;
	struct prefix *p = &list[(*n)++];
	p->a = addr_canon(a, NULL, 0);
	p->len = p->a.family == ADDR_V4 ? 32 : 128;
}

static struct addr
from_sockaddr(const struct sockaddr *sa)
{
	struct addrport ap = { 0 };
	socklen_t len;

	if (sa == NULL)
		return ap.a;
	len = sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	if (addr_from_sockaddr(sa, len, &ap) == -1)
		memset(&ap, 0, sizeof(ap));
	return ap.a;
}

/* An IPv4 interface's broadcast addresses: the one that is set, and the network's last address,
 * which the kernel takes as one even where none is set (RFC 922 section 7). */
static void
add_broadcast(struct prefix *list, size_t *n, const struct ifaddrs *ifa, const struct addr *a)
{
	struct addr mask = from_sockaddr(ifa->ifa_netmask), last = *a;

	if ((ifa->ifa_flags & IFF_BROADCAST) == 0 || a->family != ADDR_V4)
		return;
	struct addr set = from_sockaddr(ifa->ifa_broadaddr);
	add(list, n, &set);
	/* Networks of one and two addresses have none (RFC 3021). */
	if (mask.family != ADDR_V4 || mask.b[3] >= 0xfe)
		return;
	for (size_t i = 0; i < 4; i++)
		last.b[i] |= (uint8_t)~mask.b[i];
	add(list, n, &last);
}

/* The whole of an IPv4 network on a loopback interface: the kernel takes all of it as local. */
static void
add_network(struct prefix *list, size_t *n, const struct ifaddrs *ifa, const struct addr *a)
{
	struct addr mask = from_sockaddr(ifa->ifa_netmask);

	if ((ifa->ifa_flags & IFF_LOOPBACK) == 0 || a->family != ADDR_V4 || mask.family != ADDR_V4)
		return;
	struct prefix *p = &list[(*n)++];
	p->a = *a;
	for (size_t i = 0; i < 4; i++) {
		p->a.b[i] &= mask.b[i];
		p->len = (uint8_t)(p->len + __builtin_popcount(mask.b[i]));
	}
}

/* The list as it is now: sorted, each once. 0, or -1 with errno. */
static int
dump(struct prefix **out, size_t *out_n)
{
	struct ifaddrs *all;
	const struct ifaddrs *ifa;
	size_t room = 1, n = 0, unique = 0;

	if (getifaddrs(&all) == -1)
		return -1;
	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		room += 4;
	struct prefix *list = calloc(room, sizeof(*list));
	if (list == NULL) {
		freeifaddrs(all);
		errno = ENOMEM;
		return -1;
	}
	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next) {
		struct addr a = from_sockaddr(ifa->ifa_addr);
		add(list, &n, &a);
		add_broadcast(list, &n, ifa, &a);
		add_network(list, &n, ifa, &a);
	}
	freeifaddrs(all);
	qsort(list, n, sizeof(*list), cmp);
	for (size_t i = 0; i < n; i++) {
		if (unique == 0 || cmp(&list[unique - 1], &list[i]) != 0)
			list[unique++] = list[i];
	}
	*out = list;
	*out_n = unique;
	return 0;
}

static void
settled(struct deadline *d)
{
	struct prefix *list;
	size_t n;

	if (dump(&list, &n) == -1) {
		deadline_arm(own.loop, d, OWN_SETTLE_MS);
		return;
	}
	if (n == own.n && memcmp(list, own.addrs, n * sizeof(*list)) == 0) {
		free(list);
		return;
	}
	free(own.addrs);
	own.addrs = list;
	own.n = n;
	own.changed();
}

static void
readable(struct ev *e, uint32_t events)
{
	char scratch[4096];

	(void)events;
	/* Any error, too, means that changes may have been missed. */
	while (recv(e->fd, scratch, sizeof(scratch), MSG_DONTWAIT | MSG_TRUNC) > 0)
		continue;
	if (!deadline_armed(&own.settle))
		deadline_arm(own.loop, &own.settle, OWN_SETTLE_MS);
}

int
own_open(struct loop *l, void (*changed)(void))
{
	struct sockaddr_nl nl = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd == -1)
		return -1;
	own.loop = l;
	own.changed = changed;
	own.ev.cb = readable;
	own.settle.cb = settled;
	/* Listening starts before the dump: what changes between them is told after it. */
	if (bind(fd, (struct sockaddr *)&nl, sizeof(nl)) == -1 || dump(&own.addrs, &own.n) == -1 ||
	    ev_add(l, &own.ev, fd, EPOLLIN) == -1) {
		int error = errno;
		close(fd);
		own_close();
		errno = error;
		return -1;
	}
	return 0;
}

const struct prefix *
own_addrs(size_t *n)
{
	*n = own.n;
	return own.addrs;
}

void
own_close(void)
{
	int fd = own.ev.fd;

	if (fd != -1) {
		ev_del(own.loop, &own.ev);
		close(fd);
	}
	if (deadline_armed(&own.settle))
		deadline_disarm(&own.settle);
	own.settle = (struct deadline){ 0 };
	free(own.addrs);
	own.addrs = NULL;
	own.n = 0;
}
