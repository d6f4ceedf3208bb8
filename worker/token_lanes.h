/*
 * AES-CBC and HMAC of several messages side by side, one in each lane of the CPU's vectors: one
 * message alone is bound by the latency of each of its steps, of which the next needs the result.
 *
 * By libipsec-mb, on amd64. Where that is not, or the CPU lacks what it needs, there are no lanes,
 * and libcrypto does one message after the other (worker/token_aes.h).
 */
#ifndef WORKER_TOKEN_LANES_H
#define WORKER_TOKEN_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES_MAX 8 /* messages side by side */
enum sha { OF_SHA1, OF_SHA256, OF_SHA384 };
#define OF_SHA_COUNT 3

/* A message in memory, worked on in place. */
struct lane {
	uint8_t *p;
	size_t len;
	uint8_t *mac; /* of lanes_hmac */
};

/* Before the sandbox: nothing is allocated afterwards. */
void lanes_init(void);
/* Are there any? */
bool lanes_there(void);
/* Do so many messages with that hash cost less side by side than by libcrypto? */
bool lanes_worth(enum sha sha, unsigned n);
/* The first mac_len octets of each lane's HMAC: 12, 16, or 24, as RFC 3962 and RFC 8009 have them
 * with that hash. Up to LANES_MAX lanes. False: it failed. */
bool lanes_hmac(enum sha sha, const uint8_t *key, size_t key_len, const struct lane *lane,
    unsigned n, size_t mac_len);
/* Each lane, of whole blocks, in CBC with an initial vector of zeros. */
bool lanes_encipher(const uint8_t *key, size_t key_len, const struct lane *lane, unsigned n);
/* No key, and nothing that is made of one, stays. */
void lanes_forget(void);

#endif
