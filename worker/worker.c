/*
 * A worker's memory: made before the sandbox is entered, so that nothing of it can fail later.
 */
#include "worker/worker.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "worker/accept.h"
#include "worker/egress.h"
#include "worker/link.h"
#include "worker/session.h"

static void
report_resolver(void *arg, uint32_t spawn)
{
	link_peer_fault(arg, spawn);
}

struct worker *
worker_new(struct loop *l, uint32_t slots)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	struct rlimit most;

	if (w == NULL)
		return NULL;
	memset(w, 0, offsetof(struct worker, scratch)); /* not the buffers, which are its end */
	w->loop = l;
	w->nslots = slots;
	w->descriptors = getrlimit(RLIMIT_NOFILE, &most) == 0 ? most.rlim_cur : 0;
	w->slots = calloc(slots, sizeof(*w->slots));
	w->names = names_new(l);
	w->egress = egress_new();
	if (w->slots == NULL || w->names == NULL || w->egress == NULL) {
		worker_free(w);
		errno = ENOMEM;
		return NULL;
	}
	names_on_fault(w->names, report_resolver, w);
	SLIST_INIT(&w->unused);
	TAILQ_INIT(&w->listeners);
	STAILQ_INIT(&w->policies);
	w->master.owner = w;
	w->master.on_room = link_on_room;
	return w;
}

void
worker_free(struct worker *w)
{
	struct policy *p;

	for (uint32_t i = 0; w->policy != NULL && i < w->touched; i++) {
		struct session *s = &w->slots[i];
		if (s->state == SESSION_ABORTED)
			session_auth_done(s);
		else if (s->state != SESSION_FREE)
			session_close(s, REASON_SHUTDOWN, 0);
		if (s->state == SESSION_ABORTED)
			session_auth_done(s);
	}
	if (w->listeners.tqh_last != NULL)
		accept_stop(w);
	for (unsigned v = SERVICE_NONE + 1; v < SERVICES; v++)
		if (w->authd[v].up)
			chan_stop(&w->authd[v].chan);
	chan_stop(&w->initiator);
	chan_stop(&w->master);
	names_free(w->names);
	egress_free(w->egress);
	while ((p = STAILQ_FIRST(&w->policies)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->policies, entry);
		image_unmap(p->img);
		free(p);
	}
	if (w->counts != NULL)
		counts_unmap(w->counts, w->nslots);
	spare_end(&w->spare);
	free(w->slots);
	free(w);
}
