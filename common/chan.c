/*
 * Channels: packets of checked messages over SOCK_SEQPACKET. Trusts nothing that comes in but what
 * the message table allows this peer to send; owns the queue of what the peer has not taken yet.
 */
#include "common/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/wire.h"

#define PACKETS_PER_TURN  16 /* read from one peer before the others have their turn */
#define PACKET_LARGE      (MSG_PACKET_MAX / 2) /* behind one so large another may wait already */
#define PACKETS_PER_DRAIN 8192 /* a bound on chan_drain: more than a socket's buffer can hold */

struct chan_packet {
	STAILQ_ENTRY(chan_packet) entry;
	size_t len;
	int fd; /* -1: none */
	/* MSG_PACKET_MAX, but with a descriptor just the one message. */
	alignas(MSG_ALIGN) unsigned char data[];
};

union cmsg_fd {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

static size_t
padded(size_t len)
{
	return (len + MSG_ALIGN - 1) / MSG_ALIGN * MSG_ALIGN;
}

int
chan_pair(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd);
}

/* --- one packet in, one packet out --- */

/* Closes every descriptor of a received control block but the one that is wanted. Returns the
 * number of descriptors there were; the first one in *fd. */
static int
take_fds(struct msghdr *mh, int *fd)
{
	int n = 0;

	*fd = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int got;
			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
			if (n++ == 0)
				*fd = got;
			else
				close(got);
		}
	}
	return n;
}

/* The packet's length, 0 at the end, or -1 with errno; EPROTO: truncated or with too many
 * descriptors (which are closed). */
static ssize_t
packet_recv(int sock, void *buf, size_t size, int flags, int *fd)
{
	union cmsg_fd u;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.buf,
		.msg_controllen = sizeof(u.buf) };
	ssize_t n;

	*fd = -1;
	/* ECONNRESET says that the peer went without reading all; what it had sent still follows.
	 */
	do
		n = recvmsg(sock, &mh, flags | MSG_CMSG_CLOEXEC);
	while (n == -1 && (errno == EINTR || errno == ECONNRESET));
	if (n <= 0)
		return n;
	if (take_fds(&mh, fd) > 1 || (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		if (*fd != -1)
			close(*fd);
		*fd = -1;
		errno = EPROTO;
		return -1;
	}
	return n;
}

