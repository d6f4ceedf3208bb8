/*
 * Makes the acceptor's directory (see there). The directory is root's (or, without root, the
 * gateway's user's) and no one else may write to it, so that what has a name in it was put there by
 * a master; the acceptor writes the replay cache through its own descriptor of it only. All names
 * are opened relative to the directory and never followed.
 */
#include "master/acceptor_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#include "master/krb5_conf.h"
#include "master/rundir.h"

#define NAME   "acceptor"
#define CONF   "krb5.conf"
#define FRESH  "krb5.conf.new"
#define RCACHE "rcache"

const char *
acceptor_dir_path(const struct conf *first, char *buf, size_t size)
{
	const char *chroot = first->process[ROLE_ACCEPTOR].chroot;

	if (chroot == NULL)
		return rundir_path(first->run_directory, NAME, buf, size);
	snprintf(buf, size, "%s", chroot);
	return buf;
}

/* The directory, made if it is the default one; -1, and why is said. */
static int
open_dir(const char *path, bool make, FILE *errors)
{
	const char *why = NULL;
	struct stat st;
	int fd = -1;

	if (make && mkdir(path, 0755) == -1 && errno != EEXIST)
		why = strerror(errno);
	else if ((fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) == -1 ||
		 fstat(fd, &st) == -1)
		why = strerror(errno);
	else if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
		why = "it must belong to root, and others may not write to it";
	if (why == NULL)
		return fd;
	fprintf(errors, "the acceptor's directory %s: %s\n", path, why);
	if (fd != -1)
		close(fd);
	return -1;
}

/* By a rename: the acceptor never reads half of it. */
static int
put_conf(int dirfd, const struct krb5_conf *k)
{
	if (unlinkat(dirfd, FRESH, 0) == -1 && errno != ENOENT)
		return -1;
	int fd = openat(dirfd, FRESH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	int rv = fd_write_all(fd, k->text, k->len) == -1 || fchmod(fd, 0644) == -1 ||
			 renameat(dirfd, FRESH, dirfd, CONF) == -1
		     ? -1
		     : 0;
	int saved = errno;
	close(fd);
	errno = saved;
	return rv;
}

/* The replay cache, kept as it is: only its owner and mode are mended. */
static int
put_rcache(int dirfd, const struct conf_process *p)
{
	struct stat st;
	int rv = -1, fd = openat(dirfd, RCACHE,
			 O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);

	if (fd == -1 || fstat(fd, &st) == -1)
		goto done;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		errno = EPERM;
		goto done;
	}
	/* The mode first: who owns it no longer may change it. */
	if ((st.st_mode & 07777) != 0600 && st.st_uid == geteuid() && fchmod(fd, 0600) == -1)
		goto done;
	if (geteuid() == 0 && (st.st_uid != p->uid || st.st_gid != p->gid) &&
	    fchown(fd, p->uid, p->gid) == -1)
		goto done;
	rv = 0;
done:;
	int saved = errno;
	if (fd != -1)
		close(fd);
	errno = saved;
	return rv;
}

int
acceptor_dir_make(const struct conf *first, const struct conf *c, unsigned *modules, FILE *errors)
{
	const struct conf_process *p = &first->process[ROLE_ACCEPTOR];
	char path[RUNDIR_PATH];
	int dirfd, rv = -1;

	*modules = 0;
	if (c->gssapi.keytab == NULL)
		return 0;
	struct krb5_conf *k = krb5_conf_read(c->krb5_conf, errors);
	if (k == NULL)
		return -1;
	*modules = k->modules;
	acceptor_dir_path(first, path, sizeof(path));
	if ((dirfd = open_dir(path, p->chroot == NULL, errors)) == -1)
		goto done;
	if (put_conf(dirfd, k) == -1)
		fprintf(errors, "%s/%s cannot be written: %s\n", path, CONF, strerror(errno));
	else if (put_rcache(dirfd, p) == -1)
		fprintf(errors,
		    "the replay cache %s/%s: %s; expected a regular file of the gateway's own\n",
		    path, RCACHE, strerror(errno));
	else
		rv = 0;
	close(dirfd);
done:
	krb5_conf_free(k);
	return rv;
}

void
acceptor_dir_remove(const char *run_directory)
{
	char path[RUNDIR_PATH];
	struct stat st;
	int dirfd = open(rundir_path(run_directory, NAME, path, sizeof(path)),
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dirfd == -1)
		return;
	if (fstatat(dirfd, RCACHE, &st, AT_SYMLINK_NOFOLLOW) == -1 || st.st_size == 0) {
		unlinkat(dirfd, RCACHE, 0);
		unlinkat(dirfd, CONF, 0);
		rmdir(path);
	}
	close(dirfd);
}
