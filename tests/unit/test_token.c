/*
 * Tokens against MIT's gss_wrap and gss_unwrap, in both directions, for every enctype, side and
 * kind and the sizes around each boundary; and tokens that were changed under way, or rotated.
 */
#include "tests/unit/kerberos.h"

#include "tests/unit/tokens.h"
#include "worker/token_aes.h"

#define AT_EC  4
#define AT_RRC 6
#if SANITIZED
#define RANDOM_SIZES  8
#define BLOCKS_STEP   1024
#define ROTATION_STEP 13
#else
#define RANDOM_SIZES  100
#define BLOCKS_STEP   128
#define ROTATION_STEP 1
#endif

static uint8_t copy[TOP_SIZE + 1];

/* --- against MIT --- */

struct side {
	struct pair pair;
	struct token_context *t;
	int conf;
};

static void
to_mit(struct side *s, size_t size)
{
	gss_buffer_desc in, out = { 0, NULL };
	int conf = -1;
	OM_uint32 minor;

	in.length = token_wrap(s->t, plain, size, token);
	in.value = token;
	assert_int_equal(in.length, size + token_overhead(s->t));
	assert_int_equal(gss_unwrap(&minor, s->pair.mit, &in, &out, &conf, NULL), GSS_S_COMPLETE);
	assert_int_equal(conf, s->conf);
	assert_int_equal(out.length, size);
	assert_memory_equal(out.value, plain, size);
	if (size == 0)
		free(out.value); /* MIT's release takes it for none */
	gss_release_buffer(&minor, &out);
}

static void
from_mit(struct side *s, size_t size)
{
	gss_buffer_desc in = { size, plain }, out = { 0, NULL };
	const uint8_t *data;
	size_t len;
	OM_uint32 minor;

	assert_int_equal(
	    gss_wrap(&minor, s->pair.mit, s->conf, 0, &in, NULL, &out), GSS_S_COMPLETE);
	assert_int_equal(out.length, size + token_overhead(s->t));
	assert_int_equal(token_unwrap(s->t, out.value, out.length, &data, &len), TOKEN_OK);
	assert_int_equal(len, size);
	assert_memory_equal(data, plain, size);
	gss_release_buffer(&minor, &out);
}

static void
both(struct side *s, size_t size)
{
	to_mit(s, size);
	from_mit(s, size);
}

static void
every_size(struct side *s)
{
	size_t most = token_data_max(s->t);

	for (size_t size = 0; size <= 80; size++)
		both(s, size);
	for (size_t size = 96; size < 65000; size += size < 1024 ? 16 : BLOCKS_STEP * AES_BLOCK)
		for (size_t around = size - 1; around <= size + 1; around++)
			both(s, around);
	for (size_t size = 65000 - 17; size <= 65000 + 17; size++)
		both(s, size);
	for (size_t size = most - 33; size <= most; size++)
		both(s, size);
	for (int i = 0; i < RANDOM_SIZES; i++)
		both(s, (size_t)random() % most);
	assert_int_equal(most + token_overhead(s->t), TOP_SIZE);
	assert_int_equal(token_wrap(s->t, plain, most + 1, token), 0);
	both(s, 1); /* what was refused took no number */
}

static void
against_mit(uint32_t enctype)
{
	for (unsigned i = 0; i < 8; i++) {
		bool mutual = (i & 4) == 0;
		struct side s = { .pair = pair_new(enctype, i & 1, mutual), .conf = (i & 2) != 0 };

		s.pair.ours.level = s.conf ? LEVEL_CONFIDENTIALITY : LEVEL_INTEGRITY;
		assert_non_null(s.t = token_new(&s.pair.ours));
		if (mutual)
			every_size(&s);
		else
			both(&s, 100); /* without the acceptor's subkey */
		token_free(s.t);
		pair_free(&s.pair);
	}
}

static void
test_aes128_sha1(void **state)
{
	(void)state;
	against_mit(ENCTYPE_AES128_SHA1);
}
static void
test_aes256_sha1(void **state)
{
	(void)state;
	against_mit(ENCTYPE_AES256_SHA1);
}
static void
test_aes128_sha256(void **state)
{
	(void)state;
	against_mit(ENCTYPE_AES128_SHA256);
}
static void
test_aes256_sha384(void **state)
{
	(void)state;
	against_mit(ENCTYPE_AES256_SHA384);
}

/* --- what is changed under way --- */

/* A count of rotation that comes to none. */
static bool
goes_round(size_t bit, size_t len)
{
	size_t rrc = (size_t)token[AT_RRC] << 8 | token[AT_RRC + 1];

	return (bit / 8 == AT_RRC || bit / 8 == AT_RRC + 1) && rrc % (len - TOKEN_HEADER) == 0;
}

/* Every single bit. RRC is the one field that no HMAC covers: another rotation is other octets, but
 * for the one that comes to none, which changes nothing. */
