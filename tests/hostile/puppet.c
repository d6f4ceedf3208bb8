/*
 * A child taken over by an attacker: a process of the gateway with the real start and the real
 * sandbox of its role, which then does what a test tells it. Put in the place of worker, resolver
 * or authd, it asks the test's socket beside it (puppet.sock) what to be; where the test does not
 * want this one, or is not there, it becomes the real program (real/NAME).
 *
 * Once it is to obey it takes INIT as every child does, and then reads commands, one a packet:
 *   enter                    the sandbox, then READY, as child_enter does
 *   table                    the numbers and sizes of messages, by name
 *   sys NAME ARG...          a system call; "RESULT ERRNO". ARG: a number, s:TEXT, h:OCTETS,
 * z:ZEROS send FD HEX [FD]         one packet; "SENT ERRNO" recv FD MS               one packet;
 * "HEX FD ERRNO", "eof" or "none" flood FD HEX N           N packets without reading; "SENT ERRNO"
 *   fork, exec PATH
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authd/filter.h"
#include "common/child.h"
#include "worker/filter.h"
#include "worker/resolver_filter.h"

#define COMMAND_MAX 140000 /* octets: a packet past every limit, in hexadecimal */
#define ARGS        8

static char command[COMMAND_MAX], answer[COMMAND_MAX];
static unsigned char octets[COMMAND_MAX / 2];
static int ears = -1; /* where commands come from */

static _Noreturn void
become_real(const char *dir, const char *name, char **argv)
{
	char path[PATH_MAX + 32];
	char *none[] = { NULL };

	snprintf(path, sizeof(path), "%s/real/%s", dir, name);
	execve(path, argv, none);
	_exit(126);
}

static int
ears_open(const char *dir)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%.90s/puppet.sock", dir);
	if (s != -1 && connect(s, (struct sockaddr *)&un, sizeof(un)) == 0)
		return s;
	if (s != -1)
		close(s);
	return -1;
}

/* Looks at INIT without taking it, and asks the test. */
static bool
wanted(const char *dir)
{
	struct {
		struct msg_head head;
		struct msg_init init;
	} m;
	struct pollfd p = { .fd = CHILD_FD, .events = POLLIN };
	bool yes = false;
	int s = ears_open(dir), n;

	if (s == -1)
		return false;
	if (poll(&p, 1, 10000) == 1 &&
	    recv(CHILD_FD, &m, sizeof(m), MSG_PEEK) >= (ssize_t)sizeof(m)) {
		n = snprintf(answer, sizeof(answer), "%s %u %d", role_name(m.init.role),
		    m.init.spawn, (int)getpid());
		if (send(s, answer, (size_t)n, MSG_NOSIGNAL) == n)
			yes = recv(s, answer, 4, 0) == 4 && memcmp(answer, "obey", 4) == 0;
	}
	close(s);
	return yes;
}

/* --- what it does --- */

static size_t
from_hex(const char *hex, unsigned char *to)
{
	size_t n = 0;
	unsigned octet;

	for (; hex[0] != '\0' && hex[1] != '\0' && sscanf(hex, "%2x", &octet) == 1; hex += 2)
		to[n++] = (unsigned char)octet;
	return n;
}

static long
argument(const char *text)
{
	unsigned char *block;

	if (strncmp(text, "s:", 2) == 0)
		return (long)(text + 2);
	if (strncmp(text, "z:", 2) == 0)
		return (long)calloc(1, strtoul(text + 2, NULL, 0) + 1);
	if (strncmp(text, "h:", 2) == 0) {
		block = calloc(1, strlen(text));
		from_hex(text + 2, block);
		return (long)block;
	}
	return (long)strtoull(text, NULL, 0);
}

static void
act_sys(char **arg, int n)
{
	long a[6] = { 0 }, result;
	int nr = n > 0 ? seccomp_syscall_resolve_name(arg[0]) : -1;

	for (int i = 1; i < n && i < 7; i++)
		a[i - 1] = argument(arg[i]);
	errno = 0;
	result = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	snprintf(answer, sizeof(answer), "%ld %d", result, errno);
}

static int
send_packet(int fd, const void *data, size_t len, const int *pass, size_t npass, int flags)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(ARGS * sizeof(int))];
	} u;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	memset(&u, 0, sizeof(u));
	if (npass > 0) {
		mh.msg_control = u.buf;
		mh.msg_controllen = CMSG_SPACE(npass * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(npass * sizeof(int));
		memcpy(CMSG_DATA(c), pass, npass * sizeof(int));
	}
	return sendmsg(fd, &mh, flags | MSG_NOSIGNAL) == -1 ? -1 : 0;
}

static void
act_send(char **arg, int n)
{
	int pass[ARGS], npass = 0, fd = atoi(arg[0]);
	size_t len = from_hex(n > 1 ? arg[1] : "", octets);
	int sent;

	for (int i = 2; i < n; i++)
		pass[npass++] = atoi(arg[i]);
	errno = 0;
	sent = send_packet(fd, octets, len, pass, (size_t)npass, 0) == 0;
	snprintf(answer, sizeof(answer), "%d %d", sent, errno);
}

