/*
 * Wrap tokens, RFC 4121 section 4.2.6.2. Owns the session's keys; trusts no octet of a token before
 * its HMAC is found right, and of its header afterwards only what the HMAC covers: all but RRC,
 * without confidentiality also not EC, which has one value there.
 */
#include "worker/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "worker/token_aes.h"
#include "worker/token_side.h"

/* RFC 4121 section 4.2.2. What other flags there are is ignored. */
#define FLAG_ACCEPTOR 0x01
#define FLAG_SEALED   0x02
#define FLAG_SUBKEY   0x04

#define TOK_ID_WRAP 0x0504
#define FILLER      0xff
#define AT_EC       4
#define AT_RRC      6
#define AT_SEQ      8
#define TOKEN_TOP   65535 /* RFC 1961 section 3.4: LEN is two octets */

#define WORD_BITS    64
#define WINDOW_WORDS (TOKEN_WINDOW / WORD_BITS)

struct token_context {
	struct encap_params
	    p; /* receive.seq: the one awaited, for datagrams one above the newest */
	const struct suite *suite;
	bool datagrams;
	uint64_t seen[WINDOW_WORDS]; /* bit n % TOKEN_WINDOW: token n of the window was taken */
};

_Static_assert(TOKEN_SLACK == SIDE_SLACK, "what is written behind a token");

struct header {
	uint8_t flags;
	uint16_t ec, rrc;
	uint64_t seq;
};

int
token_init(void)
{
	return token_aes_init();
}

struct token_context *
token_new(const struct encap_params *p)
{
	const struct suite *suite = token_suite(p->enctype);
	struct token_context *t;

	if (suite == NULL || p->level <= LEVEL_CLEAR || p->level >= LEVEL_COUNT) {
		errno = EINVAL;
		return NULL;
	}
	if ((t = calloc(1, sizeof(*t))) == NULL)
		return NULL;
	t->p = *p;
	t->suite = suite;
	return t;
}

void
token_free(struct token_context *t)
{
	if (t == NULL)
		return;
	token_aes_forget(t->suite);
	explicit_bzero(t, sizeof(*t));
	free(t);
}

/* --- sequence numbers; they may pass zero --- */

static uint64_t
window_bit(uint64_t seq, size_t *word)
{
	*word = seq % TOKEN_WINDOW / WORD_BITS;
	return (uint64_t)1 << (seq % WORD_BITS);
}

/* What came before was taken in order, or never will be. */
void
token_datagrams(struct token_context *t)
{
	t->datagrams = true;
	memset(t->seen, 0xff, sizeof(t->seen));
}

/* Not below the one that is awaited, as numbers go round. */
static bool
seq_ahead(const struct token_context *t, uint64_t seq)
{
	return (int64_t)(seq - t->p.receive.seq) >= 0;
}

static bool
seq_fresh(const struct token_context *t, uint64_t seq)
{
	uint64_t behind = t->p.receive.seq - seq, bit;
	size_t word;

	if (!t->datagrams)
		return behind == 0;
	if (seq_ahead(t, seq))
		return true;
	bit = window_bit(seq, &word);
	return behind <= TOKEN_WINDOW && (t->seen[word] & bit) == 0;
}

static void
seq_take(struct token_context *t, uint64_t seq)
{
	uint64_t bit;
	size_t word;

	if (!t->datagrams) {
		t->p.receive.seq++;
		return;
	}
	if (seq_ahead(t, seq) && seq - t->p.receive.seq >= TOKEN_WINDOW) {
		memset(t->seen, 0, sizeof(t->seen));
		t->p.receive.seq = seq + 1;
	}
	/* Those that this one passes may still come. */
	for (; seq_ahead(t, seq); t->p.receive.seq++) {
		bit = window_bit(t->p.receive.seq, &word);
		t->seen[word] &= ~bit;
	}
	bit = window_bit(seq, &word);
	t->seen[word] |= bit;
}

/* --- making --- */

static bool
seals(const struct token_context *t)
{
	return t->p.level != LEVEL_INTEGRITY;
}

size_t
token_overhead(const struct token_context *t)
{
	return TOKEN_HEADER + t->suite->mac_len + (seals(t) ? AES_BLOCK + TOKEN_HEADER : 0);
}

size_t
token_data_max(const struct token_context *t)
{
	return TOKEN_TOP - token_overhead(t);
}

static void
put_16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* EC and RRC zero, as the HMAC covers it. */
static void
header_put(uint8_t *out, uint8_t flags, uint64_t seq)
{
	put_16(out, TOK_ID_WRAP);
	out[2] = flags;
	out[3] = FILLER;
	memset(out + AT_EC, 0, AT_SEQ - AT_EC);
	for (int i = 0; i < 8; i++)
		out[AT_SEQ + i] = (uint8_t)(seq >> (56 - 8 * i));
}

