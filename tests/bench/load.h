/*
 * The load generator of the benchmark: clients of a SOCKS server, and the targets that they reach
 * through it, in one process with one epoll loop, so that it alone is the other side of the server.
 * It trusts nobody: whatever is not as expected ends it with a message.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/load_stats.h"

#define PEERS                                                                                 \
	8 /* target ports: they, and the clients' addresses, keep TIME_WAIT from using up the \
	     ports */
#define ABREAST \
	64 /* at most under way at once, of round trips and of sessions that are being opened */
#define MESSAGE   64 /* octets there and back */
#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

struct load {
	uint16_t port; /* of the SOCKS server; 0: straight to the target */
	bool password; /* RFC 1929 instead of method none */
	bool patient;  /* nothing need happen: the end is not this process's */
	bool over;     /* set by who has done the last unit, or opened the last session */
	bool octets;   /* that is what the units are here: MiB on standard output */
	uint64_t units, done;
	uint64_t lost;         /* datagrams sent again */
	void (*tick)(int64_t); /* every TICK_MS, where set */
};
extern struct load load;

/* A file descriptor in the loop. */
struct ev {
	int fd;
	void (*ready)(struct ev *, uint32_t events);
};

/* One work that load knows. begin() starts the stretch, after which the loop runs until load.over;
 * rest() is what is still done when the stretch is over. Both may be NULL. */
struct work {
	const char *name, *usage;
	int args;
	void (*setup)(char **args);
	void (*begin)(void);
	void (*rest)(void);
};
extern const struct work work_connect, work_greet, work_pingpong, work_idle, work_bulk, work_udp;

enum step { STEP_CONNECT, STEP_METHOD, STEP_PASSWORD, STEP_REPLY, STEP_OPEN };
enum command { COMMAND_GREET = 0, COMMAND_CONNECT = 1, COMMAND_ASSOCIATE = 3 };

/* A connection: a client's, or what a target accepted. */
struct conn {
	struct ev ev;
	const char *who;         /* for messages */
	unsigned number;         /* likewise; of a client also its source address and its target */
	enum step step;          /* of a client */
	enum command command;    /* of a client */
	bool busy;               /* a round trip is under way */
	uint8_t got;             /* octets of `in` */
	uint8_t in[MESSAGE + 1]; /* one more than any message, to see what is too much */
	int64_t began;           /* ns */
	uint64_t unit;           /* which message is under way */
	void (*opened)(struct conn *); /* of a client */
	void (*serve)(struct conn *);  /* of an open one: it has an event */
};

/* --- load.c --- */

int64_t now(void);
uint64_t number(const char *what, const char *s, uint64_t max);
void loop_add(struct ev *, uint32_t events);
void loop_change(struct ev *, uint32_t events);
/* Until load.over, which it clears. */
void loop_run(void);
/* Reads one line of standard input, or its end. */
void line_read(void);

/* --- load_conn.c --- */

_Noreturn void conn_fail(const struct conn *, const char *what, ...)
    __attribute__((format(printf, 2, 3)));
/* The target ports: each accepted connection is given to `accepted`, which sets serve. */
/* Says where it stands. */
_Noreturn void conn_stalled(int seconds);
void targets_listen(void (*accepted)(struct conn *));
extern unsigned targets_accepted, targets_closed;
/* 127.0.0.1, or the n-th behind it. */
struct sockaddr_in loopback(unsigned n, uint16_t port);
struct sockaddr_in target_address(unsigned n);
/* Of client `number`. */
struct sockaddr_in client_address(unsigned n);
void conn_open(struct conn *, unsigned n, enum command, void (*opened)(struct conn *));
/* Opens n sessions, in set-up, and waits until the targets have them too. */
struct conn *sessions_open(unsigned n, enum command, void (*serve)(struct conn *));
/* Serves one that has nothing under way: an event is an error. */
void conn_quiet(struct conn *);
/* All of these octets, in one send. */
void conn_send(struct conn *, const void *, size_t len);
/* Reads; true when all the `want` octets are in `in` (and forgotten with the next). */
bool conn_take(struct conn *, size_t want);
/* Closes a target's connection, and frees it. */
void target_close(struct conn *);

/* Octets that tell which unit they are of: at their beginning, and another way round at their end.
 */
void message_fill(uint8_t *, size_t len, uint64_t unit);
/* False where they are not whole; the unit, where they are. */
bool message_read(const uint8_t *, size_t len, uint64_t *unit);

#endif
