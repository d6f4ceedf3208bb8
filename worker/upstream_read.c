/*
 * What an upstream says, read so far as is wanted and no further, in clear or out of encapsulated
 * messages. Trusts none of it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/flow.h"
#include "worker/session.h"
#include "worker/upstream_parts.h"

#define EARLY_READ 4096 /* octets: what an encapsulated reply is read with */

/* Opens what has come; its data stand in `early`. */
static enum got
open_more(struct upstream *u)
{
	struct clear c;
	ssize_t n = protected_recv(u->protected, u->fd, u->s->w->scratch, EARLY_READ, &c);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return GOT_LESS;
	if (n <= 0) {
		if (n == 0)
			errno = 0;
		return GOT_END;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct held *h = u->early;

		if (c.part[i].iov_len > 0)
			h = held_add(h, c.part[i].iov_base, c.part[i].iov_len);
		if (c.part[i].iov_len > 0 && h == NULL)
			c.fault = REASON_GENERAL;
		else
			u->early = h;
	}
	protected_release(u->protected);
	errno = EPROTO;
	return c.fault == REASON_NONE ? GOT_ALL : GOT_END;
}

static void
take_early(struct upstream *u, size_t need)
{
	struct held *h = u->early;
	size_t n = h != NULL ? h->len - h->at : 0;

	n = n < need - u->in_len ? n : need - u->in_len;
	if (n == 0)
		return;
	memcpy(u->in + u->in_len, h->data + h->at, n);
	u->in_len += n;
	h->at += n;
	if (h->at < h->len)
		return;
	held_free(h);
	u->early = NULL;
}

static enum got
more_clear(struct upstream *u, size_t need)
{
	ssize_t n = recv(u->fd, u->in + u->in_len, need - u->in_len, 0);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return GOT_LESS;
	if (n <= 0) {
		if (n == 0)
			errno = 0;
		return GOT_END;
	}
	u->in_len += (size_t)n;
	return GOT_ALL;
}

/* What stands behind a reply is the relay's: in clear it is not read, and what an encapsulated
 * message holds beyond it stays in `early`. */
enum got
upstream_more(struct upstream *u, size_t need)
{
	enum got g = GOT_ALL;

	if (u->protected == NULL) {
		while (u->in_len < need && g == GOT_ALL)
			g = more_clear(u, need);
		return g;
	}
	take_early(u, need);
	while (u->in_len < need && g == GOT_ALL) {
		g = open_more(u);
		take_early(u, need);
	}
	return u->in_len < need ? g : GOT_ALL;
}

/* A reply has the form of a request (RFC 1928 sections 4 and 6), REP in the place of CMD. */
enum got
upstream_more_reply(struct upstream *u, struct socks_request *r)
{
	enum got g = upstream_more(u, 5);

	if (g != GOT_ALL)
		return g;
	size_t need = u->in[3] == SOCKS_ATYP_V4     ? 4 + 4 + 2
		      : u->in[3] == SOCKS_ATYP_V6   ? 4 + 16 + 2
		      : u->in[3] == SOCKS_ATYP_NAME ? 5 + (size_t)u->in[4] + 2
						    : 5;
	if ((g = upstream_more(u, need)) != GOT_ALL)
		return g;
	/* An empty name, which Dante and others send with a failure, is no request's. */
	if (u->in[3] == SOCKS_ATYP_NAME && u->in[4] == 0)
		*r = (struct socks_request){ .version = u->in[0], .cmd = u->in[1] };
	else if (socks_request(u->in, u->in_len, r) != (ssize_t)need)
		r->version = 0;
	return GOT_ALL;
}
