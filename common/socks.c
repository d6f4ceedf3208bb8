/*
 * The SOCKS codec. Owns nothing; reads foreign octets through the bounded cursor only, and trusts
 * none of them.
 */
#include "common/socks.h"

#include <string.h>

#include "common/wire.h"

/* The length taken, once the cursor has been read; a short message needs more octets. */
static ssize_t
taken(const struct wire *w, const uint8_t *from)
{
	return w->bad ? SOCKS_MORE : w->p - from;
}

/* RFC 1928 section 3: VER NMETHODS METHODS. */
ssize_t
socks_greeting(const uint8_t *p, size_t len, struct socks_greeting *g)
{
	struct wire w = wire_from(p, len);

	memset(g, 0, sizeof(*g));
	if (len == 0)
		return SOCKS_MORE;
	g->version = wire_u8(&w);
	if (g->version != SOCKS_VERSION)
		return SOCKS_BAD;
	g->nmethods = wire_u8(&w);
	g->methods = wire_take(&w, g->nmethods);
	return taken(&w, p);
}

/* RFC 1929 section 2: VER ULEN UNAME PLEN PASSWD. */
ssize_t
socks_auth(const uint8_t *p, size_t len, struct socks_auth *a)
{
	struct wire w = wire_from(p, len);

	memset(a, 0, sizeof(*a));
	if (len == 0)
		return SOCKS_MORE;
	if (wire_u8(&w) != SOCKS_AUTH_VERSION)
		return SOCKS_BAD;
	a->user_len = wire_u8(&w);
	if (!w.bad && a->user_len == 0)
		return SOCKS_BAD;
	a->user = wire_take(&w, a->user_len);
	a->password_len = wire_u8(&w);
	if (!w.bad && a->password_len == 0)
		return SOCKS_BAD;
	a->password = wire_take(&w, a->password_len);
	return taken(&w, p);
}

/* RFC 1928 section 5: the address and its length by ATYP. */
static ssize_t
request_address(struct wire *w, struct socks_request *r)
{
	switch (r->atyp) {
	case SOCKS_ATYP_V4:
		r->addr.family = ADDR_V4;
		wire_copy(w, r->addr.b, 4);
		return SOCKS_MORE;
	case SOCKS_ATYP_V6:
		r->addr.family = ADDR_V6;
		wire_copy(w, r->addr.b, 16);
		return SOCKS_MORE;
	case SOCKS_ATYP_NAME:
		r->name_len = wire_u8(w);
		if (!w->bad && r->name_len == 0)
			return SOCKS_BAD;
		r->name = wire_take(w, r->name_len);
		return SOCKS_MORE;
	default:
		return SOCKS_BAD;
	}
}

/* RFC 1928 section 4: VER CMD RSV ATYP DST.ADDR DST.PORT. */
ssize_t
socks_request(const uint8_t *p, size_t len, struct socks_request *r)
{
	struct wire w = wire_from(p, len);

	memset(r, 0, sizeof(*r));
	if (len == 0)
		return SOCKS_MORE;
	r->version = wire_u8(&w);
	if (r->version != SOCKS_VERSION)
		return SOCKS_BAD;
	r->cmd = wire_u8(&w);
	r->rsv = wire_u8(&w);
	r->atyp = wire_u8(&w);
	if (w.bad)
		return SOCKS_MORE;
	if (r->atyp != SOCKS_ATYP_V4 && r->atyp != SOCKS_ATYP_NAME && r->atyp != SOCKS_ATYP_V6)
		return taken(&w, p);
	if (request_address(&w, r) == SOCKS_BAD)
		return SOCKS_BAD;
	r->port = wire_u16(&w);
	return taken(&w, p);
}

