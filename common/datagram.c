/*
 * Datagrams between a client and its UDP relay. Owns nothing; the octets are libsallyport's to
 * read, and none is trusted.
 */
#include "common/datagram.h"

#include <string.h>

#include "common/socks.h"

int
datagram_parse(const uint8_t *p, size_t len, struct datagram *d)
{
	struct sallyport_udp u;

	memset(d, 0, sizeof(*d));
	d->head_len = sallyport_udp_parse(p, len, &u);
	if (d->head_len == 0)
		return -1;
	d->head = p;
	d->frag = u.frag;
	d->port = u.port;
	d->data = u.data;
	d->data_len = u.data_len;
	if (u.atyp == SALLYPORT_NAME) {
		d->name = u.host;
		d->name_len = u.host_len;
	} else {
		d->addr.family = u.atyp == SALLYPORT_IPV4 ? ADDR_V4 : ADDR_V6;
		memcpy(d->addr.b, u.host, u.host_len);
	}
	return 0;
}

size_t
datagram_header(uint8_t out[DATAGRAM_REPLY_MAX], const struct addrport *from)
{
	bool v6 = from->a.family == ADDR_V6;
	struct sallyport_udp u = { .atyp = v6 ? SALLYPORT_IPV6 : SALLYPORT_IPV4,
		.host = from->a.b,
		.host_len = v6 ? 16 : 4,
		.port = from->port };

	return sallyport_udp_header(out, DATAGRAM_REPLY_MAX, &u);
}

size_t
datagram_header_name(
    uint8_t out[DATAGRAM_HEADER_MAX], const uint8_t *name, size_t len, uint16_t port)
{
	memset(out, 0, 3);
	out[3] = SOCKS_ATYP_NAME;
	out[4] = (uint8_t)len;
	memcpy(out + 5, name, len);
	out[5 + len] = (uint8_t)(port >> 8);
	out[6 + len] = (uint8_t)port;
	return 7 + len;
}
