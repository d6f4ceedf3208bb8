/*
 * Listening sockets. Made by the master alone; workers get duplicates and may only accept.
 */
#include "master/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"

struct listener {
	TAILQ_ENTRY(listener) entry;
	uint32_t index; /* never reused: workers name listeners by it */
	struct addrport at;
	bool freebind;
	bool fresh, stale; /* between prepare and commit */
	int *fd;           /* one a worker */
};

struct listeners {
	unsigned workers;
	uint32_t next_index;
	TAILQ_HEAD(, listener) all;
};

struct listeners *
listeners_new(unsigned workers)
{
	struct listeners *l = calloc(1, sizeof(*l));

	if (l != NULL) {
		l->workers = workers;
		TAILQ_INIT(&l->all);
	}
	return l;
}

static void
listener_free(struct listeners *l, struct listener *k)
{
	TAILQ_REMOVE(&l->all, k, entry);
	for (unsigned i = 0; i < l->workers; i++)
		if (k->fd[i] != -1)
			close(k->fd[i]);
	free(k->fd);
	free(k);
}

void
listeners_free(struct listeners *l)
{
	struct listener *k;

	if (l == NULL)
		return;
	while ((k = TAILQ_FIRST(&l->all)) != NULL)
		listener_free(l, k);
	free(l);
}

/* A bound socket, listening; -1 with errno. */
static int
open_socket(const struct addrport *at, bool freebind, bool reuseport)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);
	int one = 1, v6 = at->a.family == ADDR_V6;
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == -1) ||
	    (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1) ||
	    (freebind && setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
			     v6 ? IPV6_FREEBIND : IP_FREEBIND, &one, sizeof(one)) == -1) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&ss, len) == -1 || listen(fd, SOMAXCONN) == -1) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

/* Says what is wrong with a `listen on`, and what to do. */
static void
complain(FILE *errors, const struct conf_listen *c, const struct addrport *at, int error)
{
	char text[ADDR_TEXT];

	fprintf(errors, "%s:%u: cannot listen on %s: %s", c->where.file, c->where.line,
	    at != NULL ? addrport_format(at, text, sizeof(text)) : c->host, strerror(error));
	if (error == EADDRINUSE)
		fprintf(errors,
		    ": another program, or another gateway, has this port; end it, or choose another "
		    "port in this statement%s",
		    strstr(c->where.file, "examples/local.conf") != NULL
			? " (-D port=N; with make run: PORT=N)"
			: "");
	else if (error == EADDRNOTAVAIL)
		fputs(": this machine has no such address; expected one it has, or `freebind` for "
		      "one that comes later",
		    errors);
	else if (error == EACCES)
		fputs(": ports below 1024 need root", errors);
	fputc('\n', errors);
}

static struct listener *
find(struct listeners *l, const struct addrport *at)
{
	struct listener *k;

	TAILQ_FOREACH (k, &l->all, entry)
		if (addr_cmp(&k->at.a, &at->a) == 0 && k->at.port == at->port &&
		    k->at.scope == at->scope)
			return k;
	return NULL;
}

static struct listener *
listener_open(struct listeners *l, const struct addrport *at, bool freebind)
{
	struct listener *k = calloc(1, sizeof(*k));
	int probe, saved;

	if (k == NULL || (k->fd = calloc(l->workers, sizeof(int))) == NULL) {
		free(k);
		return NULL;
	}
	for (unsigned i = 0; i < l->workers; i++)
		k->fd[i] = -1;
	k->at = *at;
	k->freebind = freebind;
	k->fresh = true;
	k->index = l->next_index++;
	TAILQ_INSERT_TAIL(&l->all, k, entry);
	/* SO_REUSEPORT would let a second gateway in silently. */
	probe = open_socket(at, freebind, false);
	if (probe == -1)
		goto fail;
	close(probe);
	for (unsigned i = 0; i < l->workers; i++)
		if ((k->fd[i] = open_socket(at, freebind, true)) == -1)
			goto fail;
	return k;
fail:
	saved = errno;
	listener_free(l, k);
	errno = saved;
	return NULL;
}

/* One address of a statement. */
static int
want(struct listeners *l, const struct conf_listen *c, const struct addrport *at, FILE *errors)
{
	struct listener *k = find(l, at);

	if (k != NULL) {
		k->stale = false;
		return 0;
	}
	if (listener_open(l, at, c->freebind) != NULL)
		return 0;
	complain(errors, c, at, errno);
	return -1;
}

/* All addresses of an interface. 1: it is none. */
static int
want_interface(struct listeners *l, const struct conf_listen *c, FILE *errors)
{
	struct ifaddrs *all, *i;
	int found = 1;

	if (if_nametoindex(c->host) == 0)
		return 1;
	if (getifaddrs(&all) == -1) {
		complain(errors, c, NULL, errno);
		return -1;
	}
	for (i = all; i != NULL; i = i->ifa_next) {
		struct addrport at;
		if (strcmp(i->ifa_name, c->host) != 0 || i->ifa_addr == NULL ||
		    addr_from_sockaddr(i->ifa_addr,
			i->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
							   : sizeof(struct sockaddr_in),
			&at) == -1)
			continue;
		at.port = c->port;
		if (want(l, c, &at, errors) == -1) {
			found = -1;
			break;
		}
		found = 0;
	}
	if (found == 1) {
		complain(errors, c, NULL, EADDRNOTAVAIL);
		found = -1;
	}
	freeifaddrs(all);
	return found;
}

