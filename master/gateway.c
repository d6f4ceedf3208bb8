/*
 * The life of the gateway: start, serve, stop. Everything that may fail at a start does so before
 * the first client can connect, with what to do about it on standard error.
 */
#include "master/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/version.h"
#include "master/acceptor_dir.h"
#include "master/filter.h"
#include "master/marks.h"
#include "master/notify.h"
#include "master/own.h"
#include "master/priority.h"

#define STOP_MS         5000  /* for workers to close their sessions, before they are killed */
#define LOG_CLOSE_MS    2000  /* for logs to take their last records */
#define RESERVED_FDS    192   /* of a worker, beside two a session: some are closed a turn late */
#define HANDSHAKE_SLOTS 1024  /* beside those of `limit sessions`, for sessions that begin */
#define SESSIONS_MAX    20000 /* where the configuration sets no limit */

static int
fail(const char *what)
{
	fprintf(stderr, "sallyportd: cannot start: %s: %s\n", what, strerror(errno));
	return -1;
}

void
gateway_notice(struct gateway *g, const char *fmt, ...)
{
	char text[AUDIT_OCTETS_MAX];
	struct audit_rec r;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	audit_begin(&r, EVENT_NOTICE);
	audit_str(&r, FIELD_DETAIL, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
	log_record(g->log, &r);
}

/* --- starting --- */

/* As many descriptors as there may be; what a worker can serve follows from it. */
static void
size_up(struct gateway *g)
{
	struct rlimit r = { 0, 0 };
	uint32_t wanted = g->conf->limit_sessions != 0 ? g->conf->limit_sessions : SESSIONS_MAX;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
		getrlimit(RLIMIT_NOFILE, &r);
	}
	rlim_t most = r.rlim_cur > RESERVED_FDS + 2 ? (r.rlim_cur - RESERVED_FDS) / 2 : 1;
	g->slots = wanted + HANDSHAKE_SLOTS;
	if (g->slots > most)
		g->slots = (uint32_t)most;
	g->workers = g->conf->workers != 0 ? g->conf->workers : (unsigned)(cpus > 0 ? cpus : 1);
	if (g->workers > CHILDREN_WORKERS_MAX)
		g->workers = CHILDREN_WORKERS_MAX;
}

/* Is there a controlling terminal? Once it has hung up, it cannot be opened any more. */
static bool
has_terminal(void)
{
	int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd != -1)
		close(fd);
	return fd != -1;
}

static void
on_signal(struct ev *e, uint32_t events)
{
	struct gateway *g = (struct gateway *)((char *)e - offsetof(struct gateway, signals));
	struct signalfd_siginfo si;

	(void)events;
	while (read(e->fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD) {
			children_reap(g->children);
		} else if (si.ssi_signo == SIGHUP && (!g->terminal || has_terminal())) {
			if (g->phase != PHASE_SERVING)
				continue;
			notify("RELOADING=1");
			reload(g, stderr);
			log_flush(g->log);
			notify("READY=1");
		} else {
			gateway_stop(g, 0);
		}
	}
}

static int
open_signals(struct gateway *g)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd == -1)
		return -1;
	g->signals.cb = on_signal;
	return ev_add(g->loop, &g->signals, fd, EPOLLIN);
}

static void on_stop(struct deadline *d);

/* What needs nothing of the others. */
static int
open_basics(struct gateway *g)
{
	g->stop.cb = on_stop;
	g->loop = loop_new();
	if (g->loop == NULL || open_signals(g) == -1 ||
	    getrandom(&g->instance, sizeof(g->instance), 0) != sizeof(g->instance))
		return fail("event loop");
	g->policies = policies_new();
	g->listeners = listeners_new(g->workers);
	g->children = children_new(
	    g->loop, g->options->libexec, g->options->ready_fd != -1, &gateway_children, g);
	g->watch = watch_new(g->loop);
	if (g->policies == NULL || g->listeners == NULL || g->children == NULL || g->watch == NULL)
		return fail("memory");
	return 0;
}

static struct gateway *running; /* own_open's callback has no argument: one gateway a process */

static void
on_own_changed(void)
{
	if (running->phase == PHASE_SERVING && wiring_policy(running) == -1)
		gateway_notice(
		    running, "the policy could not follow an address change: %s", strerror(errno));
}

