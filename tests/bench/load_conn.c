/*
 * The load generator's connections: clients up to the server's answer to their request (RFC 1928,
 * and 1929 for the password), and the targets' listeners. A client's source is one of many loopback
 * addresses, since each connection that it closes leaves a port in TIME_WAIT, as a usual client's
 * does.
 */
#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG       4096
#define SOURCES       249 /* 127.0.0.2 to 127.0.0.250 */
#define METHOD_LENGTH 2   /* octets of the server's answers */
#define REPLY_LENGTH  10

struct listener {
	struct ev ev;
	struct sockaddr_in at;
	void (*accepted)(struct conn *);
};

static struct listener listeners[PEERS];
unsigned targets_accepted, targets_closed;

static struct {
	struct conn *all;
	unsigned n, begun, open;
	enum command command;
} sessions;

_Noreturn void
conn_fail(const struct conn *c, const char *what, ...)
{
	static const char *const steps[] = { "while it connects", "at the method's answer",
		"at the password's answer", "at the reply", "when open" };
	char text[256];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	errx(1, "%s %u, %s, after %llu of %llu units: %s", c->who, c->number, steps[c->step],
	    (unsigned long long)load.done, (unsigned long long)load.units, text);
}

_Noreturn void
conn_stalled(int seconds)
{
	errx(1,
	    "nothing has happened for %d s: %llu of %llu units are done, %u of %u sessions open, the targets have "
	    "had %u connections and %u have ended",
	    seconds, (unsigned long long)load.done, (unsigned long long)load.units, sessions.open,
	    sessions.n, targets_accepted, targets_closed);
}

void
message_fill(uint8_t *p, size_t len, uint64_t unit)
{
	uint64_t back = ~unit;

	memcpy(p, &unit, sizeof(unit));
	memcpy(p + len - sizeof(back), &back, sizeof(back));
}

bool
message_read(const uint8_t *p, size_t len, uint64_t *unit)
{
	uint64_t back;

	memcpy(unit, p, sizeof(*unit));
	memcpy(&back, p + len - sizeof(back), sizeof(back));
	return *unit == ~back;
}

void
conn_send(struct conn *c, const void *data, size_t len)
{
	ssize_t n = send(c->ev.fd, data, len, MSG_NOSIGNAL);

	if (n == -1)
		conn_fail(c, "send: %s", strerror(errno));
	if ((size_t)n != len)
		conn_fail(c, "send took %zd of %zu octets", n, len);
}

bool
conn_take(struct conn *c, size_t want)
{
	ssize_t n = recv(c->ev.fd, c->in + c->got, sizeof(c->in) - c->got, 0);

	if (n == -1)
		conn_fail(c, "recv: %s", strerror(errno));
	if (n == 0)
		conn_fail(c, "the connection has ended, with %u of %zu octets", c->got, want);
	c->got = (uint8_t)(c->got + n);
	if (c->got > want)
		conn_fail(c, "%u octets or more, expected %zu", c->got, want);
	if (c->got < want)
		return false;
	c->got = 0;
	return true;
}

void
conn_quiet(struct conn *c)
{
	ssize_t n = recv(c->ev.fd, c->in, sizeof(c->in), 0);

	if (n == -1)
		conn_fail(c, "recv: %s", strerror(errno));
	conn_fail(
	    c, "%s, while nothing is under way", n == 0 ? "it has ended" : "octets have come");
}

struct sockaddr_in
loopback(unsigned n, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + n),
		.sin_port = htons(port) };
}

/* --- targets --- */

static void
target_ready(struct ev *ev, uint32_t events)
{
	struct conn *c = (struct conn *)ev;

	(void)events;
	c->serve(c);
}

