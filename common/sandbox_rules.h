/*
 * The vocabulary in which a role's table of system calls is written, and the two lists that more
 * than one role uses: what every child needs, and what no process of the gateway may ever do.
 */
#ifndef COMMON_SANDBOX_RULES_H
#define COMMON_SANDBOX_RULES_H

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/sandbox.h"

/* Conditions on an argument. All compare 64 bits, so that octets which the kernel would cut off an
 * int cannot hide a value. */
#define ARG_IS(i, value)                     \
	{                                    \
		(i), SCMP_CMP_EQ, (value), 0 \
	}
/* No bit but those of `bits` is set. */
#define ARG_WITHIN(i, bits)                                       \
	{                                                         \
		(i), SCMP_CMP_MASKED_EQ, ~(scmp_datum_t)(bits), 0 \
	}
/* None of `bits` is set. */
#define ARG_WITHOUT(i, bits)                       \
	{                                          \
		(i), SCMP_CMP_MASKED_EQ, (bits), 0 \
	}
/* All of `bits` are set. */
#define ARG_WITH(i, bits)                               \
	{                                               \
		(i), SCMP_CMP_MASKED_EQ, (bits), (bits) \
	}
/* But for `bits`, which may be set or not, it is `value`. */
#define ARG_IS_BUT(i, bits, value)                                      \
	{                                                               \
		(i), SCMP_CMP_MASKED_EQ, ~(scmp_datum_t)(bits), (value) \
	}

#define ALLOW(name)                             \
	{                                       \
		SCMP_SYS(name), 0, { { 0 } }, 0 \
	}
#define ALLOW_IF(name, n, ...)                          \
	{                                               \
		SCMP_SYS(name), (n), { __VA_ARGS__ }, 0 \
	}
#define ANSWER(name, error)                                         \
	{                                                           \
		SCMP_SYS(name), 0, { { 0 } }, SCMP_ACT_ERRNO(error) \
	}
#define ANSWER_IF(name, error, n, ...)                                      \
	{                                                                   \
		SCMP_SYS(name), (n), { __VA_ARGS__ }, SCMP_ACT_ERRNO(error) \
	}
#define ALLOW_SETSOCKOPT(level, name) ALLOW_IF(setsockopt, 2, ARG_IS(1, level), ARG_IS(2, name))
#define ALLOW_GETSOCKOPT(level, name) ALLOW_IF(getsockopt, 2, ARG_IS(1, level), ARG_IS(2, name))

/* Without MSG_FASTOPEN, which connects (round the rules' connect), and without what nobody uses. */
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR)

/*
 * Every child: memory that is never executable, the loop, its channels, the clock, random octets,
 * its end. fstat(2) is newfstatat(fd, "", AT_EMPTY_PATH) in glibc 2.33 to 2.38; a path given with
 * that flag tells no more than whether a file exists, in a root that holds none.
 */
#define SANDBOX_EVERY_CHILD                                                                        \
	ALLOW_IF(mmap, 1, ARG_WITHOUT(2, PROT_EXEC)),                                              \
	    ALLOW_IF(mprotect, 1, ARG_WITHOUT(2, PROT_EXEC)), ALLOW(munmap), ALLOW(mremap),        \
	    ALLOW(madvise), ALLOW(brk), ALLOW(futex), ALLOW(epoll_wait), ALLOW(epoll_pwait),       \
	    ALLOW(epoll_ctl), ALLOW(poll), ALLOW(ppoll), ALLOW(read), ALLOW(readv), ALLOW(write),  \
	    ALLOW(writev), ALLOW(recvmsg), ALLOW(recvfrom),                                        \
	    ALLOW_IF(sendmsg, 1, ARG_WITHIN(2, SEND_FLAGS)),                                       \
	    ALLOW_IF(sendto, 2, ARG_WITHIN(3, SEND_FLAGS), ARG_IS(4, 0)), ALLOW(close),            \
	    ALLOW(fstat), ALLOW_IF(newfstatat, 1, ARG_IS(3, AT_EMPTY_PATH)),                       \
	    ALLOW_IF(fcntl, 1, ARG_IS(1, F_GETFL)), ALLOW_IF(fcntl, 1, ARG_IS(1, F_SETFL)),        \
	    ALLOW_IF(fcntl, 1, ARG_IS(1, F_GETFD)), ALLOW_IF(fcntl, 1, ARG_IS(1, F_SETFD)),        \
	    ALLOW_IF(fcntl, 1, ARG_IS(1, F_GET_SEALS)), ALLOW(clock_gettime), ALLOW(gettimeofday), \
	    ALLOW(time), ALLOW(getrandom), ALLOW(restart_syscall), ALLOW(rt_sigreturn),            \
	    ALLOW(rt_sigprocmask), ALLOW(exit), ALLOW(exit_group)

/*
 * What no process of the gateway has a use for, at any privilege: other processes' memory and
 * descriptors, the kernel's own code and settings, mounts and namespaces, and the interfaces whose
 * faults are found most often. Answered with EPERM. It is the master's whole filter, which every
 * process below inherits, and so must bear PAM modules and what they start.
 */
#define SANDBOX_NDENIED 56
extern const struct sandbox_rule sandbox_denied[]; /* SANDBOX_NDENIED of them */

/* Loads a filter of these rules into every thread of the process. 0, or -1 with errno. */
int sandbox_filter(const struct sandbox_rule *rules, unsigned nrules, uint32_t default_action);

#endif
