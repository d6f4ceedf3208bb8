/*
 * Several tokens of one side, made and checked side by side in lanes (worker/token_lanes.h): what
 * worker/token_aes.h does with one, in place. Only where there are lanes.
 */
#ifndef WORKER_TOKEN_SIDE_H
#define WORKER_TOKEN_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"
#include "worker/token_aes.h"

/* Octets behind a token that are written while it is worked on. */
#define SIDE_SLACK 4

/* Of a token: its header is there, EC and RRC zero. */
struct side_token {
	uint8_t *token;
	const uint8_t *data; /* not in the token */
	size_t len;
};

/* What token_seal does, and what token_sum does with the data put into the token. */
bool side_seal(
    const struct suite *s, const struct encap_direction *k, const struct side_token *t, unsigned n);
bool side_sum(
    const struct suite *s, const struct encap_direction *k, const struct side_token *t, unsigned n);

/* Of a token that came, at least as long as its kind needs. */
struct side_received {
	uint8_t *token;
	size_t len;
	uint8_t header[TOKEN_HEADER]; /* as the checksum covers it */
	bool genuine;                 /* what was found */
};

/* What token_open does, or token_sum and the comparison, with each. */
void side_open(
    const struct suite *s, const struct encap_direction *k, struct side_received *t, unsigned n);
void side_check(
    const struct suite *s, const struct encap_direction *k, struct side_received *t, unsigned n);

#endif
