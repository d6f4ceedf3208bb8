/*
 * Descriptors on the way out of a failure, and files that are written whole.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <errno.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

/* Closes fd (-1: nothing) and keeps errno, which says why it is of no use any more. */
static inline void
fd_drop(int fd)
{
	int saved = errno;

	if (fd != -1)
		close(fd);
	errno = saved;
}

/* Writes all of it. 0, or -1 with errno: then some of it may be written. */
static inline int
fd_write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

#endif
