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

/* Opens a whole token; its data in *data and *len. */
static enum reason
open_token(struct protected *p, uint8_t *token, size_t token_len, struct iovec *data)
{
	const uint8_t *clear;
	enum token_fault fault = token_unwrap(p->token, token, token_len, &clear, &data->iov_len);

	if (fault != TOKEN_OK) {
		*data = (struct iovec){ NULL, 0 };
		return protected_reason(fault);
	}
	data->iov_base = token + (clear - token);
	return REASON_NONE;
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
	p->part = malloc(len);
	if (p->part == NULL)
		return REASON_GENERAL;
	p->len = (uint32_t)len;
	p->got = (uint32_t)raw->iov_len;
	memcpy(p->part, raw->iov_base, raw->iov_len);
	raw->iov_len = 0;
	return REASON_NONE;
}

/* The next message of those that have been read, whose data are moved behind those before. */
static enum reason
take_message(struct protected *p, struct iovec *raw, struct iovec *run)
{
	struct iovec data;
	enum reason why;
	int32_t len;

	why = take_header(p, raw, &len);
	if (why != REASON_NONE || len < 0)
		return why;
	if (raw->iov_len < (size_t)len)
		return begin_part(p, raw, (size_t)len);
	why = open_token(p, raw->iov_base, (size_t)len, &data);
	if (why != REASON_NONE)
		return why;
	raw->iov_base = (uint8_t *)raw->iov_base + len;
	raw->iov_len -= (size_t)len;
	if (run->iov_len == 0) {
		*run = data;
		return REASON_NONE;
	}
	memmove((uint8_t *)run->iov_base + run->iov_len, data.iov_base, data.iov_len);
	run->iov_len += data.iov_len;
	return REASON_NONE;
}

/* Octets have come to the token under way; true: it is whole, and opened. */
static bool
end_part(struct protected *p, struct clear *out)
{
	if (p->got < p->len)
		return false;
	p->opened = p->part;
	p->part = NULL;
	out->fault = open_token(p, p->opened, p->len, &out->part[0]);
	return out->fault == REASON_NONE;
}

void
protected_open(struct protected *p, uint8_t *raw, size_t len, struct clear *out)
{
	struct iovec left = { raw, len };

	memset(out, 0, sizeof(*out));
	if (p->part != NULL) {
		size_t n = p->len - p->got < len ? p->len - p->got : len;

		memcpy(p->part + p->got, raw, n);
		p->got += (uint32_t)n;
		left = (struct iovec){ raw + n, len - n };
		if (!end_part(p, out))
			return;
	}
	while (out->fault == REASON_NONE && left.iov_len > 0)
		out->fault = take_message(p, &left, &out->part[1]);
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

size_t
protected_seal(struct protected *p, const uint8_t *data, size_t len, uint8_t *out)
{
	uint8_t *at = out;

	while (len > 0) {
		size_t n = len < PROTECTED_DATA ? len : PROTECTED_DATA;
		size_t token = token_wrap(p->token, data, n, at + GSS_HEADER);

		if (token == 0)
			return 0;
		gss_header_put(at, GSS_DATA, token);
		at += GSS_HEADER + token;
		data += n;
		len -= n;
	}
	return (size_t)(at - out);
}
