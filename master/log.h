/*
 * The logs that audit records go to: syslog's socket, files, standard error. Nothing here blocks:
 * what a log does not take is queued, bounded, and sent again. The caller ignores SIGPIPE.
 */
#ifndef MASTER_LOG_H
#define MASTER_LOG_H

#include <stdbool.h>
#include <stdio.h>

#include "common/ev.h"
#include "master/audit.h"
#include "master/conf.h"

#define LOG_QUEUE_MAX (8u << 20) /* octets per log that wait at most */
#define LOG_CAPPED_MAX                                                        \
	(1u << 20) /* of them, at most, by events that a client causes before \
		      authentication */

struct log; /* the set of all configured logs */

/* In the process that writes the records, whose id they have. Opens every log of c; on failure
 * NULL, and what and why on `errors`. A syslog socket that is not there is no failure: a warning,
 * and records wait for it. */
struct log *log_open(struct loop *l, const struct conf *c, FILE *errors);
/* A new configuration's logs, or the same reopened (SIGHUP after rotation). What was queued for a
 * log that stays is kept. 0, or -1 with errno, and what and why on `errors`: the old ones
 * stay. */
int log_reopen(struct log *lg, const struct conf *c, FILE *errors);
/* Sends what waits for at most `ms`, blocking (the end of the gateway), and frees. */
void log_close(struct log *lg, unsigned ms);

/* One record to every log: numbers and stamps it, formats once per format in use, queues. Records
 * of one turn of the loop are handed over together: at its end, or when there are many. */
void log_record(struct log *lg, struct audit_rec *r);
/* Hands them over now: called before anyone is told of what they say. What a log does not take
 * stays queued. */
void log_flush(struct log *lg);

/* A log's queue is so full that no new session may begin (never true with `log overflow drop`). */
bool log_refuses(const struct log *lg);

#endif
