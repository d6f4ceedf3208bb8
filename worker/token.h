/*
 * Tokens of one protected session: RFC 4121 section 4.2 Wrap tokens, made and checked with
 * libcrypto, several side by side with libipsec-mb, under the keys that authd derived. Trusts no
 * octet of a token that it is given.
 *
 * One memory and one set of contexts of libcrypto serve all sessions of the process: a session's
 * own part (some 400 octets, no context) is its keys, its sequence numbers and its replay window.
 */
#ifndef WORKER_TOKEN_H
#define WORKER_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"

enum token_fault {
	TOKEN_OK,
	TOKEN_BAD,        /* no token of this context's: its form, or its sender's flags */
	TOKEN_CHECK,      /* changed under way, or made with other keys */
	TOKEN_SEQUENCE,   /* genuine, but repeated, out of order, or too old */
	TOKEN_LEVEL_WRONG /* in clear where confidentiality was agreed, or the reverse */
};

struct token_context;

/* Before the sandbox is entered: nothing of this file opens a file afterwards. 0, or -1. */
int token_init(void);
/* Copies the keys. NULL with errno: EINVAL where the parameters make no sense. */
struct token_context *token_new(const struct encap_params *p);
/* Wipes it; NULL is fine. */
void token_free(struct token_context *t);
/* From now on tokens may be lost, doubled and reordered on the way: instead of strict order, each
 * is taken once, if it is at most TOKEN_WINDOW older than the newest. */
void token_datagrams(struct token_context *t);

#define TOKEN_WINDOW 1024 /* tokens */

/* The most octets of data whose token fits RFC 1961's 65,535. */
size_t token_data_max(const struct token_context *t);
/* What a token of ours has beyond its data, without RFC 1961's 4 octets of framing. */
size_t token_overhead(const struct token_context *t);
/* The token (len + overhead octets) into out, which does not overlap data. Its length, or 0: len is
 * above token_data_max, or libcrypto failed. */
size_t token_wrap(struct token_context *t, const uint8_t *data, size_t len, uint8_t *out);
/* How many tokens are made side by side, each at less cost than alone; 1: where the machine cannot.
 */
unsigned token_lanes(void);
/* Several tokens, one after the other in their numbers. Behind each, TOKEN_SLACK octets of `out`
 * are written meanwhile. False: one is too long, or libcrypto failed. */
struct token_piece {
	const uint8_t *data;
	size_t len;
	uint8_t *out;
};
#define TOKEN_SLACK 4
bool token_wrap_all(struct token_context *t, const struct token_piece *piece, unsigned n);
/* In place: *data points into the token, whose octets are changed also where it is refused. A
 * refused token leaves the context as it was. */
enum token_fault token_unwrap(
    struct token_context *t, uint8_t *token, size_t len, const uint8_t **data, size_t *data_len);
/* Several tokens that came one after the other, up to the first that is refused: the fault of that
 * one. Those behind it have no data. Behind each, TOKEN_SLACK octets are written meanwhile, and
 * put back. */
struct token_in {
	uint8_t *token;
	size_t len;
	const uint8_t *data; /* NULL: not taken */
	size_t data_len;
};
enum token_fault token_unwrap_all(struct token_context *t, struct token_in *in, unsigned n);

#endif
