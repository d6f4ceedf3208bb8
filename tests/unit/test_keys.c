/*
 * The derivation of keys, and the cipher that they are for: published vectors of RFC 3961, 3962 and
 * 8009; and what an exported context must be.
 */
#include "tests/unit/kerberos.h"

#include <errno.h>

#include "common/hex.h"
#include "worker/token_aes.h"

#define OCTETS_MAX 256

struct octets {
	uint8_t p[OCTETS_MAX];
	size_t len;
};

static struct octets
hex(const char *text)
{
	struct octets o = { .len = 0 };

	for (; *text != '\0'; text++) {
		if (*text == ' ')
			continue;
		assert_true(o.len < OCTETS_MAX && hex_value(text[0]) >= 0);
		o.p[o.len++] = (uint8_t)(hex_value(text[0]) << 4 | hex_value(text[1]));
		text++;
	}
	return o;
}

static void
check_key(uint32_t enctype, const char *base, const char *constant, const char *want)
{
	struct octets k = hex(base), c = hex(constant), w = hex(want);
	uint8_t out[ENCAP_KEY_MAX];

	assert_int_equal(keys_derive_one(enctype, k.p, c.p, c.len, out, w.len), 0);
	assert_memory_equal(out, w.p, w.len);
}

/* RFC 3962 appendix B: string-to-key ends with DK of "kerberos". */
static void
test_dk(void **state)
{
	(void)state;
	check_key(ENCTYPE_AES128_SHA1, "cdedb5281bb2f801565a1122b2563515", "6b65726265726f73",
	    "42263c6e89f4fc28b8df68ee09799f15");
	check_key(ENCTYPE_AES256_SHA1,
	    "cdedb5281bb2f801565a1122b25635150ad1f7a04bb9f3a333ecc0e2e1f70837", "6b65726265726f73",
	    "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161");
}

#define BASE_19 "3705d96080c17728a0e800eab6e0d23c"
#define BASE_20 "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52"
#define KC      "0000000299"
#define KE      "00000002aa"
#define KI      "0000000255"

/* RFC 8009 appendix A: "Sample results for key derivation" */
static void
test_kdf(void **state)
{
	(void)state;
	check_key(ENCTYPE_AES128_SHA256, BASE_19, KC, "b31a018a48f54776f403e9a396325dc3");
	check_key(ENCTYPE_AES128_SHA256, BASE_19, KE, "9b197dd1e8c5609d6e67c3e37c62c72e");
	check_key(ENCTYPE_AES128_SHA256, BASE_19, KI, "9fda0e56ab2d85e1569a688696c26a6c");
	check_key(
	    ENCTYPE_AES256_SHA384, BASE_20, KC, "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d");
	check_key(ENCTYPE_AES256_SHA384, BASE_20, KE,
	    "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49");
	check_key(
	    ENCTYPE_AES256_SHA384, BASE_20, KI, "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f");
}

/* RFC 3962 appendix B: CBC with ciphertext stealing. What is deciphered lies there also where, as
 * here, the HMAC is none. */
static void
test_stealing(void **state)
{
	static const char plain[] =
	    "I would like the General Gau's Chicken, please, and wonton soup.";
	static const char *const cases[] = {
		"c6353568f2bf8cb4d8a580362da7ff7f97",
		"fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
		"39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
		"97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e"
		"39312523a78662d5be7fcbcc98ebf5",
		"97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd8"
		"39312523a78662d5be7fcbcc98ebf5a8",
		"97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8"
		"4807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8",
	};
	const struct suite *s = token_suite(ENCTYPE_AES128_SHA1);
	struct encap_direction k;

	(void)state;
	memset(&k, 0, sizeof(k));
	memcpy(k.ke, "chicken teriyaki", 16);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct octets c = hex(cases[i]);

		memset(c.p + c.len, 0, s->mac_len);
		assert_false(token_open(s, &k, c.p, c.len + s->mac_len));
		assert_memory_equal(c.p, plain, c.len);
	}
}

