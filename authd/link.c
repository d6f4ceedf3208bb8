/*
 * Channels: what may be asked of authd, in two switches. The master is believed; a worker is not,
 * and one that breaks the rules is reported to the master by its spawn number.
 */
#include "authd/link.h"

#include <stdlib.h>
#include <string.h>

#include "common/child.h"

static struct {
	struct loop *loop;
	enum role role;
	struct chan master;
	bool paused;
	LIST_HEAD(, worker) workers;
	const struct image *image; /* the level of protection is chosen by its rules */
	const struct check_role *checks;
} here;

struct chan *
link_master(void)
{
	return &here.master;
}

const struct image *
link_image(void)
{
	return here.image;
}

void
link_pause(bool pause)
{
	struct worker *w;

	if (pause == here.paused)
		return;
	here.paused = pause;
	LIST_FOREACH (w, &here.workers, entry)
		chan_pause(&w->chan, pause);
}

/* --- workers --- */

static bool
on_worker(struct chan *c, struct msg *m)
{
	struct worker *w = c->owner;

	switch (m->type) {
	case MSG_AUTH_PASSWORD:
		return here.checks->password != NULL && here.checks->password(w, m);
	case MSG_AUTH_TOKEN:
		return here.checks->token != NULL && here.checks->token(w, m);
	case MSG_AUTH_ABORT:
		return exchange_abort(w, m);
	default: /* the table lets a worker send nothing else here */
		return false;
	}
}

static void
on_worker_end(struct chan *c, enum chan_end why)
{
	struct worker *w = c->owner;
	struct msg_peer_fault fault = { .spawn = c->peer_spawn };

	LIST_REMOVE(w, entry);
	exchange_worker_end(w);
	free(w);
	if (why == CHAN_FAULT)
		(void)chan_send(&here.master, MSG_PEER_FAULT, &fault, sizeof(fault), -1);
}

/* A new worker's channel; false: the master must not send this. */
static bool
worker_add(struct msg *m)
{
	struct msg_peer p;
	struct worker *w;

	memcpy(&p, m->payload, sizeof(p));
	if (p.role != ROLE_WORKER)
		return false;
	LIST_FOREACH (w, &here.workers, entry) {
		if (w->chan.peer_spawn == p.spawn)
			return false;
	}
	if ((w = calloc(1, sizeof(*w))) == NULL)
		child_fail("no memory for a worker's channel");
	w->chan.on_msg = on_worker;
	w->chan.on_end = on_worker_end;
	w->chan.owner = w;
	if (chan_start(&w->chan, here.loop, m->fd, here.role, ROLE_WORKER, p.spawn) == -1)
		child_fail("a worker's channel");
	m->fd = -1;
	exchange_worker_begin(w);
	LIST_INSERT_HEAD(&here.workers, w, entry);
	if (here.paused)
		chan_pause(&w->chan, true);
	return true;
}

/* --- the master --- */

static bool
on_master(struct chan *c, struct msg *m)
{
	switch (m->type) {
	case MSG_POLICY:
		if (!child_policy(c, m, &here.image))
			return false;
		exchange_room();
		return true;
	case MSG_PEER:
		return worker_add(m);
	case MSG_USERS:
		if (here.checks->users == NULL)
			return false;
		here.checks->users(m->fd);
		return true;
	case MSG_KEYTAB:
		return here.checks->keytab != NULL && here.checks->keytab(m);
	case MSG_STOP:
		loop_stop(here.loop);
		return true;
	default:
		return false;
	}
}

void
link_start(struct loop *l, const struct msg_init *init, const struct check_role *role)
{
	here.loop = l;
	here.role = (enum role)init->role;
	here.checks = role;
	LIST_INIT(&here.workers);
	child_master(&here.master, l, init, on_master);
}
