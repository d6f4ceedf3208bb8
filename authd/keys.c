/*
 * Key derivation by libcrypto: RFC 3961's DK (KRB5KDF there) and RFC 8009's counter mode (KBKDF).
 * Owns nothing but what keys_init has looked up; trusts the exported context, which is this
 * process's own.
 */
#include "authd/keys.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <string.h>

/* RFC 4121 section 2: Wrap tokens, also those without confidentiality, use the seal usages. */
#define USAGE_ACCEPTOR_SEAL  22
#define USAGE_INITIATOR_SEAL 24

#define USAGE_CONSTANT 5 /* octets: the usage in network order, and the well-known octet */

/* The enctypes that there are, and the lengths of their keys in octets. */
static const struct enctype {
	uint32_t number;
	const char *cipher; /* for RFC 3961's DK; */
	const char *digest; /* or for RFC 8009's KDF */
	size_t base, ke, other;
} enctypes[] = {
	{ ENCTYPE_AES128_SHA1, "AES-128-CBC", NULL, 16, 16, 16 },
	{ ENCTYPE_AES256_SHA1, "AES-256-CBC", NULL, 32, 32, 32 },
	{ ENCTYPE_AES128_SHA256, NULL, "SHA256", 16, 16, 16 },
	{ ENCTYPE_AES256_SHA384, NULL, "SHA384", 32, 32, 24 },
};

static struct {
	EVP_KDF *dk, *counter;
} here;

int
keys_init(void)
{
	uint8_t key[ENCAP_KEY_MAX] = { 0 };

	if (here.dk == NULL)
		here.dk = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_KRB5KDF, NULL);
	if (here.counter == NULL)
		here.counter = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_KBKDF, NULL);
	errno = ENOTSUP;
	/* One derivation of each looks up its cipher or digest, too. */
	for (size_t i = 0; i < sizeof(enctypes) / sizeof(enctypes[0]); i++) {
		uint8_t out[ENCAP_KEY_MAX];

		if (keys_derive_one(enctypes[i].number, key, enctypes[i].base, USAGE_ACCEPTOR_SEAL,
			KEYS_ENCRYPTION, out) == 0)
			return -1;
	}
	return 0;
}

static const struct enctype *
enctype_of(uint32_t number)
{
	for (size_t i = 0; i < sizeof(enctypes) / sizeof(enctypes[0]); i++)
		if (enctypes[i].number == number)
			return &enctypes[i];
	return NULL;
}

/* libcrypto's parameters are not const, and it does not change them. */
static OSSL_PARAM
octets(const char *name, const uint8_t *p, size_t len)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)p, len);
}

static OSSL_PARAM
text(const char *name, const char *s)
{
	return OSSL_PARAM_construct_utf8_string(name, (char *)(uintptr_t)s, 0);
}

static int
derive(const struct enctype *e, const uint8_t *base, const uint8_t constant[USAGE_CONSTANT],
    uint8_t *out, size_t len)
{
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(e->cipher != NULL ? here.dk : here.counter);
	OSSL_PARAM params[6], *p = params;
	int ok;

	*p++ = octets(OSSL_KDF_PARAM_KEY, base, e->base);
	if (e->cipher != NULL) {
		*p++ = text(OSSL_KDF_PARAM_CIPHER, e->cipher);
		*p++ = octets(OSSL_KDF_PARAM_CONSTANT, constant, USAGE_CONSTANT);
	} else {
		/* RFC 8009 section 3: 00000001 | label | 00 | length in bits. */
		*p++ = text(OSSL_KDF_PARAM_MAC, "HMAC");
		*p++ = text(OSSL_KDF_PARAM_MODE, "counter");
		*p++ = text(OSSL_KDF_PARAM_DIGEST, e->digest);
		*p++ = octets(OSSL_KDF_PARAM_SALT, constant, USAGE_CONSTANT);
	}
	*p = OSSL_PARAM_construct_end();
	ok = ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;
	EVP_KDF_CTX_free(ctx); /* wipes its copy of the key */
	return ok ? 0 : -1;
}

size_t
keys_derive_one(uint32_t enctype, const uint8_t *base, size_t base_len, uint32_t usage,
    uint8_t octet, uint8_t out[ENCAP_KEY_MAX])
{
	const struct enctype *e = enctype_of(enctype);
	const uint8_t constant[USAGE_CONSTANT] = { (uint8_t)(usage >> 24), (uint8_t)(usage >> 16),
		(uint8_t)(usage >> 8), (uint8_t)usage, octet };

	memset(out, 0, ENCAP_KEY_MAX);
	if (e == NULL || base_len != e->base)
		return 0;
	size_t len = octet == KEYS_ENCRYPTION ? e->ke : e->other;
	if (derive(e, base, constant, out, len) == 0)
		return len;
	explicit_bzero(out, ENCAP_KEY_MAX);
	return 0;
}

static int
derive_direction(
    uint32_t enctype, const gss_krb5_lucid_key_t *k, uint32_t usage, struct encap_direction *d)
{
	return keys_derive_one(enctype, k->data, k->length, usage, KEYS_ENCRYPTION, d->ke) > 0 &&
		       keys_derive_one(enctype, k->data, k->length, usage, KEYS_INTEGRITY, d->ki) >
			   0 &&
		       keys_derive_one(enctype, k->data, k->length, usage, KEYS_CHECKSUM, d->kc) > 0
		   ? 0
		   : -1;
}

int
keys_derive(const gss_krb5_lucid_context_v1_t *lucid, unsigned taken, struct encap_params *out)
{
	const gss_krb5_cfx_keydata_t *cfx = &lucid->cfx_kd;
	const gss_krb5_lucid_key_t *k =
	    cfx->have_acceptor_subkey ? &cfx->acceptor_subkey : &cfx->ctx_key;
	bool acceptor = lucid->initiate == 0;

	memset(out, 0, sizeof(*out));
	errno = ENOTSUP;
	if (lucid->version != 1 || lucid->protocol != 1 || enctype_of(k->type) == NULL ||
	    k->length != enctype_of(k->type)->base)
		return -1;
	out->enctype = k->type;
	out->acceptor = acceptor;
	out->subkey = cfx->have_acceptor_subkey != 0;
	out->send.seq = lucid->send_seq;
	out->receive.seq = lucid->recv_seq + taken;
	if (derive_direction(k->type, k, acceptor ? USAGE_ACCEPTOR_SEAL : USAGE_INITIATOR_SEAL,
		&out->send) == 0 &&
	    derive_direction(k->type, k, acceptor ? USAGE_INITIATOR_SEAL : USAGE_ACCEPTOR_SEAL,
		&out->receive) == 0)
		return 0;
	explicit_bzero(out, sizeof(*out));
	errno = EIO;
	return -1;
}
