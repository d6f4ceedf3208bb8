/*
 * What the processes are told: what to become, the policy, their peers, listeners and the files
 * that they are handed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "master/acceptor_dir.h"
#include "master/credentials.h"
#include "master/gateway.h"
#include "master/own.h"
#include "master/twins.h"

static bool
role_is_authd(enum role r)
{
	return (ROLE_BIT(r) & ROLES_AUTHD) != 0;
}

static void
fill_init(void *arg, const struct child *c, struct msg_init *m)
{
	struct gateway *g = arg;
	const struct conf_process *p = &g->first->process[c->role];
	char path[PATH_MAX_MSG];

	m->uid = geteuid() == 0 ? p->uid : 0;
	m->gid = geteuid() == 0 ? p->gid : 0;
	m->slots = g->slots;
	m->workers = g->workers;
	memcpy(m->layers, g->first->sandbox, sizeof(m->layers));
	if (c->role == ROLE_ACCEPTOR)
		snprintf(m->directory, sizeof(m->directory), "%s",
		    acceptor_dir_path(g->first, path, sizeof(path)));
	if (c->role == ROLE_INITIATOR && g->first->krb5_conf != NULL)
		snprintf(m->directory, sizeof(m->directory), "%s", g->first->krb5_conf);
	if (c->role == ROLE_ACCEPTOR)
		memcpy(m->chroot, m->directory, sizeof(m->chroot));
	else if (c->role != ROLE_PAM && c->role != ROLE_INITIATOR)
		snprintf(m->chroot, sizeof(m->chroot), "%s",
		    p->chroot != NULL
			? p->chroot
			: rundir_path(g->first->run_directory, "empty", path, sizeof(path)));
	if (g->conf->pam_service != NULL)
		snprintf(m->pam_service, sizeof(m->pam_service), "%s", g->conf->pam_service);
}

static void
send_policy(struct child *c, void *arg)
{
	struct gateway *g = arg;
	struct msg_policy m = { .version = policies_version(g->policies) };
	int fd = policies_fd(g->policies, &m.size);

	if (fd == -1 || chan_send(&c->chan, MSG_POLICY, &m, sizeof(m), fd) == -1)
		child_kill(c, "the policy could not be passed to it: %s", strerror(errno));
}

static void
send_peer(struct child *to, const struct child *peer, int fd)
{
	struct msg_peer m = { .role = peer->role, .spawn = peer->spawn };

	if (chan_send(&to->chan, MSG_PEER, &m, sizeof(m), fd) == -1)
		child_kill(to, "a channel could not be passed to it: %s", strerror(errno));
}

/* A channel between a worker and the resolver or a role of authd. */
static void
join(struct child *worker, struct child *service)
{
	int sv[2];

	if (chan_pair(sv) == -1) {
		child_kill(worker, "no channel could be made for it: %s", strerror(errno));
		return;
	}
	send_peer(worker, service, sv[0]);
	send_peer(service, worker, sv[1]);
}

static void
join_worker(struct child *worker, void *service)
{
	join(worker, service);
}

static void
join_service(struct child *service, void *worker)
{
	if (service->role != ROLE_WORKER)
		join(worker, service);
}

static void
send_counts(struct gateway *g, struct child *w)
{
	struct msg_counts m = { .slots = g->slots };
	int fd = sessions_worker_start(g->sessions, w);

	if (fd == -1 || chan_send(&w->chan, MSG_COUNTS, &m, sizeof(m), fd) == -1)
		child_kill(w, "its page of counts could not be made: %s", strerror(errno));
}

static void
send_handed(struct child *c, void *arg)
{
	struct gateway *g = arg;

	handed_send(c, g->handed);
	if (c->role == ROLE_INITIATOR)
		credentials_send(g, c);
}

