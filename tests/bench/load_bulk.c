/*
 * The load generator's work of many octets: sources and sinks, of which the clients are the one and
 * the targets the other. A stream's octets tell where in it they stand. A sink has most of them
 * thrown away in the kernel, which takes no copy, and compares every eighth read: what is lost, or
 * comes twice, shifts all that follows it.
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PERIOD      251 /* a prime: no power of two that is lost goes unseen */
#define CHUNK       (256 * 1024)
#define COMPARED    (64 * 1024)
#define TAIL        4096 /* octets at the end, which are always compared */
#define COMPARE     8    /* one read of so many */
#define MIB_MAX     (1 << 24)
#define STREAMS_MAX 10000

static uint8_t pattern[PERIOD + CHUNK];
static struct conn *clients, **targets;
static unsigned streams, targets_n;
static uint64_t quota; /* octets of a stream */
static bool down;

/* Of both, `unit` counts the octets so far. */
static void
source_writable(struct conn *c)
{
	uint64_t left = quota - c->unit;
	ssize_t n =
	    send(c->ev.fd, pattern + c->unit % PERIOD, left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN)
		conn_fail(
		    c, "send, after %llu octets: %s", (unsigned long long)c->unit, strerror(errno));
	if (n > 0)
		c->unit += (uint64_t)n;
	if (c->unit == quota) {
		c->serve = conn_quiet;
		loop_change(&c->ev, EPOLLIN);
	}
}

static ssize_t
sink_compare(struct conn *c)
{
	static uint8_t got[COMPARED];
	ssize_t n = recv(c->ev.fd, got, sizeof(got), 0);

	if (n > 0 && (uint64_t)n > quota - c->unit)
		conn_fail(c, "more than the %llu octets that were sent", (unsigned long long)quota);
	if (n > 0 && memcmp(got, pattern + c->unit % PERIOD, (size_t)n) != 0)
		conn_fail(c, "wrong octets among the %zd after the first %llu", n,
		    (unsigned long long)c->unit);
	return n;
}

static void
sink_readable(struct conn *c)
{
	static unsigned reads;
	uint64_t left = quota - c->unit;
	ssize_t n;

	if (left <= TAIL || c->unit == 0 || reads++ % COMPARE == 0)
		n = sink_compare(c);
	else
		n = recv(c->ev.fd, NULL, left - TAIL, MSG_TRUNC);
	if (n <= 0)
		conn_fail(c, "after %llu of %llu octets: %s", (unsigned long long)c->unit,
		    (unsigned long long)quota,
		    n == 0 ? "the connection has ended" : strerror(errno));
	c->unit += (uint64_t)n;
	load.done += (uint64_t)n;
	if (c->unit == quota)
		c->serve = conn_quiet;
	if (load.done == load.units)
		load.over = true;
}

static void
bulk_accepted(struct conn *c)
{
	c->serve = conn_quiet;
	targets[targets_n++] = c;
}

static void
bulk_setup(char **args)
{
	down = strcmp(args[0], "down") == 0;
	if (!down && strcmp(args[0], "up") != 0)
		errx(2, "bulk '%s': expected down or up", args[0]);
	streams = (unsigned)number("STREAMS", args[1], STREAMS_MAX);
	quota = (number("MIB", args[2], MIB_MAX) << 20) / streams;
	load.octets = true;
	load.units = quota * streams;
	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i % PERIOD);
	if ((targets = calloc(streams, sizeof(struct conn *))) == NULL)
		err(1, "calloc");
	targets_listen(bulk_accepted);
	clients = sessions_open(streams, COMMAND_CONNECT, conn_quiet);
}

static void
bulk_begin(void)
{
	for (unsigned i = 0; i < streams; i++) {
		struct conn *source = down ? targets[i] : &clients[i];
		struct conn *sink = down ? &clients[i] : targets[i];

		sink->serve = sink_readable;
		source->serve = source_writable;
		loop_change(&source->ev, EPOLLOUT);
	}
}

const struct work work_bulk = { "bulk", "down|up STREAMS MIB", 3, bulk_setup, bulk_begin, NULL };
