/*
 * Binds twins of workers' UDP sockets (see master/twins.h). A worker is believed in nothing: what
 * its descriptors are the kernel says.
 */
#include "master/twins.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "common/fd.h"

static bool
is_udp(int fd)
{
	int protocol;
	socklen_t len = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == IPPROTO_UDP;
}

static bool
share_port(int fd, int share)
{
	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &share, sizeof(share)) == 0;
}

bool
twins_bind(int fd, int beside)
{
	struct sockaddr_storage ss;
	struct addrport at;

	/* It may have no port: not yet, or because none was left. */
	if (addr_local(beside, &at) == -1 || at.port == 0)
		return false;
	socklen_t len = addr_to_sockaddr(&at, &ss);
	bool done = share_port(beside, 1) && share_port(fd, 1) &&
		    bind(fd, (struct sockaddr *)&ss, len) == 0;
	bool alone = share_port(beside, 0);

	return share_port(fd, 0) && alone && done;
}

void
twins_forget(struct child *worker)
{
	fd_drop(worker->beside);
	worker->beside = -1;
}

bool
twins_beside(struct child *worker, struct msg *m)
{
	twins_forget(worker);
	worker->beside = m->fd;
	m->fd = -1;
	return is_udp(worker->beside);
}

bool
twins_make(struct child *worker, const struct msg *m)
{
	struct msg_twinned answer = { .of = *(const struct msg_twin *)m->payload };

	if (answer.of.side > 1 || worker->beside == -1 || !is_udp(m->fd))
		return false;
	answer.done = twins_bind(m->fd, worker->beside);
	twins_forget(worker);
	/* It may have ended meanwhile, and its last messages stand behind this one. */
	(void)chan_send(&worker->chan, MSG_TWINNED, &answer, sizeof(answer), -1);
	return true;
}
