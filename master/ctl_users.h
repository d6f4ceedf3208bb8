/*
 * The users file as sallyportctl changes it: locked, read and checked whole, replaced whole.
 */
#ifndef MASTER_CTL_USERS_H
#define MASTER_CTL_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/users.h"

struct ctl_users {
	const char *path;
	const char *base; /* its last part */
	int dir;          /* its directory, with the lock on it */
	char *text;       /* the file; NULL where there was none */
	size_t size;
	struct users *users; /* what it says */
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

/* Waits for the lock and reads the file. A missing one is empty if `create`. 0, or -1 with the
 * reason on standard error. */
int ctl_users_open(struct ctl_users *f, const char *path, bool create);
void ctl_users_close(struct ctl_users *f);

/*
 * Puts a new file in place, in which `line` (NUL-terminated, with its newline; "": nothing) stands
 * for the line of `user`, or at the end where user is NULL; all other lines and comments stay as
 * and where they are. 0, or -1 with the reason on standard error, and the old file is untouched.
 */
int ctl_users_replace(struct ctl_users *f, const struct user *user, const char *line);

#endif
