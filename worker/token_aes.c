/*
 * AES in CBC with ciphertext stealing, and HMAC, as RFC 3962 and RFC 8009 put them together. Owns
 * the process's contexts of libcrypto; they are made before the sandbox, since to fetch an
 * algorithm may open files. Trusts no octet that it deciphers.
 *
 * Confounders come straight from getrandom(2): libcrypto's generator asks for the process's id at
 * each call, which a worker may not.
 */
#include "worker/token_aes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

#define HASH_MAX       64  /* octets of a digest */
#define HASH_BLOCK_MAX 128 /* octets of a hash's block */
#define CONFOUNDERS    256 /* octets fetched at once: getrandom(2) promises so many whole */

static const struct suite suites[] = {
	[ENCTYPE_AES128_SHA1 - ENCTYPE_AES128_SHA1] = { 16, 16, 12, AES_128, OF_SHA1, false },
	[ENCTYPE_AES256_SHA1 - ENCTYPE_AES128_SHA1] = { 32, 32, 12, AES_256, OF_SHA1, false },
	[ENCTYPE_AES128_SHA256 - ENCTYPE_AES128_SHA1] = { 16, 16, 16, AES_128, OF_SHA256, true },
	[ENCTYPE_AES256_SHA384 - ENCTYPE_AES128_SHA1] = { 32, 24, 24, AES_256, OF_SHA384, true },
};

static const uint8_t zeros[HASH_BLOCK_MAX];
static EVP_CIPHER_CTX *encipher[AES_COUNT], *decipher[AES_COUNT];
static EVP_MD_CTX *hash[OF_SHA_COUNT];
static size_t hash_block[OF_SHA_COUNT], hash_len[OF_SHA_COUNT];

/* A context that has its cipher from now on, and does no padding of its own. */
static EVP_CIPHER_CTX *
cipher_new(const char *name, int enc)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (cipher == NULL || c == NULL ||
	    EVP_CipherInit_ex2(c, cipher, zeros, zeros, enc, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(c, 0) != 1) {
		EVP_CIPHER_CTX_free(c);
		c = NULL;
	}
	EVP_CIPHER_free(cipher);
	return c;
}

static EVP_MD_CTX *
hash_new(const char *name, size_t *block, size_t *len)
{
	EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (md == NULL || c == NULL || EVP_DigestInit_ex2(c, md, NULL) != 1) {
		EVP_MD_CTX_free(c);
		c = NULL;
	} else {
		*block = (size_t)EVP_MD_get_block_size(md);
		*len = (size_t)EVP_MD_get_size(md);
	}
	EVP_MD_free(md);
	return c;
}

int
token_aes_init(void)
{
	static const char *const ciphers[] = { "AES-128-CBC", "AES-256-CBC" };
	static const char *const hashes[] = { "SHA1", "SHA256", "SHA384" };

	for (int i = 0; i < AES_COUNT; i++) {
		if (encipher[i] == NULL)
			encipher[i] = cipher_new(ciphers[i], 1);
		if (decipher[i] == NULL)
			decipher[i] = cipher_new(ciphers[i], 0);
		if (encipher[i] == NULL || decipher[i] == NULL)
			return -1;
	}
	for (int i = 0; i < OF_SHA_COUNT; i++) {
		if (hash[i] == NULL)
			hash[i] = hash_new(hashes[i], &hash_block[i], &hash_len[i]);
		if (hash[i] == NULL)
			return -1;
	}
	lanes_init();
	return 0;
}

const struct suite *
token_suite(uint32_t enctype)
{
	if (enctype < ENCTYPE_AES128_SHA1 || enctype > ENCTYPE_AES256_SHA384)
		return NULL;
	return &suites[enctype - ENCTYPE_AES128_SHA1];
}

void
token_aes_forget(const struct suite *s)
{
	(void)EVP_CipherInit_ex2(encipher[s->aes], NULL, zeros, zeros, 1, NULL);
	(void)EVP_CipherInit_ex2(decipher[s->aes], NULL, zeros, zeros, 0, NULL);
	lanes_forget();
}

