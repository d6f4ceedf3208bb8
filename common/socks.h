/*
 * The SOCKS codec: octets to structs and back, no state, no I/O. RFC 1928 and RFC 1929.
 *
 * A decoder returns the octets the message takes (> 0), SOCKS_MORE when it is not whole yet, or
 * SOCKS_BAD when no further octet could make it right. It never reads past len.
 */
#ifndef COMMON_SOCKS_H
#define COMMON_SOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/addr.h"
#include "common/msg.h"

#define SOCKS_VERSION      5
#define SOCKS_AUTH_VERSION 1 /* RFC 1929 section 2 */

/* RFC 1928 section 3. */
#define SOCKS_METHOD_NONE     0x00
#define SOCKS_METHOD_GSSAPI   0x01
#define SOCKS_METHOD_PASSWORD 0x02
#define SOCKS_METHOD_REFUSED  0xff

/* Section 4 and 5. */
#define SOCKS_CMD_CONNECT 1
#define SOCKS_CMD_BIND    2
#define SOCKS_CMD_UDP     3
#define SOCKS_ATYP_V4     1
#define SOCKS_ATYP_NAME   3
#define SOCKS_ATYP_V6     4

/* Section 6. */
enum socks_rep {
	SOCKS_REP_OK = 0,
	SOCKS_REP_GENERAL = 1,
	SOCKS_REP_NOT_ALLOWED = 2,
	SOCKS_REP_NET_UNREACHABLE = 3,
	SOCKS_REP_HOST_UNREACHABLE = 4,
	SOCKS_REP_REFUSED = 5,
	SOCKS_REP_TTL_EXPIRED = 6,
	SOCKS_REP_COMMAND = 7,
	SOCKS_REP_ATYP = 8
};

#define SOCKS_MORE 0
#define SOCKS_BAD  (-1)

/* The longest of each message, in octets. */
#define SOCKS_GREETING_MAX (2 + 255)
#define SOCKS_AUTH_MAX     (3 + USER_MAX + PASSWORD_MAX)
#define SOCKS_REQUEST_MAX  (4 + 1 + 255 + 2)
#define SOCKS_REPLY_MAX    (4 + 16 + 2) /* replies carry addresses only */

struct socks_greeting {
	uint8_t version; /* set even with SOCKS_BAD, for the record */
	uint8_t nmethods;
	const uint8_t *methods; /* points into the input */
};
struct socks_auth {
	const uint8_t *user, *password; /* point into the input */
	uint8_t user_len,
	    password_len; /* 1..255: zero lengths are SOCKS_BAD (RFC 1929 section 2) */
};
struct socks_request {
	uint8_t version;
	uint8_t cmd;
	uint8_t rsv; /* not zero is tolerated: RSV of a request is read, never trusted */
	uint8_t atyp;
	struct addr addr;    /* ATYP 1 and 4 */
	const uint8_t *name; /* ATYP 3; points into the input; name_len 0 is SOCKS_BAD */
	uint8_t name_len;
	uint16_t port; /* host order */
};

ssize_t socks_greeting(const uint8_t *p, size_t len, struct socks_greeting *g);
ssize_t socks_auth(const uint8_t *p, size_t len, struct socks_auth *a);
/* An unknown ATYP cannot be skipped: returns 4 as soon as it is seen, with atyp set and the rest
 * empty; the caller answers X'08'. */
ssize_t socks_request(const uint8_t *p, size_t len, struct socks_request *r);

/* Writes VER REP RSV ATYP BND.ADDR BND.PORT into out[SOCKS_REPLY_MAX]; ADDR_NONE is sent as
 * 0.0.0.0:0. The length. */
size_t socks_reply(uint8_t *out, enum socks_rep rep, const struct addrport *bnd);

/* A request (section 4) into out[SOCKS_REQUEST_MAX]: for a name, or (name_len 0) for an address;
 * ADDR_NONE is sent as 0.0.0.0. The length. */
size_t socks_request_put(
    uint8_t *out, uint8_t cmd, const struct addrport *to, const uint8_t *name, size_t name_len);

/* The reply for the end of a session that never connected (design, REP on its cause). */
enum socks_rep socks_rep_of(enum reason r);

#endif