static uint8_t
flags_of(const struct token_context *t)
{
	return (uint8_t)((t->p.acceptor ? FLAG_ACCEPTOR : 0) | (t->p.subkey ? FLAG_SUBKEY : 0) |
			 (seals(t) ? FLAG_SEALED : 0));
}

size_t
token_wrap(struct token_context *t, const uint8_t *data, size_t len, uint8_t *out)
{
	const struct suite *s = t->suite;
	uint8_t *body = out + TOKEN_HEADER;

	if (len > token_data_max(t))
		return 0;
	header_put(out, flags_of(t), t->p.send.seq);
	if (seals(t)) {
		if (!token_seal(s, &t->p.send, data, len, out, body))
			return 0;
	} else {
		if (!token_sum(s, &t->p.send, data, len, out, body + len))
			return 0;
		memcpy(body, data, len);
		put_16(out + AT_EC, s->mac_len);
	}
	t->p.send.seq++;
	return len + token_overhead(t);
}

unsigned
token_lanes(void)
{
	return lanes_there() ? LANES_MAX : 1;
}

static bool
wrap_side(struct token_context *t, const struct token_piece *piece, unsigned n)
{
	struct side_token side[LANES_MAX];

	for (unsigned i = 0; i < n; i++) {
		if (piece[i].len > token_data_max(t))
			return false;
		header_put(piece[i].out, flags_of(t), t->p.send.seq + i);
		side[i] = (struct side_token){ piece[i].out, piece[i].data, piece[i].len };
	}
	if (!(seals(t) ? side_seal : side_sum)(t->suite, &t->p.send, side, n))
		return false;
	for (unsigned i = 0; i < n && !seals(t); i++)
		put_16(piece[i].out + AT_EC, t->suite->mac_len);
	t->p.send.seq += n;
	return true;
}

bool
token_wrap_all(struct token_context *t, const struct token_piece *piece, unsigned n)
{
	unsigned now;

	for (; lanes_worth(t->suite->sha, n); piece += now, n -= now) {
		now = n < LANES_MAX ? n : LANES_MAX;
		if (!wrap_side(t, piece, now))
			return false;
	}
	for (unsigned i = 0; i < n; i++)
		if (token_wrap(t, piece[i].data, piece[i].len, piece[i].out) == 0)
			return false;
	return true;
}

/* --- checking --- */

static enum token_fault
header_parse(const struct token_context *t, const uint8_t *token, size_t len, struct header *h)
{
	struct wire w = wire_from(token, len);
	uint16_t id = wire_u16(&w);
	uint8_t filler;
	unsigned peer = (t->p.acceptor ? 0 : FLAG_ACCEPTOR) | (t->p.subkey ? FLAG_SUBKEY : 0);

	h->flags = wire_u8(&w);
	filler = wire_u8(&w);
	h->ec = wire_u16(&w);
	h->rrc = wire_u16(&w);
	h->seq = 0;
	for (int i = 0; i < 4; i++)
		h->seq = h->seq << 16 | wire_u16(&w);
	if (w.bad || id != TOK_ID_WRAP || filler != FILLER)
		return TOKEN_BAD;
	/* Ours, sent back; or under another key than the one agreed (section 4.2.2). */
	if ((h->flags & (FLAG_ACCEPTOR | FLAG_SUBKEY)) != peer)
		return TOKEN_BAD;
	if ((h->flags & FLAG_SEALED) != 0 ? t->p.level == LEVEL_INTEGRITY
					  : t->p.level == LEVEL_CONFIDENTIALITY)
		return TOKEN_LEVEL_WRONG;
	return TOKEN_OK;
}

/* Section 4.2.5: what the sender rotated to the right goes back, however often it went round. */
static void
rotate_back(uint8_t *p, size_t len, size_t rrc)
{
	static uint8_t part[TOKEN_TOP / 2 + 1];
	size_t left = rrc % len, right = len - left;

	if (left == 0)
		return;
	if (left <= right) {
		memcpy(part, p, left);
		memmove(p, p + left, right);
		memcpy(p + right, part, left);
	} else {
		memcpy(part, p + left, right);
		memmove(p + right, p, left);
		memcpy(p, part, right);
	}
}

static bool
sealed(const struct header *h)
{
	return (h->flags & FLAG_SEALED) != 0;
}

/* Octets around the data. Sealed: confounder, data, EC octets of filler, the header again, HMAC;
 * otherwise data and checksum, whose length is EC. */
static size_t
around(const struct token_context *t, const struct header *h)
{
	return t->suite->mac_len + (sealed(h) ? AES_BLOCK + TOKEN_HEADER + h->ec : 0);
}

