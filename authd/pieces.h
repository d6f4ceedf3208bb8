/*
 * Tokens on their way from authd to a worker, in pieces (common/msg_auth.h).
 */
#ifndef AUTHD_PIECES_H
#define AUTHD_PIECES_H

#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/msg.h"

/* Queues a token of at most TOKEN_MAX octets for the client or the upstream of this session. Where
 * that fails the worker is gone, or does not read: its channel's end follows. */
void pieces_send(
    struct chan *worker, struct sid sid, enum token_kind kind, const uint8_t *token, size_t len);

#endif
