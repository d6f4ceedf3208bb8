/*
 * Encapsulation, RFC 1961 sections 4 and 5: the protection levels, and what authd hands to a worker
 * so that it can make and check RFC 4121 tokens without knowing any key of Kerberos itself.
 */
#ifndef COMMON_ENCAP_H
#define COMMON_ENCAP_H

#include <stdint.h>

/* RFC 1961 section 4.2, the numbers on the wire; 0 is what curl and NEC's clients ask for. */
enum level {
	LEVEL_CLEAR,           /* no encapsulation */
	LEVEL_INTEGRITY,       /* every message with a checksum, in clear */
	LEVEL_CONFIDENTIALITY, /* every message enciphered */
	LEVEL_SELECTIVE,       /* each as its sender likes; the gateway enciphers */
	LEVEL_COUNT
};

/* RFC 3961's assigned numbers. */
#define ENCTYPE_AES128_SHA1   17 /* aes128-cts-hmac-sha1-96, RFC 3962 */
#define ENCTYPE_AES256_SHA1   18 /* aes256-cts-hmac-sha1-96 */
#define ENCTYPE_AES128_SHA256 19 /* aes128-cts-hmac-sha256-128, RFC 8009 */
#define ENCTYPE_AES256_SHA384 20 /* aes256-cts-hmac-sha384-192 */

#define ENCAP_KEY_MAX 32 /* octets */

/* The keys of one direction, derived for its seal usage (RFC 4121 section 2): as long as the
 * enctype says, the rest zero. */
struct encap_direction {
	uint8_t ke[ENCAP_KEY_MAX]; /* enciphers, */
	uint8_t ki[ENCAP_KEY_MAX]; /* and its integrity */
	uint8_t kc[ENCAP_KEY_MAX]; /* checksum of tokens without confidentiality */
	uint64_t seq;              /* of the next token */
};

struct encap_params {
	uint32_t enctype;
	uint8_t level;    /* enum level; at LEVEL_CLEAR all else is zero too */
	uint8_t acceptor; /* 1: this side is the context's acceptor; 0: its initiator */
	uint8_t subkey;   /* 1: the keys come of the acceptor's subkey (flag AcceptorSubkey) */
	uint8_t zero;
	struct encap_direction send, receive;
};

#endif
