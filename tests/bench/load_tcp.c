/*
 * The load generator's works of short messages: connections that come and go (connect, greet), and
 * sessions that stay (pingpong, idle). The targets are echoes.
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNITS_MAX    1000000000
#define SESSIONS_MAX 100000

static struct conn *conns;
static unsigned conns_n;
static uint64_t begun;

/* True when a whole message is there. */
static bool
message_take(struct conn *c, uint64_t *unit)
{
	if (!conn_take(c, MESSAGE))
		return false;
	if (!message_read(c->in, MESSAGE, unit))
		conn_fail(c, "the message is not as it was sent");
	return true;
}

/* --- targets --- */

/* True when a whole message went back. */
static bool
echoed(struct conn *c)
{
	uint64_t unit;

	if (!message_take(c, &unit))
		return false;
	conn_send(c, c->in, MESSAGE);
	return true;
}

static void
echo_readable(struct conn *c)
{
	echoed(c);
}

static void
echo_accepted(struct conn *c)
{
	c->serve = echo_readable;
}

static void
over_when_closed(void)
{
	if (load.done == load.units && targets_closed == load.units)
		load.over = true;
}

static void
end_readable(struct conn *c)
{
	ssize_t n = recv(c->ev.fd, c->in, sizeof(c->in), 0);

	if (n != 0)
		conn_fail(c, "%s, expected its end", n == -1 ? strerror(errno) : "more octets");
	target_close(c);
	over_when_closed();
}

/* One message, then the end. */
static void
once_readable(struct conn *c)
{
	if (echoed(c))
		c->serve = end_readable;
}

static void
once_accepted(struct conn *c)
{
	c->serve = once_readable;
}

/* --- clients --- */

static void
ask(struct conn *c, uint64_t unit)
{
	uint8_t message[MESSAGE] = "there and back and there and back and there and back";

	c->unit = unit;
	message_fill(message, MESSAGE, unit);
	conn_send(c, message, MESSAGE);
}

/* True when the message is back, whole and the right one. */
static bool
answered(struct conn *c)
{
	uint64_t unit;

	if (!message_take(c, &unit))
		return false;
	if (unit != c->unit)
		conn_fail(c, "the message is not the one of unit %llu that was sent",
		    (unsigned long long)c->unit);
	return true;
}

static void
unit_end(struct conn *c, int64_t t)
{
	stats_add(t - c->began);
	load.done++;
}

static void
clients_setup(char **args)
{
	load.units = number("N", args[0], UNITS_MAX);
	conns_n = (unsigned)number("CLIENTS", args[1], SESSIONS_MAX);
	if ((conns = calloc(conns_n, sizeof(*conns))) == NULL)
		err(1, "calloc");
}

/* --- connect --- */

static void
connect_opened(struct conn *c)
{
	ask(c, c->number);
}

static void
connect_next(struct conn *c)
{
	if (begun == load.units)
		return;
	conn_open(c, (unsigned)begun++, COMMAND_CONNECT, connect_opened);
}

static void
connect_readable(struct conn *c)
{
	if (!answered(c))
		return;
	unit_end(c, now());
	close(c->ev.fd);
	over_when_closed();
	connect_next(c);
}

static void
connect_setup(char **args)
{
	clients_setup(args);
	targets_listen(once_accepted);
}

static void
connect_begin(void)
{
	for (unsigned i = 0; i < conns_n; i++) {
		conns[i].serve = connect_readable;
		connect_next(&conns[i]);
	}
}

const struct work work_connect = { "connect", "N CLIENTS", 2, connect_setup, connect_begin, NULL };

/* --- greet --- */

static void greet_next(struct conn *c);

static void
greet_opened(struct conn *c)
{
	unit_end(c, now());
	close(c->ev.fd);
	if (load.done == load.units)
		load.over = true;
	greet_next(c);
}

static void
greet_next(struct conn *c)
{
	if (begun == load.units)
		return;
	conn_open(c, (unsigned)begun++, COMMAND_GREET, greet_opened);
}

static void
greet_setup(char **args)
{
	if (load.port == 0)
		errx(2, "greet is of a SOCKS server: expected -p PORT");
	clients_setup(args);
}

static void
greet_begin(void)
{
	for (unsigned i = 0; i < conns_n; i++)
		greet_next(&conns[i]);
}

const struct work work_greet = { "greet", "N CLIENTS", 2, greet_setup, greet_begin, NULL };

/* --- pingpong --- */

/* The next session in turn that has nothing under way. */
static void
pingpong_next(int64_t t)
{
	static unsigned turn;
	struct conn *c;

	if (begun == load.units)
		return;
	do {
		c = &conns[turn];
		turn = turn + 1 < conns_n ? turn + 1 : 0;
	} while (c->busy);
	c->busy = true;
	c->began = t;
	ask(c, begun++);
}

static void
pingpong_readable(struct conn *c)
{
	int64_t t;

	if (!c->busy)
		conn_quiet(c);
	if (!answered(c))
		return;
	t = now();
	unit_end(c, t);
	c->busy = false;
	if (load.done == load.units)
		load.over = true;
	pingpong_next(t);
}

static void
pingpong_setup(char **args)
{
	conns_n = (unsigned)number("SESSIONS", args[0], SESSIONS_MAX);
	load.units = number("N", args[1], UNITS_MAX);
	targets_listen(echo_accepted);
	conns = sessions_open(conns_n, COMMAND_CONNECT, pingpong_readable);
}

static void
pingpong_begin(void)
{
	for (unsigned i = 0; i < conns_n && i < ABREAST; i++)
		pingpong_next(now());
}

const struct work work_pingpong = { "pingpong", "SESSIONS N", 2, pingpong_setup, pingpong_begin,
	NULL };

/* --- idle --- */

static void
idle_input(struct ev *ev, uint32_t events)
{
	(void)ev;
	(void)events;
	line_read();
	load.over = true;
}

static void
idle_setup(char **args)
{
	conns_n = (unsigned)number("SESSIONS", args[0], SESSIONS_MAX);
	targets_listen(echo_accepted);
	conns = sessions_open(conns_n, COMMAND_CONNECT, conn_quiet);
}

/* The sessions are watched until the second line. */
static void
idle_rest(void)
{
	static struct ev input = { STDIN_FILENO, idle_input };

	load.patient = true;
	loop_add(&input, EPOLLIN);
	loop_run();
}

const struct work work_idle = { "idle", "SESSIONS", 1, idle_setup, NULL, idle_rest };
