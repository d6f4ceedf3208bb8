/*
 * Logs that are files, and standard error. Owns their descriptors; a file may be rotated or its
 * disk full, and whoever reads standard error may have stopped: neither may hold up the gateway.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd.h"
#include "master/log_sink.h"

#define LOG_FILE_MODE 0640
#define BLOCKING_MAX                                                                     \
	512 /* octets a write to a terminal or pipe that we could not open anew: poll(2) \
	       promises room, not how much */

/* The file's last octet is not the end of a line: a gateway was killed, or the disk full. */
static bool
ends_within_line(int fd, off_t size)
{
	char last;

	return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

int
sink_open_file(struct sink *s)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO or device in the file's place is met here, not waited for. */
	int fd = open(s->path,
	    O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
	    LOG_FILE_MODE);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto fail;
	/* No local user's file: its owner could read and cut the trail. */
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid())) {
		errno = S_ISREG(st.st_mode) ? EPERM : EINVAL;
		goto fail;
	}
	s->mend = ends_within_line(fd, st.st_size);
	s->fd = fd;
	return 0;
fail:
	fd_drop(fd);
	return -1;
}

/* One write of the first n lines of the queue; false with errno if nothing was taken. */
static bool
write_lines(struct sink *s, struct iovec *iov, unsigned n, unsigned *lines)
{
	struct sink_line *line = STAILQ_FIRST(&s->queue);
	ssize_t taken;

	do
		taken = writev(s->fd, iov, (int)n);
	while (taken == -1 && errno == EINTR);
	if (taken == 0)
		errno = ENOSPC;
	if (taken <= 0)
		return false;
	size_t left = (size_t)taken;
	for (; line != NULL && left >= line->len - line->off; line = STAILQ_NEXT(line, entry)) {
		left -= line->len - line->off;
		++*lines;
	}
	if (line != NULL)
		line->off += left;
	return true;
}

enum sink_sent
sink_send_file(struct sink *s, unsigned *lines)
{
	struct iovec iov[SINK_BATCH];

	if (s->mend && write(s->fd, "\n", 1) != 1)
		return SINK_LATER;
	s->mend = false;
	return write_lines(s, iov, sink_batch(s, iov), lines) ? SINK_SENT : SINK_LATER;
}

/*
 * O_NONBLOCK on the descriptor we were given would change it for all who share it (a shell, say): a
 * terminal or pipe is opened anew by its name in /proc, which gives a description of our own.
 */
int
sink_open_stderr(struct sink *s)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == -1)
		return -1;
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
		s->fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (s->fd != -1)
			return 0;
	}
	/* A socket (under systemd), or not to be opened. A regular file never blocks so long. */
	s->blocks = !S_ISREG(st.st_mode);
	s->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	return s->fd == -1 ? -1 : 0;
}

/* A line at a time: standard error is not for many. */
enum sink_sent
sink_send_stderr(struct sink *s, unsigned *lines)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };
	struct iovec iov[SINK_BATCH];

	sink_batch(s, iov);
	if (s->blocks) {
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			return SINK_WAIT;
		if (iov[0].iov_len > BLOCKING_MAX)
			iov[0].iov_len = BLOCKING_MAX;
	}
	if (write_lines(s, iov, 1, lines))
		return SINK_SENT;
	return errno == EAGAIN ? SINK_WAIT : SINK_LATER;
}
