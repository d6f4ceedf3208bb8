/*
 * Tokens side by side. A lane wants what it works on in one piece, so the data are copied to where
 * they will stay in the token, with what goes before and behind them.
 */
#include "worker/token_side.h"

#include <openssl/crypto.h>
#include <string.h>

/* RFC 3962 section 5, CS3: the last two blocks change places, and of the one that is then last what
 * the length needs stays. */
static void
steal(uint8_t *p, size_t size, size_t whole)
{
	uint8_t prior[AES_BLOCK];

	memcpy(prior, p + whole - 2 * AES_BLOCK, AES_BLOCK);
	memcpy(p + whole - 2 * AES_BLOCK, p + whole - AES_BLOCK, AES_BLOCK);
	memcpy(p + whole - AES_BLOCK, prior, size - (whole - AES_BLOCK));
}

/* In place, of `len` octets each, which zeros fill up to whole blocks. */
static bool
encipher(const struct suite *s, const uint8_t *ke, const struct lane *body, unsigned n)
{
	struct lane lane[LANES_MAX] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		lane[i] = body[i];
		lane[i].len = (body[i].len + AES_BLOCK - 1) / AES_BLOCK * AES_BLOCK;
		memset(body[i].p + body[i].len, 0, lane[i].len - body[i].len);
	}
	if (!lanes_encipher(ke, s->ke_len, lane, n))
		return false;
	for (unsigned i = 0; i < n; i++)
		steal(body[i].p, body[i].len, lane[i].len);
	return true;
}

/* RFC 8009 section 5: the HMAC is of the initial vector, too, which is zero, and has its place for
 * the time where the header is. */
static bool
mac_of_cipher(const struct suite *s, const uint8_t *ki, const struct lane *body, unsigned n)
{
	uint8_t header[LANES_MAX][TOKEN_HEADER];
	struct lane lane[LANES_MAX] = { 0 };
	bool ok;

	_Static_assert(TOKEN_HEADER == AES_BLOCK, "an initial vector has its place");
	for (unsigned i = 0; i < n; i++) {
		lane[i] = body[i];
		lane[i].p -= TOKEN_HEADER;
		lane[i].len += TOKEN_HEADER;
		memcpy(header[i], lane[i].p, TOKEN_HEADER);
		memset(lane[i].p, 0, TOKEN_HEADER);
	}
	ok = lanes_hmac(s->sha, ki, s->k_len, lane, n, s->mac_len);
	for (unsigned i = 0; i < n; i++)
		memcpy(lane[i].p, header[i], TOKEN_HEADER);
	return ok;
}

bool
side_seal(
    const struct suite *s, const struct encap_direction *k, const struct side_token *t, unsigned n)
{
	uint8_t mac[LANES_MAX][MAC_MAX];
	struct lane body[LANES_MAX] = { 0 };
	bool ok;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = t[i].token + TOKEN_HEADER;

		if (!token_confounder(p))
			return false;
		memcpy(p + AES_BLOCK, t[i].data, t[i].len);
		memcpy(p + AES_BLOCK + t[i].len, t[i].token, TOKEN_HEADER);
		body[i] = (struct lane){ p, AES_BLOCK + t[i].len + TOKEN_HEADER, mac[i] };
	}
	if (s->mac_cipher)
		ok = encipher(s, k->ke, body, n) && mac_of_cipher(s, k->ki, body, n);
	else
		ok = lanes_hmac(s->sha, k->ki, s->k_len, body, n, s->mac_len) &&
		     encipher(s, k->ke, body, n);
	for (unsigned i = 0; i < n && ok; i++)
		memcpy(body[i].p + body[i].len, mac[i], s->mac_len);
	return ok;
}

bool
side_sum(
    const struct suite *s, const struct encap_direction *k, const struct side_token *t, unsigned n)
{
	uint8_t mac[LANES_MAX][MAC_MAX];
	struct lane body[LANES_MAX] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = t[i].token + TOKEN_HEADER;

		memcpy(p, t[i].data, t[i].len);
		memcpy(p + t[i].len, t[i].token, TOKEN_HEADER);
		body[i] = (struct lane){ p, t[i].len + TOKEN_HEADER, mac[i] };
	}
	if (!lanes_hmac(s->sha, k->kc, s->k_len, body, n, s->mac_len))
		return false;
	for (unsigned i = 0; i < n; i++)
		memcpy(body[i].p + t[i].len, mac[i], s->mac_len);
	return true;
}

static bool
same(const struct suite *s, const struct lane *body)
{
	return CRYPTO_memcmp(body->mac, body->p + body->len, s->mac_len) == 0;
}

void
side_open(
    const struct suite *s, const struct encap_direction *k, struct side_received *t, unsigned n)
{
	uint8_t mac[LANES_MAX][MAC_MAX];
	struct lane body[LANES_MAX] = { 0 };
	bool ok = true;

	for (unsigned i = 0; i < n; i++) {
		body[i] = (struct lane){ t[i].token + TOKEN_HEADER,
			t[i].len - TOKEN_HEADER - s->mac_len, mac[i] };
		if (!s->mac_cipher)
			ok = ok && token_decipher(s, k->ke, body[i].p, body[i].len);
	}
	if (s->mac_cipher)
		ok = mac_of_cipher(s, k->ki, body, n);
	else
		ok = ok && lanes_hmac(s->sha, k->ki, s->k_len, body, n, s->mac_len);
	for (unsigned i = 0; i < n; i++) {
		t[i].genuine = ok && same(s, &body[i]);
		if (t[i].genuine && s->mac_cipher)
			t[i].genuine = token_decipher(s, k->ke, body[i].p, body[i].len);
	}
}

/* The header has its place for the time behind the data, where the checksum is. */
void
side_check(
    const struct suite *s, const struct encap_direction *k, struct side_received *t, unsigned n)
{
	uint8_t mac[LANES_MAX][MAC_MAX], behind[LANES_MAX][TOKEN_HEADER];
	struct lane lane[LANES_MAX] = { 0 };
	bool ok;

	for (unsigned i = 0; i < n; i++) {
		size_t len = t[i].len - TOKEN_HEADER - s->mac_len;
		uint8_t *p = t[i].token + TOKEN_HEADER;

		lane[i] = (struct lane){ p, len + TOKEN_HEADER, mac[i] };
		memcpy(behind[i], p + len, TOKEN_HEADER);
		memcpy(p + len, t[i].header, TOKEN_HEADER);
	}
	ok = lanes_hmac(s->sha, k->kc, s->k_len, lane, n, s->mac_len);
	for (unsigned i = 0; i < n; i++) {
		lane[i].len -= TOKEN_HEADER;
		memcpy(lane[i].p + lane[i].len, behind[i], TOKEN_HEADER);
		t[i].genuine = ok && same(s, &lane[i]);
	}
}
