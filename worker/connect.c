/*
 * Sockets to targets. Owns nothing: the descriptor belongs to the attempt. What address is
 * connected to has been decided by the caller, on the very address that is given here.
 */
#include "worker/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"

const struct addr *
connect_egress(const struct image *img, const struct image_rule *rule, uint8_t family, int *none)
{
	struct image_list l = rule->egress.n > 0 ? rule->egress : img->egress;
	const struct addr *a = image_at(img, l);

	*none = l.n > 0;
	for (uint32_t i = 0; i < l.n; i++)
		if (a[i].family == family)
			return &a[i];
	return NULL;
}

static int
bind_egress(int fd, const struct addr *a)
{
	struct addrport ap = { .a = *a };
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&ap, &ss);
	int one = 1;

	/* Without it the port is chosen before the target is known, and one address has but one
	 * range of them for all targets together (ip(7)). */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) == -1)
		return -1;
	return bind(fd, (struct sockaddr *)&ss, len);
}

int
connect_socket(const struct image *img, const struct image_rule *rule,
    const struct addrport *target, uint64_t *cookie, enum reason *why)
{
	int none, one = 1, fd = -1;
	const struct addr *from = connect_egress(img, rule, target->a.family, &none);
	socklen_t len = sizeof(*cookie);

	*why = REASON_EGRESS;
	errno = EADDRNOTAVAIL;
	if (from == NULL && none)
		return -1;
	*why = REASON_GENERAL;
	fd = socket(target->a.family == ADDR_V6 ? AF_INET6 : AF_INET,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd == -1) {
		if (errno == EAFNOSUPPORT)
			*why = REASON_NET_UNREACHABLE;
		return -1;
	}
	if (from != NULL && bind_egress(fd, from) == -1) {
		*why = REASON_EGRESS;
		goto fail;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &len) == -1)
		goto fail;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
fail:
	fd_drop(fd);
	return -1;
}

int
connect_datagram_socket(uint8_t family, const struct addr *from)
{
	int one = 1, type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
	int fd = socket(family == ADDR_V6 ? AF_INET6 : AF_INET, type, IPPROTO_UDP);

	if (fd == -1)
		return -1;
	if (family == ADDR_V6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1)
		goto fail;
	if (from != NULL) {
		struct addrport ap = { .a = *from };
		struct sockaddr_storage ss;
		socklen_t len = addr_to_sockaddr(&ap, &ss);

		if (bind(fd, (struct sockaddr *)&ss, len) == -1)
			goto fail;
	}
	return fd;
fail:
	fd_drop(fd);
	return -1;
}

int
connect_start(int fd, const struct addrport *target, int *under_way)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(target, &ss);

	*under_way = 0;
	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		return 0;
	*under_way = errno == EINPROGRESS || errno == EINTR;
	return *under_way ? 0 : -1;
}

enum reason
connect_reason(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
		return REASON_REFUSED;
	case ENETUNREACH:
	case ENETDOWN:
		return REASON_NET_UNREACHABLE;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		return REASON_HOST_UNREACHABLE;
	case ETIMEDOUT:
		return REASON_CONNECT;
	default:
		return REASON_GENERAL;
	}
}

int
connect_local(int fd, struct addrport *ap)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == -1)
		return -1;
	return addr_from_sockaddr((struct sockaddr *)&ss, len, ap);
}
