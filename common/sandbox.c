/*
 * Entering the sandbox: each layer on its own, in the design's order. Whom it trusts: the master,
 * whose INIT says which layers to enter, and the kernel. After it the process is one that nobody
 * trusts.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/sandbox.h"
#include "common/sandbox_rules.h"

#define GROUPS_LIST 8 /* supplementary groups that a role may keep */

/* Since Linux 6.3; Debian 12's headers are of 6.1. */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE              65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* Landlock as of its sixth version (Linux 6.12). The names of the headers are macros or not by
 * their age, hence names of our own. A kernel takes a longer struct whose unknown end is zero. */
struct landlock_attr {
	uint64_t fs;
	uint64_t net;   /* version 4, Linux 6.7 */
	uint64_t scope; /* version 6, Linux 6.12 */
};
struct landlock_port_attr {
	uint64_t allowed;
	uint64_t port;
};
struct landlock_path_attr {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));
#define LL_VERSION     1u /* flag of landlock_create_ruleset */
#define LL_RULE_PATH   1
#define LL_FS_WRITE    (1ull << 1)
#define LL_FS_READ     (1ull << 2)
#define LL_RULE_PORT   2
#define LL_NET_BIND    (1ull << 0)
#define LL_NET_CONNECT (1ull << 1)
#define LL_SCOPE_ALL   ((1ull << 0) | (1ull << 1)) /* abstract unix sockets, signals */
#define LL_ABI_NET     4
#define LL_ABI_SCOPE   6

#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule       445
#define __NR_landlock_restrict_self  446
#endif

/* What is being entered, and what came of it. */
struct entry {
	const struct sandbox *s;
	const struct msg_init *init;
	uint32_t lacking;
	enum layer failed;
};

static bool
wanted(const struct entry *e, enum layer l)
{
	return e->init->layers[l] != LAYER_OFF;
}

/* A layer's outcome (0, or -1 with errno): -1 if it ends the start. */
static int
outcome(struct entry *e, enum layer l, int result)
{
	if (result == 0)
		return 0;
	if (e->init->layers[l] == LAYER_TRY) {
		e->lacking |= 1u << l;
		return 0;
	}
	e->failed = l;
	return -1;
}

static int
try_layer(struct entry *e, enum layer l, int (*enter)(const struct entry *))
{
	return wanted(e, l) ? outcome(e, l, enter(e)) : 0;
}

/* The directory must be root's alone to write: a chroot that others fill is none. */
static int
enter_chroot(const struct entry *e)
{
	const char *dir = e->init->chroot;
	struct stat st;

	if (dir[0] == '\0')
		return 0;
	if (geteuid() != 0) {
		errno = EPERM;
		return -1;
	}
	if (stat(dir, &st) == -1)
		return -1;
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		errno = EPERM;
		return -1;
	}
	return chroot(dir) == -1 || chdir("/") == -1 ? -1 : 0;
}

/* While still root, because it takes CAP_SETPCAP. Numbers past the kernel's last answer EINVAL. */
static int
drop_bounding(const struct entry *e)
{
	(void)e;
	for (unsigned long cap = 0; cap < 64; cap++) {
		int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (held == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == -1)
			return -1;
	}
	return 0;
}

static int
enter_uid(const struct entry *e)
{
	gid_t list[GROUPS_LIST];
	int n = 0;

	if (e->init->uid == 0 || e->init->gid == 0) {
		errno = EPERM;
		return -1;
	}
	if (e->s->groups != NULL && (n = e->s->groups(list, GROUPS_LIST)) == -1)
		return -1;
	if (setgroups((size_t)n, list) == -1)
		return -1;
	if (setresgid(e->init->gid, e->init->gid, e->init->gid) == -1)
		return -1;
	if (setresuid(e->init->uid, e->init->uid, e->init->uid) == -1)
		return -1;
	if (setuid(0) == 0 || setgid(0) == 0) { /* there must be no way back */
		errno = EPERM;
		return -1;
	}
	return 0;
}

static int
drop_capabilities(const struct entry *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

	(void)e;
	memset(none, 0, sizeof(none));
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1)
		return -1;
	return syscall(SYS_capset, &head, none) == -1 ? -1 : 0;
}