/* RFC 1928 section 6. */
size_t
socks_reply(uint8_t *out, enum socks_rep rep, const struct addrport *bnd)
{
	bool v6 = bnd->a.family == ADDR_V6, none = bnd->a.family == ADDR_NONE;
	size_t alen = v6 ? 16 : 4;
	uint16_t port = none ? 0 : bnd->port;

	memset(out, 0, SOCKS_REPLY_MAX);
	out[0] = SOCKS_VERSION;
	out[1] = (uint8_t)rep;
	out[3] = v6 ? SOCKS_ATYP_V6 : SOCKS_ATYP_V4;
	if (!none)
		memcpy(out + 4, bnd->a.b, alen);
	out[4 + alen] = (uint8_t)(port >> 8);
	out[4 + alen + 1] = (uint8_t)port;
	return 4 + alen + 2;
}

size_t
socks_request_put(
    uint8_t *out, uint8_t cmd, const struct addrport *to, const uint8_t *name, size_t name_len)
{
	bool v6 = to->a.family == ADDR_V6;
	size_t alen = v6 ? 16 : 4, at = 4;

	memset(out, 0, SOCKS_REQUEST_MAX);
	out[0] = SOCKS_VERSION;
	out[1] = cmd;
	if (name_len > 0) {
		out[3] = SOCKS_ATYP_NAME;
		out[at++] = (uint8_t)name_len;
		memcpy(out + at, name, name_len);
		at += name_len;
	} else {
		out[3] = v6 ? SOCKS_ATYP_V6 : SOCKS_ATYP_V4;
		memcpy(out + at, to->a.b, to->a.family == ADDR_NONE ? 0 : alen);
		at += alen;
	}
	out[at++] = (uint8_t)(to->port >> 8);
	out[at++] = (uint8_t)to->port;
	return at;
}

enum socks_rep
socks_rep_of(enum reason r)
{
	switch (r) {
	case REASON_RULES:
	case REASON_SOURCE:
	case REASON_UPSTREAM_RULES:
	case REASON_LIMIT_USER:
		return SOCKS_REP_NOT_ALLOWED;
	case REASON_NET_UNREACHABLE:
		return SOCKS_REP_NET_UNREACHABLE;
	case REASON_HOST_UNREACHABLE:
	case REASON_NO_NAME:
	case REASON_NAME_FAILED:
		return SOCKS_REP_HOST_UNREACHABLE;
	case REASON_REFUSED:
		return SOCKS_REP_REFUSED;
	case REASON_CONNECT:
	case REASON_BIND_TIMEOUT:
		return SOCKS_REP_TTL_EXPIRED;
	case REASON_COMMAND:
		return SOCKS_REP_COMMAND;
	case REASON_ATYP:
		return SOCKS_REP_ATYP;
	case REASON_NONE:
	case REASON_CLIENT_CLOSED:
	case REASON_TARGET_CLOSED:
	case REASON_CLIENT_RESET:
	case REASON_TARGET_RESET:
	case REASON_IDLE:
	case REASON_HALF_CLOSED:
	case REASON_HANDSHAKE:
	case REASON_NO_METHOD:
	case REASON_AUTH:
	case REASON_PROTOCOL:
	case REASON_VERSION:
	case REASON_LIMIT_SESSIONS:
	case REASON_LIMIT_SLOTS:
	case REASON_LIMIT_AUDIT:
	case REASON_EGRESS:
	case REASON_BIND_PORTS:
	case REASON_UDP_PORTS:
	case REASON_LIMIT_ASSOCIATIONS:
	case REASON_GENERAL:
	case REASON_SHUTDOWN:
	case REASON_CHILD_LOST:
	case REASON_MASTER_LOST:
	case REASON_LIMIT_BINDS:
	case REASON_ENCAP_FRAME:
	case REASON_ENCAP_TOKEN:
	case REASON_ENCAP_CHECK:
	case REASON_ENCAP_SEQUENCE:
	case REASON_ENCAP_LEVEL:
	case REASON_ENCAP_CUT:
	case REASON_TICKET:
	case REASON_UPSTREAM:
	case REASON_UPSTREAM_AUTH:
	case REASON_UPSTREAM_CREDENTIALS:
	case REASON_COUNT:
		break;
	}
	return SOCKS_REP_GENERAL;
}