static ssize_t
packet_send(int sock, const void *data, size_t len, int fd, int flags)
{
	union cmsg_fd u;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd != -1) {
		memset(&u, 0, sizeof(u));
		mh.msg_control = u.buf;
		mh.msg_controllen = sizeof(u.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	do
		n = sendmsg(sock, &mh, flags | MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	return n;
}

/* Appends a message to a packet that has room. */
static void
packet_put(unsigned char *data, size_t *at, enum msg_type t, const void *head, size_t head_len,
    const void *tail, size_t tail_len)
{
	struct msg_head h = { .type = (uint16_t)t, .len = (uint16_t)(head_len + tail_len) };
	size_t end = *at + sizeof(h) + padded(h.len);

	memcpy(data + *at, &h, sizeof(h));
	*at += sizeof(h);
	memset(data + *at, 0, end - *at);
	if (head_len > 0)
		memcpy(data + *at, head, head_len);
	if (tail_len > 0)
		memcpy(data + *at + head_len, tail, tail_len);
	*at = end;
}

/* --- the queue --- */

/* The queue's first has left, or never will. One packet is kept for the next turn: 32 KiB that come
 * and go have the heap grow and shrink. */
static void
packet_done(struct chan *c)
{
	struct chan_packet *p = STAILQ_FIRST(&c->out);

	STAILQ_REMOVE_HEAD(&c->out, entry);
	c->packets_sent++;
	if (c->open == p)
		c->open = NULL;
	explicit_bzero(p->data, p->len); /* it may hold a password */
	if (p->fd == -1 && c->spare == NULL) {
		c->spare = p;
		return;
	}
	if (p->fd != -1)
		close(p->fd);
	free(p);
}

static void
queue_clear(struct chan *c)
{
	while (!STAILQ_EMPTY(&c->out))
		packet_done(c);
	c->queued = 0;
}

static void
set_events(struct chan *c)
{
	uint32_t events = 0;

	if (c->ended)
		return;
	if (!c->paused && (c->keep_reading || !c->throttled))
		events |= EPOLLIN;
	if (!STAILQ_EMPTY(&c->out) && !c->broken)
		events |= EPOLLOUT;
	ev_set(c->loop, &c->ev, events);
}

/* The end: once, with everything closed before the owner is told; c may be gone afterwards. */
static void
end(struct chan *c, enum chan_end why)
{
	if (c->ended)
		return;
	chan_stop(c);
	c->on_end(c, why);
}

static bool
refuse(struct chan *c, const char *fault, unsigned type)
{
	if (c->fault == NULL) {
		c->fault = fault;
		c->fault_type = type;
	}
	return false;
}

void
chan_flush(struct chan *c)
{
	struct chan_packet *p;
	bool was = c->throttled;

	if (c->before_send != NULL && !c->ended && !STAILQ_EMPTY(&c->out))
		c->before_send(c);
	while (!c->ended && !c->broken && (p = STAILQ_FIRST(&c->out)) != NULL) {
		if (packet_send(c->ev.fd, p->data, p->len, p->fd, MSG_DONTWAIT) == -1) {
			/* Also while this user has as many descriptors under way, in any process,
			 * as it may have open: they arrive. */
			if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM ||
			    errno == ETOOMANYREFS)
				break;
			/* The peer is gone: what it has sent is still read, up to its end. */
			c->broken = true;
			queue_clear(c);
			break;
		}
		c->queued -= p->len;
		packet_done(c);
	}
	if (c->ended)
		return;
	c->throttled = c->queued > CHAN_QUEUE_SOFT;
	set_events(c);
	if (was && !c->throttled && c->on_room != NULL)
		c->on_room(c);
}

static void
on_turn(struct deadline *d)
{
	struct chan *c = (struct chan *)((char *)d - offsetof(struct chan, turn));

	if (c->fault != NULL)
		end(c, CHAN_FAULT);
	else
		chan_flush(c);
}

/* A packet with room for len octets: the last of the queue while it has, or a new one, as behind
 * each descriptor. What waits turn after turn for a peer that does not read stands side by side.
 */
static struct chan_packet *
packet_for(struct chan *c, size_t len, int fd)
{
	struct chan_packet *p = c->open;

	if (p != NULL && fd == -1 && p->len + len <= MSG_PACKET_MAX)
		return p;
	if (fd == -1 && c->spare != NULL) {
		p = c->spare;
		c->spare = NULL;
	} else if ((p = malloc(sizeof(*p) + (fd == -1 ? MSG_PACKET_MAX : len))) == NULL) {
		return NULL;
	}
	p->len = 0;
	p->fd = fd;
	STAILQ_INSERT_TAIL(&c->out, p, entry);
	c->packets_queued++;
	c->open = fd == -1 ? p : NULL;
	return p;
}

/* Has what is queued leave within ms. */
static void
leave_within(struct chan *c, uint64_t ms)
{
	if (deadline_armed(&c->turn) && (ms > 0 || !c->late))
		return;
	c->late = ms > 0;
	deadline_arm(c->loop, &c->turn, ms);
}

static int
send_within(struct chan *c, uint64_t ms, enum msg_type t, const void *head, size_t head_len,
    const void *tail, size_t tail_len, int fd)
{
	struct msg_head h = { .type = (uint16_t)t, .len = (uint16_t)(head_len + tail_len) };
	size_t len = sizeof(h) + padded(head_len + tail_len);
	struct chan_packet *p;

	if (head_len + tail_len > MSG_PAYLOAD || !msg_allowed(&h, c->self, c->peer, fd != -1))
		abort();
	if (c->ended || c->broken || c->fault != NULL) {
		errno = ENOTCONN;
	} else if (c->queued + len > CHAN_QUEUE_HARD || (p = packet_for(c, len, fd)) == NULL) {
		refuse(c, "does not read what it is sent", t);
		leave_within(c, 0);
		errno = ENOBUFS;
	} else {
		packet_put(p->data, &p->len, t, head, head_len, tail, tail_len);
		c->queued += len;
		leave_within(c, ms);
		if (c->queued > CHAN_QUEUE_SOFT && !c->throttled) {
			c->throttled = true;
			set_events(c);
		}
		return 0;
	}
	if (fd != -1) {
		fd_drop(fd);
	}
	return -1;
}

int
chan_send_tail(struct chan *c, enum msg_type t, const void *head, size_t head_len, const void *tail,
    size_t tail_len, int fd)
{
	return send_within(c, 0, t, head, head_len, tail, tail_len, fd);
}

int
chan_send_late(struct chan *c, enum msg_type t, const void *payload, size_t len)
{
	return send_within(c, CHAN_LATE_MS, t, payload, len, NULL, 0, -1);
}

uint64_t
chan_mark(const struct chan *c)
{
	return c->packets_queued;
}

uint64_t
chan_sent(const struct chan *c)
{
	return c->packets_sent;
}

bool
chan_full(const struct chan *c)
{
	return c->ended || c->throttled;
}

/* --- reading --- */

/* Reads one message of a packet into *m, checked against the table. */
static const char *
next_message(struct wire *w, enum role peer, enum role self, int fd, struct msg *m)
{
	struct msg_head h;

	wire_copy(w, &h, sizeof(h));
	m->type = h.type;
	if (w->bad)
		return "ends inside a message's head";
	if (!msg_allowed(&h, peer, self, fd != -1))
		return "is not a message that it may send, or has the wrong size or descriptor";
	m->len = h.len;
	m->fd = fd;
	m->payload = wire_take(w, padded(h.len));
	if (m->payload == NULL)
		return "ends inside a message";
	if (fd != -1 && wire_left(w) > 0)
		return "has messages behind a descriptor";
	return NULL;
}

/* Hands out the messages of one packet; false ends the channel. */
static bool
dispatch(struct chan *c, const void *data, size_t len, int fd)
{
	struct wire w = wire_from(data, len);
	bool ok = true;

	while (ok && !c->ended && wire_left(&w) > 0) {
		struct msg m = { .type = MSG_COUNT, .fd = -1 };
		const char *fault = next_message(&w, c->peer, c->self, fd, &m);

		if (fault != NULL) {
			ok = refuse(c, fault, m.type);
			break;
		}
		fd = -1;
		ok = c->on_msg(c, &m) || refuse(c, "sent a message that is refused", m.type);
		if (m.fd != -1)
			close(m.fd);
	}
	if (fd != -1)
		close(fd);
	return ok;
}

/*
 * Whether a packet is likely to wait behind one of this length. A sender puts all that it says in a
 * turn into one, and a read to see that no other waits is nearly always in vain; but while authd
 * works at a message, more come, and what it reads in one turn it answers in one packet.
 */
static bool
more_likely(const struct chan *c, size_t len)
{
	return len >= PACKET_LARGE || (ROLE_BIT(c->self) & ROLES_AUTHD) != 0;
}

/* Reads up to n packets: to the end of what there is, or while more are likely, since epoll tells
 * of the rest in the next turn. c may be gone afterwards. */
static void
read_packets(struct chan *c, unsigned n, bool to_the_end)
{
	alignas(MSG_ALIGN) unsigned char buf[MSG_PACKET_MAX];
	bool more = true;

	while (more && n-- > 0 && !c->ended && !c->paused &&
	       (to_the_end || c->keep_reading || !c->throttled)) {
		int fd;
		ssize_t len = packet_recv(c->ev.fd, buf, sizeof(buf), MSG_DONTWAIT, &fd);

		if (len == -1 && errno == EAGAIN)
			return;
		if (len == 0) {
			end(c, CHAN_CLOSED);
			return;
		}
		if (len == -1)
			refuse(c, errno == EPROTO ? "sent a truncated packet" : "cannot be read",
			    MSG_COUNT);
		bool ok = len > 0 && dispatch(c, buf, (size_t)len, fd);
		if (len > 0)
			explicit_bzero(buf, (size_t)len);
		if (!ok) {
			end(c, CHAN_FAULT);
			return;
		}
		more = to_the_end || more_likely(c, (size_t)len);
	}
}

void
chan_drain(struct chan *c)
{
	read_packets(c, PACKETS_PER_DRAIN, true);
}

static void
on_event(struct ev *e, uint32_t events)
{
	struct chan *c = (struct chan *)((char *)e - offsetof(struct chan, ev));

	if ((events & EPOLLOUT) != 0 && !c->ended)
		chan_flush(c);
	/* A peer that is gone is read to its end whether or not it was throttled. */
	if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !c->ended) {
		c->broken = true;
		queue_clear(c);
		c->throttled = false;
		set_events(c);
		read_packets(c, PACKETS_PER_TURN, true);
	} else if ((events & EPOLLIN) != 0 && !c->ended) {
		read_packets(c, PACKETS_PER_TURN, false);
	}
}