/* --- HMAC --- */

/* RFC 2104: a key is a block that ends with zeros, plus a pattern. */
static bool
hmac_block(EVP_MD_CTX *c, size_t block, const uint8_t *key, size_t len, uint8_t pattern)
{
	uint8_t pad[HASH_BLOCK_MAX];
	bool ok;

	for (size_t i = 0; i < block; i++)
		pad[i] = (uint8_t)((i < len ? key[i] : 0) ^ pattern);
	ok = EVP_DigestInit_ex2(c, NULL, NULL) == 1 && EVP_DigestUpdate(c, pad, block) == 1;
	explicit_bzero(pad, sizeof(pad));
	return ok;
}

static bool
hmac_begin(const struct suite *s, const uint8_t *key)
{
	unsigned sha = s->sha;

	return hmac_block(hash[sha], hash_block[sha], key, s->k_len, 0x36);
}

static bool
hmac_add(const struct suite *s, const uint8_t *p, size_t len)
{
	return EVP_DigestUpdate(hash[s->sha], p, len) == 1;
}

/* The first mac_len octets. */
static bool
hmac_end(const struct suite *s, const uint8_t *key, uint8_t *mac)
{
	unsigned sha = s->sha;
	EVP_MD_CTX *c = hash[sha];
	uint8_t digest[HASH_MAX];

	if (EVP_DigestFinal_ex(c, digest, NULL) != 1 ||
	    !hmac_block(c, hash_block[sha], key, s->k_len, 0x5c) ||
	    EVP_DigestUpdate(c, digest, hash_len[sha]) != 1 ||
	    EVP_DigestFinal_ex(c, digest, NULL) != 1)
		return false;
	memcpy(mac, digest, s->mac_len);
	return true;
}

bool
token_sum(const struct suite *s, const struct encap_direction *k, const uint8_t *data, size_t len,
    const uint8_t *header, uint8_t *mac)
{
	return hmac_begin(s, k->kc) && hmac_add(s, data, len) &&
	       hmac_add(s, header, TOKEN_HEADER) && hmac_end(s, k->kc, mac);
}

/* RFC 8009 section 5: of the initial vector, which is zero, and the ciphertext. */
static bool
mac_of_cipher(const struct suite *s, const uint8_t *ki, const uint8_t *p, size_t len, uint8_t *mac)
{
	return hmac_begin(s, ki) && hmac_add(s, zeros, AES_BLOCK) && hmac_add(s, p, len) &&
	       hmac_end(s, ki, mac);
}

/* --- CBC with ciphertext stealing (RFC 3962 section 5, CS3), of two blocks or more --- */

bool
token_confounder(uint8_t *out)
{
	static uint8_t pool[CONFOUNDERS];
	static size_t left;

	if (left == 0) {
		if (getrandom(pool, sizeof(pool), 0) != sizeof(pool))
			return false;
		left = sizeof(pool);
	}
	left -= AES_BLOCK;
	memcpy(out, pool + left, AES_BLOCK);
	explicit_bzero(pool + left, AES_BLOCK);
	return true;
}

/* Whole blocks, fewer than INT_MAX octets of them. */
static bool
blocks(EVP_CIPHER_CTX *c, uint8_t *out, const uint8_t *in, size_t len)
{
	int n;

	return EVP_CipherUpdate(c, out, &n, in, (int)len) == 1 && (size_t)n == len;
}

/* The last two blocks change places, and of the one that is then last what the length needs stays.
 */
static bool
encipher_end(EVP_CIPHER_CTX *c, const uint8_t *tail, size_t len, uint8_t *out)
{
	uint8_t last[2 * AES_BLOCK];
	size_t part = len - AES_BLOCK;

	if (len == AES_BLOCK) {
		if (!blocks(c, last, tail, AES_BLOCK))
			return false;
		memcpy(out, out - AES_BLOCK, AES_BLOCK);
		memcpy(out - AES_BLOCK, last, AES_BLOCK);
		return true;
	}
	if (!blocks(c, last, tail, sizeof(last)))
		return false;
	memcpy(out, last + AES_BLOCK, AES_BLOCK);
	memcpy(out + AES_BLOCK, last, part);
	return true;
}

