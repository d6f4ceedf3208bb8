/*
 * Tokens of arbitrary octets under fixed keys. The first octet says the enctype, the receiver's
 * level and whether datagrams are expected; its top bit has a token made genuine (right flags, its
 * HMAC over whatever it holds, its RRC kept), so that what lies behind the HMAC is reached. Data
 * lie inside the token; what is refused changes nothing, and what is taken is not taken again. Of
 * several such tokens side by side, one is taken, if one alone was.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/token.h"
#include "worker/token_aes.h"

#define INPUT_MAX 4096
#define AT_EC     4
#define AT_RRC    6
#define AT_SEQ    8
#define SEALED    0x02
#define GENUINE   0x80
#define SIDE      5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(int so)
{
	if (!so)
		abort();
}

static struct encap_params
params(uint8_t choice)
{
	struct encap_params p;

	memset(&p, 0, sizeof(p));
	for (size_t i = 0; i < ENCAP_KEY_MAX; i++) {
		p.receive.ke[i] = (uint8_t)i;
		p.receive.ki[i] = (uint8_t)(i + 64);
		p.receive.kc[i] = (uint8_t)(i + 128);
	}
	p.enctype = ENCTYPE_AES128_SHA1 + (choice & 3);
	p.level = (uint8_t)(LEVEL_INTEGRITY + (choice >> 2 & 3) % 3);
	p.acceptor = 1;
	return p;
}

/* What a sender with the keys can make: the octets after the header are its data, filler and, for a
 * sealed one, the header inside. The length of the token, or 0. */
static size_t
genuine(const struct encap_params *p, const uint8_t *in, size_t len, uint8_t *out)
{
	const struct suite *s = token_suite(p->enctype);
	uint8_t header[TOKEN_HEADER], body[INPUT_MAX];
	size_t n = len - TOKEN_HEADER, total, rrc;

	memcpy(out, in, TOKEN_HEADER);
	if ((out[2] & SEALED) != 0) {
		if (n < TOKEN_HEADER)
			return 0;
		n -= TOKEN_HEADER;
		memcpy(header, in + TOKEN_HEADER + n, TOKEN_HEADER);
		total = n + AES_BLOCK + TOKEN_HEADER + s->mac_len;
		check(token_seal(s, &p->receive, in + TOKEN_HEADER, n, header, body));
	} else {
		memcpy(header, in, TOKEN_HEADER);
		memset(header + AT_EC, 0, AT_SEQ - AT_EC);
		total = n + s->mac_len;
		memcpy(body, in + TOKEN_HEADER, n);
		check(token_sum(s, &p->receive, body, n, header, body + n));
	}
	rrc = (size_t)in[AT_RRC] << 8 | in[AT_RRC + 1];
	for (size_t i = 0; i < total; i++)
		out[TOKEN_HEADER + (i + rrc) % total] = body[i];
	return TOKEN_HEADER + total;
}

static void
side_by_side(const struct encap_params *p, int datagrams, const uint8_t *made, size_t len, int good)
{
	struct token_context *t = token_new(p);
	struct token_in in[SIDE];
	size_t each = len + TOKEN_SLACK;
	uint8_t *copy = malloc(SIDE * each);

	check(t != NULL && copy != NULL);
	if (datagrams)
		token_datagrams(t);
	for (size_t i = 0; i < SIDE; i++) {
		in[i] = (struct token_in){ copy + i * each, len, NULL, 0 };
		memcpy(in[i].token, made, len);
		memset(in[i].token + len, 0xa5, TOKEN_SLACK);
	}
	check(token_unwrap_all(t, in, SIDE) != TOKEN_OK);
	check((in[0].data != NULL) == good);
	for (size_t i = 0; i < SIDE; i++) {
		check(i == 0 || in[i].data == NULL);
		for (size_t k = 0; k < TOKEN_SLACK; k++)
			check(in[i].token[len + k] == 0xa5);
	}
	free(copy);
	token_free(t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct encap_params p;
	struct token_context *t;
	uint8_t made[INPUT_MAX + 128], *copy;
	const uint8_t *got;
	size_t len, got_len;
	enum token_fault fault;
	int good = 0;

	if (size < 1 || size > INPUT_MAX - 128)
		return 0;
	check(token_init() == 0);
	p = params(data[0]);
	if ((data[0] & GENUINE) == 0)
		memcpy(made, data + 1, len = size - 1);
	else if (size - 1 < TOKEN_HEADER || (len = genuine(&p, data + 1, size - 1, made)) == 0)
		return 0;
	check((t = token_new(&p)) != NULL);
	if ((data[0] & 0x10) != 0)
		token_datagrams(t);
	for (int round = 0; round < 2; round++) {
		check((copy = malloc(len > 0 ? len : 1)) != NULL);
		memcpy(copy, made, len);
		fault = token_unwrap(t, copy, len, &got, &got_len);
		if (fault == TOKEN_OK)
			check(round == 0 && got >= copy + TOKEN_HEADER &&
			      got_len <= (size_t)(copy + len - got));
		else
			check(got == NULL && got_len == 0);
		good = good || fault == TOKEN_OK;
		free(copy);
	}
	token_free(t);
	side_by_side(&p, (data[0] & 0x10) != 0, made, len, good);
	return 0;
}
