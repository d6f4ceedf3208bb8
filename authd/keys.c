/*
 * Derivation of a session's keys: RFC 3961 section 5.1 for the enctypes of RFC 3962, RFC 8009
 * section 3 for its own. Owns the process's contexts of libcrypto, which are made before the
 * sandbox since to fetch an algorithm may open files; keys are wiped from them after each use.
 */
#include "authd/keys.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <string.h>

#define AES_BLOCK    16
#define DIGEST_MAX   64
#define CONSTANT_MAX 64
#define PROTOCOL_CFX 1 /* of the exported context: RFC 4121 */

/* RFC 4121 section 2: the usage of sealing, by who sends; and the last octet of RFC 3961
 * section 5.3. */
#define USAGE_ACCEPTOR_SEAL  22
#define USAGE_INITIATOR_SEAL 24
#define OCTET_KC             0x99
#define OCTET_KE             0xaa
#define OCTET_KI             0x55

static const struct profile {
	size_t key_len, k_len; /* octets of the key and Ke; of Kc and Ki */
	char digest[7];        /* of RFC 8009's derivation; none: RFC 3961's */
} profiles[] = {
	[ENCTYPE_AES128_SHA1 - ENCTYPE_AES128_SHA1] = { 16, 16, "" },
	[ENCTYPE_AES256_SHA1 - ENCTYPE_AES128_SHA1] = { 32, 32, "" },
	[ENCTYPE_AES128_SHA256 - ENCTYPE_AES128_SHA1] = { 16, 16, "SHA256" },
	[ENCTYPE_AES256_SHA384 - ENCTYPE_AES128_SHA1] = { 32, 24, "SHA384" },
};

static EVP_CIPHER_CTX *aes128, *aes256;
static EVP_MAC_CTX *hmac;

static const struct profile *
profile_of(uint32_t enctype)
{
	if (enctype < ENCTYPE_AES128_SHA1 || enctype > ENCTYPE_AES256_SHA384)
		return NULL;
	return &profiles[enctype - ENCTYPE_AES128_SHA1];
}

static EVP_CIPHER_CTX *
cipher_new(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (cipher == NULL || c == NULL || EVP_EncryptInit_ex2(c, cipher, NULL, NULL, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(c, 0) != 1) {
		EVP_CIPHER_CTX_free(c);
		c = NULL;
	}
	EVP_CIPHER_free(cipher);
	return c;
}

static bool
hmac_begin(const char digest[static 7], const uint8_t *key, size_t len)
{
	char name[sizeof(profiles[0].digest)];
	OSSL_PARAM params[2];

	memcpy(name, digest, sizeof(name));
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0);
	params[1] = OSSL_PARAM_construct_end();
	return EVP_MAC_init(hmac, key, len, params) == 1;
}

/* No key stays behind; and, at the start, every algorithm is found. */
static bool
forget(void)
{
	static const uint8_t zeros[ENCAP_KEY_MAX];

	return EVP_EncryptInit_ex2(aes128, NULL, zeros, NULL, NULL) == 1 &&
	       EVP_EncryptInit_ex2(aes256, NULL, zeros, NULL, NULL) == 1 &&
	       hmac_begin("SHA384", zeros, sizeof(zeros)) &&
	       hmac_begin("SHA256", zeros, sizeof(zeros));
}

int
keys_init(void)
{
	EVP_MAC *mac;

	if (hmac == NULL && (mac = EVP_MAC_fetch(NULL, "HMAC", NULL)) != NULL) {
		hmac = EVP_MAC_CTX_new(mac);
		EVP_MAC_free(mac);
	}
	if (aes128 == NULL)
		aes128 = cipher_new("AES-128-ECB");
	if (aes256 == NULL)
		aes256 = cipher_new("AES-256-ECB");
	return hmac != NULL && aes128 != NULL && aes256 != NULL && forget() ? 0 : -1;
}

/* The copies of the input, each rotated 13 bits more to the right than the one before, until their
 * length is a multiple of both; cut into pieces of the output's length, which are added with the
 * carry going round. From the last octet to the first. */
void
keys_fold(const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
	size_t a = len, b = out_len, all, bits = 8 * len;
	unsigned carry = 0;

	while (b != 0) {
		size_t rest = a % b;

		a = b;
		b = rest;
	}
	all = len / a * out_len;
	memset(out, 0, out_len);
	for (size_t i = all; i-- > 0;) {
		/* This octet's first bit, in the input before it was rotated. */
		size_t turned = 13 * (i / len) % bits;
		size_t bit = (8 * (i % len) + bits - turned) % bits;
		unsigned two = (unsigned)in[bit / 8] << 8 | in[(bit / 8 + 1) % len];

		carry += (two >> (8 - bit % 8) & 0xff) + out[i % out_len];
		out[i % out_len] = (uint8_t)carry;
		carry >>= 8;
	}
	for (size_t i = out_len; carry != 0; i = i > 1 ? i - 1 : out_len) {
		carry += out[i - 1];
		out[i - 1] = (uint8_t)carry;
		carry >>= 8;
	}
}

