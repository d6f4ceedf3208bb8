/*
 * Spawning, reaping and replacing the processes. Trusts no child: a message that is refused, a
 * queue that it does not read, or a report of a peer ends in SIGKILL.
 */
#include "master/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/child.h"
#include "master/priority.h"

#define CHILDREN_MAX   (CHILDREN_WORKERS_MAX + ROLE_COUNT)
#define RESPAWN_MIN_MS 100 /* before a process that ended at once is tried again; doubles */
#define RESPAWN_MAX_MS 10000
#define QUICK_MS       10000 /* an end within this time counts as "at once" */

struct children {
	struct loop *loop;
	const char *libexec;
	bool quiet;
	const struct children_ops *ops;
	void *arg;
	uint32_t next_spawn;
	unsigned n;
	struct child *all[CHILDREN_MAX];
};

static const char *
program(enum role r)
{
	return r == ROLE_WORKER ? "worker" : r == ROLE_RESOLVER ? "resolver" : "authd";
}

struct children *
children_new(
    struct loop *l, const char *libexec, bool quiet, const struct children_ops *ops, void *arg)
{
	struct children *f = calloc(1, sizeof(*f));

	if (f != NULL)
		*f = (struct children){ .loop = l,
			.libexec = libexec,
			.quiet = quiet,
			.ops = ops,
			.arg = arg,
			.next_spawn = 1 };
	return f;
}

void
children_free(struct children *f)
{
	if (f == NULL)
		return;
	for (unsigned i = 0; i < f->n; i++)
		free(f->all[i]);
	free(f);
}

/* What a child has for standard input and output: /dev/null, or in a bare chroot, which has none,
 * an empty file that takes nothing. */
static int
open_nothing(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd != -1 || errno != ENOENT)
		return fd;
	fd = memfd_create("nothing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd != -1)
		(void)fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

/* A child's environment is empty, but that the initiator learns where the tickets are, and the
 * Kerberos configuration, of who started the gateway. */
static char **
environment(enum role r)
{
	static char *none[] = { NULL }, *kerberos[3];
	size_t n = 0;

#ifdef SANITIZED
	(void)none;
	(void)kerberos;
	(void)n;
	(void)r;
	return environ; /* the sanitizers' options */
#else
	if (r != ROLE_INITIATOR)
		return none;
	for (char **e = environ; *e != NULL && n < 2; e++)
		if (strncmp(*e, "KRB5CCNAME=", 11) == 0 || strncmp(*e, "KRB5_CONFIG=", 12) == 0)
			kerberos[n++] = *e;
	kerberos[n] = NULL;
	return kerberos;
#endif
}

/* In the forked child: only async-signal-safe calls until exec. */
static _Noreturn void
become(const char *path, const char *name, int sock, bool quiet, char **envp)
{
	char *argv[] = { (char *)(uintptr_t)name, NULL };
	sigset_t none;
	int null = open_nothing();

	/* The channel may stand on 0-2 or on CHILD_FD itself: move it out of the way first. */
	sock = fcntl(sock, F_DUPFD, CHILD_FD + 1);
	if (null == -1 || sock == -1 || dup2(null, 0) == -1 || dup2(null, 1) == -1 ||
	    (quiet && dup2(null, 2) == -1) || dup2(sock, CHILD_FD) == -1 ||
	    close_range(CHILD_FD + 1, ~0u, 0) == -1)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, argv, envp);
	_exit(errno == ENOENT ? 127 : 126);
}

static bool
on_message(struct chan *ch, struct msg *m)
{
	struct child *c = ch->owner;

	return c->family->ops->message(c->family->arg, c, m);
}

static void
on_end(struct chan *ch, enum chan_end why)
{
	struct child *c = ch->owner;

	if (why == CHAN_FAULT)
		child_kill(c, "%s (message %s)", ch->fault, msg_name(ch->fault_type));
	else if (c->pid > 0 && !c->stopping)
		kill(c->pid,
		    SIGKILL); /* without its channel it is of no use; usually gone already */
}

static void
before_send(struct chan *ch)
{
	const struct child *c = ch->owner;

	c->family->ops->before_send(c->family->arg);
}

static int
start_channel(struct child *c, int sock)
{
	c->chan.on_msg = on_message;
	c->chan.on_end = on_end;
	c->chan.before_send = before_send;
	c->chan.on_room = NULL;
	c->chan.owner = c;
	c->chan.keep_reading = (ROLE_BIT(c->role) & ROLES_AUTHD) != 0;
	return chan_start(&c->chan, c->family->loop, sock, ROLE_MASTER, c->role, c->spawn);
}

/* 0, or -1 with errno. */
static int
spawn(struct child *c)
{
	struct children *f = c->family;
	struct msg_init init = { .role = c->role };
	char path[4096], name[64];
	int sv[2];

	c->spawn = f->next_spawn++;
	c->ready = c->loaded = c->stopping = c->reaped = false;
	c->acked = c->lacking = 0;
	c->handed = 0;
	c->fault[0] = '\0';
	c->marked = 0;
	c->marked_until = 0;
	c->started = loop_now(f->loop);
	snprintf(path, sizeof(path), "%s/%s", f->libexec, program(c->role));
	snprintf(name, sizeof(name), "sallyport-%s", role_name(c->role));
	if (chan_pair(sv) == -1)
		return -1;
	char **envp = environment(c->role);
	c->pid = fork();
	if (c->pid == 0) {
		priority_child(c->role);
		become(path, name, sv[1], f->quiet, envp);
	}
	int saved = errno;
	close(sv[1]);
	if (c->pid == -1 || start_channel(c, sv[0]) == -1) {
		close(sv[0]);
		errno = saved;
		return -1;
	}
	init.spawn = c->spawn;
	f->ops->init(f->arg, c, &init);
	/* Alone: the child has no loop yet when it reads it. */
	if (chan_lend(&c->chan, MSG_INIT, &init, sizeof(init), -1) == -1)
		child_kill(c, "cannot be told what it is to be: %s", strerror(errno));
	f->ops->spawned(f->arg, c);
	return 0;
}