static int
enter_no_new_privs(const struct entry *e)
{
	(void)e;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int
enter_mdwe(const struct entry *e)
{
	(void)e;
	return prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
}

/* All rights on files that this version of Landlock knows. */
static uint64_t
landlock_all_fs(int abi)
{
	static const uint8_t rights[] = { 0, 13, 14, 15, 15, 16 }; /* by version; 16 since 5 */

	return (1ull << rights[abi > 5 ? 5 : abi]) - 1;
}

static int
landlock_port_zero(int ruleset)
{
	const struct landlock_port_attr port = { .allowed = LL_NET_BIND, .port = 0 };

	return (int)syscall(__NR_landlock_add_rule, ruleset, LL_RULE_PORT, &port, 0);
}

static int
landlock_files_below(int ruleset, const char *directory)
{
	struct landlock_path_attr path = { .allowed = LL_FS_READ | LL_FS_WRITE };
	int result;

	path.parent = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (path.parent == -1)
		return -1;
	result = (int)syscall(__NR_landlock_add_rule, ruleset, LL_RULE_PATH, &path, 0);
	fd_drop(path.parent);
	return result;
}

static int
landlock_restrict(const struct entry *e, const struct landlock_attr *attr)
{
	int ruleset, result = -1;

	ruleset = (int)syscall(__NR_landlock_create_ruleset, attr, sizeof(*attr), 0);
	if (ruleset == -1)
		return -1;
	if ((attr->fs == 0 || e->s->landlock_directory == NULL ||
		landlock_files_below(ruleset, e->s->landlock_directory) == 0) &&
	    ((attr->net & LL_NET_BIND) == 0 || !e->s->landlock_bind ||
		landlock_port_zero(ruleset) == 0))
		result = (int)syscall(__NR_landlock_restrict_self, ruleset, 0);
	fd_drop(ruleset);
	return result;
}

/* Three layers that are one domain: one may be had on a kernel where another may not. */
static int
enter_landlock(struct entry *e)
{
	const struct sandbox *s = e->s;
	bool fs = wanted(e, LAYER_LANDLOCK) && s->landlock_fs;
	bool net = wanted(e, LAYER_LANDLOCK_NET) && s->landlock_net;
	bool scope = wanted(e, LAYER_LANDLOCK_SCOPE);
	struct landlock_attr attr = { 0 };
	int abi, result = 0;

	if (!fs && !net && !scope)
		return 0;
	abi = (int)syscall(__NR_landlock_create_ruleset, NULL, 0, LL_VERSION);
	if (abi == -1)
		abi = 0;
	else
		errno = EOPNOTSUPP; /* of what this version has not */
	if (fs && abi >= 1)
		attr.fs = landlock_all_fs(abi);
	if (net && abi >= LL_ABI_NET)
		attr.net = LL_NET_BIND | (s->landlock_connect ? 0 : LL_NET_CONNECT);
	if (scope && abi >= LL_ABI_SCOPE)
		attr.scope = LL_SCOPE_ALL;
	if (attr.fs != 0 || attr.net != 0 || attr.scope != 0)
		result = landlock_restrict(e, &attr);
	if (fs && outcome(e, LAYER_LANDLOCK, attr.fs != 0 ? result : -1) == -1)
		return -1;
	if (net && outcome(e, LAYER_LANDLOCK_NET, attr.net != 0 ? result : -1) == -1)
		return -1;
	return scope ? outcome(e, LAYER_LANDLOCK_SCOPE, attr.scope != 0 ? result : -1) : 0;
}

#if SANITIZED
/* What the sanitizers' run time needs besides; the proofs run on the plain build. */
static const struct sandbox_rule sanitizer_rules[] = {
	ALLOW(sigaltstack),
	ALLOW(prctl),
	ALLOW(getpid),
	ALLOW(gettid),
};
#endif

static int
add_rules(scmp_filter_ctx ctx, const struct sandbox_rule *rules, unsigned n, uint32_t except)
{
	int rc = 0;

	for (unsigned i = 0; i < n && rc == 0; i++) {
		uint32_t action = rules[i].action == 0 ? SCMP_ACT_ALLOW : rules[i].action;

		if (action !=
		    except) /* libseccomp refuses a rule that says what the default says */
			rc = seccomp_rule_add_array(
			    ctx, action, rules[i].nr, rules[i].n, rules[i].arg);
	}
	return rc;
}

int
sandbox_filter(const struct sandbox_rule *rules, unsigned nrules, uint32_t default_action)
{
	scmp_filter_ctx ctx;
	int rc;

#if SANITIZED
	if (default_action == SCMP_ACT_KILL_PROCESS)
		default_action = SCMP_ACT_ERRNO(EPERM);
#endif
	if ((ctx = seccomp_init(default_action)) == NULL) {
		errno = ENOMEM;
		return -1;
	}
	/* A binary tree of numbers: a relay's calls must not walk the whole list each time. */
	if ((rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_API_SYSRAWRC, 1)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) == 0)
		rc = add_rules(ctx, rules, nrules, default_action);
#if SANITIZED
	if (rc == 0 && default_action != SCMP_ACT_ALLOW)
		rc = add_rules(ctx, sanitizer_rules,
		    sizeof(sanitizer_rules) / sizeof(sanitizer_rules[0]), default_action);
#endif
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc != 0) {
		errno =
		    rc < 0 ? -rc : ECANCELED; /* above 0: a thread that could not be brought in */
		return -1;
	}
	return 0;
}

static int
enter_seccomp(const struct entry *e)
{
	return sandbox_filter(e->s->rules, e->s->nrules, e->s->default_action);
}

/* Threads first, then no more of them. */
static int
start_threads(const struct entry *e)
{
	const struct rlimit nproc = { e->s->nproc, e->s->nproc };

	if (e->s->threads != NULL && e->s->threads() == -1)
		return -1;
	if (e->s->nproc > 0 && e->init->uid == 0)
		return 0; /* without a uid of its own it would count the user's other processes */
	return setrlimit(RLIMIT_NPROC, &nproc);
}

int
sandbox_enter(
    const struct sandbox *s, const struct msg_init *init, uint32_t *lacking, enum layer *failed)
{
	struct entry e = { .s = s, .init = init, .failed = LAYER_COUNT };
	int result = -1, saved;

	if (try_layer(&e, LAYER_CHROOT, enter_chroot) == -1 ||
	    try_layer(&e, LAYER_CAPABILITIES, drop_bounding) == -1 ||
	    try_layer(&e, LAYER_UID, enter_uid) == -1 ||
	    try_layer(&e, LAYER_CAPABILITIES, drop_capabilities) == -1)
		goto done;
	/* A dump goes past RLIMIT_CORE 0 where core_pattern is a pipe. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		goto done;
	if (try_layer(&e, LAYER_NO_NEW_PRIVS, enter_no_new_privs) == -1 ||
	    try_layer(&e, LAYER_MDWE, enter_mdwe) == -1 || enter_landlock(&e) == -1 ||
	    start_threads(&e) == -1 || try_layer(&e, LAYER_SECCOMP, enter_seccomp) == -1)
		goto done;
	result = 0;
done:
	saved = errno;
	*lacking = e.lacking;
	*failed = e.failed;
	errno = saved;
	return result;
}
