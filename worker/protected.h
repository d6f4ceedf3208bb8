/*
 * A side of a session whose octets are encapsulated, RFC 1961 section 5: the stream of messages in
 * which its data come, and that in which they go. Whether the peer is a client or a gateway, and
 * which of the two began the context, is all one here.
 *
 * Between two reads it holds no more than a message that has come in part.
 */
#ifndef WORKER_PROTECTED_H
#define WORKER_PROTECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/encap.h"
#include "common/gss.h"
#include "common/msg.h"
#include "worker/moderate.h"
#include "worker/token.h"

/*
 * Octets of data in one message that is sent, as many as the relay reads at a time; of its token
 * beyond them at most (RFC 4121 section 4.2.4: header, confounder, header again, HMAC).
 */
#define PROTECTED_DATA     (60u * 1024)
#define PROTECTED_OVERHEAD 128u
#define PROTECTED_MESSAGE  (GSS_HEADER + PROTECTED_DATA + PROTECTED_OVERHEAD)
_Static_assert(PROTECTED_DATA + PROTECTED_OVERHEAD <= TOKEN_MAX, "a message's token fits");

/*
 * Where tokens are made side by side, so many messages are made of one read when there is so much
 * to read: a read of more than a message's data then costs less than several. Of less, as many with
 * at least PROTECTED_LANE octets each, if those are PROTECTED_LANES_MIN. (CPU s/GB measured with
 * reads of 60, 240, 480 KiB: aes256-sha1 sealed at level 2 1.30, 1.13, 0.87, at level 1 0.98, 1.02,
 * 0.72; opened at level 1, 240 and 480 KiB, 0.91, 0.84.)
 */
#define PROTECTED_PIECES    8u
#define PROTECTED_READ      (PROTECTED_PIECES * PROTECTED_DATA)
#define PROTECTED_LANE      (PROTECTED_DATA / PROTECTED_PIECES)
#define PROTECTED_LANES_MIN 4u

/* One read gives at most the data of two runs (struct clear), of a token and of what was read. */
#define PROTECTED_SEALED \
	(TOKEN_MAX + PROTECTED_READ + 3 * PROTECTED_PIECES * (GSS_HEADER + PROTECTED_OVERHEAD))

struct protected
{
	struct token_context *token;
	struct moderate moderate; /* of the socket that protected_recv reads */
	uint8_t head[GSS_HEADER]; /* the header, while it has come in part */
	uint8_t head_len;
	uint32_t len, got; /* of the token that has come in part */
	uint8_t *part;     /* its octets; NULL: none is under way */
	uint8_t *opened;   /* one that has become whole: until protected_release */
};

/* What messages held, in order, and what was wrong with the next one. Any part may be empty. */
struct clear {
	struct iovec part[2];
	enum reason fault; /* REASON_NONE: nothing was */
};

/* NULL with errno; EINVAL: not sound. Keeps a copy of the keys, which free wipes; it takes NULL. */
struct protected *protected_new(const struct encap_params *params);
void protected_free(struct protected *p);

/* Reads once, at most what a message under way lacks and `size` octets into buf; as recv(2). What
 * the messages held stands there and in p until protected_release. */
ssize_t protected_recv(struct protected *p, int fd, uint8_t *buf, size_t size, struct clear *out);
/* Likewise, octets that have been read: they are opened where they are. Both write TOKEN_SLACK
 * octets behind the last, too. */
void protected_open(struct protected *p, uint8_t *raw, size_t len, struct clear *out);
void protected_release(struct protected *p);
/* Has a message come in part? Then its sender's end is no orderly one. */
bool protected_under_way(const struct protected *p);

/* Encapsulates data into as many messages as they take: their length, or 0 where libcrypto fails.
 */
size_t protected_seal(struct protected *p, const uint8_t *data, size_t len, uint8_t *out);

/* The reason for which a token that cannot be opened ends a session. */
enum reason protected_reason(enum token_fault fault);

#endif