static int
want_name(struct listeners *l, const struct conf_listen *c, FILE *errors)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *all, *i;
	int rv = 0, e = getaddrinfo(c->host, NULL, &hints, &all);

	if (e != 0) {
		fprintf(errors,
		    "%s:%u: cannot listen on %s: no interface of that name is there, and as a host's name: %s; expected an address, an interface's name, or "
		    "a name that resolves\n",
		    c->where.file, c->where.line, c->host, gai_strerror(e));
		return -1;
	}
	for (i = all; i != NULL && rv == 0; i = i->ai_next) {
		struct addrport at;
		if (addr_from_sockaddr(i->ai_addr, i->ai_addrlen, &at) == -1)
			continue;
		at.port = c->port;
		rv = want(l, c, &at, errors);
	}
	freeaddrinfo(all);
	return rv;
}

/* `listen on *`: both families. */
static int
want_any(struct listeners *l, const struct conf_listen *c, FILE *errors)
{
	struct addrport at4 = { .a = { .family = ADDR_V4 }, .port = c->port };
	struct addrport at6 = { .a = { .family = ADDR_V6 }, .port = c->port };

	if (want(l, c, &at4, errors) == -1)
		return -1;
	return want(l, c, &at6, errors);
}

static int
want_statement(struct listeners *l, const struct conf_listen *c, FILE *errors)
{
	struct addrport at = { .port = c->port };

	if (strcmp(c->host, "*") == 0)
		return want_any(l, c, errors);
	if (addr_parse(c->host, &at.a) == 0)
		return want(l, c, &at, errors);
	int rv = want_interface(l, c, errors);
	return rv == 1 ? want_name(l, c, errors) : rv;
}

int
listeners_prepare(struct listeners *l, const struct conf *c, FILE *errors)
{
	const struct conf_listen *cl;
	struct listener *k;
	int rv = 0;

	TAILQ_FOREACH (k, &l->all, entry) {
		k->stale = true;
		k->fresh = false;
	}
	STAILQ_FOREACH (cl, &c->listens, entry)
		if (want_statement(l, cl, errors) == -1)
			rv = -1;
	return rv;
}

/* Closes those of one kind. */
static void
drop(struct listeners *l, bool stale)
{
	struct listener *k, *next;

	for (k = TAILQ_FIRST(&l->all); k != NULL; k = next) {
		next = TAILQ_NEXT(k, entry);
		if (stale ? k->stale : k->fresh)
			listener_free(l, k);
		else
			k->stale = k->fresh = false;
	}
}

void
listeners_rollback(struct listeners *l)
{
	drop(l, false);
}

static int
send_one(const struct listener *k, struct child *w)
{
	struct msg_listener m = { .index = k->index, .addr = k->at };
	int fd = fcntl(k->fd[w->index], F_DUPFD_CLOEXEC, 0);

	return fd == -1 ? -1 : chan_send(&w->chan, MSG_LISTENER, &m, sizeof(m), fd);
}

static void
announce(struct child *w, void *arg)
{
	struct listeners *l = arg;
	struct listener *k;

	TAILQ_FOREACH (k, &l->all, entry) {
		struct msg_unlisten m = { .index = k->index };
		if (k->fresh && send_one(k, w) == -1)
			child_kill(w, "a listener could not be passed to it: %s", strerror(errno));
		if (k->stale)
			chan_send(&w->chan, MSG_UNLISTEN, &m, sizeof(m), -1);
	}
}

void
listeners_commit(struct listeners *l, struct children *f)
{
	children_each(f, ROLE_WORKER, announce, l);
	drop(l, true);
}

static bool
listens(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return fd != -1 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on == 1;
}

int
listeners_send(struct listeners *l, struct child *w)
{
	struct listener *k;

	TAILQ_FOREACH (k, &l->all, entry) {
		if (!listens(k->fd[w->index])) {
			int fd = open_socket(&k->at, k->freebind, true);
			if (fd == -1)
				return -1;
			if (k->fd[w->index] != -1)
				close(k->fd[w->index]);
			k->fd[w->index] = fd;
		}
		if (send_one(k, w) == -1)
			return -1;
	}
	return 0;
}

unsigned
listeners_count(const struct listeners *l)
{
	const struct listener *k;
	unsigned n = 0;

	TAILQ_FOREACH (k, &l->all, entry)
		n++;
	return n;
}

void
listeners_print(const struct listeners *l, FILE *out)
{
	const struct listener *k;
	char text[ADDR_TEXT];

	TAILQ_FOREACH (k, &l->all, entry)
		fprintf(out, "listen %s\n", addrport_format(&k->at, text, sizeof(text)));
}
