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
#include "worker/session.h"

int
connect_datagram_socket(uint8_t family)
{
	int one = 1, type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
	int fd = socket(family == ADDR_V6 ? AF_INET6 : AF_INET, type, IPPROTO_UDP);

	if (fd != -1 && family == ADDR_V6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

void
connect_hurry(struct session *s, int fd)
{
	int one = 1;

	s->hurried = true;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
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