/* --- start and end --- */

int
chan_start(struct chan *c, struct loop *l, int fd, enum role self, enum role peer, uint32_t spawn)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
		return -1;
	c->loop = l;
	c->self = self;
	c->peer = peer;
	c->peer_spawn = spawn;
	c->fault = NULL;
	c->fault_type = MSG_COUNT;
	STAILQ_INIT(&c->out);
	c->open = c->spare = NULL;
	c->queued = 0;
	c->packets_queued = c->packets_sent = 0;
	c->throttled = c->broken = c->ended = c->paused = false;
	c->turn = (struct deadline){ .cb = on_turn };
	c->ev = (struct ev){ .fd = -1, .cb = on_event };
	return ev_add(l, &c->ev, fd, EPOLLIN);
}

void
chan_pause(struct chan *c, bool pause)
{
	c->paused = pause;
	set_events(c);
}

void
chan_stop(struct chan *c)
{
	if (c->loop == NULL || c->ended)
		return;
	int fd = c->ev.fd;

	c->ended = true;
	queue_clear(c);
	free(c->spare);
	c->spare = NULL;
	deadline_disarm(&c->turn);
	ev_del(c->loop, &c->ev);
	if (fd != -1)
		close(fd);
}

/* --- without a loop --- */

int
chan_recv_one(
    int sock, enum role self, enum role peer, void *buf, size_t size, struct msg *m, int timeout_ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int fd, n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n == -1 && errno == EINTR);
	if (n <= 0) {
		errno = n == 0 ? ETIMEDOUT : errno;
		return -1;
	}
	ssize_t len = packet_recv(sock, buf, size, MSG_DONTWAIT, &fd);
	if (len == -1)
		return -1;
	if (len == 0) {
		errno = ECONNRESET;
		return -1;
	}
	struct wire w = wire_from(buf, (size_t)len);
	if (next_message(&w, peer, self, fd, m) != NULL || wire_left(&w) > 0) {
		if (fd != -1)
			close(fd);
		errno = EPROTO;
		return -1;
	}
	return 0;
}

