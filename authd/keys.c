/*
 * Key derivation by libcrypto: RFC 3961's DK (KRB5KDF there) and RFC 8009's counter mode (KBKDF);
 * six keys cost 8 to 14 us. Owns nothing but what keys_init has looked up; trusts the exported
 * context, which is this process's own.
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

#define USAGE_CONSTANT 5 /* octets: the usage in network order, and a well-known one: */
#define FOR_CHECKSUM   0x99
#define FOR_ENCRYPTION 0xaa
#define FOR_INTEGRITY  0x55

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
	/* One derivation of each looks up its cipher or digest, too. */
	for (size_t i = 0; i < sizeof(enctypes) / sizeof(enctypes[0]); i++) {
		uint8_t out[ENCAP_KEY_MAX];

		if (keys_derive_one(enctypes[i].number, key, key, 1, out, enctypes[i].ke) == -1)
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

int
keys_derive_one(uint32_t enctype, const uint8_t *key, const uint8_t *constant, size_t len,
    uint8_t *out, size_t out_len)
{
	const struct enctype *e = enctype_of(enctype);
	OSSL_PARAM params[6], *p = params;

	if (e == NULL || out_len == 0 || out_len > ENCAP_KEY_MAX)
		return -1;
	*p++ = octets(OSSL_KDF_PARAM_KEY, key, e->base);
	if (e->cipher != NULL) {
		*p++ = text(OSSL_KDF_PARAM_CIPHER, e->cipher);
		*p++ = octets(OSSL_KDF_PARAM_CONSTANT, constant, len);
	} else {
		/* RFC 8009 section 3: 00000001 | label | 00 | length in bits. */
		*p++ = text(OSSL_KDF_PARAM_MAC, "HMAC");
		*p++ = text(OSSL_KDF_PARAM_MODE, "counter");
		*p++ = text(OSSL_KDF_PARAM_DIGEST, e->digest);
		*p++ = octets(OSSL_KDF_PARAM_SALT, constant, len);
	}
	*p = OSSL_PARAM_construct_end();
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(e->cipher != NULL ? here.dk : here.counter);
	int result = ctx != NULL && EVP_KDF_derive(ctx, out, out_len, params) == 1 ? 0 : -1;
	EVP_KDF_CTX_free(ctx); /* wipes its copy of the key */
	return result;
}

/* The three keys of one direction, from the context's base key. */
static int
derive_direction(
    const struct enctype *e, const uint8_t *base, uint8_t usage, struct encap_direction *d)
{
	uint8_t constant[USAGE_CONSTANT] = { 0, 0, 0, usage, 0 };
	const struct {
		uint8_t octet;
		uint8_t *out;
		size_t len;
	} keys[] = {
		{ FOR_ENCRYPTION, d->ke, e->ke },
		{ FOR_INTEGRITY, d->ki, e->other },
		{ FOR_CHECKSUM, d->kc, e->other },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		constant[USAGE_CONSTANT - 1] = keys[i].octet;
		if (keys_derive_one(e->number, base, constant, sizeof(constant), keys[i].out,
			keys[i].len) == -1)
			return -1;
	}
	return 0;
}

int
keys_derive(
    const gss_krb5_lucid_context_v1_t *lucid, unsigned tokens_received, struct encap_params *out)
{
	const gss_krb5_cfx_keydata_t *cfx = &lucid->cfx_kd;
	const gss_krb5_lucid_key_t *k =
	    cfx->have_acceptor_subkey ? &cfx->acceptor_subkey : &cfx->ctx_key;
	const struct enctype *e = enctype_of(k->type);
	bool acceptor = lucid->initiate == 0;

	memset(out, 0, sizeof(*out));
	errno = ENOTSUP;
	if (lucid->version != 1 || lucid->protocol != 1 || e == NULL || k->length != e->base)
		return -1;
	out->enctype = e->number;
	out->acceptor = acceptor;
	out->subkey = cfx->have_acceptor_subkey != 0;
	out->send.seq = lucid->send_seq;
	out->receive.seq = lucid->recv_seq + tokens_received;
	if (derive_direction(e, k->data, acceptor ? USAGE_ACCEPTOR_SEAL : USAGE_INITIATOR_SEAL,
		&out->send) == 0 &&
	    derive_direction(e, k->data, acceptor ? USAGE_INITIATOR_SEAL : USAGE_ACCEPTOR_SEAL,
		&out->receive) == 0)
		return 0;
	explicit_bzero(out, sizeof(*out));
	errno = EIO;
	return -1;
}
