/*
 * Exchanges: one for each question "who is this?" of a worker, from its first message to its one
 * AUTH_RESULT. An exchange has one round (a password, authd/ask.c) or several (tokens,
 * authd/acceptor_token.c); each round waits in the fair queue until the role begins it, and ends
 * with exchange_next or exchange_done. The answer goes out in two steps: first the verdict to the
 * master, and only when the kernel has taken that, the result to the worker.
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
	EXCHANGE_OPEN,    /* of its maker: held by the throttle, or between two rounds */
	EXCHANGE_WAITING, /* a round is in the queue */
	EXCHANGE_RUNNING, /* the role's: it will call exchange_next or exchange_done */
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

	uint8_t user[USER_MAX]; /* as claimed: what a refusal's verdict names */
	uint8_t user_len;
	uint8_t password[PASSWORD_MAX]; /* wiped as soon as the check has it */
	uint8_t password_len;

	enum verdict_code verdict;
	uint8_t name[USER_MAX]; /* of an accepted user: the canonical name, */
	uint8_t name_len;
	uint8_t level;   /* enum level */
	uint8_t *groups; /* and the groups, packed; malloc'ed */
	size_t groups_len;
	void *check; /* the role's own */
};

/* A worker's channel. */
struct worker {
	struct chan chan;
	LIST_ENTRY(worker) entry;
	struct queue_lane lane;
	LIST_HEAD(, exchange) exchanges[EXCHANGE_BUCKETS];
	void *role; /* the role's own of it */
};

/* What a role brings. All but `room` and `begin` may be NULL. */
struct check_role {
	enum method method;
	/* Its rounds end inside `begin`: the queue is worked off before it could be full. */
	bool at_once;
	/* May one more round begin now? When that changes from no to yes, call exchange_room. */
	bool (*room)(void);
	/* Must x wait some more? It has then been given its place. */
	bool (*hold)(struct exchange *x);
	/* Begins x's round, which calls exchange_next or exchange_done exactly once, at once or
	 * later. */
	void (*begin)(struct exchange *x);
	/* A check has ended so, whether or not anyone still waits for it. */
	void (*checked)(const struct exchange *x, enum verdict_code v);
	/* Sends the worker what comes before an accepting AUTH_RESULT. */
	void (*accepted)(struct exchange *x);
	/* What x holds for rounds to come goes: it has its verdict, or its worker is gone. */
	void (*release)(struct exchange *x);
	/* The end of x: x->check goes, wiped. Not while it runs, if a worker's end may meet that.
	 */
	void (*forget)(struct exchange *x);
	/* A worker came, and went. */
	void (*worker_begin)(struct worker *w);
	void (*worker_end)(struct worker *w);

	/* The role's own messages; false: refused. */
	bool (*password)(struct worker *w, const struct msg *m); /* AUTH_PASSWORD */
	bool (*token)(struct worker *w, const struct msg *m);    /* AUTH_TOKEN */
	void (*users)(int fd);                                   /* USERS */
	bool (*keytab)(const struct msg *m);                     /* KEYTAB; m->fd is the caller's */
};

/* Before the sandbox. */
void exchange_init(struct loop *l, struct chan *master, const struct check_role *role,
    const struct msg_init *init);

void exchange_worker_begin(struct worker *w);
/* Its exchanges are dropped; those that run, at their end. */
void exchange_worker_end(struct worker *w);

struct exchange *exchange_find(struct worker *w, uint32_t slot);
/* May a worker name this session and this client? */
bool exchange_sane(const struct sid *sid, const struct addrport *client);
/* A new one, open; its slot must have none, and both be sane. */
struct exchange *exchange_new(
    struct worker *w, const struct sid *sid, const struct addrport *client);
/* The next round of x, or the only one, waits for its turn. */
void exchange_queue(struct exchange *x);
/* A worker's message. False: refused, which ends its channel. */
bool exchange_abort(struct worker *w, const struct msg *m);

/* The end of a round that is not the last: x is open again. */
void exchange_next(struct exchange *x);
/* The end of a check. For an accepted one name, groups and level are set. */
void exchange_done(struct exchange *x, enum verdict_code v);
/* An end without a check: x is open or waits. */
void exchange_refuse(struct exchange *x, enum verdict_code v);
void exchange_room(void);

#endif
