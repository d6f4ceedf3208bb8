/*
 * Datagrams from an association's client, RFC 1928 section 7: who is heard, the header, fragments,
 * and on to the target. Trusts nothing in them, nor in where they come from.
 */
#include <string.h>

#include "common/datagram.h"
#include "worker/udp.h"
#include "worker/udp_parts.h"
#include "worker/worker.h"

/* "It MUST drop any datagrams arriving from any source IP address other than the one recorded for
 * the particular association." The port is that of the first good datagram, or as declared. */
static bool
is_client(const struct udp *u, const struct addrport *from)
{
	struct addr a = addr_dial(&from->a);

	return addr_cmp(&a, &u->client.a) == 0 && from->scope == u->client.scope &&
	       (u->client.port == 0 || from->port == u->client.port);
}

static void
on_reassembly_due(struct deadline *d)
{
	struct udp *u = (struct udp *)((char *)d - offsetof(struct udp, reassembly_due));
	uint64_t now = loop_now(u->s->w->loop);

	reassembly_expire(&u->reassembly, now);
	/* A sequence that began since has a whole time-out more. */
	if (u->reassembly.until != 0)
		deadline_arm(u->s->w->loop, d, REASSEMBLY_MS);
}

/* A fragment or a whole datagram; true: *whole is to be relayed. */
static bool
reassemble(struct udp *u, const struct datagram *d, struct datagram *whole)
{
	struct loop *l = u->s->w->loop;

	if (!u->fragments) {
		/* "An implementation that does not support fragmentation MUST drop any datagram
		 * whose FRAG field is other than X'00'." */
		*whole = *d;
		if (d->frag != 0)
			udp_drop(u, DROP_FRAGMENT);
		return d->frag == 0;
	}
	bool is_whole = reassembly_feed(&u->reassembly, loop_now(l), d, whole);
	if (u->reassembly.until != 0 && !deadline_armed(&u->reassembly_due)) {
		u->reassembly_due.cb = on_reassembly_due;
		deadline_arm(l, &u->reassembly_due, REASSEMBLY_MS);
	}
	return is_whole;
}

static void
put(struct udp *u, struct udp_target *t, const uint8_t *data, size_t len)
{
	struct udp_sending one = { .u = u, .direction = UP, .data = data, .len = len };

	udp_put_target(t, &one);
}

/* To the target of the last one, whose header this one has. */
static bool
put_again(struct udp *u, const struct udp_packet *p)
{
	const struct udp_last *l = &u->last[UP];

	if (l->target == NULL || p->len < l->head_len ||
	    memcmp(p->data, l->head, l->head_len) != 0 ||
	    l->target->version != u->s->w->policy->img->version || u->reassembly.until != 0)
		return false;
	u->in_a_row++;
	put(u, l->target, p->data + l->head_len, p->len - l->head_len);
	return true;
}

static void
remember(struct udp *u, struct udp_target *t, const struct datagram *d)
{
	struct udp_last *l = &u->last[UP];

	u->in_a_row = 0;
	l->target = NULL;
	if (d->head_len > sizeof(l->head) || d->name_len > 0 || d->frag != 0)
		return;
	l->target = t;
	l->head_len = (uint8_t)d->head_len;
	memcpy(l->head, d->head, d->head_len);
}

static void
to_address(struct udp *u, const struct addr *a, const struct datagram *d)
{
	struct addrport at = { .a = addr_dial(a), .port = d->port };
	enum drop why;
	struct udp_target *t = udp_target(u, &at, NULL, 0, &why);

	if (t == NULL) {
		udp_drop(u, why);
	} else if (t->via) {
		udp_leg_put(u, &at, NULL, 0, d);
	} else {
		put(u, t, d->data, d->data_len);
		remember(u, t, d);
	}
}

/* A literal is an address whatever field it came in; another spelling of one is no name. */
static void
relay(struct udp *u, const struct datagram *d)
{
	struct addr a = d->addr;

	if (d->name_len > 0 && !name_is_address(d->name, d->name_len, &a))
		udp_to_name(u, d);
	else if (a.family == ADDR_NONE)
		udp_drop(u, DROP_NAME);
	else
		to_address(u, &a, d);
}

/* Takes a datagram out of its message: exactly one, of which nothing is missing (RFC 1961 section
 * 5). False: it is dropped. */
bool
udp_open_token(struct udp *u, struct token_context *t, struct udp_packet *p)
{
	struct gss_header h;
	const uint8_t *data;
	enum token_fault fault = TOKEN_BAD;

	if (gss_header(p->data, p->len, &h) == GSS_HEADER && h.type == GSS_DATA &&
	    h.len == p->len - GSS_HEADER)
		fault = token_unwrap(t, p->data + GSS_HEADER, h.len, &data, &p->len);
	if (fault != TOKEN_OK) {
		udp_drop(u, fault == TOKEN_SEQUENCE ? DROP_REPLAY : DROP_TOKEN);
		return false;
	}
	p->data += data - p->data;
	return true;
}

static void
from_client(struct udp *u, struct udp_packet *p)
{
	struct token_context *t = udp_token(u, CLIENT);
	struct datagram d, whole;

	if (memcmp(p->from, &u->last[UP].from, sizeof(*p->from)) != 0 && !is_client(u, p->from)) {
		udp_drop(u, DROP_SOURCE);
		return;
	}
	if (t != NULL && !udp_open_token(u, t, p))
		return;
	if (put_again(u, p))
		return;
	if (datagram_parse(p->data, p->len, &d) == -1) {
		udp_drop(u, DROP_HEADER);
		return;
	}
	u->client.port = p->from->port;
	u->last[UP].from = *p->from;
	if (!reassemble(u, &d, &whole))
		return;
	relay(u, &whole);
	/* What was put together stands only until the next fragment. */
	if (whole.head != d.head)
		udp_flush();
}

unsigned
udp_from_client(struct udp *u, struct ev *e, const struct addrport *peer)
{
	struct udp_packet *p;
	unsigned n = udp_receive(e, peer, &p);

	for (unsigned i = 0; i < n; i++)
		from_client(u, &p[i]);
	udp_flush();
	return n;
}

void
udp_relay(struct session *s)
{
	udp_from_client(s->udp, &s->ev[TARGET], NULL);
	udp_twins(s->udp);
}