static void
bits(struct ends *e)
{
	for (size_t size = 0; size <= 33; size += 3) {
		size_t len = token_wrap(e->from, plain, size, token);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			token[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (!goes_round(bit, len))
				assert_int_not_equal(take(e->to, token, len), TOKEN_OK);
			token[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_int_equal(take(e->to, token, len), TOKEN_OK); /* nothing had changed */
	}
}
static void
test_every_bit(void **state)
{
	(void)state;
	each_kind(bits);
}

static void
lengths(struct ends *e)
{
	size_t len = token_wrap(e->from, plain, 21, token);

	for (size_t n = 0; n < len; n++) {
		enum token_fault fault = take(e->to, token, n);

		assert_true(fault == TOKEN_BAD || fault == TOKEN_CHECK);
	}
	token[len] = 0;
	assert_int_equal(take(e->to, token, len + 1), TOKEN_CHECK);
	assert_int_equal(take(e->to, token, len), TOKEN_OK);
	assert_int_equal(take(e->to, token, sizeof(token)), TOKEN_BAD);
}
static void
test_every_length(void **state)
{
	(void)state;
	each_kind(lengths);
}

/* As RFC 4121 section 4.2.5 says it, octet by octet. */
static void
rotate(uint8_t *out, const uint8_t *in, size_t len, size_t rrc)
{
	size_t n = len - TOKEN_HEADER;

	memcpy(out, in, TOKEN_HEADER);
	out[AT_RRC] = (uint8_t)(rrc >> 8);
	out[AT_RRC + 1] = (uint8_t)rrc;
	for (size_t i = 0; i < n; i++)
		out[TOKEN_HEADER + (i + rrc) % n] = in[TOKEN_HEADER + i];
}

static void
rotations(struct ends *e)
{
	size_t step = ROTATION_STEP;

	for (size_t rrc = 0; rrc <= UINT16_MAX; rrc += step) {
		size_t len = token_wrap(e->from, plain, rrc % 40, token);

		rotate(copy, token, len, rrc);
		assert_int_equal(take(e->to, copy, len), TOKEN_OK);
	}
	/* Windows: 12 or 28; and the ends of a long one. */
	for (size_t size = 60000; size < 60004; size++) {
		size_t len = size + token_overhead(e->from);
		const size_t counts[] = { 1, 12, 28, size / 2, size / 2 + 20, size - 1, size,
			len - TOKEN_HEADER - 1, len - TOKEN_HEADER, len, 65535 };

		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			assert_int_equal(token_wrap(e->from, plain, size, token), len);
			rotate(copy, token, len, counts[i]);
			assert_int_equal(take(e->to, copy, len), TOKEN_OK);
		}
	}
}
static void
test_every_rotation(void **state)
{
	(void)state;
	each_kind(rotations);
}

/* --- EC --- */

/* A sealed token as its sender may make it: filler after the data, and any header inside. */
static size_t
sealed(struct ends *e, size_t size, size_t filler, size_t inner_ec, uint8_t inner_flags)
{
	const struct suite *s = token_suite(e->p.enctype);
	uint8_t header[TOKEN_HEADER], body[256];

	token_wrap(e->from, plain, 0, token);
	memcpy(header, token, sizeof(header));
	header[AT_EC + 1] = (uint8_t)inner_ec;
	header[2] ^= inner_flags;
	memcpy(body, plain, size);
	memset(body + size, 'f', filler);
	assert_true(token_seal(s, &e->p.send, body, size + filler, header, token + TOKEN_HEADER));
	token[AT_EC + 1] = (uint8_t)filler;
	return 2 * TOKEN_HEADER + AES_BLOCK + size + filler + s->mac_len;
}

static void
test_filler(void **state)
{
	(void)state;
	for (uint32_t enctype = FIRST_ENCTYPE; enctype <= LAST_ENCTYPE; enctype++) {
		struct ends e = ends_new(enctype, LEVEL_CONFIDENTIALITY);
		const uint8_t *data;
		size_t n, len;

		for (size_t filler = 0; filler <= 40; filler++) {
			len = sealed(&e, 20, filler, filler, 0);
			assert_int_equal(token_unwrap(e.to, token, len, &data, &n), TOKEN_OK);
			assert_int_equal(n, 20);
			assert_memory_equal(data, plain, n);
		}
		/* EC outside is not EC inside; flags likewise. */
		len = sealed(&e, 20, 5, 4, 0);
		assert_int_equal(take(e.to, token, len), TOKEN_CHECK);
		ends_free(&e);
		e = ends_new(enctype, LEVEL_CONFIDENTIALITY);
		len = sealed(&e, 20, 0, 0, 0x80);
		assert_int_equal(take(e.to, token, len), TOKEN_CHECK);
		/* More filler than there is room. */
		token[AT_EC + 1] = 21;
		assert_int_equal(take(e.to, token, len), TOKEN_BAD);
		token[AT_EC] = token[AT_EC + 1] = 0xff;
		assert_int_equal(take(e.to, token, len), TOKEN_BAD);
		ends_free(&e);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aes128_sha1),
		cmocka_unit_test(test_aes256_sha1),
		cmocka_unit_test(test_aes128_sha256),
		cmocka_unit_test(test_aes256_sha384),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_every_rotation),
		cmocka_unit_test(test_filler),
	};

	fill_plain();
	return cmocka_run_group_tests(tests, realm_start, realm_stop);
}
