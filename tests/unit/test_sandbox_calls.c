/*
 * The roles' tables of system calls, call by call: which role may make it, and that the filter
 * stands in the way of the others.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "authd/filter.h"
#include "tests/unit/in_sandbox.h"
#include "worker/filter.h"
#include "worker/resolver_filter.h"

enum { W = 1, R = 2, P = 4, NOBODY = 0, EVERYBODY = W | R | P };

struct call {
	const char *what;
	long nr;
	long arg[6];
	unsigned
	    may; /* roles whose filter lets it through; with these arguments it then does no harm */
};

#define STREAM (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define DGRAM  (SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define NOT_FD 1000 /* an open descriptor's number it is not: a call that passes answers EBADF */

static const struct call calls[] = {
	{ "tcp", SYS_socket, { AF_INET, STREAM, 0 }, W | R },
	{ "tcp, named", SYS_socket, { AF_INET, STREAM, IPPROTO_TCP }, W | R },
	{ "tcp6", SYS_socket, { AF_INET6, STREAM, IPPROTO_TCP }, W | R },
	{ "tcp, blocking", SYS_socket, { AF_INET, SOCK_STREAM, 0 }, R },
	{ "udp", SYS_socket, { AF_INET, DGRAM, 0 }, R },
	{ "udp6", SYS_socket, { AF_INET6, DGRAM, IPPROTO_UDP }, W | R },
	{ "mptcp", SYS_socket, { AF_INET, STREAM, 262 }, NOBODY },
	{ "sctp", SYS_socket, { AF_INET, STREAM, IPPROTO_SCTP }, NOBODY },
	{ "sctp, packets", SYS_socket, { AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP }, NOBODY },
	{ "udp-lite", SYS_socket, { AF_INET, DGRAM, IPPROTO_UDPLITE }, NOBODY },
	{ "icmp", SYS_socket, { AF_INET, DGRAM, IPPROTO_ICMP }, NOBODY },
	{ "icmp6", SYS_socket, { AF_INET6, DGRAM, IPPROTO_ICMPV6 }, NOBODY },
	{ "dccp", SYS_socket, { AF_INET, SOCK_DCCP, IPPROTO_DCCP }, NOBODY },
	{ "raw", SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_TCP }, NOBODY },
	{ "unix", SYS_socket, { AF_UNIX, STREAM, 0 }, NOBODY },
	{ "netlink", SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, NOBODY },
	{ "packet", SYS_socket, { AF_PACKET, SOCK_RAW, 0 }, NOBODY },
	{ "vsock", SYS_socket, { AF_VSOCK, STREAM, 0 }, NOBODY },
	{ "alg", SYS_socket, { AF_ALG, SOCK_SEQPACKET, 0 }, NOBODY },
	{ "high octets", SYS_socket, { 0x100000000 | AF_INET, STREAM, 0 }, NOBODY },
	{ "socketpair", SYS_socketpair, { AF_UNIX, STREAM, 0, 0 }, NOBODY },
	{ "bind", SYS_bind, { NOT_FD, 0, 0 }, W },
	{ "connect", SYS_connect, { NOT_FD, 0, 0 }, W | R },
	{ "listen", SYS_listen, { NOT_FD, 1 }, NOBODY },
	{ "accept4", SYS_accept4, { NOT_FD, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC }, W },
	{ "accept4, inherited", SYS_accept4, { NOT_FD, 0, 0, 0 }, NOBODY },
	{ "accept", SYS_accept, { NOT_FD, 0, 0 }, NOBODY },
	{ "shutdown", SYS_shutdown, { NOT_FD, SHUT_WR }, W },
	{ "send", SYS_sendto, { NOT_FD, 0, 0, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0 }, EVERYBODY },
	{ "send, fast open", SYS_sendto, { NOT_FD, 0, 0, MSG_FASTOPEN, 0, 0 }, NOBODY },
	{ "send, to whom", SYS_sendto, { NOT_FD, 0, 0, MSG_NOSIGNAL, 16, 16 }, NOBODY },
	{ "sendmsg", SYS_sendmsg, { NOT_FD, 0, MSG_NOSIGNAL }, EVERYBODY },
	{ "sendmsg, fast open", SYS_sendmsg, { NOT_FD, 0, MSG_FASTOPEN | MSG_NOSIGNAL }, NOBODY },
	{ "sendmsg, zero copy", SYS_sendmsg, { NOT_FD, 0, MSG_ZEROCOPY }, NOBODY },
	{ "sendmmsg", SYS_sendmmsg, { NOT_FD, 0, 0, MSG_NOSIGNAL }, W },
	{ "sendmmsg, fast open", SYS_sendmmsg, { NOT_FD, 0, 0, MSG_FASTOPEN }, NOBODY },
	{ "recvmmsg", SYS_recvmmsg, { NOT_FD, 0, 0, 0, 0 }, W },
	{ "IPV6_V6ONLY", SYS_setsockopt, { NOT_FD, IPPROTO_IPV6, IPV6_V6ONLY }, W },
	{ "UDP_GRO", SYS_setsockopt, { NOT_FD, IPPROTO_UDP, UDP_GRO }, W },
	{ "UDP_CORK", SYS_setsockopt, { NOT_FD, IPPROTO_UDP, UDP_CORK }, NOBODY },
	{ "IPV6_TRANSPARENT", SYS_setsockopt, { NOT_FD, IPPROTO_IPV6, IPV6_TRANSPARENT }, NOBODY },
	{ "TCP_NODELAY", SYS_setsockopt, { NOT_FD, IPPROTO_TCP, TCP_NODELAY }, W | R },
	{ "SO_KEEPALIVE", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_KEEPALIVE }, NOBODY },
	{ "IP_BIND_ADDRESS_NO_PORT", SYS_setsockopt,
	    { NOT_FD, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT }, W },
	{ "SO_RCVLOWAT", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_RCVLOWAT }, W },
	{ "SO_REUSEPORT", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_REUSEPORT }, NOBODY },
	{ "SO_MARK", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_MARK }, NOBODY },
	{ "SO_BINDTODEVICE", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_BINDTODEVICE }, W },
	{ "SO_ATTACH_BPF", SYS_setsockopt, { NOT_FD, SOL_SOCKET, SO_ATTACH_BPF }, NOBODY },
	{ "TCP_ULP", SYS_setsockopt, { NOT_FD, IPPROTO_TCP, TCP_ULP }, NOBODY },
	{ "TCP_REPAIR", SYS_setsockopt, { NOT_FD, IPPROTO_TCP, TCP_REPAIR }, NOBODY },
	{ "TCP_FASTOPEN_CONNECT", SYS_setsockopt, { NOT_FD, IPPROTO_TCP, TCP_FASTOPEN_CONNECT },
	    NOBODY },
	{ "IP_TRANSPARENT", SYS_setsockopt, { NOT_FD, IPPROTO_IP, IP_TRANSPARENT }, NOBODY },
	{ "IP_OPTIONS", SYS_setsockopt, { NOT_FD, IPPROTO_IP, IP_OPTIONS }, NOBODY },
	/* a level's number is not another's name */
	{ "SO_KEEPALIVE of TCP", SYS_setsockopt, { NOT_FD, IPPROTO_UDP, SO_KEEPALIVE }, NOBODY },
	{ "SO_ERROR", SYS_getsockopt, { NOT_FD, SOL_SOCKET, SO_ERROR }, W },
	{ "TCP_INFO", SYS_getsockopt, { NOT_FD, IPPROTO_TCP, TCP_INFO }, W },
	{ "SO_COOKIE", SYS_getsockopt, { NOT_FD, SOL_SOCKET, SO_COOKIE }, NOBODY },
	{ "SO_PEERPIDFD", SYS_getsockopt, { NOT_FD, SOL_SOCKET, 77 }, NOBODY },
	{ "mmap", SYS_mmap, { 0, 0, PROT_READ, MAP_PRIVATE, -1, 0 }, EVERYBODY },
	{ "mmap, exec", SYS_mmap, { 0, 0, PROT_EXEC, MAP_PRIVATE, -1, 0 }, NOBODY },
	{ "mmap, rwx", SYS_mmap, { 0, 0, 7, MAP_PRIVATE, -1, 0 }, NOBODY },
	{ "mprotect", SYS_mprotect, { 1, 0, PROT_READ }, EVERYBODY },
	{ "mprotect, exec", SYS_mprotect, { 1, 0, PROT_READ | PROT_EXEC }, NOBODY },
	{ "pkey_mprotect", SYS_pkey_mprotect, { 1, 0, PROT_EXEC, -1 }, NOBODY },
	{ "F_GETFL", SYS_fcntl, { NOT_FD, F_GETFL }, EVERYBODY },
	{ "F_DUPFD", SYS_fcntl, { NOT_FD, F_DUPFD }, NOBODY },
	{ "F_SETOWN", SYS_fcntl, { NOT_FD, F_SETOWN, 1 }, NOBODY },
	{ "F_ADD_SEALS", SYS_fcntl, { NOT_FD, 1033, 0 }, NOBODY },
	{ "ioctl", SYS_ioctl, { NOT_FD, 0x541b, 0 }, NOBODY },
	{ "ftruncate", SYS_ftruncate, { NOT_FD, 0 }, NOBODY },
	{ "fstat by path", SYS_newfstatat, { AT_FDCWD, 0, 0, 0 }, NOBODY },
	{ "openat2", SYS_openat2, { AT_FDCWD, 0, 0, 0 }, NOBODY },
	{ "memfd_create", SYS_memfd_create, { 0, 0 }, NOBODY },
	{ "execve", SYS_execve, { 0, 0, 0 }, NOBODY },
	{ "execveat", SYS_execveat, { NOT_FD, 0, 0, 0, 0 }, NOBODY },
	{ "clone3", SYS_clone3, { 0, 0 }, NOBODY },
	{ "unshare", SYS_unshare, { 0 }, NOBODY },
	{ "ptrace", SYS_ptrace, { 16, 1, 0, 0 }, NOBODY },
	{ "kill", SYS_kill, { 1, 0 }, NOBODY },
	{ "tgkill", SYS_tgkill, { 1, 1, 0 }, NOBODY },
	{ "pidfd_open", SYS_pidfd_open, { 1, 0 }, NOBODY },
	{ "pidfd_getfd", SYS_pidfd_getfd, { NOT_FD, 0, 0 }, NOBODY },
	{ "process_vm_readv", SYS_process_vm_readv, { 1, 0, 0, 0, 0, 0 }, NOBODY },
	{ "io_uring_setup", SYS_io_uring_setup, { 1, 0 }, NOBODY },
	{ "bpf", SYS_bpf, { 0, 0, 0 }, NOBODY },
	{ "userfaultfd", SYS_userfaultfd, { 0 }, NOBODY },
	{ "perf_event_open", SYS_perf_event_open, { 0, 0, -1, -1, 0 }, NOBODY },
	{ "keyctl", SYS_keyctl, { 0, 0, 0, 0, 0 }, NOBODY },
	{ "setns", SYS_setns, { NOT_FD, 0 }, NOBODY },
	{ "seccomp", SYS_seccomp, { 2, 0, 0 }, NOBODY },
	{ "splice", SYS_splice, { NOT_FD, 0, NOT_FD, 0, 1, 0 }, NOBODY },
	{ "epoll_create1", SYS_epoll_create1, { 0 }, NOBODY },
	{ "pread64", SYS_pread64, { NOT_FD, 0, 0, 0 }, P },
	{ "futex", SYS_futex, { 0, 1, 0, 0, 0, 0 }, EVERYBODY },
	{ "getrandom", SYS_getrandom, { 0, 0, 0 }, EVERYBODY },
