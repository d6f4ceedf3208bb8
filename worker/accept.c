/*
 * Listeners and the source check. While the worker can take no one, it polls no listener: clients
 * wait in the kernel's queue, and no cycle is spent on them.
 */
#include "worker/accept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/rules.h"
#include "worker/link.h"
#include "worker/session.h"
#include "worker/worker.h"

#define ACCEPT_BATCH    32   /* clients a turn and listener, so that others have their turn */
#define ACCEPT_PAUSE_MS 100  /* when the machine is out of descriptors or memory */
#define DRAIN_MAX       4096 /* the longest queue a listener can have by default (somaxconn) */
#define DRAIN_WAIT_MS   10   /* until the next try, while no one can be accepted */

static bool
may_accept(const struct worker *w)
{
	return !w->stopping && w->policy != NULL && w->counts != NULL &&
	       !deadline_armed(&w->accept_pause) && session_slots_left(w) &&
	       w->handshakes < w->policy->img->handshakes && !chan_full(&w->master);
}

static void
listener_close(struct listener *l)
{
	TAILQ_REMOVE(&l->w->listeners, l, entry);
	ev_del(l->w->loop, &l->ev);
	deadline_disarm(&l->drain);
	close(l->fd);
	free(l);
}

void
accept_update(struct worker *w)
{
	struct listener *l;
	bool may = may_accept(w);

	if (may == w->accepting)
		return;
	w->accepting = may;
	TAILQ_FOREACH (l, &w->listeners, entry) {
		if (!may)
			ev_del(w->loop, &l->ev);
		else if (l->ev.fd == -1 && ev_add(w->loop, &l->ev, l->fd, EPOLLIN) == -1)
			abort();
	}
}

static void
on_pause_over(struct deadline *d)
{
	accept_update((struct worker *)((char *)d - offsetof(struct worker, accept_pause)));
}

static void
accept_rest(struct worker *w)
{
	w->accept_pause.cb = on_pause_over;
	deadline_arm(w->loop, &w->accept_pause, ACCEPT_PAUSE_MS);
	accept_update(w);
}

/* A client that no rule could serve is turned away before anything is read. */
static bool
source_passes(struct worker *w, const struct addrport *client)
{
	struct query q = { .known = KNOW_SOURCE, .source = client->a };

	return w->policy->open_methods != 0 || rules_eval(w->policy->img, &q, NULL) != RULES_BLOCK;
}

/* It has TCP_NODELAY from its listener. */
static void
welcome(const struct listener *l, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	struct addrport client, gateway = l->at;
	struct worker *w = l->w;

	if ((addr_is_any(&gateway.a) && addr_local(fd, &gateway) == -1) ||
	    addr_from_sockaddr((const struct sockaddr *)ss, len, &client) == -1) {
		close(fd);
		return;
	}
	/* A dual-stack listener's v4-mapped addresses are IPv4 addresses in every record. */
	client.a = addr_dial(&client.a);
	gateway.a = addr_dial(&gateway.a);
	if (!source_passes(w, &client)) {
		link_early(w, &client, &gateway, REASON_SOURCE, 0);
		close(fd);
		return;
	}
	if (session_new(w, fd, &client, &gateway) == NULL) {
		link_early(w, &client, &gateway, REASON_GENERAL, 0);
		accept_rest(w);
	}
}

/* What accept4 says when it gives no client. False: the listener is of no use now. */
static bool
accept_failed(struct listener *l, int error)
{
	switch (error) {
	case EAGAIN:
		if (l->draining)
			listener_close(l);
		return false;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		accept_rest(l->w);
		return false;
	case EBADF:
	case EINVAL:
	case ENOTSOCK:
	case EOPNOTSUPP:
		/* It listens no longer. */
		listener_close(l);
		return false;
	default:
		/* An error of the client's connection (accept(2), "Error handling"). */
		return true;
	}
}

/*
 * How many clients to accept now: as many as wait (the kernel counts them as what a listener has
 * not acknowledged), since an accept4 that finds none costs more than to ask. A listener that is
 * being drained, or that listens no longer, is accepted from until that fails.
 */
static unsigned
waiting(const struct listener *l)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (l->draining || getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == -1 ||
	    info.tcpi_unacked == 0 || info.tcpi_unacked > ACCEPT_BATCH)
		return ACCEPT_BATCH;
	return info.tcpi_unacked;
}

static void
on_listener(struct ev *e, uint32_t events)
{
	struct listener *l = (struct listener *)((char *)e - offsetof(struct listener, ev));
	struct worker *w = l->w;

	(void)events;
	accept_update(w); /* the master may have got behind since */
	for (unsigned i = waiting(l); i > 0 && w->accepting; i--) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd == -1) {
			if (!accept_failed(l, errno))
				return;
			continue;
		}
		welcome(l, fd, &ss, len);
		accept_update(w);
		if (l->draining && --l->drain_left == 0) {
			listener_close(l);
			return;
		}
	}
	/* An empty queue raises no event, so a draining listener is looked at again anyway. */
	if (l->draining)
		deadline_arm(w->loop, &l->drain, w->accepting ? 0 : DRAIN_WAIT_MS);
}

static void
on_drain(struct deadline *d)
{
	on_listener(&((struct listener *)((char *)d - offsetof(struct listener, drain)))->ev, 0);
}

int
accept_listen(struct worker *w, int fd, uint32_t index)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		goto fail;
	l->ev = (struct ev){ .fd = -1, .cb = on_listener };
	l->drain.cb = on_drain;
	l->fd = fd;
	l->w = w;
	l->index = index;
	accept_update(w);
	if (addr_local(fd, &l->at) == -1 ||
	    (w->accepting && ev_add(w->loop, &l->ev, fd, EPOLLIN) == -1))
		goto fail;
	TAILQ_INSERT_TAIL(&w->listeners, l, entry);
	return 0;
fail:
	free(l);
	close(fd);
	return -1;
}

void
accept_unlisten(struct worker *w, uint32_t index)
{
	struct listener *l;

	TAILQ_FOREACH (l, &w->listeners, entry) {
		if (l->index == index && !l->draining) {
			l->draining = true;
			l->drain_left = DRAIN_MAX;
			on_listener(&l->ev, 0);
			return;
		}
	}
}

void
accept_stop(struct worker *w)
{
	struct listener *l;

	deadline_disarm(&w->accept_pause);
	accept_update(w);
	while ((l = TAILQ_FIRST(&w->listeners)) != NULL)
		listener_close(l);
}