/* DR: the constant folded to a block, enciphered again and again. AES needs no random-to-key. */
static bool
derive_3961(size_t key_len, const uint8_t *key, const uint8_t *constant, size_t len, uint8_t *out,
    size_t out_len)
{
	EVP_CIPHER_CTX *c = key_len == 16 ? aes128 : aes256;
	uint8_t block[AES_BLOCK];
	bool ok = EVP_EncryptInit_ex2(c, NULL, key, NULL, NULL) == 1;
	int n;

	keys_fold(constant, len, block, sizeof(block));
	for (size_t at = 0; ok && at < out_len; at += AES_BLOCK) {
		ok = EVP_EncryptUpdate(c, block, &n, block, AES_BLOCK) == 1 && n == AES_BLOCK;
		memcpy(out + at, block, out_len - at < AES_BLOCK ? out_len - at : AES_BLOCK);
	}
	explicit_bzero(block, sizeof(block));
	return ok;
}

/* HMAC(key, 00000001 | label | 00 | bits): one round is enough for every length that is asked. */
static bool
derive_8009(const struct profile *f, const uint8_t *key, const uint8_t *label, size_t len,
    uint8_t *out, size_t out_len)
{
	static const uint8_t counter[] = { 0, 0, 0, 1 };
	uint8_t digest[DIGEST_MAX];
	const uint8_t bits[] = { 0, 0, 0, (uint8_t)(8 * out_len >> 8), (uint8_t)(8 * out_len) };
	size_t n = 0;
	bool ok = hmac_begin(f->digest, key, f->key_len) &&
		  EVP_MAC_update(hmac, counter, sizeof(counter)) == 1 &&
		  EVP_MAC_update(hmac, label, len) == 1 &&
		  EVP_MAC_update(hmac, bits, sizeof(bits)) == 1 &&
		  EVP_MAC_final(hmac, digest, &n, sizeof(digest)) == 1 && n >= out_len;

	if (ok)
		memcpy(out, digest, out_len);
	explicit_bzero(digest, sizeof(digest));
	return ok;
}

int
keys_derive_one(uint32_t enctype, const uint8_t *key, const uint8_t *constant, size_t len,
    uint8_t *out, size_t out_len)
{
	const struct profile *f = profile_of(enctype);

	if (f == NULL || out_len > ENCAP_KEY_MAX)
		return -1;
	if (f->digest[0] != '\0')
		return derive_8009(f, key, constant, len, out, out_len) ? 0 : -1;
	return derive_3961(f->key_len, key, constant, len, out, out_len) ? 0 : -1;
}

static int
derive_for(uint32_t enctype, const uint8_t *key, uint8_t usage, struct encap_direction *d)
{
	const struct profile *f = profile_of(enctype);
	uint8_t constant[] = { 0, 0, 0, usage, OCTET_KE };

	if (keys_derive_one(enctype, key, constant, sizeof(constant), d->ke, f->key_len) == -1)
		return -1;
	constant[4] = OCTET_KI;
	if (keys_derive_one(enctype, key, constant, sizeof(constant), d->ki, f->k_len) == -1)
		return -1;
	constant[4] = OCTET_KC;
	return keys_derive_one(enctype, key, constant, sizeof(constant), d->kc, f->k_len);
}

int
keys_derive(
    const gss_krb5_lucid_context_v1_t *lucid, unsigned tokens_received, struct encap_params *out)
{
	const gss_krb5_cfx_keydata_t *kd = &lucid->cfx_kd;
	const gss_krb5_lucid_key_t *key =
	    kd->have_acceptor_subkey ? &kd->acceptor_subkey : &kd->ctx_key;
	const struct profile *f;
	bool initiate = lucid->initiate != 0, ok;

	memset(out, 0, sizeof(*out));
	if (lucid->version != 1 || lucid->protocol != PROTOCOL_CFX ||
	    (f = profile_of(key->type)) == NULL || key->length != f->key_len) {
		errno = ENOTSUP;
		return -1;
	}
	out->enctype = key->type;
	out->acceptor = !initiate;
	out->subkey = kd->have_acceptor_subkey != 0;
	out->send.seq = lucid->send_seq;
	out->receive.seq = lucid->recv_seq + tokens_received;
	ok = derive_for(key->type, key->data, initiate ? USAGE_INITIATOR_SEAL : USAGE_ACCEPTOR_SEAL,
		 &out->send) == 0 &&
	     derive_for(key->type, key->data, initiate ? USAGE_ACCEPTOR_SEAL : USAGE_INITIATOR_SEAL,
		 &out->receive) == 0;
	if (!forget() || !ok) {
		explicit_bzero(out, sizeof(*out));
		errno = EIO;
		return -1;
	}
	return 0;
}
