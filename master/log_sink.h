/*
 * One log of the configuration: where its lines go, and the queue of those that wait. Private to
 * master/log*.c.
 */
#ifndef MASTER_LOG_SINK_H
#define MASTER_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "common/ev.h"
#include "master/conf.h"

#define SINK_BATCH    64  /* lines that are handed over by one system call, and that wait for it */
#define SINK_RETRY_MS 500 /* until a log that would not take a line is tried again */

struct sink_line {
	STAILQ_ENTRY(sink_line) entry;
	size_t len, off; /* octets, and how many of them were taken already */
	bool capped;
	char text[];
};
STAILQ_HEAD(sink_lines, sink_line);

/* What became of the lines at the head of the queue. */
enum sink_sent {
	SINK_SENT,  /* some of them, or a part of the first */
	SINK_WAIT,  /* no room now: epoll tells when */
	SINK_LATER, /* not now: tried again by deadline and with the next records */
	SINK_NEVER  /* the first can never be sent */
};

struct sink {
	STAILQ_ENTRY(sink) entry;
	struct loop *loop;
	enum conf_log_kind kind;
	enum conf_log_format format;
	int facility;
	char *path;   /* file, or syslog's socket; NULL: standard error */
	int fd;       /* -1: not connected, not open */
	bool mend;    /* file: it ended within a line; end that one first */
	bool blocks;  /* stderr: fd blocks, so poll before each small write */
	struct ev ev; /* in the loop only while waiting for room */
	struct deadline retry;
	struct sink_lines queue;
	unsigned fresh;                  /* lines queued since the last try */
	size_t queued, queued_capped;    /* octets, with the lines' own cost */
	uint64_t lost;                   /* records dropped, not told yet */
	void (*on_room)(struct sink *s); /* the queue was shortened */
	void *owner;
};
STAILQ_HEAD(sinks, sink);

/* A sink for a log of the configuration, not open yet; NULL with errno. */
struct sink *sink_new(struct loop *l, const struct conf_log *c);
/* 0, or -1 with errno. A syslog socket that is not there is no error: fd stays -1. */
int sink_open(struct sink *s);
void sink_free(struct sink *s); /* with its queue */

/* Queues a line, or counts it as lost; a full batch is sent. */
void sink_put(struct sink *s, const char *text, size_t len, bool capped);
/* Sends what waits, as far as it is taken now. */
void sink_pump(struct sink *s);
/* Likewise, unless epoll watches for room: then asking is in vain. */
void sink_flush(struct sink *s);
/* The same log, by kind and path? */
bool sink_same(const struct sink *a, const struct sink *b);
/* Takes over the queue and the losses of the sink it replaces. */
void sink_adopt(struct sink *s, struct sink *old);
/* As an operator calls it: the path, or "stderr". */
const char *sink_name(const struct sink *s);

/* The first lines of the queue, SINK_BATCH of them at most, without what was taken of them already;
 * how many there are. */
unsigned sink_batch(const struct sink *s, struct iovec iov[SINK_BATCH]);

/* Each kind's own: sends from the head of the queue, which has a line. *lines: how many were taken
 * whole; of the one behind them, its `off` counts what was taken. */
int sink_open_syslog(struct sink *s);
enum sink_sent sink_send_syslog(struct sink *s, unsigned *lines);
int sink_open_file(struct sink *s);
enum sink_sent sink_send_file(struct sink *s, unsigned *lines);
int sink_open_stderr(struct sink *s);
enum sink_sent sink_send_stderr(struct sink *s, unsigned *lines);

#endif
