/*
 * What the two programs of the benchmark share: whole reads and writes, the messages of RFC 1961,
 * and an end with a message where anything fails.
 */
#ifndef BENCH_GSS_H
#define BENCH_GSS_H

#include <err.h>
#include <errno.h>
#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MTYP_CONTEXT = 1, MTYP_LEVEL = 2, MTYP_DATA = 3 };

#define FRAME     4 /* octets before a token, RFC 1961 section 5 */
#define TOKEN_MAX 65535

/* minor is read here, after the call that sets it beside this one's arguments. */
static inline void
gss_check(OM_uint32 major, const OM_uint32 *minor, const char *what)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 m, more = 0;

	if (!GSS_ERROR(major))
		return;
	gss_display_status(&m, *minor, GSS_C_MECH_CODE, GSS_C_NO_OID, &more, &text);
	errx(1, "%s: %08x %.*s", what, major, (int)text.length, (char *)text.value);
}

static inline void
write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n)
		if ((n = send(fd, p, len, MSG_NOSIGNAL)) == -1)
			err(1, "send");
}

static inline void
read_all(int fd, void *data, size_t len)
{
	uint8_t *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n)
		if ((n = recv(fd, p, len, MSG_WAITALL)) <= 0)
			errx(1, "recv: %s", n == 0 ? "the connection has ended" : strerror(errno));
}

static inline void
frame_head(uint8_t head[FRAME], int mtyp, size_t len)
{
	head[0] = 1;
	head[1] = (uint8_t)mtyp;
	head[2] = (uint8_t)(len >> 8);
	head[3] = (uint8_t)len;
}

static inline void
send_message(int fd, int mtyp, const gss_buffer_desc *token)
{
	uint8_t head[FRAME];

	frame_head(head, mtyp, token->length);
	if (send(fd, head, FRAME, MSG_NOSIGNAL | MSG_MORE) != FRAME)
		err(1, "send");
	write_all(fd, token->value, token->length);
}

/* Into buf[TOKEN_MAX], which token points to. */
static inline void
read_message(int fd, int mtyp, uint8_t *buf, gss_buffer_desc *token)
{
	uint8_t head[FRAME];

	read_all(fd, head, 2);
	if (head[0] != 1 || head[1] != mtyp)
		errx(1, "message %u %u, expected 1 %d", head[0], head[1], mtyp);
	read_all(fd, head + 2, 2);
	token->length = (size_t)(head[2] << 8 | head[3]);
	token->value = buf;
	read_all(fd, buf, token->length);
}

/* Wraps and sends. */
static inline void
send_wrapped(int fd, gss_ctx_id_t ctx, int mtyp, bool conf, const void *data, size_t len)
{
	gss_buffer_desc in = { len, (void *)(uintptr_t)data }, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;

	gss_check(
	    gss_wrap(&minor, ctx, conf, GSS_C_QOP_DEFAULT, &in, NULL, &out), &minor, "gss_wrap");
	send_message(fd, mtyp, &out);
	gss_release_buffer(&minor, &out);
}

/* The data of one message, which the caller releases. */
static inline gss_buffer_desc
read_wrapped(int fd, gss_ctx_id_t ctx, int mtyp, uint8_t *buf)
{
	gss_buffer_desc in, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;

	read_message(fd, mtyp, buf, &in);
	gss_check(gss_unwrap(&minor, ctx, &in, &out, NULL, NULL), &minor, "gss_unwrap");
	return out;
}

/* The acceptor's credentials, of a keytab that is read once. */
static inline gss_cred_id_t
acceptor_of(const char *keytab)
{
	gss_key_value_element_desc element = { "keytab", keytab };
	gss_key_value_set_desc store = { 1, &element };
	gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
	OM_uint32 minor;

	gss_check(gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
		      GSS_C_ACCEPT, &store, &cred, NULL, NULL),
	    &minor, keytab);
	return cred;
}

#endif
