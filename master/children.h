/*
 * The processes of the gateway: spawned by fork and exec, each with its channel; reaped; replaced
 * when they are lost. What a child is told and what its messages mean is its owner's (struct
 * children_ops).
 */
#ifndef MASTER_CHILDREN_H
#define MASTER_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/chan.h"
#include "common/ev.h"
#include "common/msg.h"

#define CHILDREN_WORKERS_MAX 256 /* `workers` at most */

struct children;

struct child {
	enum role role;
	unsigned index; /* a worker's place, 0 .. workers-1; 0 for the other roles */
	uint32_t spawn; /* this process's number; never reused while the master lives */
	pid_t pid;      /* -1: not running */
	pid_t last_pid; /* what it was, for the record of its loss */
	struct chan chan;
	struct children *family;
	bool wanted;       /* to be replaced when lost */
	bool ready;        /* READY came */
	bool loaded;       /* the file that its role is handed is in force */
	unsigned handed;   /* files passed to it that it has not acknowledged */
	bool stopping;     /* STOP was sent: its end is no loss */
	bool reaped;       /* it has ended; what it had sent is being read */
	uint32_t acked;    /* policy version */
	uint32_t lacking;  /* layers, as READY told */
	char fault[192];   /* why it was killed; "" : it ended by itself */
	uint64_t started;  /* loop time */
	unsigned failures; /* quick ends in a row */
	struct deadline respawn;
	unsigned marked; /* marked sockets on their way to it, and the mark of chan behind them */
	uint64_t marked_until;
	int beside; /* a socket of it, until the one comes that is to be bound there; or -1 */
};

struct children_ops {
	/* Fills what the child is to become; role and spawn are set already. */
	void (*init)(void *arg, const struct child *c, struct msg_init *m);
	/* A new process: send what it needs behind INIT. */
	void (*spawned)(void *arg, struct child *c);
	/* A message of it; false: refused, the child is killed. */
	bool (*message)(void *arg, struct child *c, struct msg *m);
	/* Packets are about to leave for children: what they grant must be recorded by now. */
	void (*before_send)(void *arg);
	/* It has ended, its channel has been read to the end; `how` says why in words. It is
	 * replaced after this if it is still wanted. */
	void (*lost)(void *arg, struct child *c, const char *how);
};

/* `libexec`: the directory with worker, resolver and authd. `quiet`: their standard error is
 * /dev/null, else ours. NULL with errno. */
struct children *children_new(
    struct loop *l, const char *libexec, bool quiet, const struct children_ops *ops, void *arg);

void children_free(struct children *f); /* none is running any more */

/* Makes exactly n of a role wanted: spawns those that are missing (0, or -1 with errno if a spawn
 * failed at once), stops those too many. */
int children_want(struct children *f, enum role role, unsigned n);

/* NULL where there is none. Only running ones. */
struct child *children_by_spawn(struct children *f, uint32_t spawn);
struct child *children_get(struct children *f, enum role role, unsigned index);
/* Calls fn for every running child of a role (ROLE_COUNT: of all). */
void children_each(
    struct children *f, enum role role, void (*fn)(struct child *c, void *arg), void *arg);

/* Kills a child for a reason, which `lost` gets. */
void child_kill(struct child *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Call on SIGCHLD. */
void children_reap(struct children *f);

/* Asks the processes of a role to end, and replaces each. */
void children_restart(struct children *f, enum role role);
/* No process is replaced from now on. */
void children_give_up(struct children *f);
/* Asks every process of the role to end (MSG_STOP) and not to be replaced. */
void children_stop(struct children *f, enum role role);
unsigned children_running(const struct children *f, enum role role); /* ROLE_COUNT: all */

#endif
