/*
 * Twins of an association's sockets. Where many datagrams go there and back, the client and the
 * target get a socket each that has a peer (udp(7), connect): for what passes through it the kernel
 * looks up no route and gives no address. It stands beside the socket without a peer, at the same
 * address and port; the kernel gives it what its peer sends, and the other one all else, so that
 * strangers are counted, and other targets reached, as ever. Owns the twins. They come from the
 * master (master/twins.h), which is trusted; without one all goes on as before.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/wire.h"
#include "worker/connect.h"
#include "worker/udp.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

#define TWIN_AFTER   64        /* datagrams in a row to one target, before it is worth the calls */
#define TWIN_MS      60000     /* a target's: a route that has changed holds for it then */
#define LAST_TURNS   UDP_BATCH /* reads of what has come to one that ends */
#define ASKED_MAX    64        /* of the master at a time */
#define NO_ANSWER_MS 1000      /* after it none is to come: the master could not */
_Static_assert(4 * ASKED_MAX <= TWINS_ASKED_MAX, "no more than the master bears");

/* --- asking --- */

/* The other half of the descriptors is for new sessions: the lowest that is free tells. An answer
 * for which there is none would end the channel. */
static bool
descriptors_left(const struct worker *w)
{
	int fd = connect_datagram_socket(ADDR_V4);

	if (fd != -1)
		close(fd);
	return fd != -1 && (rlim_t)fd < w->descriptors / 2;
}

static bool
may_ask(struct worker *w)
{
	uint64_t now = loop_now(w->loop);

	if (now - w->twins_asked_at > NO_ANSWER_MS)
		w->twins_asked = 0;
	return w->twins_asked < ASKED_MAX && !chan_full(&w->master) && descriptors_left(w);
}

/* For a twin of `of`. What is not answered cannot be had, and is not asked for again. */
static void
ask(struct udp *u, enum side side, int of, const struct addrport *peer)
{
	struct worker *w = u->s->w;
	struct msg_twin m = { .sid = session_sid(u->s), .side = side };

	/* A socket whose peer has port 0 hears all ports. */
	if (peer->port == 0 || !may_ask(w) ||
	    chan_lend(&w->master, MSG_TWIN, &m, sizeof(m), of) == -1)
		return;
	w->twins_asked++;
	w->twins_asked_at = loop_now(w->loop);
	u->asked[side] = true;
}

static void
ask_both(struct udp *u)
{
	struct udp_target *t = u->last[UP].target;

	if (u->twin[CLIENT] == NULL && !u->asked[CLIENT])
		ask(u, CLIENT, u->s->fd[TARGET], &u->last[UP].from);
	if (u->twin[TARGET] != NULL || u->asked[TARGET] || t == NULL)
		return;
	u->twin_target = t;
	u->twin_out = t->out;
	ask(u, TARGET, t->out->fd, &t->at);
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

/* What has come. While others' may be among it all is read: what comes after that is the peer's. */
static void
take(struct udp_twin *t, unsigned turns)
{
	struct udp_packet *p;
	unsigned n;

	do {
		n = udp_receive(&t->ev, t->mixed ? NULL : &t->peer, &p);
		if (t->side == CLIENT)
			udp_from_client(t->u, p, n);
		else
			udp_from_targets(t->u, p, n);
	} while (--turns > 0 && (n > 0 || (t->ev.ready & EPOLLIN) != 0));
	if (n == 0 && (t->ev.ready & EPOLLIN) == 0)
		t->mixed = false;
}

static void
on_twin(struct ev *e, uint32_t events)
{
	struct udp_twin *t = (struct udp_twin *)((char *)e - offsetof(struct udp_twin, ev));

	(void)events;
	take(t, t->mixed ? LAST_TURNS : 1);
	if (t->side == CLIENT)
		udp_twins(t->u);
}

/* What waits in it is heard first; an error, which is told once, may stand before that. */
static void
twin_end(struct udp_twin *t)
{
	take(t, LAST_TURNS);
	take(t, LAST_TURNS);
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

void
udp_twins_free(struct udp *u)
{
	twin_free(u->twin[CLIENT]);
	twin_free(u->twin[TARGET]);
}

/* The target may go another way since a reload; and a peer that cannot be one is not tried again.
 */
static void
adopt(struct udp *u, enum side side, int fd)
{
	struct udp_target *target = u->twin_target;
	const struct addrport *peer = side == CLIENT ? &u->last[UP].from : &target->at;
	bool stale = side == TARGET && target->out != u->twin_out;
	struct udp_twin *t = twin_new(u, side, fd);

	if (t == NULL)
		return;
	u->asked[side] = !stale && !twin_connect(t, peer);
	if (stale || u->asked[side]) {
		twin_end(t);
		return;
	}
	u->twin[side] = t;
	if (side == TARGET)
		target->twin = t;
}

bool
udp_twinned(struct worker *w, struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_twin in;
	bool sane;

	wire_copy(&c, &in, sizeof(in));
	struct session *s = session_find(w, in.sid, &sane);
	if (!sane || in.side >= SIDES)
		return false;
	if (w->twins_asked > 0)
		w->twins_asked--;
	if (s == NULL || s->udp == NULL)
		return true; /* it has ended: chan closes the descriptor */
	if (!s->udp->asked[in.side] || s->udp->twin[in.side] != NULL)
		return false;
	adopt(s->udp, in.side, m->fd);
	m->fd = -1;
	return true;
}
