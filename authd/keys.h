/*
 * Encapsulation keys: what a worker needs to make and check the RFC 4121 tokens of one context, and
 * no more. The context's own key never leaves authd.
 */
#ifndef AUTHD_KEYS_H
#define AUTHD_KEYS_H

#include <gssapi/gssapi_krb5.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"

/* Before the sandbox: what libcrypto would otherwise look up at the first use. 0, or -1: ENOTSUP.
 */
int keys_init(void);

/*
 * One key of RFC 3961 (enctypes 17, 18) or RFC 8009 (19, 20): of the base key, for a key usage and
 * its well-known octet (KEYS_CHECKSUM and so on). Writes its length, which it gives; the rest of
 * out[ENCAP_KEY_MAX] is zero. 0: no such enctype or key (out is zero then).
 */
#define KEYS_CHECKSUM   0x99 /* Kc */
#define KEYS_ENCRYPTION 0xaa /* Ke */
#define KEYS_INTEGRITY  0x55 /* Ki */
size_t keys_derive_one(uint32_t enctype, const uint8_t *base, size_t base_len, uint32_t usage,
    uint8_t octet, uint8_t out[ENCAP_KEY_MAX]);

/*
 * From an exported context and the number of tokens that were taken from the peer since it was
 * established (its receive sequence is exported as at the start). The level is the caller's to set.
 * 0, or -1 with errno: ENOTSUP where the context is not of RFC 4121, or its enctype none of the
 * four of AES; EIO where libcrypto failed. *out is wiped then.
 */
int keys_derive(const gss_krb5_lucid_context_v1_t *lucid, unsigned taken, struct encap_params *out);

#endif
