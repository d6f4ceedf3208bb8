/*
 * Files that the configuration names. Only regular ones are read, so that a reload cannot be made
 * to wait for the other end of a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/conf_parse.h"

/* Who else can change what the file says, or put another in its place. */
static void
warn_writers(struct conf_parse *ps, const char *path, const struct stat *st)
{
	const struct conf_where w = { path, 0 };
	const char *slash = strrchr(path, '/');
	const char *dir =
	    slash == NULL ? "." : conf_sprintf(ps, "%.*s", (int)(slash - path + 1), path);
	struct stat up;

	if (st->st_mode & S_IWOTH)
		conf_warn(ps, &w, "anyone may write this file and so decide who gets through");
	if (st->st_uid != 0 && st->st_uid != geteuid())
		conf_warn(ps, &w,
		    "this file belongs to user %u, who so decides who gets through; expected root or the gateway's user",
		    (unsigned)st->st_uid);
	/* In one with the sticky bit, as /tmp, nobody replaces the file of another. */
	if (stat(dir, &up) == 0 && (up.st_mode & S_IWOTH) && !(up.st_mode & S_ISVTX))
		conf_warn(ps, &w, "anyone may replace this file: its directory is open to all");
}

char *
conf_slurp(struct conf_parse *ps, const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), saved;
	struct stat st;
	char *text = NULL;
	size_t have = 0;
	ssize_t n;

	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == -1)
		goto fail;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		goto fail;
	}
	if (st.st_size < 0 || (uintmax_t)st.st_size > CONF_FILE_MAX) {
		errno = EFBIG;
		goto fail;
	}
	if ((text = malloc((size_t)st.st_size + 1)) == NULL)
		goto fail;
	while (have < (size_t)st.st_size &&
	       (n = read(fd, text + have, (size_t)st.st_size - have)) != 0) {
		if (n == -1 && errno != EINTR)
			goto fail;
		have += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	*len = have;
	warn_writers(ps, path, &st);
	return text;
fail:
	saved = errno;
	free(text);
	close(fd);
	errno = saved;
	return NULL;
}

const char *
conf_beside(struct conf_parse *ps, const struct conf_where *w, const char *path)
{
	const char *slash = strrchr(w->file, '/');

	if (path[0] == '/' || slash == NULL)
		return path;
	return conf_sprintf(ps, "%.*s/%s", (int)(slash - w->file), w->file, path);
}
