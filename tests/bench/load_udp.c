/*
 * The load generator's work of datagrams: associations (RFC 1928 section 7), each with a number of
 * round trips under way, and targets that echo. A datagram that does not come back is sent again.
 */
#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS            16 /* datagrams under way, of an association; a power of two */
#define HEADER           10
#define SIZE_MIN         16 /* of what message_fill() puts into it */
#define SIZE_MAX_UDP     (65507 - HEADER)
#define ASSOCIATIONS_MAX 10000
#define UNITS_MAX        1000000000
#define BATCH            64        /* of a target */
#define TARGET_BUFFER    (8 << 20) /* octets that wait in a target's socket */
#define AGAIN            (200 * NS_PER_MS)

struct batch {
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	struct sockaddr_in from[BATCH];
};

struct slot {
	uint64_t unit; /* with the slot's number in its low bits; 0: nothing is under way */
	int64_t began, sent;
};

struct association {
	struct ev ev;
	unsigned number;
	uint8_t head[HEADER]; /* of each datagram, either way */
	struct slot slots[SLOTS];
};

static struct association *associations;
static unsigned associations_n;
static struct ev targets[PEERS];
static struct sockaddr_in targets_at[PEERS];
static struct batch target_in, in, out;
static size_t size, head; /* octets of the payload, and of what is before it */
static uint64_t begun;

/* n buffers of so many octets each. */
static void
batch_make(struct batch *b, unsigned n, size_t len, bool from)
{
	uint8_t *data = calloc(n, len);

	if (data == NULL)
		err(1, "calloc");
	for (unsigned i = 0; i < n; i++) {
		b->v[i] = (struct iovec){ data + i * len, len };
		b->m[i].msg_hdr = (struct msghdr){ .msg_iov = &b->v[i], .msg_iovlen = 1 };
		if (from) {
			b->m[i].msg_hdr.msg_name = &b->from[i];
			b->m[i].msg_hdr.msg_namelen = sizeof(b->from[i]);
		}
	}
}

/* How many have come. */
static unsigned
batch_receive(struct batch *b, int fd, unsigned n, const char *who)
{
	int got = recvmmsg(fd, b->m, n, MSG_DONTWAIT, NULL);

	if (got == -1 && errno != EAGAIN)
		err(1, "%s: recvmmsg", who);
	return got == -1 ? 0 : (unsigned)got;
}

/* What a socket does not take now is lost, as anywhere on the way. */
static void
batch_send(struct batch *b, int fd, unsigned n, const char *who)
{
	if (n > 0 && sendmmsg(fd, b->m, n, MSG_DONTWAIT) == -1 && errno != EAGAIN &&
	    errno != ENOBUFS)
		err(1, "%s: sendmmsg", who);
}

/* --- targets --- */

static void
target_ready(struct ev *ev, uint32_t events)
{
	unsigned n = batch_receive(&target_in, ev->fd, BATCH, "udp target");
	uint64_t unit;

	(void)events;
	for (unsigned i = 0; i < n; i++) {
		size_t len = target_in.m[i].msg_len;

		if (len != size || !message_read(target_in.v[i].iov_base, size, &unit))
			errx(1,
			    "udp target: a datagram of %zu octets is not as it was sent (%zu octets)",
			    len, size);
		target_in.v[i].iov_len = len;
	}
	batch_send(&target_in, ev->fd, n, "udp target");
	for (unsigned i = 0; i < n; i++)
		target_in.v[i].iov_len = size + 1;
}

/* A socket at this address, at a port that is put into it. */
static int
udp_socket(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)at, len) == -1 ||
	    getsockname(fd, (struct sockaddr *)at, &len) == -1)
		err(1, "udp: cannot bind to %s", inet_ntoa(at->sin_addr));
	return fd;
}

static void
udp_targets(void)
{
	int octets = TARGET_BUFFER;

	for (unsigned i = 0; i < PEERS; i++) {
		targets_at[i] = loopback(0, 0);
		targets[i] = (struct ev){ udp_socket(&targets_at[i]), target_ready };
		if (setsockopt(
			targets[i].fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof(octets)) == -1)
			setsockopt(targets[i].fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof(octets));
		loop_add(&targets[i], EPOLLIN);
	}
}

/* --- clients --- */

/* Puts a slot's datagram into place n of what is to be sent. */
static void
slot_fill(const struct association *a, const struct slot *s, unsigned n)
{
	uint8_t *p = out.v[n].iov_base;

	memcpy(p, a->head, head);
	message_fill(p + head, size, s->unit);
}

/* Begins a unit in it; false where none is left. */
static bool
slot_begin(struct association *a, struct slot *s, unsigned n, int64_t t)
{
	s->unit = 0;
	if (begun == load.units)
		return false;
	begun++;
	s->unit = begun * SLOTS + (uint64_t)(s - a->slots);
	s->began = s->sent = t;
	slot_fill(a, s, n);
	return true;
}

