/*
 * Syslog, over its local datagram socket. Owns a connection that comes and goes with the daemon;
 * not syslog(3), which blocks, and loses what is sent while the daemon restarts.
 */
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "master/log_sink.h"

static int
syslog_connect(struct sink *s)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	if (strlen(s->path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, s->path, strlen(s->path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		fd_drop(fd);
		return -1;
	}
	s->fd = fd;
	return 0;
}

int
sink_open_syslog(struct sink *s)
{
	if (syslog_connect(s) == 0)
		return 0;
	if (errno == ENAMETOOLONG)
		return -1;
	warn("syslog socket %s: records wait until it takes them", s->path);
	return 0;
}

static void
syslog_disconnect(struct sink *s)
{
	ev_del(s->loop, &s->ev);
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
}

/* Hands over as many as the daemon takes; how many, or -1 with errno. */
static int
syslog_send(const struct sink *s)
{
	struct mmsghdr mh[SINK_BATCH];
	struct iovec iov[SINK_BATCH];
	unsigned n = sink_batch(s, iov);
	int sent;

	for (unsigned i = 0; i < n; i++)
		mh[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
	do
		sent = sendmmsg(s->fd, mh, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent == -1 && errno == EINTR);
	return sent;
}

enum sink_sent
sink_send_syslog(struct sink *s, unsigned *lines)
{
	/* Twice: the first failure may be the farewell of a daemon that is back already. */
	for (int i = 0; i < 2; i++) {
		if (s->fd == -1 && syslog_connect(s) == -1)
			return SINK_LATER;
		int sent = syslog_send(s);
		if (sent != -1) {
			*lines = (unsigned)sent;
			return SINK_SENT;
		}
		if (errno == EAGAIN)
			return SINK_WAIT;
		if (errno == ENOBUFS || errno == ENOMEM)
			return SINK_LATER;
		if (errno == EMSGSIZE)
			return SINK_NEVER;
		syslog_disconnect(s);
	}
	return SINK_LATER;
}
