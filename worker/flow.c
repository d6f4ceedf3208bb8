/*
 * One direction of a relay. Owns what could not be sent, which exists only while there is any;
 * while it does, its source is not read, so a peer that never reads costs a fixed number of octets:
 * what one read gives. Trusts neither side.
 */
#include "worker/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/connect.h"
#include "worker/link.h"
#include "worker/protected.h"
#include "worker/worker.h"

static enum reason
closed_by(enum side side)
{
	return side == CLIENT ? REASON_CLIENT_CLOSED : REASON_TARGET_CLOSED;
}

/* --- what is held --- */

struct held *
held_add(struct held *h, const uint8_t *data, size_t len)
{
	size_t had = h != NULL ? h->len : 0;
	struct held *more = realloc(h, sizeof(*h) + had + len);

	if (more == NULL)
		return NULL;
	if (h == NULL)
		memset(more, 0, sizeof(*more));
	memcpy(more->data + had, data, len);
	more->len = had + len;
	return more;
}

void
held_free(struct held *h)
{
	free(h);
}

void
flow_drop_held(struct session *s, enum side d)
{
	struct flow *f = &s->flow[d];

	if (f->held != NULL)
		s->w->held -= f->held->len;
	held_free(f->held);
	f->held = NULL;
}

/* Keeps what was not sent. 0, or -1: there is no memory, and the session has been ended. */
static int
keep(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	struct held *h = held_add(s->flow[d].held, data, len);

	if (h == NULL) {
		session_close(s, REASON_GENERAL, ENOMEM);
		return -1;
	}
	s->flow[d].held = h;
	s->w->held += len;
	return 0;
}

/* --- out --- */

void
flow_broken(struct session *s, enum side d)
{
	struct flow *f = &s->flow[d];

	flow_drop_held(s, d);
	f->done = f->broken = true;
}

/* What send(2) took of len; 0 too where it can take none now, and -1 after `broken`. */
static ssize_t
taken(struct session *s, enum side d, ssize_t n, size_t len)
{
	ev_moved(&s->ev[other(d)], EPOLLOUT, n, len);
	if (n == -1 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
		return 0;
	if (n == -1)
		flow_broken(s, d);
	return n;
}

/* A first piece goes out at once, however small; a second would wait for the target to acknowledge
 * it (RFC 9293 section 3.7.4). */
static void
hurry(struct session *s, enum side d)
{
	if (d != UP || s->hurried || s->flow[UP].octets == 0)
		return;
	connect_hurry(s, s->fd[TARGET]);
}

static ssize_t
pass_on(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	hurry(s, d);
	return taken(s, d, send(s->fd[other(d)], data, len, MSG_NOSIGNAL), len);
}

/* Likewise of new octets, which stand behind those that are held. */
static ssize_t
pass_new(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	return s->flow[d].held == NULL ? pass_on(s, d, data, len) : 0;
}

void
flow_flush(struct session *s, enum side d)
{
	struct held *h = s->flow[d].held;
	ssize_t n = pass_on(s, d, h->data + h->at, h->len - h->at);

	if (n == -1)
		return;
	h->at += (size_t)n;
	if (s->protected[other(d)] == NULL)
		link_count(s, d, (size_t)n);
	if (h->at < h->len)
		return;
	if (h->clear > 0)
		link_count(s, d, h->clear);
	flow_drop_held(s, d);
}

/* Users' data to a side as they are. 0, or -1: the session has been ended. */
static int
put_clear(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	ssize_t n = pass_new(s, d, data, len);

	if (n == -1)
		return 0;
	link_count(s, d, (size_t)n);
	return (size_t)n < len ? keep(s, d, data + n, len - (size_t)n) : 0;
}

/* Users' data to a side that is encapsulated; they count once all of their messages are sent. */
static int
put_sealed(struct session *s, enum side d, const struct iovec *part, unsigned n)
{
	struct protected *p = s->protected[other(d)];
	uint8_t *buf = s->w->sealed;
	size_t len = 0, clear = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t more = protected_seal(p, part[i].iov_base, part[i].iov_len, buf + len);

		if (more == 0 && part[i].iov_len > 0) {
			session_close(s, REASON_GENERAL, EIO);
			return -1;
		}
		len += more;
		clear += part[i].iov_len;
	}
	ssize_t sent = pass_new(s, d, buf, len);
	if (sent == -1)
		return 0;
	if ((size_t)sent == len) {
		link_count(s, d, clear);
		return 0;
	}
	if (keep(s, d, buf + sent, len - (size_t)sent) == -1)
		return -1;
	s->flow[d].held->clear += clear;
	return 0;
}

/* Users' data that an encapsulated side has sent, in two runs, to one that is not. */
static int
put_opened(struct session *s, enum side d, struct iovec part[2])
{
	struct msghdr m = { .msg_iov = part, .msg_iovlen = 2 };
	size_t all = part[0].iov_len + part[1].iov_len;

	hurry(s, d);
	ssize_t n = taken(s, d, sendmsg(s->fd[other(d)], &m, MSG_NOSIGNAL), all);

	if (n == -1)
		return 0;
	link_count(s, d, (size_t)n);
	for (unsigned i = 0; i < 2; i++) {
		size_t len = part[i].iov_len, sent = (size_t)n < len ? (size_t)n : len;

		n -= (ssize_t)sent;
		if (sent < len && keep(s, d, (uint8_t *)part[i].iov_base + sent, len - sent) == -1)
			return -1;
	}
	return 0;
}

