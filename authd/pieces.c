/*
 * Cutting a token into pieces. Owns nothing; the token is this process's own.
 */
#include "authd/pieces.h"

void
pieces_send(
    struct chan *worker, struct sid sid, enum token_kind kind, const uint8_t *token, size_t len)
{
	struct msg_auth_token t = { .sid = sid, .total = (uint32_t)len, .kind = (uint8_t)kind };

	do {
		size_t n = len - t.at < TOKEN_PIECE_MAX ? len - t.at : TOKEN_PIECE_MAX;

		(void)chan_send_tail(
		    worker, MSG_AUTH_REPLY, &t, sizeof(t), n > 0 ? token + t.at : NULL, n, -1);
		t.at += (uint32_t)n;
	} while (t.at < len);
}