/* RFC 8009 appendix A: "Sample encryptions", those of two blocks or more. */
static void
test_encryption(void **state)
{
	static const struct {
		uint32_t enctype;
		const char *confounder, *cipher;
		size_t len; /* of the plaintext: 00 01 02 ... */
	} cases[] = {
		{ ENCTYPE_AES128_SHA256, "7bca285e2fd4130fb55b1a5c83bc5b24",
		    "84d7f30754ed987bab0bf3506beb09cfb55402cef7e6877ce99e247e52d16ed4421dfdf8976c",
		    6 },
		{ ENCTYPE_AES128_SHA256, "56ab21713ff62c0a1457200f6fa9948f",
		    "3517d640f50ddc8ad3628722b3569d2ae07493fa8263254080ea65c1008e8fc2"
		    "95fb4852e7d83e1e7c48c37eebe6b0d3",
		    16 },
		{ ENCTYPE_AES128_SHA256, "a7a4e29a4728ce10664fb64e49ad3fac",
		    "720f73b18d9859cd6ccb4346115cd336c70f58edc0c4437c5573544c31c813bc"
		    "e1e6d072c186b39a413c2f92ca9b8334a287ffcbfc",
		    21 },
		{ ENCTYPE_AES256_SHA384, "b80d3251c1f6471494256ffe712d0b9a",
		    "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9f559c7f664f69eab7b60"
		    "92237526ea0d1f61cb20d69d10f2",
		    6 },
		{ ENCTYPE_AES256_SHA384, "53bf8a0d105265d4e276428624ce5e63",
		    "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca9202776"
		    "4f68cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
		    16 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t e = cases[i].enctype;
		const struct suite *s = token_suite(e);
		struct octets base = hex(e == ENCTYPE_AES128_SHA256 ? BASE_19 : BASE_20);
		struct octets c = hex(cases[i].cipher), confounder = hex(cases[i].confounder);
		struct octets ke = hex(KE), ki = hex(KI);
		struct encap_direction k;

		memset(&k, 0, sizeof(k));
		assert_int_equal(keys_derive_one(e, base.p, ke.p, ke.len, k.ke, s->ke_len), 0);
		assert_int_equal(keys_derive_one(e, base.p, ki.p, ki.len, k.ki, s->k_len), 0);
		assert_true(token_open(s, &k, c.p, c.len));
		assert_int_equal(c.len, AES_BLOCK + cases[i].len + s->mac_len);
		assert_memory_equal(c.p, confounder.p, AES_BLOCK);
		for (size_t j = 0; j < cases[i].len; j++)
			assert_int_equal(c.p[AES_BLOCK + j], j);
	}
}

/* --- exported contexts --- */

static void
refused(const gss_krb5_lucid_context_v1_t *lucid)
{
	static const struct encap_params none;
	struct encap_params out;

	memset(&out, 0xff, sizeof(out));
	errno = 0;
	assert_int_equal(keys_derive(lucid, 0, &out), -1);
	assert_int_equal(errno, ENOTSUP);
	assert_memory_equal(&out, &none, sizeof(out));
}

static gss_krb5_lucid_context_v1_t
lucid_of(uint8_t *key, uint8_t *subkey)
{
	gss_krb5_lucid_context_v1_t l = { .version = 1, .protocol = 1 };

	l.send_seq = 0x1122334455;
	l.recv_seq = 0xffffffff;
	l.cfx_kd.ctx_key = (gss_krb5_lucid_key_t){ ENCTYPE_AES256_SHA1, 32, key };
	l.cfx_kd.acceptor_subkey = (gss_krb5_lucid_key_t){ ENCTYPE_AES128_SHA256, 16, subkey };
	return l;
}

static void
test_lucid(void **state)
{
	uint8_t key[32] = { 1 }, subkey[32] = { 2 };
	gss_krb5_lucid_context_v1_t l = lucid_of(key, subkey);
	struct encap_params a, b;

	(void)state;
	assert_int_equal(keys_derive(&l, 3, &a), 0);
	assert_int_equal(a.enctype, ENCTYPE_AES256_SHA1);
	assert_int_equal(a.level, 0);
	assert_int_equal(a.acceptor, 1);
	assert_int_equal(a.subkey, 0);
	assert_true(a.send.seq == 0x1122334455 && a.receive.seq == 0x100000002);
	/* What one side sends with, the other receives with. */
	l.initiate = 1;
	assert_int_equal(keys_derive(&l, 3, &b), 0);
	assert_int_equal(b.acceptor, 0);
	assert_memory_equal(a.send.ke, b.receive.ke, 3 * ENCAP_KEY_MAX);
	assert_memory_equal(a.receive.ke, b.send.ke, 3 * ENCAP_KEY_MAX);
	assert_memory_not_equal(a.send.ke, a.receive.ke, ENCAP_KEY_MAX);
	l.cfx_kd.have_acceptor_subkey = 1;
	assert_int_equal(keys_derive(&l, 0, &a), 0);
	assert_int_equal(a.enctype, ENCTYPE_AES128_SHA256);
	assert_int_equal(a.subkey, 1);
}

static void
test_lucid_refused(void **state)
{
	static const uint32_t others[] = { 0, 1, 3, 16, 21, 23, 25, 26, 0xffffffff };
	uint8_t key[32] = { 1 }, subkey[32] = { 2 };
	gss_krb5_lucid_context_v1_t l = lucid_of(key, subkey);

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		l.cfx_kd.ctx_key.type = others[i];
		refused(&l);
	}
	l = lucid_of(key, subkey);
	l.cfx_kd.ctx_key.length = 16;
	refused(&l);
	l = lucid_of(key, subkey);
	l.protocol = 0;
	refused(&l);
	l = lucid_of(key, subkey);
	l.version = 2;
	refused(&l);
}

