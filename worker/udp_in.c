/*
 * Datagrams in by the batch, so that a system call serves many. Owns the one set of buffers of a
 * worker; its pages are touched only as far as datagrams reach. Trusts no sender.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/udp_parts.h"

/* From one buffer to the next: with room for a reply's header before what is received, and no
 * power of two, at which all would share the same lines of a cache. */
#define HEADROOM 64
#define STRIDE   (HEADROOM + UDP_BUFFER + 512)
_Static_assert(HEADROOM >= DATAGRAM_REPLY_MAX, "a reply's header stands before its data");

/* Of one message that the kernel has put together (UDP_GRO) or was sent as one: its
 * UDP_MAX_SEGMENTS, 64 before Linux 6.9. */
#define SEGMENTS_MAX 128

static uint8_t buffers[UDP_BATCH][STRIDE];
static struct addrport senders[UDP_BATCH];
static struct udp_packet received[UDP_BATCH * SEGMENTS_MAX];

/* The messages of a recvmmsg. */
static struct {
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage from[UDP_BATCH];
	union udp_control control[UDP_BATCH];
	bool made;      /* what of the headers stays as it is */
	bool named;     /* senders' addresses are asked for */
	unsigned stale; /* how many headers the last one has changed */
} in;

void
udp_prepare(int fd)
{
	int one = 1;

	/* Before Linux 5.0 each datagram comes alone. */
	(void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
}

static void
make_headers(bool named)
{
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		in.iov[i] = (struct iovec){ buffers[i] + HEADROOM, UDP_BUFFER };
		in.m[i].msg_hdr = (struct msghdr){ .msg_name = named ? &in.from[i] : NULL,
			.msg_iov = &in.iov[i],
			.msg_iovlen = 1,
			.msg_control = in.control[i].octets };
	}
	in.made = true;
	in.named = named;
	in.stale = UDP_BATCH;
}

static void
prepare_headers(bool named)
{
	if (!in.made || in.named != named)
		make_headers(named);
	for (unsigned i = 0; i < in.stale; i++) {
		in.m[i].msg_hdr.msg_namelen = named ? sizeof(in.from[i]) : 0;
		in.m[i].msg_hdr.msg_controllen = sizeof(in.control[i].octets);
	}
}

/* The length of the datagrams that a received message holds: the last may be shorter. */
static size_t
segment_of(struct msghdr *mh, size_t len)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		int segment;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		if (segment > 0 && (size_t)segment < len)
			return (size_t)segment;
	}
	return len;
}

/* Cuts the i-th message into its datagrams; one may be empty. n of the places are taken: how many
 * are then. */
static unsigned
cut(unsigned n, unsigned i, const struct addrport *from)
{
	uint8_t *data = buffers[i] + HEADROOM;
	size_t len = in.m[i].msg_len, segment = segment_of(&in.m[i].msg_hdr, len);
	size_t room = HEADROOM;

	do {
		size_t next = len < segment ? len : segment;

		received[n++] =
		    (struct udp_packet){ .from = from, .data = data, .len = next, .room = room };
		room = 0;
		data += next;
		len -= next;
	} while (len > 0 && n < UDP_BATCH * SEGMENTS_MAX);
	return n;
}

unsigned
udp_receive(struct ev *e, const struct addrport *peer, struct udp_packet **packets)
{
	unsigned n = 0;

	prepare_headers(peer == NULL);
	int got = recvmmsg(e->fd, in.m, UDP_BATCH, 0, NULL);
	in.stale = got > 0 ? (unsigned)got : 0;
	/* An error is told once, and is no end of such a socket. */
	if (got < UDP_BATCH && (got > 0 || errno == EAGAIN))
		ev_drained(e, EPOLLIN | EPOLLERR);
	for (unsigned i = 0; i < in.stale && n < UDP_BATCH * SEGMENTS_MAX; i++) {
		const struct sockaddr *from = (const struct sockaddr *)&in.from[i];

		if (peer != NULL)
			n = cut(n, i, peer);
		else if (addr_from_sockaddr(from, in.m[i].msg_hdr.msg_namelen, &senders[i]) == 0)
			n = cut(n, i, &senders[i]);
	}
	*packets = received;
	return n;
}
