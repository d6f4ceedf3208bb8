/*
 * Tokens made and checked side by side, against MIT's gss_wrap and gss_unwrap: every enctype, side
 * and kind, every count up to more than there are lanes, with sizes that are all alike and none
 * alike; what is changed under way; and that nothing is written but what should be.
 */
#include "tests/unit/kerberos.h"

#include "tests/unit/tokens.h"
#include "worker/token_aes.h"

#define COUNT_MAX  11
#define FRAME      4 /* octets between tokens, as RFC 1961 has them */
#define ROOM       (COUNT_MAX * (TOP_SIZE + FRAME) + 16)
#define UNTOUCHED  0xa5
#define FLAG_SEALS 2

static uint8_t stream[ROOM], before[ROOM];

/* What a lane's length must not matter to: the k-th token's size of a pattern. */
static size_t
size_of(unsigned pattern, unsigned k)
{
	static const size_t odd[COUNT_MAX] = { 1, 0, 16, 4097, 31, 60000, 15, 17, 7680, 33, 47 };

	switch (pattern) {
	case 0:
		return odd[k];
	case 1:
		return odd[COUNT_MAX - 1 - k];
	case 2:
		return 65000 - k;
	case 3:
		return 0;
	default:
		return pattern * 3 + k % 2;
	}
}
#define PATTERNS 24

struct side {
	struct pair pair;
	struct token_context *t;
	int conf;
};

static void
to_mit(struct side *s, unsigned pattern, unsigned n)
{
	struct token_piece piece[COUNT_MAX];
	size_t overhead = token_overhead(s->t), at = 0;
	OM_uint32 minor;
	int conf;

	memset(stream, UNTOUCHED, sizeof(stream));
	for (unsigned i = 0; i < n; i++) {
		size_t len = size_of(pattern, i);

		piece[i] = (struct token_piece){ plain + i, len, stream + at };
		at += len + overhead + FRAME;
	}
	assert_true(token_wrap_all(s->t, piece, n));
	for (size_t i = at; i < at + 16; i++)
		assert_int_equal(stream[i], UNTOUCHED);
	for (unsigned i = 0; i < n; i++) {
		gss_buffer_desc in = { piece[i].len + overhead, piece[i].out }, out = { 0, NULL };

		assert_int_equal(
		    gss_unwrap(&minor, s->pair.mit, &in, &out, &conf, NULL), GSS_S_COMPLETE);
		assert_int_equal(conf, s->conf);
		assert_int_equal(out.length, piece[i].len);
		assert_memory_equal(out.value, plain + i, piece[i].len);
		if (out.length == 0)
			free(out.value); /* MIT's release takes it for none */
		gss_release_buffer(&minor, &out);
	}
}

/* n tokens of MIT's in the stream, whose end is returned. */
static size_t
mit_wraps(struct side *s, unsigned pattern, unsigned n, struct token_in *in)
{
	size_t at = 0;
	OM_uint32 minor;

	memset(stream, UNTOUCHED, sizeof(stream));
	for (unsigned i = 0; i < n; i++) {
		gss_buffer_desc data = { size_of(pattern, i), plain + i }, out = { 0, NULL };

		assert_int_equal(
		    gss_wrap(&minor, s->pair.mit, s->conf, 0, &data, NULL, &out), GSS_S_COMPLETE);
		memcpy(stream + at, out.value, out.length);
		in[i] = (struct token_in){ .token = stream + at, .len = out.length };
		at += out.length + FRAME;
		gss_release_buffer(&minor, &out);
	}
	return at;
}

static void
from_mit(struct side *s, unsigned pattern, unsigned n)
{
	struct token_in in[COUNT_MAX];
	size_t end = mit_wraps(s, pattern, n, in);

	assert_int_equal(token_unwrap_all(s->t, in, n), TOKEN_OK);
	for (unsigned i = 0; i < n; i++) {
		assert_non_null(in[i].data);
		assert_int_equal(in[i].data_len, size_of(pattern, i));
		assert_memory_equal(in[i].data, plain + i, in[i].data_len);
		for (unsigned k = 0; k < FRAME; k++)
			assert_int_equal(in[i].token[in[i].len + k], UNTOUCHED);
	}
	for (size_t i = end; i < end + 16; i++)
		assert_int_equal(stream[i], UNTOUCHED);
}

/* A bit of the k-th is changed: those before it are taken, it and those behind are not, and it is
 * the one that is awaited. */
static void
changed(struct side *s, unsigned n, unsigned k)
{
	struct token_in in[COUNT_MAX];
	size_t end = mit_wraps(s, 0, n, in), bit = (size_t)random() % (8 * in[k].len);

	/* Flags and lengths have faults of their own, and RRC has no HMAC. */
	if (bit < 64)
		bit = 64;
	memcpy(before, stream, end);
	in[k].token[bit / 8] ^= (uint8_t)(1 << bit % 8);
	assert_int_equal(token_unwrap_all(s->t, in, n), TOKEN_CHECK);
	for (unsigned i = 0; i < n; i++)
		assert_true((in[i].data != NULL) == (i < k));
	memcpy(stream, before, end);
	assert_int_equal(token_unwrap_all(s->t, in + k, n - k), TOKEN_OK);
	for (unsigned i = k; i < n; i++)
		assert_memory_equal(in[i].data, plain + i, in[i].data_len);
}