/* The ledger says whether another gateway lives in this run directory. */
static int
open_sessions(struct gateway *g)
{
	struct sessions_setup s = { .loop = g->loop,
		.log = g->log,
		.early = g->early,
		.policies = g->policies,
		.run_directory = g->conf->run_directory,
		.instance = g->instance,
		.workers = g->workers,
		.slots = g->slots,
		.drain_authd = wiring_drain_authd,
		.arg = g };

	g->sessions = sessions_new(&s);
	if (g->sessions == NULL && errno == EWOULDBLOCK) {
		fprintf(stderr,
		    "sallyportd: cannot start: another gateway runs with the run directory %s; stop "
		    "it, or give this one its own with `run directory \"DIR\"`\n",
		    g->conf->run_directory);
		return -1;
	}
	if (g->sessions == NULL)
		return fail(
		    "the file `ledger` in the run directory, which must be a regular file of the gateway's own");
	sessions_configure(g->sessions, g->conf);
	return 0;
}

static int
harden(struct gateway *g)
{
	uint32_t marks[EGRESS_MARKS_MAX + 1];
	enum layer failed;

	if (master_harden(g->conf->sandbox, conf_marks(g->conf, marks) > 0, &g->lacking, &failed) ==
	    0) {
		if (marks_possible(g->conf, stderr))
			return 0;
		fprintf(stderr, "sallyportd: cannot start with these marks\n");
		return -1;
	}
	fprintf(stderr,
	    "sallyportd: cannot start: the required sandbox layer %s is not to be had for the "
	    "master: %s; `sandbox %s try` goes on without it\n",
	    layer_name(failed), strerror(errno), layer_name(failed));
	return -1;
}

static int
start(struct gateway *g)
{
	size_up(g);
	priority_yield();
	if (open_basics(g) == -1 || handed_open_all(g->conf, g->handed, stderr) == -1 ||
	    rundir_make(g->conf->run_directory, g->made) == -1 ||
	    (g->log = log_open(g->loop, g->conf, stderr)) == NULL)
		return -1;
	if ((g->early = early_new(g->loop, g->log)) == NULL)
		return fail("memory");
	/* The run directory is this gateway's alone once the sessions have its ledger. */
	if (listeners_prepare(g->listeners, g->conf, stderr) == -1 || open_sessions(g) == -1 ||
	    wiring_acceptor(g, g->conf, stderr) == -1)
		return -1;
	g->control = control_new(g->loop, g->conf->run_directory, commands_run, g);
	if (g->control == NULL)
		return fail("control socket in the run directory");
	if (own_open(g->loop, on_own_changed) == -1)
		return fail("the machine's addresses (rtnetlink)");
	if (harden(g) == -1)
		return -1;
	reload_watch(g);
	if (wiring_policy(g) == -1)
		return fail("policy");
	listeners_commit(g->listeners, g->children);
	if (wiring_want(g) == -1)
		return fail("a process could not be started");
	return 0;
}

/* --- serving --- */

/* One record for all that this kernel or user cannot have. */
static void
tell_lacking(struct gateway *g)
{
	char text[AUDIT_OCTETS_MAX] = "";
	struct audit_rec r;
	size_t at = 0;

	for (unsigned i = 0; i < LAYER_COUNT; i++)
		if ((g->lacking & (1u << i)) != 0)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
			    at > 0 ? ", " : "", layer_name((enum layer)i));
	if (at == 0)
		return;
	snprintf(text + at, sizeof(text) - at, ": not to be had %s; running without",
	    geteuid() == 0 ? "from this kernel" : "without root or from this kernel");
	audit_begin(&r, EVENT_SANDBOX);
	audit_str(&r, FIELD_DETAIL, text, strlen(text));
	log_record(g->log, &r);
}

/* In the background: the starter is told, and the terminal it stands at is let go. */
static void
leave_terminal(int ready_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null != -1) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		close(null);
	}
	(void)!write(ready_fd, "", 1);
	close(ready_fd);
}

static void
not_ready(struct child *c, void *arg)
{
	const struct gateway *g = ((void **)arg)[0];
	bool *all = ((void **)arg)[1];

	if (!c->ready || c->acked < policies_version(g->policies) || handed_missing(c))
		*all = false;
}