bool
token_seal(const struct suite *s, const struct encap_direction *k, const uint8_t *data, size_t len,
    const uint8_t *header, uint8_t *out)
{
	EVP_CIPHER_CTX *c = encipher[s->aes];
	size_t rest = len % AES_BLOCK, whole = len - rest;
	size_t size = AES_BLOCK + len + TOKEN_HEADER;
	uint8_t first[AES_BLOCK], tail[2 * AES_BLOCK] = { 0 };
	bool ok;

	if (!token_confounder(first))
		return false;
	memcpy(tail, data + whole, rest);
	memcpy(tail + rest, header, TOKEN_HEADER);
	ok = EVP_CipherInit_ex2(c, NULL, k->ke, zeros, 1, NULL) == 1 &&
	     blocks(c, out, first, AES_BLOCK) && blocks(c, out + AES_BLOCK, data, whole) &&
	     encipher_end(c, tail, rest + TOKEN_HEADER, out + AES_BLOCK + whole);
	if (ok && s->mac_cipher)
		ok = mac_of_cipher(s, k->ki, out, size, out + size);
	else if (ok)
		ok = hmac_begin(s, k->ki) && hmac_add(s, first, AES_BLOCK) &&
		     hmac_add(s, data, len) && hmac_add(s, header, TOKEN_HEADER) &&
		     hmac_end(s, k->ki, out + size);
	explicit_bzero(first, sizeof(first));
	return ok;
}

static void
add_to(uint8_t *out, const uint8_t *a, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] ^= a[i];
}

/*
 * The end of the message: X, then `part` octets of C, the block before it in CBC. With B the block
 * before both, the context deciphers X to D(X) + B; D(X) gives the last plaintext, and the octets
 * of C that were left out. C then deciphers to D(C) + X, where D(C) + B is wanted.
 */
static bool
decipher_end(EVP_CIPHER_CTX *c, const uint8_t before[AES_BLOCK], uint8_t *p, size_t part)
{
	uint8_t x[AES_BLOCK], d[AES_BLOCK], prior[AES_BLOCK];

	memcpy(x, p, AES_BLOCK);
	if (!blocks(c, d, x, AES_BLOCK))
		return false;
	add_to(d, before, AES_BLOCK);
	memcpy(prior, p + AES_BLOCK, part);
	memcpy(prior + part, d + part, AES_BLOCK - part);
	add_to(d, prior, part);
	memcpy(p + AES_BLOCK, d, part);
	if (!blocks(c, p, prior, AES_BLOCK))
		return false;
	add_to(p, x, AES_BLOCK);
	add_to(p, before, AES_BLOCK);
	return true;
}

bool
token_decipher(const struct suite *s, const uint8_t *ke, uint8_t *p, size_t len)
{
	EVP_CIPHER_CTX *c = decipher[s->aes];
	size_t part = (len - 1) % AES_BLOCK + 1;
	size_t whole = len - part - AES_BLOCK;
	uint8_t before[AES_BLOCK] = { 0 };

	if (whole > 0)
		memcpy(before, p + whole - AES_BLOCK, AES_BLOCK);
	return EVP_CipherInit_ex2(c, NULL, ke, zeros, 0, NULL) == 1 && blocks(c, p, p, whole) &&
	       decipher_end(c, before, p + whole, part);
}

bool
token_open(const struct suite *s, const struct encap_direction *k, uint8_t *p, size_t len)
{
	size_t size = len - s->mac_len;
	uint8_t mac[MAC_MAX];

	if (s->mac_cipher)
		return mac_of_cipher(s, k->ki, p, size, mac) &&
		       CRYPTO_memcmp(mac, p + size, s->mac_len) == 0 &&
		       token_decipher(s, k->ke, p, size);
	return token_decipher(s, k->ke, p, size) && hmac_begin(s, k->ki) && hmac_add(s, p, size) &&
	       hmac_end(s, k->ki, mac) && CRYPTO_memcmp(mac, p + size, s->mac_len) == 0;
}
