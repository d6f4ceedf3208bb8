/*
 * Datagrams in and out by the batch, so that a system call serves many. Owns the one set of buffers
 * of a worker; its pages are touched only as far as datagrams reach.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/udp_parts.h"

#define BUFFER 65536 /* octets: the kernel gives no more, so nothing is ever cut short */
/* From one buffer to the next: with room for a reply's header before what is received, and no
 * power of two, at which all would share the same lines of a cache. */
#define HEADROOM 64
#define STRIDE   (HEADROOM + BUFFER + 512)
_Static_assert(HEADROOM >= DATAGRAM_REPLY_MAX, "a reply's header stands before its data");

/* Of one message that the kernel has put together (UDP_GRO) or was sent as one: its
 * UDP_MAX_SEGMENTS, 64 before Linux 6.9. */
#define SEGMENTS_MAX 128

static uint8_t buffers[UDP_BATCH][STRIDE];
static struct udp_packet received[UDP_BATCH * SEGMENTS_MAX];

/* For one 16-bit number beside a message. */
union control {
	struct cmsghdr align;
	char octets[CMSG_SPACE(sizeof(int))];
};

/*
 * Datagrams of one length to one address leave as one message that the kernel cuts up again
 * (UDP_SEGMENT, udp(7)): 0.8 to 1.2 us of processor time each over loopback, against 4.1 to 4.6.
 * Longer ones might not fit the network's packets, and the kernel cuts no fragments of segments.
 */
#define SEGMENT_MAX 1452  /* octets: Ethernet's 1500 without the headers of IPv6 and UDP */
#define RUN_MAX     65000 /* octets of one message */

/* What goes out next, all of it on one socket. */
static struct {
	int fd;
	unsigned n, pieces;
	struct iovec iov[UDP_BATCH * 2]; /* of each its header, where it has one apart, and data */
	unsigned end[UDP_BATCH];         /* of its pieces */
	size_t len[UDP_BATCH];
	struct addrport to[UDP_BATCH];
	struct udp_sending what[UDP_BATCH];
	uint8_t heads[UDP_BATCH][DATAGRAM_HEADER_MAX];
} out;

/* Tokens of what goes out next: room for a batch of ordinary ones, or one of any size. */
#define SEALED (UDP_BATCH * 2048 + BUFFER)
static uint8_t sealed[SEALED];
static size_t sealed_len;

/* The same as messages, each a run of datagrams. */
static struct {
	struct mmsghdr m[UDP_BATCH];
	unsigned n[UDP_BATCH]; /* datagrams of each */
	struct sockaddr_storage to[UDP_BATCH];
	union control control[UDP_BATCH];
} messages;

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

/* Cuts a message into its datagrams; one may be empty. How many of the places are taken then. */
static unsigned
cut(unsigned n, const struct addrport *from, uint8_t *data, size_t len, size_t segment)
{
	size_t room = HEADROOM;

	do {
		size_t next = len < segment ? len : segment;

		received[n++] =
		    (struct udp_packet){ .from = *from, .data = data, .len = next, .room = room };
		room = 0;
		data += next;
		len -= next;
	} while (len > 0 && n < UDP_BATCH * SEGMENTS_MAX);
	return n;
}

void
udp_prepare(int fd)
{
	int one = 1;

	/* Before Linux 5.0 each datagram comes alone. */
	(void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
}

unsigned
udp_receive(struct ev *e, struct udp_packet **packets)
{
	static struct mmsghdr m[UDP_BATCH];
	static struct iovec iov[UDP_BATCH];
	static struct sockaddr_storage from[UDP_BATCH];
	static union control control[UDP_BATCH];
	static unsigned stale = UDP_BATCH; /* headers that are not as recvmmsg should find them */
	struct addrport ap;
	unsigned n = 0;

	for (unsigned i = 0; i < stale; i++) {
		iov[i] = (struct iovec){ buffers[i] + HEADROOM, BUFFER };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = control[i].octets,
			.msg_controllen = sizeof(control[i].octets) };
	}
	int got = recvmmsg(e->fd, m, UDP_BATCH, 0, NULL);
	stale = got > 0 ? (unsigned)got : 0;
	/* An error is told once, and is no end of such a socket. */
	if (got < UDP_BATCH && (got > 0 || errno == EAGAIN))
		ev_drained(e, EPOLLIN | EPOLLERR);
	for (int i = 0; i < got; i++) {
		struct msghdr *mh = &m[i].msg_hdr;

		if (addr_from_sockaddr((struct sockaddr *)&from[i], mh->msg_namelen, &ap) == 0)
			n = cut(n, &ap, buffers[i] + HEADROOM, m[i].msg_len,
			    segment_of(mh, m[i].msg_len));
	}
	*packets = received;
	return n;
}

static int
send_one(int fd, const struct addrport *to, struct iovec *iov, size_t n)
{
	struct sockaddr_storage ss;
	struct msghdr m = { .msg_name = &ss, .msg_iov = iov, .msg_iovlen = n };

	m.msg_namelen = addr_to_sockaddr(to, &ss);
	return sendmsg(fd, &m, MSG_NOSIGNAL) == -1 ? errno : 0;
}

int
udp_send(int fd, const struct addrport *to, const uint8_t *data, size_t len)
{
	struct iovec iov = { (uint8_t *)(uintptr_t)data, len };

	return send_one(fd, to, &iov, 1);
}

