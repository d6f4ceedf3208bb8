/*
 * The codec of SOCKS4 and 4a. Owns nothing; reads foreign octets through the bounded cursor only,
 * and trusts none of them.
 */
#include "common/socks4.h"

#include <stdbool.h>
#include <string.h>

#include "common/wire.h"

_Static_assert(CLAIM_MAX <= 255 && NAME_MAX_LEN <= 255, "an octet holds their lengths");

/* Octets up to a NUL, which is taken too: their length into *n. SOCKS_BAD: there are more of them
 * than may be, whatever follows. */
static ssize_t
terminated(struct wire *w, size_t max, const uint8_t **p, uint8_t *n)
{
	size_t left = w->bad ? 0 : wire_left(w), look = left < max + 1 ? left : max + 1;
	const uint8_t *nul = look > 0 ? memchr(w->p, '\0', look) : NULL;

	if (nul == NULL) {
		w->bad = true;
		return look > max ? SOCKS_BAD : SOCKS_MORE;
	}
	*n = (uint8_t)(nul - w->p);
	*p = wire_take(w, (size_t)*n + 1);
	return *n;
}

/* 4a: DSTIP 0.0.0.x, x not 0, says that a name follows USERID. */
static bool
is_4a(const uint8_t *b)
{
	return b[0] == 0 && b[1] == 0 && b[2] == 0 && b[3] != 0;
}

/* VN CD DSTPORT DSTIP USERID NUL, and in 4a the name and NUL. */
ssize_t
socks4_request(const uint8_t *p, size_t len, struct socks4_request *r)
{
	struct socks_request *a = &r->asked;
	struct wire w = wire_from(p, len);

	memset(r, 0, sizeof(*r));
	if (len == 0)
		return SOCKS_MORE;
	a->version = wire_u8(&w);
	if (a->version != SOCKS4_VERSION)
		return SOCKS_BAD;
	a->cmd = wire_u8(&w);
	a->port = wire_u16(&w);
	a->atyp = SOCKS_ATYP_V4;
	a->addr.family = ADDR_V4;
	wire_copy(&w, a->addr.b, 4);
	if (terminated(&w, CLAIM_MAX, &r->claim, &r->claim_len) == SOCKS_BAD)
		return SOCKS_BAD;
	if (w.bad)
		return SOCKS_MORE;
	if (is_4a(a->addr.b)) {
		memset(&a->addr, 0, sizeof(a->addr));
		a->atyp = SOCKS_ATYP_NAME;
		if (terminated(&w, NAME_MAX_LEN, &a->name, &a->name_len) == SOCKS_BAD ||
		    (!w.bad && a->name_len == 0))
			return SOCKS_BAD;
	}
	return w.bad ? SOCKS_MORE : w.p - p;
}

size_t
socks4_reply(uint8_t *out, enum socks4_cd cd, const struct addrport *bnd)
{
	uint16_t port = bnd->a.family != ADDR_NONE ? bnd->port : 0;

	memset(out, 0, SOCKS4_REPLY_LEN);
	out[1] = (uint8_t)cd;
	out[2] = (uint8_t)(port >> 8);
	out[3] = (uint8_t)port;
	if (bnd->a.family == ADDR_V4)
		memcpy(out + 4, bnd->a.b, 4);
	return SOCKS4_REPLY_LEN;
}