/* A header that can be right, and a body as long as it says, which is turned back. */
static enum token_fault
form(const struct token_context *t, uint8_t *token, size_t len, struct header *h)
{
	enum token_fault fault = TOKEN_BAD;

	if (len > TOKEN_TOP || (fault = header_parse(t, token, len, h)) != TOKEN_OK)
		return fault;
	len -= TOKEN_HEADER;
	if (len < around(t, h) || (!sealed(h) && h->ec != t->suite->mac_len))
		return TOKEN_BAD;
	rotate_back(token + TOKEN_HEADER, len, h->rrc);
	return TOKEN_OK;
}

/* The header inside an opened token is the one outside, whose RRC means nothing. */
static bool
same_header(const struct token_context *t, const uint8_t *token, size_t len)
{
	const uint8_t *copy = token + len - t->suite->mac_len - TOKEN_HEADER;

	return CRYPTO_memcmp(copy, token, AT_RRC) == 0 &&
	       CRYPTO_memcmp(copy + AT_SEQ, token + AT_SEQ, TOKEN_HEADER - AT_SEQ) == 0;
}

/* By the keys. */
static bool
genuine(const struct token_context *t, const struct header *h, uint8_t *token, size_t len)
{
	size_t mac_len = t->suite->mac_len;
	uint8_t *body = token + TOKEN_HEADER;
	uint8_t mac[MAC_MAX], signed_header[TOKEN_HEADER];

	len -= TOKEN_HEADER;
	if (sealed(h))
		return token_open(t->suite, &t->p.receive, body, len);
	header_put(signed_header, h->flags, h->seq);
	return token_sum(t->suite, &t->p.receive, body, len - mac_len, signed_header, mac) &&
	       CRYPTO_memcmp(mac, body + len - mac_len, mac_len) == 0;
}

/* A genuine token: is it due? */
static enum token_fault
take(struct token_context *t, const struct header *h, struct token_in *in)
{
	if (sealed(h) && !same_header(t, in->token, in->len))
		return TOKEN_CHECK;
	if (!seq_fresh(t, h->seq))
		return TOKEN_SEQUENCE;
	seq_take(t, h->seq);
	in->data = in->token + TOKEN_HEADER + (sealed(h) ? AES_BLOCK : 0);
	in->data_len = in->len - TOKEN_HEADER - around(t, h);
	return TOKEN_OK;
}

enum token_fault
token_unwrap(
    struct token_context *t, uint8_t *token, size_t len, const uint8_t **data, size_t *data_len)
{
	struct token_in in = { .token = token, .len = len };
	struct header h;
	enum token_fault fault = form(t, token, len, &h);

	if (fault == TOKEN_OK)
		fault = genuine(t, &h, token, len) ? take(t, &h, &in) : TOKEN_CHECK;
	*data = in.data;
	*data_len = in.data_len;
	return fault;
}

/* As many from the first on as are of one kind; what they are found to be goes
 * into `fault`. 0: not side by side. */
static unsigned
unwrap_side(struct token_context *t, struct token_in *in, unsigned n, enum token_fault *fault)
{
	struct side_received side[LANES_MAX];
	struct header h[LANES_MAX];
	enum token_fault form_fault = TOKEN_OK;
	unsigned kind = 0, some = 0;

	while (kind < n && kind < LANES_MAX && in[kind].len >= TOKEN_HEADER &&
	       (in[kind].token[2] & FLAG_SEALED) == (in[0].token[2] & FLAG_SEALED))
		kind++;
	if (!lanes_worth(t->suite->sha, kind))
		return 0;
	for (; some < kind; some++) {
		struct token_in *one = &in[some];

		form_fault = form(t, one->token, one->len, &h[some]);
		if (form_fault != TOKEN_OK)
			break;
		side[some] = (struct side_received){ .token = one->token, .len = one->len };
		header_put(side[some].header, h[some].flags, h[some].seq);
	}
	if (some > 0)
		(sealed(&h[0]) ? side_open : side_check)(t->suite, &t->p.receive, side, some);
	*fault = TOKEN_OK;
	for (unsigned i = 0; i < some; i++) {
		*fault = side[i].genuine ? take(t, &h[i], &in[i]) : TOKEN_CHECK;
		if (*fault != TOKEN_OK)
			return i + 1;
	}
	*fault = form_fault;
	return form_fault == TOKEN_OK ? some : some + 1;
}

enum token_fault
token_unwrap_all(struct token_context *t, struct token_in *in, unsigned n)
{
	enum token_fault fault = TOKEN_OK;

	for (unsigned i = 0; i < n; i++)
		in[i].data = NULL, in[i].data_len = 0;
	for (unsigned at = 0, now; at < n && fault == TOKEN_OK; at += now) {
		now = unwrap_side(t, in + at, n - at, &fault);
		if (now > 0)
			continue;
		fault = token_unwrap(t, in[at].token, in[at].len, &in[at].data, &in[at].data_len);
		now = 1;
	}
	return fault;
}
