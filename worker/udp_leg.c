/*
 * The way of an association to an upstream: the upstream's own relay, with a socket of ours for it,
 * and the TCP connection by which both associations live. Owns these. What the upstream sends is
 * foreign: only datagrams of its relay are heard, each must be one of RFC 1928 section 7 (and under
 * GSSAPI unwrap), and its header goes to the client as it is: who really answered, the upstream
 * says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/udp.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

struct udp_leg {
	struct udp *u;
	struct ev ev, tcp_ev;
	int fd, tcp;
	struct addrport at; /* the upstream's relay */
	size_t name_len;
	char name[UPSTREAM_NAME_MAX]; /* of the upstream: a reload may number them anew */
};

/* --- what comes back --- */

static void
from_upstream(struct udp_leg *leg, struct udp_packet *p)
{
	struct udp *u = leg->u;
	struct token_context *t = udp_token(u, TARGET);
	struct udp_sending one = { .u = u, .direction = DOWN };
	struct datagram d;

	struct addr from = addr_dial(&p->from->a);
	if (addr_cmp(&from, &leg->at.a) != 0 || p->from->port != leg->at.port) {
		udp_drop(u, DROP_REPLY);
		return;
	}
	if (t != NULL && !udp_open_token(u, t, p))
		return;
	if (datagram_parse(p->data, p->len, &d) == -1 || d.frag != 0 || d.name_len > 0) {
		udp_drop(u, d.frag != 0 ? DROP_FRAGMENT : DROP_HEADER);
		return;
	}
	one.token = udp_token(u, CLIENT);
	one.head = d.head;
	one.head_len = d.head_len;
	one.data = d.data;
	one.len = d.data_len;
	if (u->client.port == 0)
		udp_drop(u, DROP_REPLY);
	else if (!udp_fits(&one, u->client.a.family))
		udp_drop(u, DROP_SIZE);
	else
		udp_put_client(u, &one);
}

static void
on_leg(struct ev *e, uint32_t events)
{
	struct udp_leg *leg = (struct udp_leg *)((char *)e - offsetof(struct udp_leg, ev));
	struct udp_packet *p;
	unsigned n = udp_receive(&leg->ev, NULL, &p);

	(void)events;
	for (unsigned i = 0; i < n; i++)
		from_upstream(leg, &p[i]);
	udp_flush();
}

/* "A UDP association terminates when the TCP connection that the UDP ASSOCIATE request arrived on
 * terminates": the upstream's has ended, and so has this one. What comes on it is no one's. */
static void
on_tcp(struct ev *e, uint32_t events)
{
	struct udp_leg *leg = (struct udp_leg *)((char *)e - offsetof(struct udp_leg, tcp_ev));
	struct session *s = leg->u->s;
	ssize_t n = recv(leg->tcp, s->w->scratch, sizeof(s->w->scratch), 0);

	(void)events;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		return;
	if (s->state == SESSION_CONNECT) /* the master has not answered */
		session_fail(s, REASON_UPSTREAM, n == -1 ? errno : 0, RULE_NONE);
	else if (n == -1)
		session_hang_up(s, REASON_TARGET_RESET, errno);
	else
		session_hang_up(s, REASON_TARGET_CLOSED, 0);
}

/* --- what goes there --- */

bool
udp_leg_has(const struct udp *u, const struct image *img, const struct image_rule *r)
{
	const struct udp_leg *leg = u->leg;
	const uint32_t *via = image_at(img, r->upstreams);

	for (uint32_t i = 0; leg != NULL && i < r->upstreams.n; i++) {
		const struct image_upstream *up = image_upstream(img, via[i]);

		if (up->name.len == leg->name_len &&
		    memcmp(image_octets(img, up->name), leg->name, leg->name_len) == 0)
			return true;
	}
	return false;
}

void
udp_leg_put(struct udp *u, const struct addrport *to, const uint8_t *name, size_t name_len,
    const struct datagram *d)
{
	uint8_t head[DATAGRAM_HEADER_MAX];
	struct udp_sending one = { .u = u,
		.direction = UP,
		.token = udp_token(u, TARGET),
		.data = d->data,
		.len = d->data_len,
		.head = head };

	if (name_len > 0)
		one.head_len = datagram_header_name(head, name, name_len, to->port);
	else
		one.head_len = datagram_header(head, to);
	/* RFC 1928 section 7: what is too large with its header, and RFC 1961's token about it, is
	 * not cut. */
	if (!udp_fits(&one, u->leg->at.a.family))
		udp_drop(u, DROP_SIZE);
	else
		udp_put(u->leg->fd, &u->leg->at, &one);
}

/* --- its life --- */

int
udp_leg_new(struct udp *u, int fd, int tcp, const struct addrport *at, const struct image *img,
    const struct image_upstream *up)
{
	struct loop *l = u->s->w->loop;
	struct udp_leg *leg = calloc(1, sizeof(*leg));

	if (leg == NULL)
		return -1;
	leg->u = u;
	leg->at = *at;
	leg->name_len = up->name.len;
	memcpy(leg->name, image_octets(img, up->name), up->name.len);
	leg->ev = (struct ev){ .fd = -1, .cb = on_leg };
	leg->tcp_ev = (struct ev){ .fd = -1, .cb = on_tcp };
	if (ev_add(l, &leg->ev, fd, EPOLLIN | EPOLLET) == -1 ||
	    ev_add(l, &leg->tcp_ev, tcp, EPOLLIN) == -1) {
		ev_del(l, &leg->ev);
		free(leg);
		return -1;
	}
	leg->fd = fd;
	leg->tcp = tcp;
	udp_prepare(fd);
	u->leg = leg;
	return 0;
}

void
udp_leg_free(struct udp *u)
{
	struct udp_leg *leg = u->leg;

	if (leg == NULL)
		return;
	u->leg = NULL;
	ev_del(u->s->w->loop, &leg->ev);
	ev_del(u->s->w->loop, &leg->tcp_ev);
	close(leg->fd);
	close(leg->tcp);
	free(leg);
}
