/*
 * The sessions as the master sees them: what workers ask for is checked here against authd's
 * verdicts, counted against the limits, entered into the ledger, and recorded. A function that
 * answers false has met a message that no honest worker sends; its caller kills that worker.
 */
#ifndef MASTER_SESSIONS_H
#define MASTER_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/ev.h"
#include "common/msg.h"
#include "master/children.h"
#include "master/conf.h"
#include "master/early.h"
#include "master/log.h"
#include "master/policy.h"

struct sessions;

struct sessions_setup {
	struct loop *loop;
	struct log *log;
	struct early *early;
	struct policies *policies;
	const char *run_directory; /* of the ledger */
	uint64_t instance;
	unsigned workers;
	uint32_t slots; /* of each worker */
	/* Reads authd's channels to their end, so that a verdict that is under way is seen. */
	void (*drain_authd)(void *arg);
	void *arg;
};

/* Takes over the ledger, and records what an earlier master left open. NULL with errno;
 * EWOULDBLOCK: another gateway runs with this run directory. */
struct sessions *sessions_new(const struct sessions_setup *s);
/* Ends the ledger; its file is removed if all sessions are closed. */
void sessions_free(struct sessions *s);

/* The limits and times of a configuration, from now on. */
void sessions_configure(struct sessions *s, const struct conf *c);

/* A worker process begins: makes its page of counts. A descriptor to send, or -1 with errno. */
int sessions_worker_start(struct sessions *s, const struct child *w);
/* It has ended and its channel has been read: closes all it had, as `reason`. */
void sessions_worker_end(struct sessions *s, const struct child *w, enum reason reason);

bool sessions_verdict(
    struct sessions *s, const struct child *authd, struct child *worker, const struct msg *m);
bool sessions_open(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_attempt(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_listen(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_stranger(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_connected(struct sessions *s, struct child *w, const struct msg *m);
/* UDP ASSOCIATE: the association, and each target of it (sessions_udp.c). */
bool sessions_associate(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_target(struct sessions *s, struct child *w, const struct msg *m);
bool sessions_close(struct sessions *s, struct child *w, const struct msg *m);

unsigned sessions_count(const struct sessions *s);
/* One line a session, for sallyportctl. */
void sessions_print(const struct sessions *s, FILE *out);

#endif
