/*
 * The resolver: one process that asks the configured name servers for all workers. It has the
 * sockets to those servers and one channel to each worker; no client, no file. The master is
 * trusted, workers and name servers are not.
 */
#include <ares.h>
#include <stdlib.h>
#include <string.h>

#include "common/child.h"
#include "common/wire.h"
#include "worker/resolver_ask.h"
#include "worker/resolver_client.h"
#include "worker/resolver_filter.h"

static struct {
	struct loop *loop;
	struct chan master;
	const struct image *img;
	struct questions *questions;
	struct clients *clients;
} R;

static void
report_fault(void *arg, uint32_t spawn)
{
	struct msg_peer_fault m = { .spawn = spawn };

	(void)arg;
	chan_send(&R.master, MSG_PEER_FAULT, &m, sizeof(m), -1);
}

static bool
on_policy(struct chan *c, struct msg *m)
{
	if (!child_policy(c, m, &R.img))
		return false;
	questions_image(R.questions, R.img);
	resolver_clients_serve(R.clients);
	return true;
}

static bool
on_peer(struct msg *m)
{
	struct msg_peer peer;
	struct wire w = wire_from(m->payload, m->len);
	int fd = m->fd;

	wire_copy(&w, &peer, sizeof(peer));
	if (!wire_done(&w) || peer.role != ROLE_WORKER)
		return false;
	m->fd = -1;
	/* No memory or descriptor for it: the worker sees its channel closed and is given another.
	 */
	if (resolver_clients_add(R.clients, fd, peer.spawn) == -1)
		report_fault(NULL, peer.spawn);
	return true;
}

/* All that the master may ask of the resolver. */
static bool
on_master(struct chan *c, struct msg *m)
{
	switch (m->type) {
	case MSG_POLICY:
		return on_policy(c, m);
	case MSG_PEER:
		return on_peer(m);
	case MSG_STOP:
		loop_stop(R.loop);
		return true;
	default:
		return false;
	}
}

int
main(void)
{
	struct msg_init init;

	child_init(ROLE_BIT(ROLE_RESOLVER), &init);
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		child_fail("c-ares cannot be initialised");
	if ((R.loop = loop_new()) == NULL)
		child_fail("the event loop cannot be made");
	R.questions = questions_new(R.loop);
	if (R.questions == NULL)
		child_fail("no memory");
	R.clients = resolver_clients_new(R.loop, R.questions, init.workers, report_fault, NULL);
	if (R.clients == NULL)
		child_fail("no memory");
	child_enter(&resolver_sandbox, &init);
	child_master(&R.master, R.loop, &init, on_master);
	int rc = loop_run(R.loop);
	chan_flush(&R.master);
	resolver_clients_free(R.clients);
	questions_free(R.questions);
	return rc == 0 ? 0 : 1;
}
