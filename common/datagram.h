/*
 * Datagrams between a client and its UDP relay, RFC 1928 section 7: libsallyport's codec with the
 * gateway's addresses.
 */
#ifndef COMMON_DATAGRAM_H
#define COMMON_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/sallyport.h"

/* Octets. The most that a UDP datagram can carry: over IPv6 (its length field less the UDP header),
 * and over IPv4 (less the IP header too). */
#define DATAGRAM_MAX    65527
#define DATAGRAM_MAX_V4 65507
/* Headers before the data; one that the gateway writes carries an address. */
#define DATAGRAM_HEADER_MAX SALLYPORT_HEADER_MAX
#define DATAGRAM_REPLY_MAX  22

struct datagram {
	const uint8_t *head; /* RSV FRAG ATYP DST.ADDR DST.PORT, before data */
	size_t head_len;
	uint8_t frag;        /* 0: standalone (common/reassembly.h) */
	uint8_t name_len;    /* ATYP 3: 1.., else 0 */
	const uint8_t *name; /* points into the input, as head and data do */
	struct addr addr;    /* ATYP 1 and 4 as sent (not canonical), else ADDR_NONE */
	uint16_t port;       /* host order; any, 0 too */
	const uint8_t *data;
	size_t data_len; /* 0..; an empty datagram is one */
};

/* 0, or -1 where the header is not whole, RSV is not zero, ATYP is unknown or a name is empty
 * (DROP_HEADER). */
int datagram_parse(const uint8_t *p, size_t len, struct datagram *d);

/* Writes the header of a reply from this address (v4 or v6; as it is, so canonicalise a v4-mapped
 * one first), FRAG 0. Its length. */
size_t datagram_header(uint8_t out[DATAGRAM_REPLY_MAX], const struct addrport *from);
/* Likewise to an upstream, for a name of len octets (1 to 255). */
size_t datagram_header_name(
    uint8_t out[DATAGRAM_HEADER_MAX], const uint8_t *name, size_t len, uint16_t port);

#endif