static void
act_flood(char **arg, int n)
{
	size_t len = from_hex(n > 1 ? arg[1] : "", octets);
	long sent = 0, count = n > 2 ? atol(arg[2]) : 0;
	size_t at = n > 3 ? strtoul(arg[3], NULL, 0) : 0;
	int fd = atoi(arg[0]);
	uint32_t number;

	errno = 0;
	while (sent < count && send_packet(fd, octets, len, NULL, 0, MSG_DONTWAIT) == 0) {
		sent++;
		memcpy(&number, octets + at, sizeof(number));
		number += at > 0;
		memcpy(octets + at, &number, sizeof(number));
	}
	snprintf(answer, sizeof(answer), "%ld %d", sent, errno);
}

static void
act_recv(char **arg, int n)
{
	struct pollfd p = { .fd = atoi(arg[0]), .events = POLLIN };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} u;
	struct iovec iov = { .iov_base = octets, .iov_len = sizeof(octets) };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.buf,
		.msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c;
	ssize_t len = -1;
	int fd = -1;

	if (poll(&p, 1, n > 1 ? atoi(arg[1]) : 0) == 1)
		len = recvmsg(p.fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (len <= 0) {
		snprintf(
		    answer, sizeof(answer), "%s", len == 0 || p.revents & POLLHUP ? "eof" : "none");
		return;
	}
	if ((c = CMSG_FIRSTHDR(&mh)) != NULL && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	for (ssize_t i = 0; i < len; i++)
		snprintf(answer + 2 * i, 3, "%02x", octets[i]);
	snprintf(answer + 2 * len, 32, " %d", fd);
}

static void
act_fork(char **arg, int n)
{
	pid_t pid = fork();

	(void)arg;
	(void)n;
	if (pid == 0)
		_exit(0);
	snprintf(answer, sizeof(answer), "%d %d", (int)pid, pid == -1 ? errno : 0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void
act_exec(char **arg, int n)
{
	char *argv[] = { arg[0], NULL }, *none[] = { NULL };

	execve(n > 0 ? arg[0] : "", argv, none);
	snprintf(answer, sizeof(answer), "-1 %d", errno);
}

static void
act_table(char **arg, int n)
{
	size_t at = 0;

	(void)arg;
	(void)n;
#define X(NAME, name, from, to, fixed, least, most, fd)                                \
	at += (size_t)snprintf(answer + at, sizeof(answer) - at, "%s %d %zu\n", #NAME, \
	    (int)MSG_##NAME, (size_t)(fixed));
	MESSAGES(X)
#undef X
}

/* --- the sandbox, the commands --- */

static const struct sandbox *
sandbox_of(uint32_t role)
{
	return role == ROLE_WORKER     ? &worker_sandbox
	       : role == ROLE_RESOLVER ? &resolver_sandbox
	       : role == ROLE_PASSWORD ? &password_sandbox
	       : role == ROLE_ACCEPTOR ? &acceptor_sandbox
				       : &pam_sandbox;
}

static bool
obey(const struct msg_init *init)
{
	static const struct {
		const char *name;
		void (*act)(char **arg, int n);
	} acts[] = { { "sys", act_sys }, { "send", act_send }, { "recv", act_recv },
		{ "flood", act_flood }, { "fork", act_fork }, { "exec", act_exec },
		{ "table", act_table } };
	ssize_t len = recv(ears, command, sizeof(command) - 1, 0);
	char *arg[ARGS + 2] = { NULL }, *rest = command;
	int n = 0;

	if (len <= 0)
		return false;
	command[len] = '\0';
	while (n < ARGS + 1 && (arg[n] = strsep(&rest, " ")) != NULL)
		n++;
	snprintf(answer, sizeof(answer), "what?");
	if (n == 1 && strcmp(arg[0], "enter") == 0) {
		child_enter(sandbox_of(init->role), init);
		snprintf(answer, sizeof(answer), "0 0");
	}
	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strcmp(arg[0], acts[i].name) == 0 &&
		    (n > 1 || acts[i].act == act_fork || acts[i].act == act_table))
			acts[i].act(arg + 1, n - 1);
	return send(ears, answer, strlen(answer), MSG_NOSIGNAL) > 0;
}

int
main(int argc, char **argv)
{
	char dir[PATH_MAX], *name, hello[64];
	ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	struct msg_init init;
	int n;

	(void)argc;
	if (len <= 0)
		return 125;
	dir[len] = '\0';
	name = strrchr(dir, '/');
	*name++ = '\0';
	if (!wanted(dir))
		become_real(dir, name, argv);
	child_init(ROLES_CHILD, &init);
	if ((ears = ears_open(dir)) == -1)
		return 124;
	n = snprintf(hello, sizeof(hello), "here %d", (int)getpid());
	if (send(ears, hello, (size_t)n, MSG_NOSIGNAL) != n)
		return 123;
	while (obey(&init))
		;
	_exit(0);
}
