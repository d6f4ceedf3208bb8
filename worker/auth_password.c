/*
 * RFC 1929: frames the client's credentials and passes them to authd, whose answer is final. Keeps
 * no password: the buffer is wiped as soon as the message is built.
 */
#include <string.h>

#include "common/socks.h"
#include "worker/auth.h"
#include "worker/session.h"

static int
send_credentials(struct session *s, const struct socks_auth *a)
{
	struct msg_auth_password m;
	uint8_t tail[USER_MAX + PASSWORD_MAX];

	memset(&m, 0, sizeof(m));
	m.sid = session_sid(s);
	m.client = s->hs->client;
	m.user_len = a->user_len;
	m.password_len = a->password_len;
	memcpy(tail, a->user, a->user_len);
	memcpy(tail + a->user_len, a->password, a->password_len);
	int r = auth_ask(s, SERVICE_PASSWORD, MSG_AUTH_PASSWORD, &m, sizeof(m), tail,
	    (size_t)a->user_len + a->password_len);
	explicit_bzero(tail, sizeof(tail));
	return r;
}

size_t
auth_password_final(bool accepted, uint8_t out[2])
{
	out[0] = SOCKS_AUTH_VERSION;
	out[1] = accepted ? 0 : 1;
	return 2;
}

enum step
auth_password_step(struct session *s)
{
	struct socks_auth a;
	ssize_t n = socks_auth(s->hs->in, s->hs->in_len, &a);

	if (n == SOCKS_MORE)
		return STEP_MORE;
	if (n == SOCKS_BAD) {
		auth_denied(s, REASON_PROTOCOL);
		return STEP_OVER;
	}
	if (!auth_ready(s->w, SERVICE_PASSWORD) || send_credentials(s, &a) == -1)
		return STEP_ROOM;
	handshake_take(s, (size_t)n);
	session_set_state(s, SESSION_AUTH_WAIT);
	return STEP_WAIT;
}
