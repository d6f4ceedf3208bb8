/*
 * Listeners of BIND. Owns nothing: the descriptor goes to the worker. What a worker asks has been
 * checked against the rule by the caller; the addresses that it gives choose among this machine's
 * own, and can do no more.
 */
#include "master/bind.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/egress.h"
#include "common/fd.h"

#define BACKLOG      8    /* peers that wait while one is judged */
#define PORT_ANY_MIN 1024 /* below it only a rule's `bind port` leads (`bind port 20`) */

/* --- the address --- */

static const struct addr *
of_family(const struct image *img, struct image_list l, uint8_t family)
{
	const struct addr *a = image_at(img, l);

	for (uint32_t i = 0; i < l.n; i++)
		if (a[i].family == family)
			return &a[i];
	return NULL;
}

/* What the rule says of how connections leave holds for those that come in too: their packets take
 * the same ways. */
static int
socket_of(uint8_t family, int type, const struct egress_way *way)
{
	int fd =
	    socket(family == ADDR_V6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return -1;
	if (egress_bind_device(fd, way) == -1 ||
	    (way->mark != 0 &&
		setsockopt(fd, SOL_SOCKET, SO_MARK, &way->mark, sizeof(way->mark)) == -1)) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

/* The address that the kernel would use towards a host: connect(2) on a UDP socket looks the route
 * up and sends nothing. */
static int
route_to(const struct addr *to, const struct egress_way *way, struct addrport *from)
{
	struct addrport ap = { .a = *to, .port = 9 }; /* any but 0 will do */
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&ap, &ss);
	int fd = socket_of(to->family, SOCK_DGRAM, way), result = -1;

	if (fd == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		result = addr_local(fd, from);
	fd_drop(fd);
	from->port = 0;
	return result;
}

static enum reason
no_route(int error)
{
	switch (error) {
	case EHOSTUNREACH:
		return REASON_HOST_UNREACHABLE;
	case ENETUNREACH:
	case EAFNOSUPPORT:
		return REASON_NET_UNREACHABLE;
	default:
		return REASON_GENERAL;
	}
}

static enum reason
choose_address(
    const struct bind_request *r, const struct egress_way *way, struct addrport *at, int *error)
{
	*at = (struct addrport){ 0 };
	if (way->from.family != ADDR_NONE) {
		at->a = way->from;
		return REASON_NONE;
	}
	if (!addr_is_any(&r->asked.a)) {
		if (route_to(&r->asked.a, way, at) == 0)
			return REASON_NONE;
		*error = errno;
		return no_route(errno);
	}
	*at = r->gateway;
	at->a = addr_dial(&at->a); /* never a wildcard, whatever the worker says */
	at->port = 0;
	return at->a.family != ADDR_NONE ? REASON_NONE : REASON_GENERAL;
}

/* --- the port --- */

/*
 * SO_REUSEADDR: a port whose last connections are in TIME-WAIT, or still live, is free for the next
 * listener. While a socket listens no other may bind its port, with or without the option; one that
 * does so between bind and listen makes listen fail, and the next port is tried.
 */
static int
open_at(const struct addrport *at, const struct egress_way *way)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);
	int one = 1, fd = socket_of(at->a.family, SOCK_STREAM, way);

	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    (at->a.family == ADDR_V6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1) ||
	    bind(fd, (struct sockaddr *)&ss, len) == -1 || listen(fd, BACKLOG) == -1) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

/* The first free port of a range, from a random one on, round to the beginning. -1 with errno;
 * EADDRINUSE: none. */
static int
open_in(
    struct addrport *at, const struct egress_way *way, struct image_ports range, unsigned *tries)
{
	uint32_t n = (uint32_t)range.last - range.first + 1, start = arc4random_uniform(n);

	for (uint32_t i = 0; i < n; i++) {
		if (*tries == 0)
			break;
		(*tries)--;
		at->port = (uint16_t)(range.first + (start + i) % n);
		int fd = open_at(at, way);
		if (fd != -1 || (errno != EADDRINUSE && errno != EACCES))
			return fd;
	}
	errno = EADDRINUSE;
	return -1;
}

static int
open_listed(const struct bind_request *r, const struct egress_way *way, struct addrport *at)
{
	const struct image_ports *p = image_at(r->img, r->rule->bind_ports);
	struct image_ports range = r->img->bind_ports;
	unsigned tries = BIND_TRIES;
	int fd = -1;

	errno = EADDRINUSE;
	for (uint32_t i = 0; fd == -1 && i < r->rule->bind_ports.n && errno == EADDRINUSE; i++)
		fd = open_in(at, way, p[i], &tries);
	if (r->rule->bind_ports.n > 0)
		return fd;
	if (range.last == 0)
		return open_at(at, way);
	if (range.first < PORT_ANY_MIN)
		range.first = PORT_ANY_MIN;
	return range.first <= range.last ? open_in(at, way, range, &tries) : -1;
}

static enum reason
no_port(int error)
{
	switch (error) {
	case EADDRINUSE:
	case EACCES:
		return REASON_BIND_PORTS;
	case EADDRNOTAVAIL:
	case ENODEV: /* `egress device` */
		return REASON_EGRESS;
	default:
		return REASON_GENERAL;
	}
}

enum reason
bind_listen(const struct bind_request *r, struct bind_listener *l, int *error)
{
	static uint32_t turn; /* with `round-robin` */
	const struct addr *advertise;
	struct egress_way way;
	struct addrport at;
	enum reason why;

	*error = 0;
	*l = (struct bind_listener){ .fd = -1 };
	if (egress_way(r->img, r->rule, r->asked.a.family, &r->client, &turn, &way) == -1) {
		*error = EADDRNOTAVAIL;
		return REASON_EGRESS;
	}
	if ((why = choose_address(r, &way, &at, error)) != REASON_NONE)
		return why;
	l->fd = open_listed(r, &way, &at);
	if (l->fd == -1) {
		*error = errno;
		return no_port(errno);
	}
	if (addr_local(l->fd, &l->bound) == -1) {
		*error = errno;
		fd_drop(l->fd);
		l->fd = -1;
		return REASON_GENERAL;
	}
	l->advertised = l->bound;
	advertise = of_family(r->img, r->img->bind_advertise, l->bound.a.family);
	if (advertise != NULL)
		l->advertised.a = *advertise;
	return REASON_NONE;
}
