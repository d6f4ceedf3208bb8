/*
 * Entering the sandbox: the layers of the design in their order, from the modes the master gives.
 * What a role may call is the role's own table (worker/filter.c, authd/filter.c); this file knows
 * how to put it on.
 */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/msg.h"

#define SANDBOX_ARGS 4

/* One allowed (or, with `action`, otherwise answered) system call with up to SANDBOX_ARGS argument
 * conditions that must all hold. */
struct sandbox_rule {
	int nr; /* SCMP_SYS(name) */
	unsigned n;
	struct scmp_arg_cmp arg[SANDBOX_ARGS];
	uint32_t action; /* 0: allow; else SCMP_ACT_ERRNO(...) */
};

struct sandbox {
	enum role role;
	const struct sandbox_rule *rules;
	unsigned nrules;
	/* SCMP_ACT_KILL_PROCESS for children; in a sanitizer build it becomes ERRNO(EPERM), and
	 * sigaltstack, prctl, getpid and gettid are added. */
	uint32_t default_action;
	bool landlock_fs; /* no path may be opened or run at all; but: */
	/* files below this directory, by its name after the chroot, stay open to reading and
	 * writing; NULL: none */
	const char *landlock_directory;
	bool landlock_net;     /* no TCP bind, no TCP connect; but: */
	bool landlock_bind;    /* TCP bind stays allowed to port 0, an ephemeral one */
	bool landlock_connect; /* TCP connect stays allowed */
	/* RLIMIT_NPROC, set after `threads` ran. Above 0 only where the role has a uid of its own:
	 * the limit counts all processes of the uid. */
	uint32_t nproc;
	/* Called after Landlock and before RLIMIT_NPROC and seccomp: starts what threads there are,
	 * and returns once all of them run: a thread's birth takes calls that the filter refuses.
	 */
	int (*threads)(void);
	/* The supplementary groups that the role keeps (NULL: none): how many, or -1 with errno. */
	int (*groups)(gid_t *list, int max);
};

/*
 * Enters all layers that init->layers asks for. 0 with *lacking (bit per layer that was tried in
 * vain), or -1 with errno and *failed the required layer that is not to be had. Call once,
 * single-threaded.
 */
int sandbox_enter(
    const struct sandbox *s, const struct msg_init *init, uint32_t *lacking, enum layer *failed);

#endif
