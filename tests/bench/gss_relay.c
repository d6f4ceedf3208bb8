/*
 * The yardstick: a SOCKS5 server of RFC 1961 as a program on MIT's API writes it, gss_wrap and
 * gss_unwrap a message, in the shape of the worker's relay: epoll, one buffer of 60 KiB to read
 * into, whatever could not be sent is kept and its source not read meanwhile. It serves CONNECT to
 * IPv4 addresses, one client after the other.
 *
 *   gss_relay KEYTAB          prints its port, on 127.0.0.1
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "master/priority.h"
#include "tests/bench/gss.h"

#define SCRATCH (60 * 1024) /* octets, as the worker's */
#define ROUNDS  4           /* full buffers a turn and direction, likewise */

enum side { CLIENT, TARGET };

struct flow { /* from one side to the other */
	uint8_t *held;
	size_t held_at, held_len;
	bool eof;
};

static struct {
	int fd[2];
	struct flow flow[2]; /* by the side that is read */
	gss_ctx_id_t ctx;
	bool conf;
	size_t in_len; /* octets of in */
} s;
static uint8_t scratch[SCRATCH];
static uint8_t in[FRAME + TOKEN_MAX + SCRATCH]; /* messages of the client's, not whole yet */

/* --- what leads to the relay, without concern for speed --- */

static void
handshake(gss_cred_id_t cred)
{
	gss_buffer_desc token, out = GSS_C_EMPTY_BUFFER, level;
	OM_uint32 major, minor;
	uint8_t hello[3];

	read_all(s.fd[CLIENT], hello, sizeof(hello));
	write_all(s.fd[CLIENT], "\5\1", 2);
	do {
		read_message(s.fd[CLIENT], MTYP_CONTEXT, in, &token);
		major = gss_accept_sec_context(&minor, &s.ctx, cred, &token,
		    GSS_C_NO_CHANNEL_BINDINGS, NULL, NULL, &out, NULL, NULL, NULL);
		gss_check(major, &minor, "gss_accept_sec_context");
		send_message(s.fd[CLIENT], MTYP_CONTEXT, &out);
		gss_release_buffer(&minor, &out);
	} while (major == GSS_S_CONTINUE_NEEDED);
	level = read_wrapped(s.fd[CLIENT], s.ctx, MTYP_LEVEL, in);
	s.conf = *(uint8_t *)level.value >= 2;
	send_wrapped(s.fd[CLIENT], s.ctx, MTYP_LEVEL, false, level.value, 1);
	gss_release_buffer(&minor, &level);
}

static void
request(void)
{
	static const uint8_t reply[10] = { 5, 0, 0, 1 };
	struct sockaddr_in sin = { .sin_family = AF_INET };
	gss_buffer_desc asked = read_wrapped(s.fd[CLIENT], s.ctx, MTYP_DATA, in);
	OM_uint32 minor;

	if (asked.length != sizeof(reply) || memcmp(asked.value, "\5\1\0\1", 4) != 0)
		errx(1, "not a CONNECT to an IPv4 address");
	memcpy(&sin.sin_addr, (uint8_t *)asked.value + 4, 4);
	memcpy(&sin.sin_port, (uint8_t *)asked.value + 8, 2);
	gss_release_buffer(&minor, &asked);
	s.fd[TARGET] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(s.fd[TARGET], (struct sockaddr *)&sin, sizeof(sin)) == -1)
		err(1, "connect");
	send_wrapped(s.fd[CLIENT], s.ctx, MTYP_DATA, s.conf, reply, sizeof(reply));
	for (int i = 0; i < 2; i++)
		fcntl(s.fd[i], F_SETFL, O_NONBLOCK);
}

/* --- the relay --- */

static void
pass_on(enum side from, struct iovec *iov, int n)
{
	struct flow *f = &s.flow[from];
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t sent = sendmsg(s.fd[!from], &mh, MSG_NOSIGNAL);
	size_t left = 0;

	if (sent == -1 && errno != EAGAIN)
		err(1, "send");
	for (int i = 0; i < n; i++) {
		size_t gone = sent <= 0                       ? 0
			      : (size_t)sent < iov[i].iov_len ? (size_t)sent
							      : iov[i].iov_len;

		sent -= sent > 0 ? (ssize_t)gone : 0;
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + gone;
		iov[i].iov_len -= gone;
		left += iov[i].iov_len;
	}
	if (left == 0)
		return;
	/* What is kept may grow here by the rest of the messages that were read together. */
	if ((f->held = realloc(f->held, f->held_len + left)) == NULL)
		err(1, NULL);
	for (int i = 0; i < n; i++) {
		memcpy(f->held + f->held_len, iov[i].iov_base, iov[i].iov_len);
		f->held_len += iov[i].iov_len;
	}
}

