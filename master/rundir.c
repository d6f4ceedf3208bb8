/*
 * The run directory. Others may not write to it: what lies in it is believed.
 */
#include "master/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *
rundir_path(const char *dir, const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s", dir, name);
	return buf;
}

/* Makes one directory with all missing above it; `made` gets the topmost. */
static int
make_path(const char *dir, char made[RUNDIR_PATH])
{
	char path[RUNDIR_PATH];

	made[0] = '\0';
	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (char *p = path; p != NULL;) {
		p = strchr(p + 1, '/');
		if (p != NULL)
			*p = '\0';
		if (mkdir(path, 0755) == 0) {
			if (made[0] == '\0')
				memcpy(made, path, strlen(path) + 1);
		} else if (errno != EEXIST) {
			return -1;
		}
		if (p != NULL)
			*p = '/';
	}
	return 0;
}

/* A directory of ours that only we may write to. */
static int
check(const char *dir)
{
	struct stat st;

	if (lstat(dir, &st) == -1) {
		fprintf(stderr, "sallyportd: run directory %s: %s\n", dir, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & 022) != 0) {
		fprintf(stderr,
		    "sallyportd: run directory %s: it must be a directory that belongs to the "
		    "gateway's user and that others cannot write to; name another with `run "
		    "directory \"DIR\"`\n",
		    dir);
		return -1;
	}
	return 0;
}

int
rundir_make(const char *dir, char made[RUNDIR_PATH])
{
	char empty[RUNDIR_PATH];

	if (make_path(dir, made) == -1) {
		fprintf(stderr, "sallyportd: cannot make the run directory %s: %s\n", dir,
		    strerror(errno));
		return -1;
	}
	rundir_path(dir, "empty", empty, sizeof(empty));
	if (check(dir) == -1)
		return -1;
	if (mkdir(empty, 0555) == -1 && errno != EEXIST) {
		fprintf(stderr,
		    "sallyportd: cannot make %s: %s; name another directory with `run directory "
		    "\"DIR\"`\n",
		    empty, strerror(errno));
		return -1;
	}
	return check(empty);
}

void
rundir_remove(const char *dir, const char *made)
{
	char path[RUNDIR_PATH];

	rmdir(rundir_path(dir, "empty", path, sizeof(path)));
	snprintf(path, sizeof(path), "%s", dir);
	while (made[0] != '\0' && strlen(path) >= strlen(made) && rmdir(path) == 0) {
		char *slash = strrchr(path, '/');
		if (slash == NULL || slash == path)
			return;
		*slash = '\0';
	}
}
