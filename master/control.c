/*
 * The control socket. Who can connect is root or the gateway's own user, by the file's mode; still
 * a client may send rubbish, stall, or never read: each has a bounded buffer and a deadline.
 */
#include "master/control.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/rundir.h"

#define CONTROL_LINE    256   /* octets of a command */
#define CONTROL_CLIENTS 16    /* at a time */
#define CONTROL_MS      10000 /* from connecting to the answer's last octet */

struct client {
	LIST_ENTRY(client) entry;
	struct control *control;
	struct ev ev;
	struct deadline deadline;
	char line[CONTROL_LINE];
	size_t have;
	char *answer; /* NULL until the line is there */
	size_t answer_len, sent;
};

struct control {
	struct loop *loop;
	struct ev ev;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	void (*command)(void *arg, const char *line, FILE *out);
	void *arg;
	unsigned nclients;
	LIST_HEAD(, client) clients;
};

static void
client_free(struct client *k)
{
	int fd = k->ev.fd;

	deadline_disarm(&k->deadline);
	ev_del(k->control->loop, &k->ev);
	close(fd);
	LIST_REMOVE(k, entry);
	k->control->nclients--;
	free(k->answer);
	free(k);
}

static void
on_deadline(struct deadline *d)
{
	client_free((struct client *)((char *)d - offsetof(struct client, deadline)));
}

static void
client_write(struct client *k)
{
	ssize_t n = send(
	    k->ev.fd, k->answer + k->sent, k->answer_len - k->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		k->sent += (size_t)n;
	if ((n == -1 && errno != EAGAIN && errno != EINTR) || k->sent == k->answer_len)
		client_free(k);
	else if (ev_set(k->control->loop, &k->ev, EPOLLOUT) == -1)
		client_free(k);
}

static void
client_run(struct client *k)
{
	FILE *out = open_memstream(&k->answer, &k->answer_len);

	if (out == NULL) {
		client_free(k);
		return;
	}
	k->control->command(k->control->arg, k->line, out);
	if (fclose(out) != 0 || k->answer == NULL)
		client_free(k);
	else
		client_write(k);
}

static void
on_client(struct ev *e, uint32_t events)
{
	struct client *k = (struct client *)((char *)e - offsetof(struct client, ev));

	(void)events;
	if (k->answer != NULL) {
		client_write(k);
		return;
	}
	ssize_t n = recv(e->fd, k->line + k->have, sizeof(k->line) - 1 - k->have, MSG_DONTWAIT);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(k);
		return;
	}
	k->have += (size_t)n;
	char *end = memchr(k->line, '\n', k->have);
	if (end != NULL) {
		*end = '\0';
		client_run(k);
	} else if (k->have == sizeof(k->line) - 1) {
		client_free(k); /* no command is that long */
	}
}

static void
on_accept(struct ev *e, uint32_t events)
{
	struct control *c = (struct control *)((char *)e - offsetof(struct control, ev));
	int fd = accept4(e->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *k;

	(void)events;
	if (fd == -1)
		return;
	if (c->nclients == CONTROL_CLIENTS || (k = calloc(1, sizeof(*k))) == NULL) {
		close(fd);
		return;
	}
	k->control = c;
	k->ev.cb = on_client;
	k->deadline.cb = on_deadline;
	if (ev_add(c->loop, &k->ev, fd, EPOLLIN) == -1) {
		close(fd);
		free(k);
		return;
	}
	LIST_INSERT_HEAD(&c->clients, k, entry);
	c->nclients++;
	deadline_arm(c->loop, &k->deadline, CONTROL_MS);
}

struct control *
control_new(struct loop *l, const char *run_directory,
    void (*command)(void *arg, const char *line, FILE *out), void *arg)
{
	struct control *c = calloc(1, sizeof(*c));
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = -1;

	if (c == NULL)
		return NULL;
	*c = (struct control){ .loop = l, .command = command, .arg = arg, .ev.cb = on_accept };
	rundir_path(run_directory, "control", c->path, sizeof(c->path));
	if (strlen(run_directory) + sizeof("/control") > sizeof(c->path)) {
		errno = ENAMETOOLONG;
		goto fail;
	}
	memcpy(sun.sun_path, c->path, sizeof(c->path));
	unlink(c->path); /* the ledger's lock says that no other gateway lives here */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		goto fail;
	mode_t mask = umask(0177);
	int bound = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (bound == -1 || listen(fd, CONTROL_CLIENTS) == -1 ||
	    ev_add(l, &c->ev, fd, EPOLLIN) == -1)
		goto fail;
	return c;
fail:;
	int saved = errno;
	if (fd != -1)
		close(fd);
	free(c);
	errno = saved;
	return NULL;
}

void
control_free(struct control *c)
{
	struct client *k;

	if (c == NULL)
		return;
	while ((k = LIST_FIRST(&c->clients)) != NULL)
		client_free(k);
	int fd = c->ev.fd;
	ev_del(c->loop, &c->ev);
	close(fd);
	unlink(c->path);
	free(c);
}