void
gateway_check_started(struct gateway *g)
{
	struct audit_rec r;
	bool all = true;
	char text[128];

	if (g->phase != PHASE_STARTING)
		return;
	children_each(g->children, ROLE_COUNT, not_ready, (void *[]){ g, &all });
	if (!all)
		return;
	g->phase = PHASE_SERVING;
	g->served = true;
	snprintf(text, sizeof(text), "sallyportd %s, workers %u, listeners %u", SALLYPORT_VERSION,
	    g->workers, listeners_count(g->listeners));
	audit_begin(&r, EVENT_START);
	audit_num(&r, FIELD_PID, (uint64_t)getpid());
	audit_num(&r, FIELD_VERSION, policies_version(g->policies));
	audit_str(&r, FIELD_FILE, g->options->conf_path, strlen(g->options->conf_path));
	audit_str(&r, FIELD_DETAIL, text, strlen(text));
	log_record(g->log, &r);
	tell_lacking(g);
	log_flush(g->log); /* whoever waits for the start finds its record */
	notify("READY=1");
	if (g->options->ready_fd != -1)
		leave_terminal(g->options->ready_fd);
}

/* --- stopping --- */

static void
kill_one(struct child *c, void *arg)
{
	(void)arg;
	if (c->stopping)
		child_kill(c, "did not end in time");
}

static void
on_stop(struct deadline *d)
{
	struct gateway *g = (struct gateway *)((char *)d - offsetof(struct gateway, stop));

	children_each(g->children, ROLE_COUNT, kill_one, NULL);
}

/* Called again at each child's end: workers go first, since the others serve them. */
void
gateway_stop(struct gateway *g, int exit_status)
{
	g->exit_status = exit_status;
	if (g->phase != PHASE_STOPPING) {
		g->phase = PHASE_STOPPING;
		notify("STOPPING=1");
		listeners_free(g->listeners); /* another gateway may take the ports now */
		g->listeners = NULL;
		children_give_up(g->children);
		children_stop(g->children, ROLE_WORKER);
		deadline_arm(g->loop, &g->stop, STOP_MS);
	}
	if (children_running(g->children, ROLE_WORKER) > 0)
		return;
	children_stop(g->children, ROLE_RESOLVER);
	for (unsigned r = ROLE_PASSWORD; r < ROLE_COUNT; r++)
		children_stop(g->children, (enum role)r);
	if (children_running(g->children, ROLE_COUNT) == 0)
		loop_stop(g->loop);
	else if (!deadline_armed(&g->stop))
		deadline_arm(g->loop, &g->stop, STOP_MS);
}

/* Whatever was made is undone, also after a start that failed halfway. */
static void
finish(struct gateway *g)
{
	struct audit_rec r;

	control_free(g->control);
	if (g->early != NULL)
		early_flush_all(g->early);
	if (g->served) {
		audit_begin(&r, EVENT_STOP);
		audit_num(&r, FIELD_PID, (uint64_t)getpid());
		log_record(g->log, &r);
	}
	if (g->sessions != NULL) /* else the run directory is another's */
		acceptor_dir_remove(g->first->run_directory);
	sessions_free(g->sessions);
	early_free(g->early);
	if (g->log != NULL)
		log_close(g->log, LOG_CLOSE_MS);
	own_close();
	watch_free(g->watch);
	listeners_free(g->listeners);
	policies_free(g->policies);
	children_free(g->children);
	rundir_remove(g->first->run_directory, g->made);
	if (g->first != g->conf)
		conf_free(g->first);
	conf_free(g->conf);
	handed_close_all(g->handed);
	loop_free(g->loop);
}

int
gateway_run(const struct gateway_options *o, struct conf *c)
{
	struct gateway g = {
		.options = o, .conf = c, .first = c, .handed = { -1, -1 }, .exit_status = 1
	};
	running = &g;
	g.terminal = o->ready_fd == -1 && has_terminal();
	if (start(&g) == 0) {
		g.exit_status = 0;
		if (loop_run(g.loop) == -1)
			fail("event loop");
	} else if (g.children != NULL && children_running(g.children, ROLE_COUNT) > 0) {
		gateway_stop(&g, 1);
		loop_run(g.loop);
	}
	finish(&g);
	return g.exit_status;
}
