/*
 * Opens and hands over the files of authd's roles (see master/handed.h). The files are the
 * operator's; that no one else can have written or read them is checked.
 */
#include "master/handed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/users.h"

static const struct {
	const char *name, *make; /* what makes it */
	enum role role;
	enum msg_type message;
} kinds[HANDED_COUNT] = {
	[HANDED_USERS] = { "users file", "make it with `sallyportctl passwd add`", ROLE_PASSWORD,
	    MSG_USERS },
	[HANDED_KEYTAB] = { "keytab", "make it with kadmin's ktadd", ROLE_ACCEPTOR, MSG_KEYTAB },
};

const char *
handed_name(enum handed h)
{
	return kinds[h].name;
}

const char *
handed_path(const struct conf *c, enum handed h)
{
	return h == HANDED_USERS ? c->users_file : c->gssapi.keytab;
}

/* Only the users file's text is known here. */
static bool
is_sound(enum handed h, int fd, const char *path, FILE *errors)
{
	const char *what = "cannot be read";
	unsigned line = 0;

	if (h != HANDED_USERS)
		return true;
	struct users *u = users_read(fd, &line, &what);
	users_free(u);
	if (u == NULL)
		fprintf(errors, "%s:%u: %s\n", path, line, what);
	return u != NULL;
}

int
handed_open(const struct conf *c, enum handed h, int *fd, FILE *errors)
{
	const struct conf_where *w = h == HANDED_USERS ? &c->auth_where : &c->gssapi.where;
	const char *path = handed_path(c, h), *what = "cannot be read";

	*fd = -1;
	if (path == NULL)
		return 0;
	*fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd == -1) {
		fprintf(errors, "%s:%u: %s %s: %s; %s\n", w->file, w->line, kinds[h].name, path,
		    errno == ELOOP ? "is a symbolic link" : strerror(errno),
		    errno == ELOOP ? "expected the name of the file itself" : kinds[h].make);
		return -1;
	}
	if (users_file_safe(*fd, &what) == -1)
		fprintf(errors, "%s:%u: %s %s: %s; chown root and chmod 600 mend it\n", w->file,
		    w->line, kinds[h].name, path, what);
	else if (is_sound(h, *fd, path, errors))
		return 0;
	close(*fd);
	*fd = -1;
	return -1;
}

void
handed_close_all(int fds[HANDED_COUNT])
{
	for (unsigned h = 0; h < HANDED_COUNT; h++) {
		if (fds[h] != -1)
			close(fds[h]);
		fds[h] = -1;
	}
}

int
handed_open_all(const struct conf *c, int fds[HANDED_COUNT], FILE *errors)
{
	for (unsigned h = 0; h < HANDED_COUNT; h++)
		fds[h] = -1;
	for (unsigned h = 0; h < HANDED_COUNT; h++)
		if (handed_open(c, (enum handed)h, &fds[h], errors) == -1) {
			handed_close_all(fds);
			return -1;
		}
	return 0;
}

void
handed_send(struct child *c, const int fds[HANDED_COUNT])
{
	struct msg_keytab k = { .index = 0 };

	for (unsigned h = 0; h < HANDED_COUNT; h++) {
		if (kinds[h].role != c->role || fds[h] == -1)
			continue;
		int fd = fcntl(fds[h], F_DUPFD_CLOEXEC, 0);
		bool keytab = h == HANDED_KEYTAB;
		c->handed++;
		if (fd == -1 || chan_send(&c->chan, kinds[h].message, keytab ? &k : NULL,
				    keytab ? sizeof(k) : 0, fd) == -1)
			child_kill(c, "its %s could not be passed to it: %s", kinds[h].name,
			    strerror(errno));
	}
}

bool
handed_missing(const struct child *c)
{
	for (unsigned h = 0; h < HANDED_COUNT; h++)
		if (kinds[h].role == c->role)
			return !c->loaded;
	return false;
}
