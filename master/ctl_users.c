/*
 * Reading and replacing the users file. The lock is on its directory, because the file itself is
 * another one after each change; the new file is complete on the disk before it takes the name.
 */
#include "master/ctl_users.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#define NEW_MODE     0600
#define TMP_NAME_MAX 256 /* octets of a temporary file's name, NUL included */

static int
open_directory(struct ctl_users *f)
{
	const char *slash = strrchr(f->path, '/');

	f->base = slash != NULL ? slash + 1 : f->path;
	char *name = slash == NULL      ? strdup(".")
		     : slash == f->path ? strdup("/")
					: strndup(f->path, (size_t)(slash - f->path));
	if (name == NULL)
		return -1;
	f->dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int saved = errno;
	free(name);
	errno = saved;
	return f->dir;
}

static int
read_text(struct ctl_users *f, int fd, size_t size)
{
	size_t n = 0;

	if ((f->text = malloc(size + 1)) == NULL)
		return -1;
	while (n < size) {
		ssize_t got = pread(fd, f->text + n, size - n, (off_t)n);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	f->text[n] = '\0';
	f->size = n;
	return 0;
}

static int
read_file(struct ctl_users *f, int fd)
{
	const char *what;
	struct stat st;
	unsigned line;

	if (users_file_safe(fd, &what) == -1) {
		warnx("%s: %s", f->path, what);
		return -1;
	}
	if ((f->users = users_read(fd, &line, &what)) == NULL) {
		if (line > 0)
			warnx("%s:%u: %s", f->path, line, what);
		else
			warn("%s", f->path);
		return -1;
	}
	if (fstat(fd, &st) == -1 || read_text(f, fd, (size_t)st.st_size) == -1) {
		warn("%s", f->path);
		return -1;
	}
	f->mode = st.st_mode & 07777;
	f->uid = st.st_uid;
	f->gid = st.st_gid;
	return 0;
}

int
ctl_users_open(struct ctl_users *f, const char *path, bool create)
{
	*f = (struct ctl_users){
		.path = path, .dir = -1, .mode = NEW_MODE, .uid = geteuid(), .gid = getegid()
	};
	if (open_directory(f) == -1 || flock(f->dir, LOCK_EX) == -1) {
		warn("%s: its directory", path);
		ctl_users_close(f);
		return -1;
	}
	int fd = openat(f->dir, f->base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1 && errno == ENOENT && create)
		return 0;
	if (fd == -1 && errno == ELOOP)
		warnx("%s is a symbolic link; name the file itself", path);
	else if (fd == -1)
		warn("%s", path);
	int error = fd == -1 ? -1 : read_file(f, fd);
	if (fd != -1)
		close(fd);
	if (error == -1)
		ctl_users_close(f);
	return error;
}

void
ctl_users_close(struct ctl_users *f)
{
	users_free(f->users);
	f->users = NULL;
	if (f->text != NULL)
		explicit_bzero(f->text, f->size);
	free(f->text);
	f->text = NULL;
	if (f->dir != -1)
		close(f->dir);
	f->dir = -1;
}

/* Where the line of the n-th user begins. */
static const char *
line_of(const struct ctl_users *f, size_t n)
{
	const char *p = f->text;

	for (;;) {
		if (*p != '\n' && *p != '#' && n-- == 0)
			return p;
		p = strchr(p, '\n') + 1; /* users_read has found the user, so there are more */
	}
}

static int
write_text(const struct ctl_users *f, int fd, const struct user *user, const char *line)
{
	const char *at = f->text + f->size, *rest = at;

	if (f->text == NULL)
		return fd_write_all(fd, line, strlen(line));
	if (user != NULL) {
		const char *nl;

		at = line_of(f, (size_t)(user - users_nth(f->users, 0)));
		nl = strchr(at, '\n');
		rest = nl != NULL ? nl + 1 : rest;
	}
	size_t head = (size_t)(at - f->text);
	if (fd_write_all(fd, f->text, head) == -1)
		return -1;
	if (head > 0 && at[-1] != '\n' && fd_write_all(fd, "\n", 1) == -1)
		return -1;
	if (fd_write_all(fd, line, strlen(line)) == -1)
		return -1;
	return fd_write_all(fd, rest, (size_t)(f->text + f->size - rest));
}

/* What is about to take the file's place must itself be right: a fault here came from an argument.
 */
static int
check_new(const char *path, int fd)
{
	unsigned line;
	const char *what;
	struct users *u = users_read(fd, &line, &what);

	if (u == NULL && line > 0)
		warnx("%s would be wrong in line %u: %s; nothing is changed", path, line, what);
	else if (u == NULL)
		warn("%s: the new file", path);
	users_free(u);
	return u != NULL ? 0 : -1;
}

int
ctl_users_replace(struct ctl_users *f, const struct user *user, const char *line)
{
	char tmp[TMP_NAME_MAX];
	int n = snprintf(tmp, sizeof(tmp), ".%s.tmp", f->base);

	if (n < 0 || (size_t)n >= sizeof(tmp)) {
		warnx("%s: the name is too long", f->path);
		return -1;
	}
	(void)unlinkat(f->dir, tmp, 0); /* of one that was killed; the lock is ours */
	int fd = openat(f->dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, NEW_MODE);
	if (fd == -1) {
		warn("%s: a new file beside it", f->path);
		return -1;
	}
	if (write_text(f, fd, user, line) == -1 || fchown(fd, f->uid, f->gid) == -1 ||
	    fchmod(fd, f->mode) == -1 || fsync(fd) == -1) {
		warn("%s: the new file", f->path);
		goto fail;
	}
	if (check_new(f->path, fd) == -1)
		goto fail;
	if (renameat(f->dir, tmp, f->dir, f->base) == -1 || fsync(f->dir) == -1) {
		warn("%s: putting the new file in place", f->path);
		goto fail;
	}
	close(fd);
	return 0;
fail:
	close(fd);
	(void)unlinkat(f->dir, tmp, 0);
	return -1;
}
