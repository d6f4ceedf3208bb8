/*
 * What authd's roles may call.
 *
 * The password role holds hashes: memory, threads that are there already, its channels, and the
 * users file's descriptor; no socket, no file, no other program. The pam role runs modules and
 * helpers that this code does not know: it has the list of what nobody may do, a uid of its own
 * with group shadow (so pam_unix works, without set-uid helpers), and few processes.
 */
#include <errno.h>
#include <grp.h>

#include "authd/filter.h"
#include "common/sandbox_rules.h"

#define PAM_PROCESSES 64 /* RLIMIT_NPROC of the pam role's uid: its threads and their helpers */

static const struct sandbox_rule rules[] = {
	SANDBOX_EVERY_CHILD,
	ALLOW(pread64), /* the users file */
	ALLOW(lseek),
	ALLOW(sched_yield),
};

const struct sandbox password_sandbox = {
	.role = ROLE_PASSWORD,
	.rules = rules,
	.nrules = sizeof(rules) / sizeof(rules[0]),
	.default_action = SCMP_ACT_KILL_PROCESS,
	.landlock_fs = true,
	.landlock_net = true,
	.nproc = 0,
};

/* Group shadow, so that pam_unix can read what it checks; a machine without one has other modules.
 */
static int
pam_groups(gid_t *list, int max)
{
	const struct group *g;

	errno = 0;
	if (max < 1 || (g = getgrnam("shadow")) == NULL)
		return 0;
	list[0] = g->gr_gid;
	return 1;
}

const struct sandbox pam_sandbox = {
	.role = ROLE_PAM,
	.rules = sandbox_denied,
	.nrules = SANDBOX_NDENIED,
	.default_action = SCMP_ACT_ALLOW,
	.nproc = PAM_PROCESSES,
	.groups = pam_groups,
};

/* What libkrb5 does at each context, as strace shows it: its configuration and the replay cache are
 * looked at, opened, locked and read, and the cache is written. Which files these may be is
 * Landlock's to say, and the chroot's. */
static const struct sandbox_rule acceptor_rules[] = {
	SANDBOX_EVERY_CHILD,
	ALLOW(openat),
};

const struct sandbox acceptor_sandbox = {
	.role = ROLE_ACCEPTOR,
	.rules = acceptor_rules,
	.nrules = sizeof(acceptor_rules) / sizeof(acceptor_rules[0]),
	.default_action = SCMP_ACT_KILL_PROCESS,
	.landlock_fs = true,
	.landlock_directory = ".",
	.landlock_net = true,
	.nproc = 0,
};
