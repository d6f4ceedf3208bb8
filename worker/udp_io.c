/*
 * Datagrams in and out by the batch, so that a system call serves many. Owns the one set of buffers
 * of a worker; its pages are touched only as far as datagrams reach.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/udp_parts.h"

/* The kernel gives no more than this, so nothing is ever cut short. */
#define BUFFER (DATAGRAM_REPLY_MAX + 65536)

static uint8_t buffers[UDP_BATCH][BUFFER];
static struct udp_packet received[UDP_BATCH];

/* What goes out next, all of it on one socket. */
static struct {
	int fd;
	unsigned n;
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage to[UDP_BATCH];
	struct udp_sending what[UDP_BATCH];
} out;

unsigned
udp_receive(int fd, struct udp_packet **packets)
{
	static struct mmsghdr m[UDP_BATCH];
	static struct iovec iov[UDP_BATCH];
	static struct sockaddr_storage from[UDP_BATCH];
	unsigned n = 0;

	for (unsigned i = 0; i < UDP_BATCH; i++) {
		iov[i] =
		    (struct iovec){ buffers[i] + DATAGRAM_REPLY_MAX, BUFFER - DATAGRAM_REPLY_MAX };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &iov[i],
			.msg_iovlen = 1 };
	}
	int got = recvmmsg(fd, m, UDP_BATCH, 0, NULL);
	for (int i = 0; i < got; i++) {
		struct udp_packet *p = &received[n];

		if (addr_from_sockaddr(
			(struct sockaddr *)&from[i], m[i].msg_hdr.msg_namelen, &p->from) == -1)
			continue;
		p->data = buffers[i] + DATAGRAM_REPLY_MAX;
		p->len = m[i].msg_len;
		n++;
	}
	*packets = received;
	return n;
}

int
udp_send(int fd, const struct addrport *to, const uint8_t *data, size_t len)
{
	struct sockaddr_storage ss;
	struct iovec iov = { (uint8_t *)(uintptr_t)data, len };
	struct msghdr m = { .msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1 };

	m.msg_namelen = addr_to_sockaddr(to, &ss);
	return sendmsg(fd, &m, MSG_NOSIGNAL) == -1 ? errno : 0;
}

/* One has been sent, or could not be. */
static void
done(const struct udp_sending *one, int error)
{
	if (error == 0)
		udp_passed(one->u, one->direction, one->octets);
	else if (error == EMSGSIZE)
		udp_drop(one->u, DROP_SIZE);
	else if (one->name != NULL)
		udp_name_failed(one->name, one, error);
	else
		udp_drop(one->u, DROP_SEND);
}

void
udp_flush(void)
{
	unsigned at = 0;

	while (at < out.n) {
		int sent = sendmmsg(out.fd, out.m + at, out.n - at, MSG_NOSIGNAL);

		/* What cannot be sent now is dropped, as every network on the way would. */
		if (sent <= 0)
			done(&out.what[at++], sent == -1 ? errno : EIO);
		for (; sent > 0; sent--)
			done(&out.what[at++], 0);
	}
	out.n = 0;
}

void
udp_put(int fd, const struct addrport *to, const struct udp_sending *one)
{
	if (out.n == UDP_BATCH || (out.n > 0 && out.fd != fd))
		udp_flush();
	unsigned i = out.n++;
	out.fd = fd;
	out.what[i] = *one;
	out.iov[i] = (struct iovec){ (uint8_t *)(uintptr_t)one->data, one->len };
	out.m[i].msg_hdr = (struct msghdr){ .msg_name = &out.to[i],
		.msg_namelen = addr_to_sockaddr(to, &out.to[i]),
		.msg_iov = &out.iov[i],
		.msg_iovlen = 1 };
}
