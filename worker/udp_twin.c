/*
 * Twins of an association's sockets. Where many datagrams go there and back, the client and the
 * target get a socket each that has a peer (udp(7), connect): for what passes through it the kernel
 * looks up no route and gives no address. It stands beside the socket without a peer, at the same
 * address and port; the kernel gives it what its peer sends, and the other one all else, so that
 * strangers are counted, and other targets reached, as ever. Owns the twins. The master binds them
 * (master/twins.h), and is trusted; without one all goes on as before.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/wire.h"
#include "worker/connect.h"
#include "worker/egress.h"
#include "worker/udp.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

#define TWIN_AFTER 64        /* datagrams in a row to one target, before it is worth the calls */
#define TWIN_MS    60000     /* a target's: a route that has changed holds for it then */
#define LAST_TURNS UDP_BATCH /* reads of what has come to one that ends */

/* --- asking --- */

/* The other half of the descriptors is for new sessions. */
static bool
may_be(const struct udp *u, int fd, const struct addrport *peer)
{
	/* A socket whose peer has port 0 hears all ports. */
	return fd != -1 && (rlim_t)fd < u->s->w->descriptors / 2 && peer->port != 0;
}

/* Takes over fd, which the master is to bind beside the other one. Where it cannot be asked now it
 * is the next time. */
static void
ask(struct udp *u, enum side side, int fd, int beside, const struct addrport *peer)
{
	struct chan *master = &u->s->w->master;
	struct msg_twin m = { .sid = session_sid(u->s), .side = side };

	if (may_be(u, fd, peer) && chan_lend(master, MSG_BESIDE, NULL, 0, beside) == 0 &&
	    chan_lend(master, MSG_TWIN, &m, sizeof(m), fd) == 0)
		u->twin_fd[side] = fd;
	else
		fd_drop(fd);
}

static bool
has_none(const struct udp *u, enum side side)
{
	return u->twin[side] == NULL && u->twin_fd[side] == -1 && !u->no_twin[side];
}

static void
ask_both(struct udp *u)
{
	struct udp_target *t = u->last[UP].target;
	const struct addrport *client = &u->last[UP].from;
	enum reason why;

	if (has_none(u, CLIENT))
		ask(u, CLIENT, connect_datagram_socket(client->a.family), u->s->fd[TARGET], client);
	if (t != u->twin_target && u->twin[TARGET] == NULL)
		u->no_twin[TARGET] = false; /* which was of another one */
	if (!has_none(u, TARGET) || t == NULL)
		return;
	u->twin_target = t;
	u->twin_out = t->out;
	ask(u, TARGET, egress_unbound(u->s->w, &t->out->way, t->out->family, SOCK_DGRAM, &why),
	    t->out->fd, &t->at);
}

/* --- their life --- */

static void on_twin(struct ev *e, uint32_t events);

/* Takes over fd, which has no peer yet. NULL: there is no memory. */
static struct udp_twin *
twin_new(struct udp *u, enum side side, int fd)
{
	struct loop *l = u->s->w->loop;
	struct udp_twin *t = calloc(1, sizeof(*t));

	if (t != NULL) {
		*t = (struct udp_twin){ .ev = { .fd = -1, .cb = on_twin },
			.u = u,
			.side = side,
			.mixed = true,
			.until = loop_now(l) + TWIN_MS };
		udp_prepare(fd);
		if (ev_add(l, &t->ev, fd, EPOLLIN | EPOLLET) == 0)
			return t;
	}
	close(fd);
	free(t);
	return NULL;
}

static bool
twin_connect(struct udp_twin *t, const struct addrport *peer)
{
	struct sockaddr_storage to;
	socklen_t len = addr_to_sockaddr(peer, &to);

	t->peer = *peer;
	return connect(t->ev.fd, (struct sockaddr *)&to, len) == 0;
}

