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
#include <linux/netlink.h>
#include <sys/ioctl.h>

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
#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_DIRECTORY)
static const struct sandbox_rule acceptor_rules[] = {
	SANDBOX_EVERY_CHILD, ALLOW_IF(openat, 1, ARG_WITHIN(2, OPEN_FLAGS)), ALLOW(access),
	ALLOW(faccessat), /* the same, of other machines */
	ALLOW(newfstatat), ALLOW_IF(fcntl, 1, ARG_IS(1, F_OFD_SETLKW)), ALLOW(lseek),
	ALLOW(pread64), /* the keytab */
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

/*
 * The initiator's library reads its configuration, its caches and the hosts file, and speaks to a
 * KDC and to name servers over UDP and TCP. What it tries beyond that (plug-ins, which would have
 * to be mapped executable, other programs, sockets of other kinds) fails, and it goes on without.
 */
#define INET_SOCKET(family, type) \
	ALLOW_IF(socket, 2, ARG_IS(0, family), ARG_IS_BUT(1, SOCK_NONBLOCK | SOCK_CLOEXEC, type))

static const struct sandbox_rule initiator_rules[] = {
	SANDBOX_EVERY_CHILD,
	/* files: opened, looked at, locked, made anew (a ticket for the service goes into the
	   cache) */
	ALLOW(openat),
	ALLOW(newfstatat),
	ALLOW(access),
	ALLOW(faccessat),
	ALLOW(faccessat2),
	ALLOW(statx),
	ALLOW(readlink),
	ALLOW(getdents64),
	ALLOW(lseek),
	ALLOW(pread64),
	ALLOW(ftruncate),
	ALLOW(fsync),
	ALLOW(rename),
	ALLOW(unlink),
	ALLOW(fchmod),
	ALLOW(uname),
	ALLOW_IF(fcntl, 1, ARG_IS(1, F_SETLK)),
	ALLOW_IF(fcntl, 1, ARG_IS(1, F_SETLKW)),
	ALLOW_IF(fcntl, 1, ARG_IS(1, F_OFD_SETLK)),
	ALLOW_IF(fcntl, 1, ARG_IS(1, F_OFD_SETLKW)),
	ALLOW_IF(ioctl, 1, ARG_IS(1, FIONREAD)),
	ALLOW_IF(ioctl, 1, ARG_IS(1, FIONBIO)),
	/* the network */
	INET_SOCKET(AF_INET, SOCK_STREAM),
	INET_SOCKET(AF_INET, SOCK_DGRAM),
	INET_SOCKET(AF_INET6, SOCK_STREAM),
	INET_SOCKET(AF_INET6, SOCK_DGRAM),
	ALLOW_IF(socket, 1, ARG_IS(0, AF_NETLINK)), /* getaddrinfo: which families there are */
	ALLOW_IF(bind, 1, ARG_IS(2, sizeof(struct sockaddr_nl))),
	ALLOW(connect),
	ALLOW(getsockname),
	ALLOW(getpeername),
	ALLOW(getsockopt),
	ALLOW(setsockopt),
	ALLOW_IF(sendto, 1, ARG_WITHIN(3, SEND_FLAGS)),
	ALLOW(sendmmsg),
	/* who it is, and its threads' own */
	ALLOW(getuid),
	ALLOW(geteuid),
	ALLOW(getgid),
	ALLOW(getegid),
	ALLOW(getpid),
	ALLOW(gettid),
	ALLOW(sched_yield),
	ALLOW(clock_nanosleep),
	ALLOW(select),
	ALLOW(pselect6),
};

const struct sandbox initiator_sandbox = {
	.role = ROLE_INITIATOR,
	.rules = initiator_rules,
	.nrules = sizeof(initiator_rules) / sizeof(initiator_rules[0]),
	.default_action = SCMP_ACT_ERRNO(EPERM),
	.nproc = 0,
};