#if !SANITIZED
	{ "prctl", SYS_prctl, { PR_SET_DUMPABLE, 1 }, NOBODY },
#endif
};

static const struct call *call_now;

/* 0: it went through, whatever it answered. (A passed call may answer EPERM only for a reason that
 * its arguments rule out.) */
static int
act_call(void)
{
	const long *a = call_now->arg;
	long result = syscall(call_now->nr, a[0], a[1], a[2], a[3], a[4], a[5]);

	return result == -1 && errno == EPERM ? EPERM : 0;
}

static void
check_calls(const struct sandbox *s, unsigned role)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int expected = (calls[i].may & role) != 0 ? 0 : REFUSED, got;

		call_now = &calls[i];
		got = in_sandbox(s, FILTERED, act_call);
		if (got != expected)
			fail_msg("%s: %s: %d, expected %d", role_name(s->role), calls[i].what, got,
			    expected);
	}
}

static void
test_calls(void **state)
{
	(void)state;
	check_calls(&worker_sandbox, W);
	check_calls(&resolver_sandbox, R);
	check_calls(&password_sandbox, P);
}

/* c-ares opens files and goes on without: it is told that there are none. */
static void
test_resolver_open(void **state)
{
	(void)state;
	check_layer(&resolver_sandbox, FILTERED, act_open, ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_resolver_open),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
