/*
 * Datagrams out by the batch, so that a system call serves many. Owns what is about to leave: all
 * of it of one association, in one direction, on one socket.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/udp_parts.h"

/*
 * Datagrams of one length to one address leave as one message that the kernel cuts up again
 * (UDP_SEGMENT, udp(7)): 0.8 to 1.2 us of processor time each over loopback, against 4.1 to 4.6.
 * Longer ones might not fit the network's packets, and the kernel cuts no fragments of segments.
 */
#define SEGMENT_MAX 1452  /* octets: Ethernet's 1500 without the headers of IPv6 and UDP */
#define RUN_MAX     65000 /* octets of one message */

/* Datagrams that leave as one message: all as long as the first, but the last, which may be
 * shorter. */
struct run {
	struct udp_sending what; /* without data */
	struct addrport to;      /* none: the socket has a peer */
	size_t len;              /* octets of the first, with what is before and about its data */
	size_t beyond;           /* of these what is not data, the same of each */
	size_t sum;              /* octets of all */
	unsigned first;          /* its first piece */
	unsigned each;           /* pieces of a datagram: one, or its header and its data */
	unsigned n;
	bool ended; /* its last is shorter */
};

/* What goes out next. */
static struct {
	int fd;
	unsigned n, pieces, nruns;
	struct iovec iov[UDP_BATCH * 2];
	struct run runs[UDP_BATCH];
	uint8_t heads[UDP_BATCH][DATAGRAM_HEADER_MAX];
	struct mmsghdr m[UDP_BATCH];
	struct sockaddr_storage to[UDP_BATCH];
	union udp_control control[UDP_BATCH];
} out;

/* Tokens of what goes out next: room for a batch of ordinary ones, or one of any size. */
#define SEALED (UDP_BATCH * 2048 + UDP_BUFFER)
static uint8_t sealed[SEALED];
static size_t sealed_len;

/* --- sending --- */

/* Without an address where the socket has a peer. */
static void
address(struct msghdr *mh, const struct addrport *to, struct sockaddr_storage *ss)
{
	if (to->a.family == ADDR_NONE)
		return;
	mh->msg_name = ss;
	mh->msg_namelen = addr_to_sockaddr(to, ss);
}

static int
send_one(int fd, const struct addrport *to, struct iovec *iov, size_t n)
{
	struct sockaddr_storage ss;
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };

	address(&m, to, &ss);
	return sendmsg(fd, &m, MSG_NOSIGNAL) == -1 ? errno : 0;
}

int
udp_send(int fd, const struct addrport *to, const uint8_t *data, size_t len)
{
	struct iovec iov = { (uint8_t *)(uintptr_t)data, len };

	return send_one(fd, to, &iov, 1);
}

/* One has gone, or could not. Its data are the end of what was to go. */
static void
done(const struct run *r, const struct iovec *iov, int error)
{
	const struct iovec *last = &iov[r->each - 1];
	struct udp_sending one = r->what;

	one.len = (r->each > 1 ? iov[0].iov_len : 0) + last->iov_len - r->beyond;
	one.data = (const uint8_t *)last->iov_base + last->iov_len - one.len;
	if (error == 0)
		udp_passed(one.u, one.direction, 1, one.len);
	else if (error == EMSGSIZE)
		udp_drop(one.u, DROP_SIZE);
	else if (one.name != NULL)
		udp_name_failed(one.name, &one, error);
	else
		udp_drop(one.u, DROP_SEND);
}

/* A whole run has gone. */
static void
passed(const struct run *r)
{
	udp_passed(r->what.u, r->what.direction, r->n, r->sum - r->n * r->beyond);
}

/* A message could not be sent. Of a run nothing was; the network may not bear it, so each of its
 * datagrams is tried by itself. What a socket with a peer says may be of one before (an ICMP
 * error). What cannot be sent now is dropped, as every network on the way would. */
static void
one_by_one(const struct run *r, int error)
{
	bool again = r->n > 1 || r->to.a.family == ADDR_NONE;

	for (unsigned i = 0; i < r->n; i++) {
		struct iovec *iov = &out.iov[r->first + i * r->each];

		if (again)
			error = send_one(out.fd, &r->to, iov, r->each);
		done(r, iov, error);
	}
}

