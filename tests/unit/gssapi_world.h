/*
 * A client of RFC 1961 and an acceptor in a worker's made-up world: the test plays both, with keys
 * that are made up too. The client's end makes and checks tokens with the worker's own code, as the
 * context's initiator. Included after worker_world.h's needs.
 */
#ifndef TESTS_UNIT_GSSAPI_WORLD_H
#define TESTS_UNIT_GSSAPI_WORLD_H

#include "tests/unit/worker_world.h"
#include "worker/protected.h"

#define SPAWN     9 /* of the acceptor */
#define SEQ_UP    40
#define SEQ_DOWN  7000
#define KEY_OCTET 0xa7 /* a part of the keys */

static struct token_context *peer; /* the client's */

static inline struct encap_params
world_params(enum level level, bool acceptor)
{
	struct encap_params p = {
		.enctype = ENCTYPE_AES256_SHA1, .level = level, .acceptor = acceptor, .subkey = 1
	};
	struct encap_direction *up = acceptor ? &p.receive : &p.send,
			       *down = acceptor ? &p.send : &p.receive;

	memset(up->ke, 1, sizeof(up->ke));
	memset(up->ki, 2, sizeof(up->ki));
	memset(up->kc, 3, sizeof(up->kc));
	memset(down->ke, KEY_OCTET, sizeof(down->ke));
	memset(down->ki, 5, sizeof(down->ki));
	memset(down->kc, 6, sizeof(down->kc));
	up->seq = SEQ_UP;
	down->seq = SEQ_DOWN;
	return p;
}

static inline void
gssapi_start(const struct world_policy *like)
{
	struct world_policy p = *like;

	p.methods = METHOD_BIT(METHOD_GSSAPI);
	world_start(&p);
	world_peer(&W.authd, ROLE_ACCEPTOR, SPAWN);
}

static inline void
gssapi_end(void)
{
	token_free(peer);
	peer = NULL;
	world_end();
}

/* --- the acceptor --- */

/* Waits until the n-th piece has come; its session. */
static inline struct sid
pieces(unsigned n)
{
	world_until(world_count(MSG_AUTH_TOKEN) == n);
	return ((const struct msg_auth_token *)world_last(MSG_AUTH_TOKEN))->sid;
}

static inline void
reply_piece(struct sid sid, uint8_t kind, uint32_t total, uint32_t at, const void *data, size_t len)
{
	struct msg_auth_token m = { .sid = sid, .total = total, .at = at, .kind = kind };

	chan_send_tail(&W.authd, MSG_AUTH_REPLY, &m, sizeof(m), data, len, -1);
}

static inline void
keys(struct sid sid, enum level level, uint32_t lifetime)
{
	struct msg_auth_keys k = { .sid = sid, .lifetime = lifetime };

	if (level != LEVEL_CLEAR)
		k.params = world_params(level, true);
	chan_send(&W.authd, MSG_AUTH_KEYS, &k, sizeof(k), -1);
}

static inline void
result(struct sid sid, uint8_t accepted, uint8_t level)
{
	struct msg_auth_result r = { .sid = sid,
		.accepted = accepted,
		.method = METHOD_GSSAPI,
		.level = level,
		.user_len = accepted ? 5 : 0 };

	chan_send_tail(&W.authd, MSG_AUTH_RESULT, &r, sizeof(r), "alice", r.user_len, -1);
}

/* --- the client --- */

static inline int
gssapi_greeted(void)
{
	int fd = client_new();

	client_send(fd, "\5\2\0\1", 4);
	client_expect(fd, "\5\1", 2);
	return fd;
}

/* Up to where the acceptor owes keys and result; *sid is the session. */
static inline int
gssapi_answered(struct sid *sid)
{
	unsigned n = world_count(MSG_AUTH_TOKEN);
	int fd = gssapi_greeted();

	client_send(fd, "\1\1\0\5hello", 9);
	*sid = pieces(n + 1);
	reply_piece(*sid, TOKEN_CONTEXT, 0, 0, "", 0);
	client_expect(fd, "\1\1\0\0", 4);
	client_send(fd, "\1\2\0\1L", 5);
	pieces(n + 2);
	reply_piece(*sid, TOKEN_LEVEL, 3, 0, "lev", 3);
	client_expect(fd, "\1\2\0\3lev", 7);
	return fd;
}

static inline int
gssapi_accepted_for(enum level level, uint32_t lifetime)
{
	struct encap_params mine = world_params(level, false);
	struct sid sid;
	int fd = gssapi_answered(&sid);

	token_free(peer);
	peer = NULL;
	if (level != LEVEL_CLEAR) {
		peer = token_new(&mine);
		assert_non_null(peer);
	}
	keys(sid, level, lifetime);
	result(sid, 1, level);
	world_until(W.w->slots[sid.slot].state == SESSION_REQUEST);
	return fd;
}

static inline int
gssapi_accepted(enum level level)
{
	return gssapi_accepted_for(level, UINT32_MAX);
}

/* A message of these octets into out; its length. */
static inline size_t
sealed(uint8_t *out, const void *data, size_t len)
{
	size_t n = token_wrap(peer, data, len, out + GSS_HEADER);

	assert_true(n > 0);
	gss_header_put(out, GSS_DATA, n);
	return GSS_HEADER + n;
}

static inline void
client_seals(int fd, const void *data, size_t len)
{
	static uint8_t out[GSS_MESSAGE_MAX];

	client_send(fd, out, sealed(out, data, len));
}

/* Reads one message, and opens it: its data's length. */
static inline size_t
client_opens(int fd, uint8_t *data)
{
	static uint8_t in[GSS_MESSAGE_MAX];
	struct gss_header h;
	const uint8_t *clear;
	size_t len;

	client_read(fd, in, GSS_HEADER);
	assert_int_equal(gss_header(in, GSS_HEADER, &h), GSS_HEADER);
	assert_int_equal(h.type, GSS_DATA);
	client_read(fd, in, h.len);
	assert_int_equal(token_unwrap(peer, in, h.len, &clear, &len), TOKEN_OK);
	memcpy(data, clear, len);
	return len;
}

static inline void
client_opens_reply(int fd, uint8_t rep)
{
	static uint8_t data[TOKEN_MAX];

	assert_int_equal(client_opens(fd, data), 10);
	assert_int_equal(data[0], 5);
	assert_int_equal(data[1], rep);
}

/* Through to the target. */
static inline int
gssapi_connected(enum level level, int *target)
{
	uint8_t in[16];
	int fd = gssapi_accepted(level);

	client_seals(fd, in, request_v4(in, target_port()));
	client_opens_reply(fd, SOCKS_REP_OK);
	*target = target_accept();
	return fd;
}

#endif