static void
spawned(void *arg, struct child *c)
{
	struct gateway *g = arg;

	if (g->options->verbose)
		fprintf(stderr, "sallyportd: %s %u started, pid %d\n", role_name(c->role), c->spawn,
		    (int)c->pid);
	if (c->role == ROLE_WORKER)
		send_counts(g, c);
	send_policy(c, g);
	send_handed(c, g);
	if (c->role != ROLE_WORKER) {
		children_each(g->children, ROLE_WORKER, join_worker, c);
		return;
	}
	children_each(g->children, ROLE_COUNT, join_service, c);
	if (listeners_send(g->listeners, c) == -1)
		child_kill(c, "its listeners could not be passed to it: %s", strerror(errno));
}

static bool
message(void *arg, struct child *c, struct msg *m)
{
	return requests_handle(arg, c, m);
}

static void
lost(void *arg, struct child *c, const char *how)
{
	struct gateway *g = arg;
	struct audit_rec r;
	bool planned = c->stopping && c->fault[0] == '\0';

	twins_forget(c);
	if (c->role == ROLE_WORKER)
		sessions_worker_end(g->sessions, c,
		    g->phase == PHASE_STOPPING ? REASON_SHUTDOWN : REASON_CHILD_LOST);
	if (!planned && g->served) {
		audit_begin(&r, EVENT_CHILD_LOST);
		audit_num(&r, FIELD_WORKER, c->spawn);
		audit_word(&r, FIELD_ROLE, role_name(c->role));
		audit_num(&r, FIELD_PID, (uint64_t)c->last_pid);
		audit_str(&r, FIELD_DETAIL, how, strlen(how));
		log_record(g->log, &r);
	}
	if (g->phase == PHASE_STARTING) {
		fprintf(stderr, "sallyportd: cannot start: the %s process %s\n", role_name(c->role),
		    how);
		gateway_stop(g, 1);
	} else if (g->phase == PHASE_STOPPING) {
		gateway_stop(g, g->exit_status);
	}
}

/* Nothing is granted before its record was handed to the logs. */
static void
before_send(void *arg)
{
	const struct gateway *g = arg;

	log_flush(g->log);
}

const struct children_ops gateway_children = {
	.init = fill_init,
	.spawned = spawned,
	.message = message,
	.before_send = before_send,
	.lost = lost,
};

int
wiring_want(struct gateway *g)
{
	if (children_want(g->children, ROLE_RESOLVER, 1) == -1 ||
	    children_want(g->children, ROLE_PASSWORD, g->conf->users_file != NULL) == -1 ||
	    children_want(g->children, ROLE_PAM, g->conf->pam_service != NULL) == -1 ||
	    children_want(g->children, ROLE_ACCEPTOR, g->conf->gssapi.keytab != NULL) == -1 ||
	    children_want(g->children, ROLE_INITIATOR, conf_initiator(g->conf)) == -1)
		return -1;
	return children_want(g->children, ROLE_WORKER, g->workers);
}

int
wiring_policy(struct gateway *g)
{
	struct image_inputs in = { .hosts_path = "/etc/hosts",
		.resolv_conf_path = "/etc/resolv.conf",
		.workers = g->workers };

	in.own = own_addrs(&in.nown);
	if (policies_add(g->policies, g->conf, &in) == -1)
		return -1;
	children_each(g->children, ROLE_COUNT, send_policy, g);
	return 0;
}

int
wiring_acceptor(struct gateway *g, const struct conf *c, FILE *errors)
{
	unsigned modules;

	if (acceptor_dir_make(g->first, c, &modules, errors) == -1)
		return -1;
	if (modules > 0)
		gateway_notice(g,
		    "%s: module lines are left out for the acceptor, which can load no file",
		    c->krb5_conf);
	return 0;
}

void
wiring_handed_send(struct gateway *g)
{
	children_each(g->children, ROLE_COUNT, send_handed, g);
}

static void
drain(struct child *c, void *arg)
{
	(void)arg;
	if (role_is_authd(c->role))
		chan_drain(&c->chan);
}

void
wiring_drain_authd(void *gateway)
{
	struct gateway *g = gateway;

	children_each(g->children, ROLE_COUNT, drain, NULL);
}