static void
flush_held(enum side from)
{
	struct flow *f = &s.flow[from];
	ssize_t n = send(s.fd[!from], f->held + f->held_at, f->held_len - f->held_at, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN)
		err(1, "send");
	f->held_at += n > 0 ? (size_t)n : 0;
	if (f->held_at < f->held_len)
		return;
	free(f->held);
	f->held = NULL;
	f->held_at = f->held_len = 0;
}

static void
wrap_down(size_t len)
{
	gss_buffer_desc plain = { len, scratch }, token = GSS_C_EMPTY_BUFFER;
	uint8_t head[FRAME];
	OM_uint32 minor;
	struct iovec iov[2];

	gss_check(gss_wrap(&minor, s.ctx, s.conf, GSS_C_QOP_DEFAULT, &plain, NULL, &token), &minor,
	    "gss_wrap");
	frame_head(head, MTYP_DATA, token.length);
	iov[0] = (struct iovec){ head, FRAME };
	iov[1] = (struct iovec){ token.value, token.length };
	pass_on(TARGET, iov, 2);
	gss_release_buffer(&minor, &token);
}

/* Every whole message that is there. */
static void
unwrap_up(void)
{
	gss_buffer_desc token, plain = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;
	struct iovec iov;
	size_t at = 0;

	while (s.in_len - at >= FRAME) {
		token.length = (size_t)(in[at + 2] << 8 | in[at + 3]);
		token.value = in + at + FRAME;
		if (s.in_len - at - FRAME < token.length)
			break;
		at += FRAME + token.length;
		gss_check(gss_unwrap(&minor, s.ctx, &token, &plain, NULL, NULL), &minor, "unwrap");
		iov = (struct iovec){ plain.value, plain.length };
		if (s.flow[CLIENT].held != NULL) { /* behind what waits already */
			struct flow *f = &s.flow[CLIENT];

			if ((f->held = realloc(f->held, f->held_len + plain.length)) == NULL)
				err(1, NULL);
			memcpy(f->held + f->held_len, plain.value, plain.length);
			f->held_len += plain.length;
		} else {
			pass_on(CLIENT, &iov, 1);
		}
		gss_release_buffer(&minor, &plain);
	}
	memmove(in, in + at, s.in_len - at);
	s.in_len -= at;
}

static bool
pump_once(enum side from)
{
	uint8_t *to = from == CLIENT ? in + s.in_len : scratch;
	ssize_t n = recv(s.fd[from], to, SCRATCH, 0);

	if (n == -1 && errno == EAGAIN)
		return false;
	if (n == -1)
		err(1, "recv");
	if (n == 0) {
		s.flow[from].eof = true;
		shutdown(s.fd[!from], SHUT_WR);
		return false;
	}
	if (from == TARGET) {
		wrap_down((size_t)n);
	} else {
		s.in_len += (size_t)n;
		unwrap_up();
	}
	return n == SCRATCH;
}

static bool
wants_in(enum side side)
{
	return !s.flow[side].eof && s.flow[side].held == NULL;
}

static void
relay(void)
{
	struct epoll_event ev[2], e;
	int loop = epoll_create1(EPOLL_CLOEXEC), n;

	for (int i = 0; i < 2; i++) {
		e = (struct epoll_event){ .data.u32 = (uint32_t)i };
		epoll_ctl(loop, EPOLL_CTL_ADD, s.fd[i], &e);
	}
	while (!s.flow[CLIENT].eof || !s.flow[TARGET].eof || s.flow[CLIENT].held != NULL ||
	       s.flow[TARGET].held != NULL) {
		for (uint32_t i = 0; i < 2; i++) {
			e.data.u32 = i;
			e.events = (wants_in((enum side)i) ? EPOLLIN : 0) |
				   (s.flow[!i].held != NULL ? EPOLLOUT : 0);
			epoll_ctl(loop, EPOLL_CTL_MOD, s.fd[i], &e);
		}
		n = epoll_wait(loop, ev, 2, -1);
		for (int i = 0; i < n; i++) {
			enum side side = (enum side)ev[i].data.u32;

			if (s.flow[!side].held != NULL)
				flush_held(!side);
			for (int k = 0; k < ROUNDS && wants_in(side) && pump_once(side); k++)
				;
		}
	}
	close(loop);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	gss_cred_id_t cred;
	OM_uint32 minor;
	int l;

	if (argc != 2)
		errx(2, "usage: gss_relay KEYTAB");
	priority_yield(); /* as the gateway's worker */
	cred = acceptor_of(argv[1]);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)&sin, len) == -1 || listen(l, 8) == -1 ||
	    getsockname(l, (struct sockaddr *)&sin, &len) == -1)
		err(1, "listen");
	printf("%u\n", ntohs(sin.sin_port));
	fflush(stdout);
	while ((s.fd[CLIENT] = accept(l, NULL, NULL)) != -1) {
		handshake(cred);
		request();
		relay();
		gss_delete_sec_context(&minor, &s.ctx, GSS_C_NO_BUFFER);
		close(s.fd[CLIENT]);
		close(s.fd[TARGET]);
		memset(&s, 0, sizeof(s));
	}
	return 0;
}