/* All genuine, but one comes twice, and the one behind it too early. */
static void
out_of_order(struct side *s, unsigned n)
{
	struct token_in in[COUNT_MAX], twice[COUNT_MAX];
	size_t end = mit_wraps(s, 4, n, in);

	memcpy(before, stream, end);
	memcpy(twice, in, sizeof(in));
	twice[2] = in[1];
	twice[2].token = before + (in[1].token - stream);
	assert_int_equal(token_unwrap_all(s->t, twice, n), TOKEN_SEQUENCE);
	assert_non_null(twice[1].data);
	assert_null(twice[2].data);
	memcpy(stream, before, end);
	assert_int_equal(token_unwrap_all(s->t, in + 3, n - 3), TOKEN_SEQUENCE);
}

static void
against_mit(uint32_t enctype)
{
	for (unsigned i = 0; i < 4; i++) {
		struct side s = { .pair = pair_new(enctype, i & 1, true), .conf = (i & 2) != 0 };

		s.pair.ours.level = s.conf ? LEVEL_CONFIDENTIALITY : LEVEL_INTEGRITY;
		assert_non_null(s.t = token_new(&s.pair.ours));
		for (unsigned n = 1; n <= COUNT_MAX; n++)
			for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
				to_mit(&s, pattern, n);
				from_mit(&s, pattern, n);
			}
		for (unsigned k = 0; k < COUNT_MAX; k++)
			changed(&s, COUNT_MAX, k);
		out_of_order(&s, 8);
		token_free(s.t);
		pair_free(&s.pair);
	}
}

static void
test_against_mit(void **state)
{
	(void)state;
	/* Where the CPU has them, as every amd64 of the last ten years: or nothing of this tests
	 * what it is for. */
#if LANES
	if (__builtin_cpu_supports("aes"))
		assert_int_equal(token_lanes(), LANES_MAX);
#endif
	for (uint32_t e = FIRST_ENCTYPE; e <= LAST_ENCTYPE; e++)
		against_mit(e);
}

/* What is too long is refused, wherever it stands, and takes no number. */
static void
too_long(struct ends *e)
{
	struct token_piece piece[8];
	const uint8_t *data;
	size_t len;

	for (unsigned i = 0; i < 8; i++)
		piece[i] = (struct token_piece){ plain, 10, stream + i * (TOP_SIZE + 1) };
	piece[7].len = token_data_max(e->from) + 1;
	assert_false(token_wrap_all(e->from, piece, 8));
	piece[7].len--;
	assert_true(token_wrap_all(e->from, piece, 8));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(token_unwrap(e->to, piece[i].out,
				     piece[i].len + token_overhead(e->from), &data, &len),
		    TOKEN_OK);
}
static void
test_too_long(void **state)
{
	(void)state;
	each_kind(too_long);
}

/* At level 3 a sender may choose for each message. */
static void
kinds_mixed(uint32_t enctype, unsigned kinds)
{
	struct ends sealed = ends_new(enctype, LEVEL_CONFIDENTIALITY);
	struct token_in in[8];
	uint8_t *at = stream;

	for (unsigned i = 0; i < 8; i++) {
		struct encap_params p = sealed.p;
		struct token_context *t;

		p.level = (kinds >> i & 1) != 0 ? LEVEL_CONFIDENTIALITY : LEVEL_INTEGRITY;
		p.send.seq += i;
		assert_non_null(t = token_new(&p));
		in[i] = (struct token_in){ at, token_wrap(t, plain + i, 100, token), NULL, 0 };
		memcpy(at, token, in[i].len);
		assert_true(((at[2] & FLAG_SEALS) != 0) == ((kinds >> i & 1) != 0));
		at += in[i].len + FRAME;
		token_free(t);
	}
	assert_int_equal(token_unwrap_all(sealed.to, in, 8), TOKEN_OK);
	for (unsigned i = 0; i < 8; i++)
		assert_memory_equal(in[i].data, plain + i, 100);
	ends_free(&sealed);
}
static void
test_kinds_mixed(void **state)
{
	(void)state;
	for (uint32_t e = FIRST_ENCTYPE; e <= LAST_ENCTYPE; e++)
		for (unsigned kinds = 0; kinds < 256; kinds++)
			kinds_mixed(e, kinds);
}

/* Lengths and flags that lie, among genuine tokens: the first fault counts. */
static void
lies(struct ends *e)
{
	struct token_in in[8];

	for (size_t cut = 0; cut <= token_overhead(e->from) + 5; cut++) {
		uint8_t *at = stream;

		for (unsigned i = 0; i < 8; i++) {
			in[i] = (struct token_in){ .token = at,
				.len = token_wrap(e->from, plain, 5, at) };
			at += in[i].len + FRAME;
		}
		in[5].len = cut;
		enum token_fault fault = token_unwrap_all(e->to, in, 8);
		assert_true((fault == TOKEN_OK) == (cut == token_overhead(e->from) + 5));
		for (unsigned i = 0; i < 8; i++)
			assert_true((in[i].data != NULL) == (fault == TOKEN_OK || i < 5));
		if (fault == TOKEN_OK)
			return;
		/* Those that were lost are sent again. */
		token_free(e->to);
		struct encap_params o = other_end(&e->p);
		o.level = LEVEL_SELECTIVE;
		o.receive.seq = e->p.send.seq + 8 * (cut + 1);
		assert_non_null(e->to = token_new(&o));
	}
}
static void
test_lies(void **state)
{
	(void)state;
	each_kind(lies);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_mit),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_kinds_mixed),
		cmocka_unit_test(test_lies),
	};

	fill_plain();
	return cmocka_run_group_tests(tests, realm_start, realm_stop);
}