/* One has been sent, or could not be. */
static void
done(const struct udp_sending *one, int error)
{
	if (error == 0)
		udp_passed(one->u, one->direction, 1, one->len);
	else if (error == EMSGSIZE)
		udp_drop(one->u, DROP_SIZE);
	else if (one->name != NULL)
		udp_name_failed(one->name, one, error);
	else
		udp_drop(one->u, DROP_SEND);
}

/* The pieces of n datagrams from the i-th on. */
static struct iovec *
pieces_of(unsigned i, unsigned n, size_t *count)
{
	unsigned first = i > 0 ? out.end[i - 1] : 0;

	*count = out.end[i + n - 1] - first;
	return &out.iov[first];
}

/* So many from the i-th on have been sent, all of one association and direction, for what is on one
 * socket is. */
static void
passed(unsigned i, unsigned n)
{
	size_t octets = 0;

	for (unsigned k = i; k < i + n; k++)
		octets += out.what[k].len;
	udp_passed(out.what[i].u, out.what[i].direction, n, octets);
}

/* How many datagrams from the i-th on can be one message: all as long as the first, but the last,
 * which may be shorter. */
static unsigned
run_length(unsigned i)
{
	size_t len = out.len[i], sum = len;
	unsigned n = 1;

	if (len == 0 || len > SEGMENT_MAX)
		return 1;
	for (; i + n < out.n; n++) {
		size_t next = out.len[i + n];

		if (next == 0 || next > len || sum + next > RUN_MAX ||
		    memcmp(&out.to[i + n], &out.to[i], sizeof(out.to[i])) != 0)
			return n;
		sum += next;
		if (next < len)
			return n + 1;
	}
	return n;
}

static void
make_message(unsigned k, unsigned i, unsigned n)
{
	struct msghdr *mh = &messages.m[k].msg_hdr;
	uint16_t segment = (uint16_t)out.len[i];

	*mh = (struct msghdr){ .msg_name = &messages.to[k],
		.msg_namelen = addr_to_sockaddr(&out.to[i], &messages.to[k]) };
	mh->msg_iov = pieces_of(i, n, &mh->msg_iovlen);
	messages.n[k] = n;
	if (n == 1)
		return;
	mh->msg_control = messages.control[k].octets;
	mh->msg_controllen = CMSG_SPACE(sizeof(segment));
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

/* A message could not be sent. Of a run nothing was; the network may not bear it, so each of its
 * datagrams is tried by itself. What cannot be sent now is dropped, as every network on the way
 * would. */
static void
one_by_one(unsigned i, unsigned n, int error)
{
	for (unsigned end = i + n; i < end; i++) {
		size_t count;
		struct iovec *iov = pieces_of(i, 1, &count);

		done(&out.what[i], n == 1 ? error : send_one(out.fd, &out.to[i], iov, count));
	}
}

void
udp_flush(void)
{
	unsigned nmessages = 0, at = 0;

	for (unsigned i = 0, n; i < out.n; i += n) {
		n = run_length(i);
		make_message(nmessages++, i, n);
	}
	for (unsigned k = 0; k < nmessages;) {
		int sent = sendmmsg(out.fd, messages.m + k, nmessages - k, MSG_NOSIGNAL);

		if (sent <= 0) {
			one_by_one(at, messages.n[k], sent == -1 ? errno : EIO);
			at += messages.n[k++];
		}
		for (; sent > 0; sent--) {
			passed(at, messages.n[k]);
			at += messages.n[k++];
		}
	}
	out.n = out.pieces = 0;
}

static void
piece(const uint8_t *data, size_t len)
{
	out.iov[out.pieces++] = (struct iovec){ (uint8_t *)(uintptr_t)data, len };
}

/* A datagram becomes a message, RFC 1961 section 5. False: libcrypto failed. */
static bool
seal(const struct udp_sending *one)
{
	static uint8_t clear[BUFFER];
	uint8_t *at = sealed + sealed_len;

	if (one->head_len > 0)
		memcpy(clear, one->head, one->head_len);
	memcpy(clear + one->head_len, one->data, one->len);
	size_t n = token_wrap(one->token, clear, one->head_len + one->len, at + GSS_HEADER);
	if (n == 0)
		return false;
	gss_header_put(at, GSS_DATA, n);
	piece(at, GSS_HEADER + n);
	sealed_len += GSS_HEADER + n;
	return true;
}

void
udp_put(int fd, const struct addrport *to, const struct udp_sending *one)
{
	size_t len = one->head_len + one->len + udp_token_room(one->token);
	bool room = one->token == NULL || len <= sizeof(sealed) - sealed_len;

	if (one->token != NULL && len > BUFFER) {
		udp_drop(one->u, DROP_SIZE);
		return;
	}
	if (out.n == UDP_BATCH || (out.n > 0 && (out.fd != fd || !room)))
		udp_flush();
	if (out.n == 0)
		sealed_len = 0;
	unsigned i = out.n;
	if (one->token != NULL) {
		if (!seal(one)) {
			udp_drop(one->u, DROP_SEND);
			return;
		}
		len = out.iov[out.pieces - 1].iov_len;
	} else if (one->head_len > 0 && one->head + one->head_len == one->data) {
		piece(one->head, len);
	} else {
		if (one->head_len > 0)
			piece(memcpy(out.heads[i], one->head, one->head_len), one->head_len);
		piece(one->data, one->len);
	}
	out.n++;
	out.fd = fd;
	out.to[i] = *to;
	out.what[i] = *one;
	out.len[i] = len;
	out.end[i] = out.pieces;
}