/* A packet of one message. 0, or -1 with errno; EAGAIN where there is no room for it now. */
static int
send_alone(int sock, enum role self, enum role peer, enum msg_type t, const void *p, size_t len,
    int pass_fd)
{
	alignas(MSG_ALIGN) unsigned char data[sizeof(struct msg_head) + MSG_PAYLOAD + MSG_ALIGN];
	struct msg_head h = { .type = (uint16_t)t, .len = (uint16_t)len };
	size_t at = 0;

	if (len > MSG_PAYLOAD || !msg_allowed(&h, self, peer, pass_fd != -1))
		abort();
	packet_put(data, &at, t, p, len, NULL, 0);
	return packet_send(sock, data, at, pass_fd, MSG_DONTWAIT) == -1 ? -1 : 0;
}

int
chan_send_one(int sock, enum role self, enum role peer, enum msg_type t, const void *p, size_t len,
    int pass_fd)
{
	struct pollfd w = { .fd = sock, .events = POLLOUT };

	while (send_alone(sock, self, peer, t, p, len, pass_fd) == -1) {
		if (errno != EAGAIN || poll(&w, 1, -1) == -1)
			return -1;
	}
	return 0;
}

int
chan_lend(struct chan *c, enum msg_type t, const void *payload, size_t len, int fd)
{
	if (c->ev.fd == -1) {
		errno = ENOTCONN;
		return -1;
	}
	if (c->before_send != NULL)
		c->before_send(c);
	return send_alone(c->ev.fd, c->self, c->peer, t, payload, len, fd);
}
