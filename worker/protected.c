/*
 * The stream of messages on an encapsulated side. Owns the context and what has come of a message;
 * trusts no octet: the first that is wrong ends the stream, and nothing of its message is given on.
 *
 * Messages are opened where they were read. Only one that has not come whole is moved, into memory
 * of its own: the next read then goes on in there, and behind it into the caller's buffer, so that
 * however small the pieces are, each octet is copied once at most.
 */
#include "worker/protected.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct protected *
protected_new(const struct encap_params *params)
{
	struct protected *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->token = token_new(params);
	if (p->token == NULL) {
		int saved = errno;
		free(p);
		errno = saved;
		return NULL;
	}
	if (token_overhead(p->token) > PROTECTED_OVERHEAD)
		abort();
	return p;
}

void
protected_free(struct protected *p)
{
	if (p == NULL)
		return;
	moderate_end(&p->moderate);
	token_free(p->token);
	free(p->part);
	free(p->opened);
	free(p);
}

enum reason
protected_reason(enum token_fault fault)
{
	switch (fault) {
	case TOKEN_OK:
		return REASON_NONE;
	case TOKEN_BAD:
		return REASON_ENCAP_TOKEN;
	case TOKEN_CHECK:
		return REASON_ENCAP_CHECK;
	case TOKEN_SEQUENCE:
		return REASON_ENCAP_SEQUENCE;
	case TOKEN_LEVEL_WRONG:
		return REASON_ENCAP_LEVEL;
	}
	return REASON_ENCAP_TOKEN;
}

/* --- in --- */

void
protected_release(struct protected *p)
{
	free(p->opened);
	p->opened = NULL;
}

bool
protected_under_way(const struct protected *p)
{
	return p->head_len > 0 || p->part != NULL;
}

/* The next header: the length of its token in *len, -1: it has not come whole. */
static enum reason
take_header(struct protected *p, struct iovec *raw, int32_t *len)
{
	struct gss_header h;
	size_t n = GSS_HEADER - p->head_len;

	*len = -1;
	n = n < raw->iov_len ? n : raw->iov_len;
	memcpy(p->head + p->head_len, raw->iov_base, n);
	p->head_len += (uint8_t)n;
	raw->iov_base = (uint8_t *)raw->iov_base + n;
	raw->iov_len -= n;
	ssize_t r = gss_header(p->head, p->head_len, &h);
	if (r == SOCKS_MORE)
		return REASON_NONE;
	if (r == SOCKS_BAD || h.type != GSS_DATA)
		return REASON_ENCAP_FRAME;
	p->head_len = 0;
	*len = h.len;
	return REASON_NONE;
}

/* A token of which so much is here waits for its rest. */
static enum reason
begin_part(struct protected *p, struct iovec *raw, size_t len)
{
	p->part = malloc(len + TOKEN_SLACK);
	if (p->part == NULL)
		return REASON_GENERAL;
	p->len = (uint32_t)len;
	p->got = (uint32_t)raw->iov_len;
	memcpy(p->part, raw->iov_base, raw->iov_len);
	raw->iov_len = 0;
	return REASON_NONE;
}

/* Whole tokens that have come, at most as many as are opened side by side; what ends them in *why.
 */
static unsigned
take_tokens(struct protected *p, struct iovec *raw, struct token_in *in, enum reason *why)
{
	unsigned n = 0;
	int32_t len;

	if (p->part != NULL) {
		if (p->got < p->len)
			return 0;
		p->opened = p->part;
		p->part = NULL;
		in[n++] = (struct token_in){ .token = p->opened, .len = p->len };
	}
	while (n < PROTECTED_PIECES && raw->iov_len > 0) {
		*why = take_header(p, raw, &len);
		if (*why != REASON_NONE || len < 0)
			break;
		if (raw->iov_len < (size_t)len) {
			*why = begin_part(p, raw, (size_t)len);
			break;
		}
		in[n++] = (struct token_in){ .token = raw->iov_base, .len = (size_t)len };
		raw->iov_base = (uint8_t *)raw->iov_base + len;
		raw->iov_len -= (size_t)len;
	}
	return n;
}

