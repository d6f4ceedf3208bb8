/*
 * From an established context to the keys that protect a session (RFC 4121 section 2): derived
 * here, so that a worker never has a key of Kerberos itself. Trusts the GSSAPI library.
 */
#ifndef AUTHD_KEYS_H
#define AUTHD_KEYS_H

#include <gssapi/gssapi_krb5.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"

/* Before the sandbox is entered: nothing of this file opens a file afterwards. 0, or -1. */
int keys_init(void);

/* The keys of an exported context that has taken so many tokens since it was established (the
 * export has the receiving number as it was then); the level is left zero. 0, or -1 with errno:
 * ENOTSUP for any but the AES enctypes of RFC 3962 and RFC 8009 (then *out is zero), EIO if
 * libcrypto failed. */
int keys_derive(
    const gss_krb5_lucid_context_v1_t *lucid, unsigned tokens_received, struct encap_params *out);

/* One key, for its test vectors: what an enctype derives for a constant (RFC 3961's DK) or label
 * (RFC 8009's KDF); out_len octets, at most ENCAP_KEY_MAX. 0, or -1: no such enctype or length. */
int keys_derive_one(uint32_t enctype, const uint8_t *key, const uint8_t *constant, size_t len,
    uint8_t *out, size_t out_len);

#endif
