/*
 * The system calls that no process of the gateway may make (see common/sandbox_rules.h).
 */
#include <errno.h>
#include <sched.h>
#include <sys/socket.h>

#include "common/sandbox_rules.h"

#define SOCK_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)
#define DENY(name) ANSWER(name, EPERM)

const struct sandbox_rule sandbox_denied[] = {
	/* other processes */
	DENY(ptrace),
	DENY(process_vm_readv),
	DENY(process_vm_writev),
	DENY(process_madvise),
	DENY(pidfd_getfd),
	DENY(kcmp),
	DENY(move_pages),
	DENY(migrate_pages),
	/* the kernel's code and settings */
	DENY(kexec_load),
	DENY(kexec_file_load),
	DENY(init_module),
	DENY(finit_module),
	DENY(delete_module),
	DENY(reboot),
	DENY(syslog),
	DENY(acct),
	DENY(quotactl),
	DENY(swapon),
	DENY(swapoff),
	DENY(settimeofday),
	DENY(clock_settime),
	DENY(clock_adjtime),
	DENY(adjtimex),
	DENY(sethostname),
	DENY(setdomainname),
	DENY(iopl),
	DENY(ioperm),
	DENY(modify_ldt),
	DENY(personality),
	/* mounts and namespaces */
	DENY(mount),
	DENY(umount2),
	DENY(pivot_root),
	DENY(open_tree),
	DENY(move_mount),
	DENY(fsopen),
	DENY(fsconfig),
	DENY(fsmount),
	DENY(fspick),
	DENY(mount_setattr),
	DENY(setns),
	DENY(unshare),
	/* the same by another name; clone3's flags are out of a filter's sight, and glibc goes on
	 * with clone where there is no clone3 */
	ANSWER_IF(clone, EPERM, 1, ARG_WITH(0, CLONE_NEWUSER)),
	ANSWER(clone3, ENOSYS),
	DENY(open_by_handle_at),
	DENY(fanotify_init),
	/* raw sockets: routing sockets, of a type of the same name, are others */
	ANSWER_IF(socket, EPERM, 2, ARG_IS(0, AF_INET), ARG_IS_BUT(1, SOCK_FLAGS, SOCK_RAW)),
	ANSWER_IF(socket, EPERM, 2, ARG_IS(0, AF_INET6), ARG_IS_BUT(1, SOCK_FLAGS, SOCK_RAW)),
	ANSWER_IF(socket, EPERM, 1, ARG_IS(0, AF_PACKET)),
	/* interfaces with a history */
	DENY(bpf),
	DENY(io_uring_setup),
	DENY(io_uring_enter),
	DENY(io_uring_register),
	DENY(perf_event_open),
	DENY(userfaultfd),
	DENY(vmsplice),
	DENY(memfd_secret),
};
_Static_assert(
    sizeof(sandbox_denied) == SANDBOX_NDENIED * sizeof(sandbox_denied[0]), "SANDBOX_NDENIED");