/* The slot that this datagram is the answer of, or NULL where it had been taken for lost. */
static struct slot *
slot_of(struct association *a, const uint8_t *p, size_t len)
{
	struct slot *s;
	uint64_t unit;

	if (len != head + size)
		errx(1, "udp association %u: a datagram of %zu octets, expected %zu", a->number,
		    len, head + size);
	if (memcmp(p, a->head, head) != 0)
		errx(1, "udp association %u: a datagram's header is not of its target", a->number);
	if (!message_read(p + head, size, &unit))
		errx(1, "udp association %u: a datagram is not as it was sent", a->number);
	s = &a->slots[unit % SLOTS];
	if (s->unit == unit)
		return s;
	if (load.lost == 0)
		errx(1, "udp association %u: unit %llu, which is not under way", a->number,
		    (unsigned long long)(unit / SLOTS));
	return NULL;
}

static void
association_ready(struct ev *ev, uint32_t events)
{
	struct association *a = (struct association *)ev;
	unsigned n = batch_receive(&in, ev->fd, SLOTS, "udp client"), more = 0;
	int64_t t = now();
	struct slot *s;

	(void)events;
	for (unsigned i = 0; i < n; i++) {
		if ((s = slot_of(a, in.v[i].iov_base, in.m[i].msg_len)) == NULL)
			continue;
		stats_add(t - s->began);
		load.done++;
		if (slot_begin(a, s, more, t))
			more++;
	}
	batch_send(&out, ev->fd, more, "udp client");
	if (load.done == load.units)
		load.over = true;
}

static void
udp_tick(int64_t t)
{
	for (struct association *a = associations; a < associations + associations_n; a++) {
		unsigned n = 0;

		for (struct slot *s = a->slots; s < a->slots + SLOTS; s++) {
			if (s->unit == 0 || t - s->sent < AGAIN)
				continue;
			s->sent = t;
			slot_fill(a, s, n++);
		}
		load.lost += n;
		batch_send(&out, a->ev.fd, n, "udp client");
	}
}

/* Its socket, which sends to where the server said in its reply. */
static void
association_make(struct association *a, unsigned n, const struct conn *control)
{
	struct sockaddr_in from = client_address(n), to = targets_at[n % PEERS];

	a->number = n;
	a->head[3] = 1;
	memcpy(a->head + 4, &to.sin_addr, 4);
	memcpy(a->head + 8, &to.sin_port, 2);
	if (control != NULL) {
		memcpy(&to.sin_addr, control->in + 4, 4);
		memcpy(&to.sin_port, control->in + 8, 2);
		if (to.sin_addr.s_addr == htonl(INADDR_ANY))
			to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	a->ev = (struct ev){ udp_socket(&from), association_ready };
	if (connect(a->ev.fd, (struct sockaddr *)&to, sizeof(to)) == -1)
		err(1, "udp association %u: connect to %s port %u", n, inet_ntoa(to.sin_addr),
		    ntohs(to.sin_port));
	loop_add(&a->ev, EPOLLIN);
}

static void
udp_setup(char **args)
{
	struct conn *controls = NULL;

	size = number("SIZE", args[0], SIZE_MAX_UDP);
	if (size < SIZE_MIN)
		errx(2, "SIZE is %zu, expected at least %d", size, SIZE_MIN);
	associations_n = (unsigned)number("ASSOCIATIONS", args[1], ASSOCIATIONS_MAX);
	load.units = number("N", args[2], UNITS_MAX);
	load.tick = udp_tick;
	head = load.port != 0 ? HEADER : 0;
	if ((associations = calloc(associations_n, sizeof(*associations))) == NULL)
		err(1, "calloc");
	/* one octet more, to see what is too long */
	batch_make(&target_in, BATCH, size + 1, true);
	batch_make(&in, SLOTS, head + size + 1, false);
	batch_make(&out, SLOTS, head + size, false);
	udp_targets();
	if (load.port != 0)
		controls = sessions_open(associations_n, COMMAND_ASSOCIATE, conn_quiet);
	for (unsigned i = 0; i < associations_n; i++)
		association_make(&associations[i], i, controls == NULL ? NULL : &controls[i]);
}

static void
udp_begin(void)
{
	for (struct association *a = associations; a < associations + associations_n; a++) {
		unsigned n = 0;

		while (n < SLOTS && slot_begin(a, &a->slots[n], n, now()))
			n++;
		batch_send(&out, a->ev.fd, n, "udp client");
	}
}

const struct work work_udp = { "udp", "SIZE ASSOCIATIONS N", 3, udp_setup, udp_begin, NULL };
