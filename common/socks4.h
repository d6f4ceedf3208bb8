/*
 * The codec of SOCKS4 (Ying-Da Lee's "SOCKS: A protocol for TCP proxy across firewalls") and 4a
 * (his "SOCKS 4A: A Simple Extension to SOCKS 4 Protocol"): octets to structs and back, no state,
 * no I/O. Returns as in common/socks.h: the octets taken, SOCKS_MORE or SOCKS_BAD.
 */
#ifndef COMMON_SOCKS4_H
#define COMMON_SOCKS4_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/addr.h"
#include "common/msg.h"
#include "common/socks.h"

#define SOCKS4_VERSION 4

/* CD of a reply. 92 and 93 tell of an identd that was asked: none ever is here. */
enum socks4_cd { SOCKS4_CD_GRANTED = 90, SOCKS4_CD_REJECTED = 91 };

/* In octets: VN CD DSTPORT DSTIP, USERID and its NUL, 4a's name and its NUL. */
#define SOCKS4_REQUEST_MAX (8 + CLAIM_MAX + 1 + NAME_MAX_LEN + 1)
#define SOCKS4_REPLY_LEN   8

struct socks4_request {
	struct socks_request asked; /* as SOCKS5 would have it: CD is CMD, 4a's name is ATYP 3 */
	const uint8_t *claim;       /* USERID without its NUL; points into the input */
	uint8_t claim_len;
};

ssize_t socks4_request(const uint8_t *p, size_t len, struct socks4_request *r);

/* Writes VN CD DSTPORT DSTIP into out[SOCKS4_REPLY_LEN]; an address that is not IPv4 is sent as
 * 0.0.0.0 with its port, none as 0.0.0.0:0. The length. */
size_t socks4_reply(uint8_t *out, enum socks4_cd cd, const struct addrport *bnd);

#endif
