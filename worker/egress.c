/*
 * Sockets to targets (see worker/egress.h). Owns the sockets in stock. The master is trusted; what
 * it answers late, after a reload has taken a mark away, is closed.
 */
#include "worker/egress.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/wire.h"
#include "worker/connect.h"
#include "worker/worker.h"

#define STOCK 8 /* sockets of one kind: as many as one session tries at once, and some */

/* The master does not answer while it has no descriptor left. */
#define ASK_AGAIN_MS 1000

_Static_assert(STOCK *EGRESS_MARKS_MAX * 4 <= EGRESS_ASKED_MAX,
    "a worker never asks for more than the master bears: two families, two types");

/* Sockets of one mark, family and type. */
struct kind {
	struct msg_marked of;
	unsigned asked; /* of the master, not here yet */
	uint64_t asked_at;
	unsigned n;
	int fd[STOCK];
};

struct egress {
	uint32_t turn[2]; /* round robin, one a family: attempts to both alternate */
	unsigned nkinds;
	struct kind kinds[EGRESS_MARKS_MAX * 4];
};

struct egress *
egress_new(void)
{
	return calloc(1, sizeof(struct egress));
}

static void
kind_empty(struct kind *k)
{
	while (k->n > 0)
		close(k->fd[--k->n]);
}

void
egress_free(struct egress *e)
{
	for (unsigned i = 0; e != NULL && i < e->nkinds; i++)
		kind_empty(&e->kinds[i]);
	free(e);
}

static struct kind *
kind_find(struct egress *e, const struct msg_marked *of)
{
	for (unsigned i = 0; i < e->nkinds; i++) {
		struct kind *k = &e->kinds[i];

		if (k->of.mark == of->mark && k->of.family == of->family &&
		    k->of.datagrams == of->datagrams)
			return k;
	}
	return NULL;
}

/* NULL: the marks of this and of older policies together are too many just now. */
static struct kind *
kind_get(struct egress *e, const struct msg_marked *of)
{
	struct kind *k = kind_find(e, of);

	if (k == NULL && e->nkinds < sizeof(e->kinds) / sizeof(e->kinds[0])) {
		k = &e->kinds[e->nkinds++];
		*k = (struct kind){ .of = *of };
	}
	return k;
}

/* Asks for what is missing. */
static void
kind_fill(struct worker *w, struct kind *k)
{
	uint64_t now = loop_now(w->loop);

	if (k->n == 0 && now - k->asked_at > ASK_AGAIN_MS)
		k->asked = 0;
	if (k->n + k->asked < STOCK)
		k->asked_at = now;
	for (; k->n + k->asked < STOCK; k->asked++)
		(void)chan_send(&w->master, MSG_MARK, &k->of, sizeof(k->of), -1);
}

/* A marked socket out of stock, which is filled up again. */
static int
take_marked(struct worker *w, uint32_t mark, uint8_t family, int type)
{
	struct msg_marked of = { .mark = mark, .family = family, .datagrams = type == SOCK_DGRAM };
	struct kind *k = kind_get(w->egress, &of);
	int fd;

	if (k == NULL) {
		errno = ENFILE;
		return -1;
	}
	fd = k->n > 0 ? k->fd[--k->n] : -1;
	kind_fill(w, k);
	if (fd == -1)
		errno = EAGAIN;
	return fd;
}

static int
take_plain(uint8_t family, int type)
{
	if (type == SOCK_DGRAM)
		return connect_datagram_socket(family);
	return socket(family == ADDR_V6 ? AF_INET6 : AF_INET,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

static int
bind_from(int fd, int type, const struct addr *a)
{
	struct addrport ap = { .a = *a };
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&ap, &ss);
	int one = 1;

	/* Without it the port is chosen before the target is known, and one address has but one
	 * range of them for all targets together (ip(7)). */
	if (type == SOCK_STREAM &&
	    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) == -1)
		return -1;
	return bind(fd, (struct sockaddr *)&ss, len);
}

uint32_t
egress_turn(struct worker *w)
{
	return w->egress->turn[0]++;
}

int
egress_unbound(
    struct worker *w, const struct egress_way *way, uint8_t family, int type, enum reason *why)
{
	int fd =
	    way->mark != 0 ? take_marked(w, way->mark, family, type) : take_plain(family, type);

	*why = REASON_EGRESS;
	if (fd == -1)
		*why = errno == EAFNOSUPPORT ? REASON_NET_UNREACHABLE : REASON_GENERAL;
	if (fd == -1 || egress_bind_device(fd, way) == 0)
		return fd;
	fd_drop(fd);
	return -1;
}

int
egress_open(
    struct worker *w, const struct egress_way *way, uint8_t family, int type, enum reason *why)
{
	int fd = egress_unbound(w, way, family, type, why);

	if (fd == -1 || way->from.family == ADDR_NONE || bind_from(fd, type, &way->from) == 0)
		return fd;
	fd_drop(fd);
	return -1;
}

int
egress_socket(struct worker *w, const struct image *img, const struct image_rule *rule,
    const struct addr *client, uint8_t family, int type, enum reason *why)
{
	struct egress_way way;

	if (egress_way(img, rule, family, client, &w->egress->turn[family == ADDR_V6], &way) ==
	    -1) {
		*why = REASON_EGRESS;
		errno = EADDRNOTAVAIL;
		return -1;
	}
	return egress_open(w, &way, family, type, why);
}

bool
egress_marked(struct worker *w, struct msg *m)
{
	struct wire c = wire_from(m->payload, m->len);
	struct msg_marked in;
	struct kind *k;

	wire_copy(&c, &in, sizeof(in));
	if ((k = kind_find(w->egress, &in)) == NULL || k->asked == 0)
		return true; /* from before a reload: chan closes it */
	k->asked--;
	k->fd[k->n++] = m->fd;
	m->fd = -1;
	return true;
}

static void
fill_mark(struct worker *w, uint32_t mark)
{
	struct msg_marked of = { .mark = mark };

	for (unsigned i = 0; mark != 0 && i < 4; i++) {
		of.family = i & 1 ? ADDR_V6 : ADDR_V4;
		of.datagrams = i >= 2;
		struct kind *k = kind_get(w->egress, &of);
		if (k != NULL)
			kind_fill(w, k);
	}
}

void
egress_policy(struct worker *w)
{
	const struct image *img = w->policy->img;
	const struct image_rule *r = image_at(img, img->rules);
	struct egress *e = w->egress;

	for (unsigned i = 0; i < e->nkinds;) {
		if (image_has_mark(img, e->kinds[i].of.mark)) {
			i++;
			continue;
		}
		kind_empty(&e->kinds[i]);
		e->kinds[i] = e->kinds[--e->nkinds];
	}
	fill_mark(w, img->egress.mark);
	for (uint32_t i = 0; i < img->rules.n; i++)
		fill_mark(w, r[i].egress.mark);
}
