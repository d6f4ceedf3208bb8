/*
 * The pam role: starts and ends helpers. A helper is a fork of this single-threaded process that
 * asks PAM (authd/pam_helper.c), because modules are code that nobody here has seen: they may
 * block, crash, or keep state. What a helper says is believed, for it is the one that knows; how
 * long it takes is not: it is killed after PAM_TICKS, and a failure is told only at a tick, so that
 * the time in between, which depends on what there is of the user, stays hidden.
 * What a module starts ends with its helper: this process adopts it (PR_SET_CHILD_SUBREAPER) and
 * kills it, or programs that hang would use up the processes that the role may have.
 */
#include "authd/pam.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authd/ask.h"
#include "authd/pam_helper.h"

/* One exchange with PAM, until it is answered; its helper ends before it, or with it. */
struct check {
	LIST_ENTRY(check) entry; /* while there is a helper */
	struct exchange *x;
	struct ev ev; /* of the helper's pidfd */
	struct deadline tick;
	unsigned ticks;
	pid_t pid;    /* 0: no helper */
	int pipe;     /* what it says */
	bool decided; /* the verdict is there; it waits for the tick */
	enum verdict_code verdict;
};

static struct {
	struct loop *loop;
	const char *service;
	LIST_HEAD(, check) running;
	unsigned helpers;
} here;

int
pam_init(struct loop *l, const struct msg_init *init)
{
	if (init->pam_service[0] == '\0') {
		errno = EINVAL;
		return -1;
	}
	here.loop = l;
	here.service = init->pam_service;
	LIST_INIT(&here.running);
	return ask_init(l) == -1 ? -1 : prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static bool
is_helper(pid_t pid)
{
	struct check *c;

	LIST_FOREACH (c, &here.running, entry) {
		if (c->pid == pid)
			return true;
	}
	return false;
}

/* Kills and reaps every child that is no helper. */
static void
orphans_kill(void)
{
	char path[64];
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "re");
	while (f != NULL && fscanf(f, "%d", &pid) == 1) {
		if (is_helper(pid))
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG); /* or at the next call */
	}
	if (f != NULL)
		fclose(f);
}

void
pam_stop(void)
{
	struct check *c;

	LIST_FOREACH (c, &here.running, entry)
		kill(-c->pid, SIGKILL);
	while ((c = LIST_FIRST(&here.running)) != NULL) {
		waitpid(c->pid, NULL, 0);
		LIST_REMOVE(c, entry);
	}
	orphans_kill();
}

static bool
pam_room(void)
{
	return here.helpers < PAM_HELPERS;
}

static void
check_finish(struct check *c)
{
	struct exchange *x = c->x;
	enum verdict_code v = c->verdict;

	deadline_disarm(&c->tick);
	x->check = NULL;
	free(c);
	exchange_done(x, v);
}

/* Takes over what an accepting helper found. */
static enum verdict_code
result_take(struct exchange *x, const struct pam_result *r)
{
	if (r->verdict == VERDICT_NONE || r->verdict >= VERDICT_COUNT)
		return VERDICT_FAILED;
	if (r->verdict != VERDICT_ACCEPT)
		return (enum verdict_code)r->verdict;
	if (r->user_len == 0 || r->groups_len > sizeof(r->groups))
		return VERDICT_FAILED;
	if (r->groups_len > 0) {
		if ((x->groups = malloc(r->groups_len)) == NULL)
			return VERDICT_FAILED;
		memcpy(x->groups, r->groups, r->groups_len);
		x->groups_len = r->groups_len;
	}
	memcpy(x->name, r->user, r->user_len);
	x->name_len = r->user_len;
	return VERDICT_ACCEPT;
}

/* The helper has ended: whatever it had to say is in the pipe, which holds it whole. */
static void
on_ended(struct ev *e, uint32_t events)
{
	struct check *c = (struct check *)((char *)e - offsetof(struct check, ev));
	struct pam_result r;
	int pidfd = e->fd, status;

	(void)events;
	ev_del(here.loop, e);
	close(pidfd);
	while (waitpid(c->pid, &status, 0) == -1 && errno == EINTR)
		;
	LIST_REMOVE(c, entry);
	c->pid = 0;
	orphans_kill();
	ssize_t n = read(c->pipe, &r, sizeof(r));
	close(c->pipe);
	c->pipe = -1;
	c->verdict = n == (ssize_t)sizeof(r) ? result_take(c->x, &r) : VERDICT_FAILED;
	c->decided = true;
	here.helpers--;
	exchange_room();
	if (c->verdict == VERDICT_ACCEPT)
		check_finish(c);
}

static void
on_tick(struct deadline *d)
{
	struct check *c = (struct check *)((char *)d - offsetof(struct check, tick));

	if (c->decided) {
		check_finish(c);
		return;
	}
	/* Its process group: what it has started goes too. */
	if (++c->ticks == PAM_TICKS)
		kill(-c->pid, SIGKILL);
	orphans_kill();
	deadline_arm(here.loop, &c->tick, PAM_TICK);
}

/* Starts the helper. 0, or -1. */
static int
helper_start(struct check *c)
{
	int p[2], pidfd;

	if (pipe2(p, O_CLOEXEC) == -1)
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		pam_helper(here.service, c->x, p[1]);
	close(p[1]);
	if (pid != -1) {
		setpgid(pid, pid); /* the helper does too: whoever comes first */
		pidfd = pidfd_open(pid, 0);
		if (pidfd != -1 && fcntl(p[0], F_SETFL, O_NONBLOCK) == 0 &&
		    ev_add(here.loop, &c->ev, pidfd, EPOLLIN) == 0) {
			c->pid = pid;
			c->pipe = p[0];
			here.helpers++;
			LIST_INSERT_HEAD(&here.running, c, entry);
			return 0;
		}
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (pidfd != -1)
			close(pidfd);
	}
	close(p[0]);
	return -1;
}

static bool
holds_nul(const struct exchange *x)
{
	return memchr(x->user, 0, x->user_len) != NULL ||
	       memchr(x->password, 0, x->password_len) != NULL;
}

static void
pam_begin(struct exchange *x)
{
	struct check *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		explicit_bzero(x->password, sizeof(x->password));
		exchange_done(x, VERDICT_FAILED);
		return;
	}
	c->x = x;
	c->ev = (struct ev){ .fd = -1, .cb = on_ended };
	c->tick.cb = on_tick;
	c->pipe = -1;
	x->check = c;
	/* PAM's strings end at a NUL: what is behind it would be left unchecked. */
	if (holds_nul(x)) {
		c->decided = true;
		c->verdict = VERDICT_WRONG;
	} else if (helper_start(c) == -1) {
		c->decided = true;
		c->verdict = VERDICT_FAILED;
	}
	explicit_bzero(x->password, sizeof(x->password));
	deadline_arm(here.loop, &c->tick, PAM_TICK);
}

const struct check_role pam_role = {
	.method = METHOD_PASSWORD,
	.room = pam_room,
	.hold = ask_hold,
	.begin = pam_begin,
	.checked = ask_checked,
	.password = ask_password,
};
