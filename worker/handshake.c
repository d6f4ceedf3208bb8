/*
 * The handshake's input. Owns the buffer, reads no more than it holds, and calls the step of the
 * session's state; trusts nothing in it.
 */
#include "worker/handshake.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/socks.h"
#include "worker/auth.h"
#include "worker/session.h"
#include "worker/worker.h"

void
handshake_take(struct session *s, size_t n)
{
	struct handshake *hs = s->hs;

	memmove(hs->in, hs->in + n, hs->in_len - n);
	explicit_bzero(hs->in + hs->in_len - n, n);
	hs->in_len -= n;
}

static enum step
step(struct session *s)
{
	switch ((enum session_state)s->state) {
	case SESSION_GREETING:
		return greeting_step(s);
	case SESSION_AUTH:
		return auth_step(s);
	case SESSION_REQUEST:
		return request_step(s);
	case SESSION_AUTH_WAIT:
	case SESSION_CONNECT:
		return STEP_WAIT;
	case SESSION_FREE:
	case SESSION_BIND:
	case SESSION_RELAY:
	case SESSION_UDP:
	case SESSION_LINGER:
	case SESSION_ABORTED:
	case SESSION_STATES:
		break;
	}
	return STEP_OVER;
}

/* Reads on only while a handshake's message may still come and there is room for it. */
static void
handshake_poll(struct session *s)
{
	const struct handshake *hs = s->hs;
	bool in =
	    !hs->held && !hs->eof && hs->in_len < sizeof(hs->in) && s->state != SESSION_CONNECT;

	if (ev_set(s->w->loop, &s->ev[CLIENT], in ? EPOLLIN : 0) == -1)
		session_close(s, REASON_GENERAL, errno);
}

void
handshake_run(struct session *s)
{
	struct handshake *hs = s->hs;
	enum step r = STEP_AGAIN;

	hs->held = false;
	while (r == STEP_AGAIN)
		r = chan_full(&s->w->master) ? STEP_ROOM : step(s);
	if (r == STEP_OVER)
		return;
	hs->held = r == STEP_ROOM;
	/* A client that has closed, and left no whole message behind, will not come to a request.
	 */
	if (hs->eof && (r == STEP_MORE || (s->state == SESSION_AUTH_WAIT && hs->in_len == 0))) {
		session_close(s, REASON_CLIENT_CLOSED, 0);
		return;
	}
	handshake_poll(s);
}

void
handshake_event(struct session *s, uint32_t events)
{
	struct handshake *hs = s->hs;

	if ((s->ev[CLIENT].events & EPOLLIN) == 0) {
		/* Nothing was asked for: this is its end (both ways, or an error). */
		if ((events & (EPOLLERR | EPOLLHUP)) != 0)
			session_close(s, REASON_CLIENT_RESET, 0);
		return;
	}
	ssize_t n = recv(s->fd[CLIENT], hs->in + hs->in_len, sizeof(hs->in) - hs->in_len, 0);
	if (n == -1) {
		if (errno != EAGAIN && errno != EINTR)
			session_close(s, REASON_CLIENT_RESET, errno);
		return;
	}
	if (n == 0)
		hs->eof = true;
	else
		hs->in_len += (size_t)n;
	handshake_run(s);
}

void
handshake_timeout(struct session *s)
{
	static const uint8_t failure[2] = { SOCKS_AUTH_VERSION, 1 };

	/* Whole credentials that no authd could take are a failed authentication; so are those
	 * whose check takes too long. */
	if (s->state == SESSION_AUTH && s->hs->held)
		session_turn_away(s, REASON_AUTH, 0, failure, sizeof(failure));
	else if (s->state == SESSION_AUTH_WAIT)
		session_turn_away(s, REASON_HANDSHAKE, 0, failure, sizeof(failure));
	else
		session_turn_away(s, REASON_HANDSHAKE, 0, NULL, 0);
}

void
handshake_resume(struct worker *w)
{
	for (uint32_t i = 0; i < w->nslots; i++) {
		struct session *s = &w->slots[i];
		if (s->hs != NULL && s->hs->held)
			handshake_run(s);
	}
}
