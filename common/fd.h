/*
 * Descriptors on the way out of a failure.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <errno.h>
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

#endif
