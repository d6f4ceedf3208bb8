/*
 * The framing of RFC 1961: octets to structs and back, no state, no I/O. What is in a token is no
 * matter of it. Returns as in common/socks.h: the octets taken, SOCKS_MORE or SOCKS_BAD.
 */
#ifndef COMMON_GSS_H
#define COMMON_GSS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/msg.h"
#include "common/socks.h"

#define GSS_VERSION 1

/* mtyp: sections 3.4, 4.3, 5 and 3.8. */
#define GSS_CONTEXT 1
#define GSS_LEVEL   2
#define GSS_DATA    3
#define GSS_ABORT   0xff

/* Octets: ver, mtyp and len before a token; an abort has neither len nor token. */
#define GSS_HEADER      4
#define GSS_ABORT_LEN   2
#define GSS_MESSAGE_MAX (GSS_HEADER + TOKEN_MAX)

struct gss_header {
	uint8_t type; /* one of the four */
	uint16_t len; /* of the token that follows; 0 is one too */
};

/* Reads a message's header alone: GSS_HEADER octets, or GSS_ABORT_LEN. */
ssize_t gss_header(const uint8_t *p, size_t len, struct gss_header *h);

/* Writes the header of a token of len octets (at most TOKEN_MAX). */
void gss_header_put(uint8_t out[GSS_HEADER], uint8_t type, size_t len);

#endif