/* Data behind those that stand before. */
static void
join(struct iovec *run, const struct token_in *in)
{
	uint8_t *data = in->token + (in->data - in->token);

	if (run->iov_len == 0)
		*run = (struct iovec){ data, in->data_len };
	else {
		memmove((uint8_t *)run->iov_base + run->iov_len, data, in->data_len);
		run->iov_len += in->data_len;
	}
}

void
protected_open(struct protected *p, uint8_t *raw, size_t len, struct clear *out)
{
	struct iovec left = { raw, len };
	struct token_in in[PROTECTED_PIECES];

	memset(out, 0, sizeof(*out));
	if (p->part != NULL) {
		size_t n = p->len - p->got < len ? p->len - p->got : len;

		memcpy(p->part + p->got, raw, n);
		p->got += (uint32_t)n;
		left = (struct iovec){ raw + n, len - n };
	}
	do {
		unsigned n = take_tokens(p, &left, in, &out->fault);
		enum token_fault fault = token_unwrap_all(p->token, in, n);

		if (fault != TOKEN_OK)
			out->fault = protected_reason(fault);
		for (unsigned i = 0; i < n && in[i].data != NULL; i++)
			join(&out->part[in[i].token == p->opened ? 0 : 1], &in[i]);
	} while (out->fault == REASON_NONE && left.iov_len > 0);
}

ssize_t
protected_recv(struct protected *p, int fd, uint8_t *buf, size_t size, struct clear *out)
{
	size_t lacks = p->part != NULL ? p->len - p->got : 0;
	struct iovec iov[2] = { { buf, size }, { NULL, 0 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 };

	memset(out, 0, sizeof(*out));
	if (p->part != NULL) {
		iov[1] = iov[0];
		iov[0] = (struct iovec){ p->part + p->got, lacks };
		m.msg_iovlen = 2;
	}
	ssize_t n = recvmsg(fd, &m, 0);
	if (n <= 0)
		return n;
	if ((size_t)n < lacks) {
		p->got += (uint32_t)n;
		return n;
	}
	p->got += (uint32_t)lacks;
	protected_open(p, buf, (size_t)n - lacks, out);
	return n;
}

/* --- out --- */

/* As few as hold so much; or, if that makes less work of it, as many as are made side by side. */
static size_t
pieces(size_t len)
{
	size_t few = (len + PROTECTED_DATA - 1) / PROTECTED_DATA;
	size_t lanes = token_lanes(), most = len / PROTECTED_LANE;

	most = most < lanes ? most : lanes;
	return most >= PROTECTED_LANES_MIN && most > few ? most : few;
}

/* At most PROTECTED_READ octets. */
static size_t
seal(struct protected *p, const uint8_t *data, size_t len, uint8_t *out)
{
	struct token_piece piece[PROTECTED_PIECES];
	size_t overhead = token_overhead(p->token), n = pieces(len), each = (len + n - 1) / n,
	       left = len;
	uint8_t *at = out;
	unsigned made = 0;

	for (; left > 0; left -= piece[made++].len) {
		size_t some = left < each ? left : each;

		piece[made] = (struct token_piece){ data + len - left, some, at + GSS_HEADER };
		at += GSS_HEADER + some + overhead;
	}
	if (!token_wrap_all(p->token, piece, made))
		return 0;
	for (unsigned i = 0; i < made; i++)
		gss_header_put(piece[i].out - GSS_HEADER, GSS_DATA, piece[i].len + overhead);
	return (size_t)(at - out);
}

size_t
protected_seal(struct protected *p, const uint8_t *data, size_t len, uint8_t *out)
{
	size_t at = 0;

	while (len > 0) {
		size_t some = len < PROTECTED_READ ? len : PROTECTED_READ;
		size_t made = seal(p, data, some, out + at);

		if (made == 0)
			return 0;
		at += made;
		data += some;
		len -= some;
	}
	return at;
}
