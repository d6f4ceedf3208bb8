/*
 * Lanes by libipsec-mb. Owns its managers, in which states made of keys stay until lanes_forget;
 * the memory of the messages is the caller's, who has seen to their lengths.
 */
#include "worker/token_lanes.h"

#if LANES

#include <intel-ipsec-mb.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX  128 /* octets of a hash's block */
#define STATE_MAX  64  /* octets of a hash's state */
#define ROUND_KEYS 15  /* of AES-256 */
#define ALIGNED    64  /* octets */

/*
 * Measured, s/GB of SHA-1 with 1, 2, 4, 8 lanes: by AVX-512 1.64, 0.84, 0.43, 0.22, by SHA-NI,
 * which holds two, 0.57, 0.32, 0.33, 0.31; libcrypto alone, by SHA-NI too, 0.60. Of
 * SHA-256: 3.2, 1.6, 0.83, 0.42; 0.59, 0.40, 0.41, 0.40; 0.64. Of SHA-384: 2.0, 1.0, 0.57, 0.27;
 * libcrypto 1.1.
 */
#define FEW 4

enum { WIDE, SHANI, MANAGERS };
static IMB_MGR *managers[MANAGERS]; /* NULL: not on this CPU. Without WIDE no lanes */
static bool used;                   /* since lanes_forget */

static const struct hash {
	IMB_HASH_ALG alg;
	size_t block;
} hashes[] = {
	[OF_SHA1] = { IMB_AUTH_HMAC_SHA_1, 64 },
	[OF_SHA256] = { IMB_AUTH_HMAC_SHA_256, 64 },
	[OF_SHA384] = { IMB_AUTH_HMAC_SHA_384, 128 },
};

/* A manager, as if new, in its memory. False: the CPU lacks what makes it worth having. */
static bool
begin(unsigned which, void *memory)
{
	IMB_MGR *m = imb_set_pointers_mb_mgr(memory, 0, 1);
	IMB_ARCH arch = IMB_ARCH_NONE;
	bool ok;

	if (m == NULL)
		return false;
	if (which == WIDE) {
		init_mb_mgr_auto(m, &arch);
		ok = arch > IMB_ARCH_NOAESNI;
	} else {
		init_mb_mgr_sse(m);
		ok = (m->features & IMB_FEATURE_SHANI) != 0;
	}
	managers[which] = ok && imb_get_errno(m) == 0 ? m : NULL;
	return managers[which] != NULL;
}

void
lanes_init(void)
{
	size_t size = (imb_get_mb_mgr_size() + ALIGNED - 1) / ALIGNED * ALIGNED;

	for (unsigned i = 0; i < MANAGERS; i++) {
		void *memory;

		if (managers[i] != NULL || (memory = aligned_alloc(ALIGNED, size)) == NULL)
			continue;
		if (!begin(i, memory))
			free(memory);
	}
}

bool
lanes_there(void)
{
	return managers[WIDE] != NULL;
}

bool
lanes_worth(enum sha sha, unsigned n)
{
	bool two = managers[SHANI] != NULL && sha != OF_SHA384;

	return lanes_there() && n >= (two ? 2 : FEW);
}

static IMB_MGR *
manager_of(enum sha sha, unsigned n)
{
	bool few = sha == OF_SHA256 || (sha == OF_SHA1 && n <= FEW);

	return few && managers[SHANI] != NULL ? managers[SHANI] : managers[WIDE];
}

void
lanes_forget(void)
{
	if (!used)
		return;
	for (unsigned i = 0; i < MANAGERS; i++) {
		IMB_MGR *m = managers[i];

		if (m == NULL)
			continue;
		explicit_bzero(m, imb_get_mb_mgr_size());
		if (!begin(i, m))
			abort();
	}
	used = false;
}

