/*
 * The files of the upstreams. Owns no descriptor for longer than a message; trusts the initiator to
 * answer, and no more.
 */
#include "master/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/users.h"

static const char *
path_of(const struct conf_upstream *u)
{
	return u->file != NULL ? u->file : u->keytab;
}

int
credentials_open(const struct conf_upstream *u, const char **what)
{
	int fd = open(path_of(u), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	*what = NULL;
	if (fd == -1 || users_file_safe(fd, what) == 0)
		return fd;
	fd_drop(fd);
	return -1;
}

void
credentials_send(struct gateway *g, struct child *initiator)
{
	const struct conf_upstream *u;

	STAILQ_FOREACH (u, &g->conf->upstreams, entry) {
		struct msg_keytab k = { .index = u->index };
		const char *what;
		int fd;

		if (path_of(u) == NULL)
			continue;
		if ((fd = credentials_open(u, &what)) == -1)
			gateway_notice(g, "upstream %s: %s: %s", u->name, path_of(u),
			    what != NULL ? what : strerror(errno));
		else if (chan_send(&initiator->chan, MSG_KEYTAB, &k, sizeof(k), fd) == -1)
			child_kill(initiator, "its credentials could not be passed to it: %s",
			    strerror(errno));
	}
}

bool
credentials_ack(struct gateway *g, const struct msg_keytab_ack *a)
{
	int len = (int)strnlen(a->what, sizeof(a->what));
	const struct conf_upstream *u;

	STAILQ_FOREACH (u, &g->conf->upstreams, entry)
		if (u->index == a->index)
			break;
	if (len == 0)
		return true;
	/* A reload may have taken it away meanwhile. */
	const char *name = u != NULL ? u->name : "?";
	const char *path = u != NULL && path_of(u) != NULL ? path_of(u) : "?";
	if (g->phase == PHASE_STARTING) {
		fprintf(stderr, "sallyportd: cannot start: upstream %s: %s: %.*s\n", name, path,
		    len, a->what);
		gateway_stop(g, 1);
	} else {
		gateway_notice(g, "upstream %s: %s: %.*s; what was loaded before stays in force",
		    name, path, len, a->what);
	}
	return true;
}