static void
make_message(struct msghdr *mh, unsigned k)
{
	const struct run *r = &out.runs[k];
	uint16_t segment = (uint16_t)r->len;

	*mh = (struct msghdr){ .msg_iov = &out.iov[r->first], .msg_iovlen = r->n * r->each };
	address(mh, &r->to, &out.to[k]);
	if (r->n == 1)
		return;
	mh->msg_control = out.control[k].octets;
	mh->msg_controllen = CMSG_SPACE(sizeof(segment));
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

/* From the k-th message on: how many have gone, or -1 with errno. */
static int
send_from(unsigned k)
{
	if (out.nruns == 1)
		return sendmsg(out.fd, &out.m[0].msg_hdr, MSG_NOSIGNAL) == -1 ? -1 : 1;
	return sendmmsg(out.fd, out.m + k, out.nruns - k, MSG_NOSIGNAL);
}

void
udp_flush(void)
{
	for (unsigned k = 0; k < out.nruns; k++)
		make_message(&out.m[k].msg_hdr, k);
	for (unsigned k = 0; k < out.nruns;) {
		int sent = send_from(k);

		if (sent <= 0)
			one_by_one(&out.runs[k++], sent == -1 ? errno : EIO);
		for (; sent > 0; sent--)
			passed(&out.runs[k++]);
	}
	out.n = out.nruns = out.pieces = 0;
}

/* --- what is to go --- */

static void
piece(const uint8_t *data, size_t len)
{
	out.iov[out.pieces++] = (struct iovec){ (uint8_t *)(uintptr_t)data, len };
}

/* A datagram becomes a message, RFC 1961 section 5: its octets, or 0 where libcrypto failed. */
static size_t
seal(const struct udp_sending *one)
{
	static uint8_t clear[UDP_BUFFER];
	uint8_t *at = sealed + sealed_len;

	if (one->head_len > 0)
		memcpy(clear, one->head, one->head_len);
	memcpy(clear + one->head_len, one->data, one->len);
	size_t n = token_wrap(one->token, clear, one->head_len + one->len, at + GSS_HEADER);
	if (n == 0)
		return 0;
	gss_header_put(at, GSS_DATA, n);
	piece(at, GSS_HEADER + n);
	sealed_len += GSS_HEADER + n;
	return GSS_HEADER + n;
}

/* The pieces of one datagram are there, len octets: it continues the last run, or begins one. */
static void
add(const struct addrport *to, const struct udp_sending *one, size_t len, unsigned each)
{
	struct run *r = out.nruns > 0 ? &out.runs[out.nruns - 1] : NULL;
	size_t beyond = len - one->len;

	if (r == NULL || r->ended || len == 0 || len > r->len || r->sum + len > RUN_MAX ||
	    r->each != each || r->beyond != beyond || r->what.name != one->name ||
	    memcmp(&r->to, to, sizeof(*to)) != 0) {
		r = &out.runs[out.nruns++];
		r->what = *one;
		r->to = *to;
		r->len = len;
		r->beyond = beyond;
		r->sum = 0;
		r->first = out.pieces - each;
		r->each = each;
		r->n = 0;
		r->ended = len == 0 || len > SEGMENT_MAX;
	}
	r->n++;
	r->sum += len;
	r->ended = r->ended || len < r->len;
	out.n++;
}

void
udp_put(int fd, const struct addrport *to, const struct udp_sending *one)
{
	static const struct addrport nobody;
	size_t len = udp_size(one);
	bool room = one->token == NULL || len <= sizeof(sealed) - sealed_len;
	unsigned before;

	if (one->token != NULL && len > UDP_BUFFER) {
		udp_drop(one->u, DROP_SIZE);
		return;
	}
	if (out.n == UDP_BATCH || (out.n > 0 && (out.fd != fd || !room)))
		udp_flush();
	if (out.n == 0)
		sealed_len = 0;
	out.fd = fd;
	before = out.pieces;
	if (one->token != NULL) {
		if ((len = seal(one)) == 0) {
			udp_drop(one->u, DROP_SEND);
			return;
		}
	} else if (one->head_len > 0 && one->head + one->head_len == one->data) {
		piece(one->head, len);
	} else {
		if (one->head_len > 0)
			piece(memcpy(out.heads[out.n], one->head, one->head_len), one->head_len);
		piece(one->data, one->len);
	}
	add(to != NULL ? to : &nobody, one, len, out.pieces - before);
}
