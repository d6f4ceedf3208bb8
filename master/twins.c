/*
 * Makes twins of workers' UDP sockets (see master/twins.h). A worker is believed in nothing: what
 * its descriptor is the kernel says.
 */
#include "master/twins.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/addr.h"
#include "master/marks.h"

static bool
option(int fd, int name, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &len) == 0 && len == sizeof(*value);
}

/* Is it a UDP socket? Where it is bound; port 0: it is not, for one that has sent nothing yet, or
 * in vain, has no port. */
static bool
is_udp(int fd, struct addrport *at)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int protocol;

	return option(fd, SO_PROTOCOL, &protocol) && protocol == IPPROTO_UDP &&
	       getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
	       addr_from_sockaddr((struct sockaddr *)&ss, len, at) == 0;
}

static bool
same_device(int fd, int of)
{
	char name[IFNAMSIZ];
	socklen_t len = sizeof(name);

	return getsockopt(of, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 &&
	       (len == 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, len) == 0);
}

/* A port is shared within a user. */
static bool
same_owner(int fd, int of)
{
	struct stat his, ours;

	return fstat(of, &his) == 0 && fstat(fd, &ours) == 0 &&
	       (his.st_uid == ours.st_uid || fchown(fd, his.st_uid, (gid_t)-1) == 0);
}

static bool
share_port(int fd, int share)
{
	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &share, sizeof(share)) == 0;
}

static bool
bind_beside(int fd, int of, const struct addrport *at)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);
	bool done =
	    share_port(of, 1) && share_port(fd, 1) && bind(fd, (struct sockaddr *)&ss, len) == 0;

	return share_port(of, 0) && share_port(fd, 0) && done;
}

int
twins_socket(int of, bool *sane)
{
	struct addrport at;
	int mark, fd;

	*sane = is_udp(of, &at);
	if (!*sane || at.port == 0 || !option(of, SO_MARK, &mark) ||
	    (fd = marks_socket(at.a.family, true, (uint32_t)mark)) == -1)
		return -1;
	if (same_device(fd, of) && same_owner(fd, of) && bind_beside(fd, of, &at))
		return fd;
	close(fd);
	return -1;
}

bool
twins_make(struct child *worker, const struct msg *m)
{
	const struct msg_twin *t = m->payload;
	bool sane;
	int fd;

	if (t->side > 1)
		return false;
	if (!children_may_pass(worker, &worker->twins, TWINS_ASKED_MAX))
		return true; /* it does not take what it has asked for: it gets no more */
	if ((fd = twins_socket(m->fd, &sane)) == -1)
		return sane; /* it does without */
	(void)chan_send(&worker->chan, MSG_TWINNED, t, sizeof(*t), fd);
	children_passed(worker, &worker->twins);
	return true;
}