static void
twin_free(struct udp_twin *t)
{
	int fd;

	if (t == NULL)
		return;
	fd = t->ev.fd;
	ev_del(t->u->s->w->loop, &t->ev);
	close(fd);
	free(t);
}

/* What has come to a socket of this side: how many. */
static unsigned
hear(struct udp *u, struct ev *e, enum side side, const struct addrport *peer)
{
	return side == CLIENT ? udp_from_client(u, e, peer) : udp_from_targets(u, e, peer);
}

/* To the end, at most LAST_TURNS times. Twice, for an error, which is told once, may stand before
 * what waits. */
static void
hear_all(struct udp *u, struct ev *e, enum side side, const struct addrport *peer)
{
	for (unsigned again = 0; again < 2; again++)
		for (unsigned turn = 0; turn < LAST_TURNS; turn++)
			if (hear(u, e, side, peer) == 0)
				break;
}

static void
on_twin(struct ev *e, uint32_t events)
{
	struct udp_twin *t = (struct udp_twin *)((char *)e - offsetof(struct udp_twin, ev));

	(void)events;
	if (!t->mixed)
		hear(t->u, e, t->side, &t->peer);
	/* Until there has been nothing once; what comes after that is the peer's. */
	else if (hear(t->u, e, t->side, NULL) == 0 || hear(t->u, e, t->side, NULL) == 0)
		t->mixed = (e->ready & EPOLLIN) != 0;
	if (t->side == CLIENT)
		udp_twins(t->u);
}

/* What waits in it is heard first. What comes between that and its end is lost, as on any network.
 */
static void
twin_end(struct udp_twin *t)
{
	hear_all(t->u, &t->ev, t->side, t->mixed ? NULL : &t->peer);
	twin_free(t);
}

static void
end_target(struct udp *u)
{
	struct udp_twin *t = u->twin[TARGET];

	u->twin[TARGET] = NULL;
	if (u->twin_target->twin == t)
		u->twin_target->twin = NULL;
	twin_end(t);
}

void
udp_twins(struct udp *u)
{
	struct udp_twin *t = u->twin[TARGET];

	if (t != NULL && loop_now(u->s->w->loop) >= t->until)
		end_target(u);
	if (u->in_a_row < TWIN_AFTER)
		return;
	u->in_a_row = 0;
	ask_both(u);
}

/* The target may go another way since a reload. */
static void
adopt(struct udp *u, enum side side, int fd)
{
	struct udp_target *target = u->twin_target;
	const struct addrport *peer = side == CLIENT ? &u->last[UP].from : &target->at;
	bool stale = side == TARGET && target->out != u->twin_out;
	struct udp_twin *t = twin_new(u, side, fd);

	if (t == NULL)
		return;
	u->no_twin[side] = !stale && !twin_connect(t, peer);
	if (stale || u->no_twin[side]) {
		twin_end(t);
		return;
	}
	/* What waits in the other one was sent before. */
	hear_all(u, side == CLIENT ? &u->s->ev[TARGET] : &u->twin_out->ev, side, NULL);
	u->twin[side] = t;
	if (side == TARGET)
		target->twin = t;
}

bool
udp_twinned(struct worker *w, const struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_twinned in;
	bool sane;

	wire_copy(&c, &in, sizeof(in));
	struct session *s = session_find(w, in.of.sid, &sane);
	if (!sane || in.of.side >= SIDES)
		return false;
	if (s == NULL || s->udp == NULL)
		return true; /* it has ended */
	struct udp *u = s->udp;
	int fd = u->twin_fd[in.of.side];
	if (fd == -1)
		return false;
	u->twin_fd[in.of.side] = -1;
	if (in.done != 0) {
		adopt(u, in.of.side, fd);
	} else {
		u->no_twin[in.of.side] = true;
		close(fd);
	}
	return true;
}

void
udp_twins_free(struct udp *u)
{
	for (enum side side = CLIENT; side < SIDES; side++) {
		twin_free(u->twin[side]);
		fd_drop(u->twin_fd[side]);
	}
}