static void
listener_ready(struct ev *ev, uint32_t events)
{
	struct listener *l = (struct listener *)ev;
	struct conn *c;

	(void)events;
	if ((c = calloc(1, sizeof(*c))) == NULL)
		err(1, "calloc");
	c->ev.ready = target_ready;
	if ((c->ev.fd = accept4(ev->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) == -1)
		err(1, "target: accept");
	c->who = "target's connection";
	c->number = targets_accepted++;
	c->step = STEP_OPEN;
	if (sessions.n > 0 && targets_accepted > sessions.n)
		conn_fail(c, "more connections than the %u sessions", sessions.n);
	l->accepted(c);
	loop_add(&c->ev, EPOLLIN);
	if (sessions.n > 0 && sessions.open == sessions.n && targets_accepted == sessions.n)
		load.over = true;
}

void
targets_listen(void (*accepted)(struct conn *))
{
	socklen_t len = sizeof(listeners[0].at);

	for (struct listener *l = listeners; l < listeners + PEERS; l++) {
		l->accepted = accepted;
		l->ev.ready = listener_ready;
		l->at = loopback(0, 0);
		l->ev.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (l->ev.fd == -1 || bind(l->ev.fd, (struct sockaddr *)&l->at, len) == -1 ||
		    listen(l->ev.fd, BACKLOG) == -1 ||
		    getsockname(l->ev.fd, (struct sockaddr *)&l->at, &len) == -1)
			err(1, "target: cannot listen on 127.0.0.1");
		loop_add(&l->ev, EPOLLIN);
	}
}

struct sockaddr_in
target_address(unsigned n)
{
	return listeners[n % PEERS].at;
}

void
target_close(struct conn *c)
{
	close(c->ev.fd);
	free(c);
	targets_closed++;
}

/* --- clients --- */

struct sockaddr_in
client_address(unsigned n)
{
	return loopback(1 + n % SOURCES, 0);
}

static void
conn_request(struct conn *c)
{
	struct sockaddr_in to = target_address(c->number);
	uint8_t request[REPLY_LENGTH] = { 5, (uint8_t)c->command, 0, 1 };

	if (c->command == COMMAND_CONNECT) {
		memcpy(request + 4, &to.sin_addr, 4);
		memcpy(request + 8, &to.sin_port, 2);
	}
	conn_send(c, request, sizeof(request));
	c->step = STEP_REPLY;
}

/* What a server answers to method or password, after which the request follows. */
static void
conn_chosen(struct conn *c, uint8_t version, uint8_t value)
{
	static const uint8_t password[] = "\1\5bench\5bench";

	if (!conn_take(c, METHOD_LENGTH))
		return;
	if (c->in[0] != version || c->in[1] != value)
		conn_fail(c, "the server answers %u %u, expected %u %u", c->in[0], c->in[1],
		    version, value);
	if (c->step == STEP_METHOD && load.password) {
		conn_send(c, password, sizeof(password) - 1);
		c->step = STEP_PASSWORD;
	} else if (c->command == COMMAND_GREET) {
		c->opened(c);
	} else {
		conn_request(c);
	}
}

static void
conn_opened(struct conn *c)
{
	c->step = STEP_OPEN;
	c->opened(c);
}

static void
conn_reply(struct conn *c)
{
	if (!conn_take(c, REPLY_LENGTH))
		return;
	if (c->in[0] != 5 || c->in[1] != 0 || c->in[2] != 0 || c->in[3] != 1)
		conn_fail(c, "the server replies %u %u %u %u, expected 5 0 0 1", c->in[0], c->in[1],
		    c->in[2], c->in[3]);
	conn_opened(c);
}

/* False where the connection is not there yet. */
static bool
conn_greet(struct conn *c)
{
	const uint8_t greeting[] = { 5, 1, load.password ? 2 : 0 };
	ssize_t n = send(c->ev.fd, greeting, sizeof(greeting), MSG_NOSIGNAL);

	if (n == -1 && errno == EAGAIN)
		return false;
	if (n == -1 && errno == EPIPE)
		conn_fail(c, "the server refuses or resets it");
	if (n != sizeof(greeting))
		conn_fail(c, "send: %s", n == -1 ? strerror(errno) : "not all of it");
	c->step = STEP_METHOD;
	return true;
}

static void
conn_connected(struct conn *c)
{
	int e = 0;
	socklen_t len = sizeof(e);

	if (getsockopt(c->ev.fd, SOL_SOCKET, SO_ERROR, &e, &len) == -1 || e != 0)
		conn_fail(c, "connect: %s", strerror(e));
	loop_change(&c->ev, EPOLLIN);
	if (load.port == 0)
		conn_opened(c);
	else if (!conn_greet(c))
		conn_fail(c, "it is connected, but takes nothing");
}

static void
conn_ready(struct ev *ev, uint32_t events)
{
	struct conn *c = (struct conn *)ev;

	(void)events;
	switch (c->step) {
	case STEP_CONNECT:
		conn_connected(c);
		break;
	case STEP_METHOD:
		conn_chosen(c, 5, load.password ? 2 : 0);
		break;
	case STEP_PASSWORD:
		conn_chosen(c, 1, 0);
		break;
	case STEP_REPLY:
		conn_reply(c);
		break;
	case STEP_OPEN:
		c->serve(c);
		break;
	}
}

void
conn_open(struct conn *c, unsigned n, enum command command, void (*opened)(struct conn *))
{
	struct sockaddr_in from = client_address(n);
	struct sockaddr_in to = load.port != 0 ? loopback(0, load.port) : target_address(n);
	int one = 1;

	c->who = "client";
	c->number = n;
	c->command = command;
	c->opened = opened;
	c->step = STEP_CONNECT;
	c->ev.ready = conn_ready;
	c->ev.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->ev.fd == -1)
		conn_fail(c, "socket: %s", strerror(errno));
	/* the port is chosen in connect(), which may take one in TIME_WAIT to another server */
	if (setsockopt(c->ev.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) == -1 ||
	    bind(c->ev.fd, (struct sockaddr *)&from, sizeof(from)) == -1)
		conn_fail(c, "bind: %s", strerror(errno));
	c->began = now();
	if (connect(c->ev.fd, (struct sockaddr *)&to, sizeof(to)) == -1 && errno != EINPROGRESS)
		conn_fail(c, "connect: %s", strerror(errno));
	/* on loopback it is connected already, unless the listener's queue is full */
	loop_add(&c->ev, load.port != 0 && conn_greet(c) ? EPOLLIN : EPOLLOUT);
}

/* --- sessions --- */

static void
session_opened(struct conn *c)
{
	(void)c;
	sessions.open++;
	if (sessions.begun < sessions.n) {
		conn_open(&sessions.all[sessions.begun], sessions.begun, sessions.command,
		    session_opened);
		sessions.begun++;
	} else if (sessions.open == sessions.n &&
		   (sessions.command != COMMAND_CONNECT || targets_accepted == sessions.n)) {
		load.over = true;
	}
}

struct conn *
sessions_open(unsigned n, enum command command, void (*serve)(struct conn *))
{
	unsigned first = n < ABREAST ? n : ABREAST;

	if ((sessions.all = calloc(n, sizeof(*sessions.all))) == NULL)
		err(1, "calloc");
	sessions.n = n;
	sessions.command = command;
	for (unsigned i = 0; i < n; i++)
		sessions.all[i].serve = serve;
	sessions.begun = first;
	for (unsigned i = 0; i < first; i++)
		conn_open(&sessions.all[i], i, command, session_opened);
	loop_run();
	return sessions.all;
}