/* The numbers of a context that had taken tokens before it was exported: the next ones fit. */
static void
test_numbers(void **state)
{
	gss_ctx_id_t initiator, acceptor;
	gss_buffer_desc in = { 1, (void *)(uintptr_t) "x" }, token, out;
	struct encap_params p;
	struct token_context *t;
	const uint8_t *data;
	uint8_t made[128];
	size_t len;
	OM_uint32 minor;

	(void)state;
	establish(ENCTYPE_AES256_SHA1, true, &initiator, &acceptor);
	for (unsigned i = 0; i < 2; i++) {
		gss_wrap(&minor, initiator, 1, 0, &in, NULL, &token);
		assert_int_equal(
		    gss_unwrap(&minor, acceptor, &token, &out, NULL, NULL), GSS_S_COMPLETE);
		gss_release_buffer(&minor, &token);
		gss_release_buffer(&minor, &out);
	}
	gss_wrap(&minor, acceptor, 1, 0, &in, NULL, &token);
	assert_int_equal(gss_unwrap(&minor, initiator, &token, &out, NULL, NULL), GSS_S_COMPLETE);
	gss_release_buffer(&minor, &token);
	gss_release_buffer(&minor, &out);
	export(&acceptor, 2, &p);
	p.level = LEVEL_CONFIDENTIALITY;
	assert_non_null(t = token_new(&p));
	gss_wrap(&minor, initiator, 1, 0, &in, NULL, &token);
	assert_int_equal(token_unwrap(t, token.value, token.length, &data, &len), TOKEN_OK);
	gss_release_buffer(&minor, &token);
	token.length = token_wrap(t, (const uint8_t *)"y", 1, made);
	token.value = made;
	assert_int_equal(gss_unwrap(&minor, initiator, &token, &out, NULL, NULL), GSS_S_COMPLETE);
	gss_release_buffer(&minor, &out);
	gss_delete_sec_context(&minor, &initiator, NULL);
	token_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dk),
		cmocka_unit_test(test_kdf),
		cmocka_unit_test(test_stealing),
		cmocka_unit_test(test_encryption),
		cmocka_unit_test(test_lucid),
		cmocka_unit_test(test_lucid_refused),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, realm_start, realm_stop);
}