int
flow_put(struct session *s, enum side d, const uint8_t *data, size_t len)
{
	struct iovec part = { (uint8_t *)(uintptr_t)data, len };

	if (len == 0 || s->flow[d].done)
		return 0;
	return s->protected[other(d)] != NULL ? put_sealed(s, d, &part, 1)
					      : put_clear(s, d, data, len);
}

/* --- in --- */

/* The sender's end goes on to the receiver: half-close. */
static void
pass_end(struct session *s, enum side d)
{
	s->flow[d].eof = true;
	if (s->flow[d].done)
		return;
	s->flow[d].done = true;
	if (s->first_closed == REASON_NONE)
		s->first_closed = (uint8_t)closed_by(d);
	/* Where both ways are over and the client's end was read, both are closed now. */
	if ((!s->flow[other(d)].done || !s->flow[UP].eof) &&
	    shutdown(s->fd[other(d)], SHUT_WR) == -1)
		s->flow[d].broken = true;
}

/* A side has failed: all that came before it has been read, and what the client was sent arrives.
 */
static void
side_failed(struct session *s, enum side d, enum reason why, int error)
{
	if (d == CLIENT)
		session_close(s, why, error);
	else
		session_hang_up(s, why, error);
}

/* Nothing was read: not now, the sender's end, or a reset, which ends both ways. */
static int
read_none(struct session *s, enum side d, ssize_t n)
{
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == -1) {
		side_failed(s, d, d == CLIENT ? REASON_CLIENT_RESET : REASON_TARGET_RESET, errno);
		return -1;
	}
	if (s->protected[d] != NULL && protected_under_way(s->protected[d])) {
		side_failed(s, d, REASON_ENCAP_CUT, 0);
		return -1;
	}
	pass_end(s, d);
	return 0;
}

/* May reads be wide? */
static bool
wide(const struct worker *w)
{
	return w->held < WIDE_HELD;
}

size_t
flow_read_size(const struct session *s, enum side d)
{
	if (s->protected[d] != NULL)
		return token_lanes() > 1 && wide(s->w) ? PROTECTED_READ : GSS_MESSAGE_MAX;
	if (!wide(s->w))
		return SCRATCH_SIZE;
	if (s->protected[other(d)] != NULL)
		return PROTECTED_READ;
	return s->flow[d].whole == FLOW_WHOLE ? WIDEST_SIZE : WIDE_SIZE;
}

/* From a side that is encapsulated. What is sound before a fault goes on. */
static int
pump_opened(struct session *s, enum side d)
{
	struct protected *p = s->protected[d];
	struct clear c;
	size_t size = flow_read_size(s, d);
	ssize_t n = protected_recv(p, s->fd[d], s->w->scratch, size, &c);
	int r = 0;

	ev_moved(&s->ev[d], EPOLLIN, n, size);
	if (n <= 0)
		return read_none(s, d, n);
	if (c.part[0].iov_len + c.part[1].iov_len > 0 && !s->flow[d].done)
		r = s->protected[other(d)] != NULL ? put_sealed(s, d, c.part, 2)
						   : put_opened(s, d, c.part);
	if (r == -1)
		return -1;
	protected_release(p);
	if (c.fault != REASON_NONE) {
		side_failed(s, d, c.fault, 0);
		return -1;
	}
	if (size == PROTECTED_READ)
		moderate_read(
		    &p->moderate, s->w->loop, &s->ev[d], (size_t)n, s->flow[other(d)].octets);
	if ((size_t)n < size)
		return 0;
	return size == GSS_MESSAGE_MAX ? 1 : 2;
}

/* Between sides of which neither is encapsulated: how much the receiver has shown to take. */
static void
count_whole(struct flow *f, size_t asked, size_t n)
{
	if (f->held != NULL)
		f->whole = 0;
	else if (n == asked && asked >= WIDE_SIZE && f->whole < FLOW_WHOLE)
		f->whole++;
}

int
flow_pump(struct session *s, enum side d)
{
	if (s->protected[d] != NULL)
		return pump_opened(s, d);
	bool seal = s->protected[other(d)] != NULL;
	size_t size = flow_read_size(s, d);
	ssize_t n = recv(s->fd[d], s->w->scratch, size, 0);
	ev_moved(&s->ev[d], EPOLLIN, n, size);
	if (n <= 0)
		return read_none(s, d, n);
	if (flow_put(s, d, s->w->scratch, (size_t)n) == -1)
		return -1;
	if (!seal)
		count_whole(&s->flow[d], size, (size_t)n);
	if ((size_t)n < size)
		return 0;
	return seal && token_lanes() > 1 ? 2 : 1; /* so many tokens were made */
}
