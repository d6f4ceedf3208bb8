/*
 * The two operations of the AES enctypes (RFC 3962, RFC 8009) that tokens need: encipherment with
 * integrity, and checksum, each over "data | trailer". Works on keys that it is given and keeps
 * none: libcrypto's contexts are the process's, keyed anew for each call (0.1 us).
 */
#ifndef WORKER_TOKEN_AES_H
#define WORKER_TOKEN_AES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"
#include "worker/token_lanes.h"

#define AES_BLOCK    16
#define TOKEN_HEADER 16 /* RFC 4121 section 4.2.6.2; its copy ends what is enciphered */
#define MAC_MAX      24

enum aes { AES_128, AES_256, AES_COUNT };

struct suite {
	size_t ke_len, k_len; /* octets of Ke; of Ki and Kc */
	size_t mac_len;       /* octets of the truncated HMAC */
	enum aes aes;
	enum sha sha;
	bool mac_cipher; /* RFC 8009: HMAC of the ciphertext; RFC 3962: of the plaintext */
};

/* Fetches all that is used from libcrypto. 0, or -1. */
int token_aes_init(void);
/* The suite of an enctype, or NULL. */
const struct suite *token_suite(uint32_t enctype);
/* No key stays in the shared contexts. */
void token_aes_forget(const struct suite *s);

/* AES_BLOCK random octets. False: there are none. */
bool token_confounder(uint8_t *out);
/* AES_BLOCK octets of confounder, data, header and the HMAC, enciphered into out: len + AES_BLOCK +
 * TOKEN_HEADER + mac_len octets. False: libcrypto failed. */
bool token_seal(const struct suite *s, const struct encap_direction *k, const uint8_t *data,
    size_t len, const uint8_t *header, uint8_t *out);
/* Deciphers in place two blocks or more. False: libcrypto failed. */
bool token_decipher(const struct suite *s, const uint8_t *ke, uint8_t *p, size_t len);
/* Deciphers len octets in place, of which there are at least 2 * AES_BLOCK + mac_len: confounder,
 * data and header are then at `p`. False: the HMAC is another. */
bool token_open(const struct suite *s, const struct encap_direction *k, uint8_t *p, size_t len);
/* The checksum (mac_len octets) of data and header. */
bool token_sum(const struct suite *s, const struct encap_direction *k, const uint8_t *data,
    size_t len, const uint8_t *header, uint8_t *mac);

#endif
