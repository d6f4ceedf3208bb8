/*
 * The framing of RFC 1961. Owns nothing; reads foreign octets through the bounded cursor only, and
 * trusts none of them.
 */
#include "common/gss.h"

#include <string.h>

#include "common/wire.h"

ssize_t
gss_header(const uint8_t *p, size_t len, struct gss_header *h)
{
	struct wire w = wire_from(p, len);

	memset(h, 0, sizeof(*h));
	if (len == 0)
		return SOCKS_MORE;
	if (wire_u8(&w) != GSS_VERSION)
		return SOCKS_BAD;
	h->type = wire_u8(&w);
	if (w.bad)
		return SOCKS_MORE;
	switch (h->type) {
	case GSS_CONTEXT:
	case GSS_LEVEL:
	case GSS_DATA:
		h->len = wire_u16(&w);
		return w.bad ? SOCKS_MORE : GSS_HEADER;
	case GSS_ABORT:
		return GSS_ABORT_LEN;
	default:
		return SOCKS_BAD;
	}
}

void
gss_header_put(uint8_t out[GSS_HEADER], uint8_t type, size_t len)
{
	out[0] = GSS_VERSION;
	out[1] = type;
	out[2] = (uint8_t)(len >> 8);
	out[3] = (uint8_t)len;
}