/* RFC 2104: the hash's state after a block that is the key, zeros, and a pattern over both. */
static void
state(IMB_MGR *manager, enum sha sha, const uint8_t *key, size_t len, uint8_t pattern, uint8_t *out)
{
	uint8_t pad[BLOCK_MAX];

	for (size_t i = 0; i < hashes[sha].block; i++)
		pad[i] = (uint8_t)((i < len ? key[i] : 0) ^ pattern);
	switch (sha) {
	case OF_SHA1:
		IMB_SHA1_ONE_BLOCK(manager, pad, out);
		break;
	case OF_SHA256:
		IMB_SHA256_ONE_BLOCK(manager, pad, out);
		break;
	case OF_SHA384:
		IMB_SHA384_ONE_BLOCK(manager, pad, out);
		break;
	}
	explicit_bzero(pad, sizeof(pad));
}

static bool
all_done(const IMB_JOB *jobs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (jobs[i].status != IMB_STATUS_COMPLETED)
			return false;
	return true;
}

bool
lanes_hmac(enum sha sha, const uint8_t *key, size_t key_len, const struct lane *lane, unsigned n,
    size_t mac_len)
{
	uint8_t inner[STATE_MAX] __attribute__((aligned(16)));
	uint8_t outer[STATE_MAX] __attribute__((aligned(16)));
	IMB_MGR *manager = manager_of(sha, n);
	IMB_JOB jobs[LANES_MAX];
	bool ok;

	memset(jobs, 0, sizeof(jobs));
	state(manager, sha, key, key_len, 0x36, inner);
	state(manager, sha, key, key_len, 0x5c, outer);
	for (unsigned i = 0; i < n; i++) {
		jobs[i].src = lane[i].p;
		jobs[i].msg_len_to_hash_in_bytes = lane[i].len;
		jobs[i].auth_tag_output = lane[i].mac;
		jobs[i].auth_tag_output_len_in_bytes = mac_len;
		jobs[i].u.HMAC._hashed_auth_key_xor_ipad = inner;
		jobs[i].u.HMAC._hashed_auth_key_xor_opad = outer;
	}
	used = true;
	ok = IMB_SUBMIT_HASH_BURST(manager, jobs, n, hashes[sha].alg) == n && all_done(jobs, n);
	explicit_bzero(inner, sizeof(inner));
	explicit_bzero(outer, sizeof(outer));
	return ok;
}

bool
lanes_encipher(const uint8_t *key, size_t key_len, const struct lane *lane, unsigned n)
{
	static const uint8_t zeros[16];
	uint8_t keys[2][ROUND_KEYS * 16] __attribute__((aligned(16)));
	IMB_MGR *manager = managers[WIDE];
	IMB_JOB jobs[LANES_MAX];
	bool ok;

	memset(jobs, 0, sizeof(jobs));
	if (key_len == 16)
		IMB_AES_KEYEXP_128(manager, key, keys[0], keys[1]);
	else
		IMB_AES_KEYEXP_256(manager, key, keys[0], keys[1]);
	for (unsigned i = 0; i < n; i++) {
		jobs[i].src = jobs[i].dst = lane[i].p;
		jobs[i].msg_len_to_cipher_in_bytes = lane[i].len;
		jobs[i].enc_keys = keys[0];
		jobs[i].dec_keys = keys[1];
		jobs[i].key_len_in_bytes = key_len;
		jobs[i].iv = zeros;
		jobs[i].iv_len_in_bytes = sizeof(zeros);
	}
	used = true;
	ok = IMB_SUBMIT_CIPHER_BURST(manager, jobs, n, IMB_CIPHER_CBC, IMB_DIR_ENCRYPT,
		 (IMB_KEY_SIZE_BYTES)key_len) == n &&
	     all_done(jobs, n);
	explicit_bzero(keys, sizeof(keys));
	return ok;
}

#else

void
lanes_init(void)
{
}

bool
lanes_there(void)
{
	return false;
}

bool
lanes_worth(enum sha sha, unsigned n)
{
	(void)sha, (void)n;
	return false;
}

void
lanes_forget(void)
{
}

bool
lanes_hmac(enum sha sha, const uint8_t *key, size_t key_len, const struct lane *lane, unsigned n,
    size_t mac_len)
{
	(void)sha, (void)key, (void)key_len, (void)lane, (void)n, (void)mac_len;
	return false;
}

bool
lanes_encipher(const uint8_t *key, size_t key_len, const struct lane *lane, unsigned n)
{
	(void)key, (void)key_len, (void)lane, (void)n;
	return false;
}

#endif
