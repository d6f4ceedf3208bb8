/*
 * Exchanges: one for each question "who is this?" of a worker, from its AUTH_PASSWORD to its one
 * AUTH_RESULT. They wait here (for the throttle, then in the fair queue), are handed to the role's
 * check, and are answered: first the verdict to the master, and only when the kernel has taken
 * that, the result to the worker.
 */
#ifndef AUTHD_EXCHANGE_H
#define AUTHD_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "authd/queue.h"
#include "common/chan.h"
#include "common/ev.h"
#include "common/msg.h"

#define EXCHANGE_BUCKETS 256 /* of a worker's index by slot */

enum exchange_state {
	EXCHANGE_WAITING, /* held by the throttle, or in the queue */
	EXCHANGE_RUNNING, /* the role's: it will call exchange_done */
	EXCHANGE_ANSWERED /* the verdict is on its way; the result follows it */
};

struct exchange {
	LIST_ENTRY(exchange) bucket; /* in worker->exchanges, until the result is sent */
	TAILQ_ENTRY(exchange) answer;
	struct queue_item item;
	struct deadline delay;
	struct worker *worker; /* NULL: gone while the check ran */
	enum exchange_state state;
	bool aborted;
	struct sid sid;
	struct addrport client;
	struct addr source; /* queue_source_of(client) */
	uint64_t arrived;   /* ms */
	uint64_t mark;      /* of the master's channel, behind the verdict */

	uint8_t user[USER_MAX];         /* as claimed */
	uint8_t password[PASSWORD_MAX]; /* wiped as soon as the check has it */
	uint8_t user_len, password_len;

	enum verdict_code verdict;
	uint8_t name[USER_MAX]; /* of an accepted user: the canonical name, */
	uint8_t name_len;
	uint8_t *groups; /* and the groups, packed; malloc'ed */
	size_t groups_len;
	void *check; /* the role's own while it runs */
};

/* A worker's channel. */
struct worker {
	struct chan chan;
	LIST_ENTRY(worker) entry;
	struct queue_lane lane;
	LIST_HEAD(, exchange) exchanges[EXCHANGE_BUCKETS];
};

/* What a role brings. */
struct check_role {
	/* May one more check begin now? When that changes from no to yes, call exchange_room. */
	bool (*room)(void);
	/* Begins x's check, which calls exchange_done exactly once, at once or later. */
	void (*begin)(struct exchange *x);
};

/* Before the sandbox. 0, or -1 with errno. */
int exchange_init(struct loop *l, struct chan *master, const struct check_role *role,
    const struct msg_init *init);

void exchange_worker_begin(struct worker *w);
/* Its exchanges are dropped; those that run, at their end. */
void exchange_worker_end(struct worker *w);

/* The two messages of a worker. False: refused, which ends its channel. */
bool exchange_ask(struct worker *w, const struct msg *m);
bool exchange_abort(struct worker *w, const struct msg *m);

/* The end of a check. For an accepted one name and groups are set. */
void exchange_done(struct exchange *x, enum verdict_code v);
void exchange_room(void);

#endif