static void
on_respawn(struct deadline *d)
{
	struct child *c = (struct child *)((char *)d - offsetof(struct child, respawn));

	if (c->wanted && c->pid == -1 && spawn(c) == -1)
		deadline_arm(c->family->loop, &c->respawn, RESPAWN_MAX_MS);
}

static struct child *
find(struct children *f, enum role role, unsigned index)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->all[i]->role == role && f->all[i]->index == index)
			return f->all[i];
	return NULL;
}

static struct child *
add(struct children *f, enum role role, unsigned index)
{
	struct child *c;

	if (f->n == CHILDREN_MAX) {
		errno = EAGAIN;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->role = role;
	c->index = index;
	c->pid = -1;
	c->beside = -1;
	c->family = f;
	c->respawn.cb = on_respawn;
	f->all[f->n++] = c;
	return c;
}

static void
ask_to_end(struct child *c)
{
	if (c->pid > 0 && !c->stopping) {
		chan_send(&c->chan, MSG_STOP, NULL, 0, -1);
		c->stopping = true;
	}
}

static void
stop_one(struct child *c)
{
	c->wanted = false;
	deadline_disarm(&c->respawn);
	ask_to_end(c);
}

int
children_want(struct children *f, enum role role, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct child *c = find(f, role, i);
		if (c == NULL && (c = add(f, role, i)) == NULL)
			return -1;
		c->wanted = true;
		if (c->pid == -1 && !deadline_armed(&c->respawn) && spawn(c) == -1)
			return -1;
	}
	for (unsigned i = 0; i < f->n; i++)
		if (f->all[i]->role == role && f->all[i]->index >= n)
			stop_one(f->all[i]);
	return 0;
}

struct child *
children_by_spawn(struct children *f, uint32_t number)
{
	for (unsigned i = 0; i < f->n; i++)
		if ((f->all[i]->pid > 0 || f->all[i]->reaped) && f->all[i]->spawn == number)
			return f->all[i];
	return NULL;
}

struct child *
children_get(struct children *f, enum role role, unsigned index)
{
	struct child *c = find(f, role, index);

	return c != NULL && c->pid > 0 ? c : NULL;
}

void
children_each(struct children *f, enum role role, void (*fn)(struct child *c, void *arg), void *arg)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->all[i]->pid > 0 && (role == ROLE_COUNT || f->all[i]->role == role))
			fn(f->all[i], arg);
}

void
child_kill(struct child *c, const char *fmt, ...)
{
	va_list ap;

	if (c->fault[0] == '\0') {
		va_start(ap, fmt);
		vsnprintf(c->fault, sizeof(c->fault), fmt, ap);
		va_end(ap);
	}
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

/* In words, from the wait status and what it was killed for. */
static const char *
how_ended(const struct child *c, int status, char *buf, size_t size)
{
	if (c->fault[0] != '\0')
		return c->fault;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(buf, size, "killed by its system-call filter (SIGSYS)");
	else if (WIFSIGNALED(status))
		snprintf(buf, size, "killed by signal %d (SIG%s)", WTERMSIG(status),
		    sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 127)
		snprintf(buf, size, "could not be executed: is %s/%s there?", c->family->libexec,
		    program(c->role));
	else if (WEXITSTATUS(status) == 126)
		snprintf(buf, size, "could not be executed: is %s/%s a program that may be run?",
		    c->family->libexec, program(c->role));
	else
		snprintf(buf, size, "ended with status %d", WEXITSTATUS(status));
	return buf;
}

static void
ended(struct child *c, int status)
{
	struct children *f = c->family;
	char buf[4200];

	/* Its number may be another process's from now on. */
	c->last_pid = c->pid;
	c->pid = -1;
	/* Nobody holds the other end any more: what it has sent is read up to the end. */
	c->reaped = true;
	chan_drain(&c->chan);
	chan_stop(&c->chan);
	c->reaped = false;
	f->ops->lost(f->arg, c, how_ended(c, status, buf, sizeof(buf)));
	if (!c->wanted)
		return;
	c->failures = loop_now(f->loop) - c->started < QUICK_MS ? c->failures + 1 : 0;
	if (c->failures <= 1) {
		if (spawn(c) == -1)
			deadline_arm(f->loop, &c->respawn, RESPAWN_MAX_MS);
		return;
	}
	uint64_t ms = RESPAWN_MIN_MS << (c->failures < 10 ? c->failures - 2 : 8);
	deadline_arm(f->loop, &c->respawn, ms < RESPAWN_MAX_MS ? ms : RESPAWN_MAX_MS);
}

void
children_reap(struct children *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		struct child *c = f->all[i];
		int status;

		if (c->pid > 0 && waitpid(c->pid, &status, WNOHANG) == c->pid)
			ended(c, status);
	}
}

void
children_restart(struct children *f, enum role role)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->all[i]->role == role)
			ask_to_end(f->all[i]);
}

void
children_give_up(struct children *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		f->all[i]->wanted = false;
		deadline_disarm(&f->all[i]->respawn);
	}
}

void
children_stop(struct children *f, enum role role)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->all[i]->role == role)
			stop_one(f->all[i]);
}

unsigned
children_running(const struct children *f, enum role role)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n; i++)
		n += f->all[i]->pid > 0 && (role == ROLE_COUNT || f->all[i]->role == role);
	return n;
}
