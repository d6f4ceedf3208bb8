/*
 * Makes marked sockets for workers (see master/marks.h). A worker is believed only in that it wants
 * one: what the mark may be, the configuration in force says.
 */
#include "master/marks.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"

int
marks_socket(uint8_t family, bool datagrams, uint32_t mark)
{
	int one = 1, type = datagrams ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(family == ADDR_V6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    datagrams ? IPPROTO_UDP : IPPROTO_TCP);

	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == -1 ||
	    (family == ADDR_V6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1)) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

bool
marks_possible(const struct conf *c, FILE *errors)
{
	uint32_t marks[EGRESS_MARKS_MAX + 1];
	int fd;

	if (conf_marks(c, marks) == 0)
		return true;
	if ((fd = marks_socket(ADDR_V4, true, marks[0])) != -1) {
		close(fd);
		return true;
	}
	fprintf(errors,
	    "egress mark cannot be set: %s; it takes root with CAP_NET_RAW and Linux 5.17, and a "
	    "start with a mark in the configuration\n",
	    strerror(errno));
	return false;
}

static bool
has_mark(const struct conf *c, uint32_t mark)
{
	uint32_t marks[EGRESS_MARKS_MAX + 1];
	unsigned n = conf_marks(c, marks);

	for (unsigned i = 0; i < n; i++)
		if (marks[i] == mark)
			return true;
	return false;
}

bool
marks_make(const struct conf *c, struct child *worker, const struct msg_marked *m)
{
	if ((m->family != ADDR_V4 && m->family != ADDR_V6) || m->datagrams > 1)
		return false;
	/* What waits for it holds our descriptors. */
	if (chan_sent(&worker->chan) >= worker->marked_until)
		worker->marked = 0;
	if (worker->marked >= EGRESS_ASKED_MAX)
		return false;
	if (!has_mark(c, m->mark))
		return true; /* a reload has taken it away meanwhile */
	int fd = marks_socket(m->family, m->datagrams != 0, m->mark);
	if (fd == -1)
		return true; /* no descriptor is left: it will ask again */
	(void)chan_send(&worker->chan, MSG_MARKED, m, sizeof(*m), fd);
	worker->marked++;
	worker->marked_until = chan_mark(&worker->chan);
	return true;
}
