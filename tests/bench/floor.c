/*
 * The yardstick of the benchmark: the least SOCKS5 relay there can be. It has no rules, no record,
 * no time-outs and no sandbox, trusts everybody, and takes whole messages alone: what is not in one
 * recv ends the connection, and an association has the one target that its first datagram names.
 * What it relays arrives, though, either way and on any network: a side's end is passed on while
 * the other way goes on, or it would be no relay. Nobody should use it: it says what the kernel
 * takes for the work itself, so that what a gateway adds can be told.
 *
 *   floor PORT [PROCESSES]     on 127.0.0.1:PORT (0: one that is free); prints the port, and serves
 *
 * What was measured, in CPU time of a unit, each by turns with what is here (on a guest where a
 * system call alone is 1.1 us, a failed accept 3.2, a socket made and closed 5.8):
 *   connect, 64 at a time: accepts counted beforehand (TCP_INFO) 2 to 5 % less than one each time
 *     round; closing neighbours at once 2 %.
 *   bulk on 8 streams: a buffer of 1920 KiB 27 to 29 % less than 60 KiB, 4 to 6 % less than 480 and
 *     0 to 2 % less than 960.
 *   datagrams of 512 octets: UDP_SEGMENT 3 to 7 % less.
 *   all: SCHED_BATCH, so that a client is not interrupted for its first octets: connect 4 % less,
 *     ping-pong on 64 sessions 9 to 13, datagrams 2 to 5 (16 associations up to 33), bulk 6.
 * Tried, and not taken: accept until EAGAIN (3 % more), a second connect() to see that the first is
 * done (no less), read and write (3 to 5 % more for round trips), level-triggered (1 to 3 % more),
 * one unconnected socket an association (5 % more with one association, the same with 8).
 * TCP_DEFER_ACCEPT on a target's socket, so that the last ACK goes with the first octets: a target
 * that speaks first would wait for 200 ms. Targets' sockets connected again (AF_UNSPEC) after a
 * session: 2 to 5 % less, but octets that are not acknowledged by then are never sent again. Both
 * sides closed at the end of either: less too, but who sends an end and waits for the answer would
 * not get it.
 */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/priority.h"

#define SCRATCH   (1920 * 1024) /* octets of a recv, and the most kept for who takes no more */
#define EVENTS    256           /* of an epoll_wait */
#define ACCEPTS   256           /* at most, of an event */
#define BATCH     32            /* datagrams of a recvmmsg */
#define DATAGRAM  (65536 + 576) /* not 64 Ki, which would have all in the same lines of a cache */
#define SEGMENT   1472          /* octets of a datagram that fits into an Ethernet frame */
#define TOGETHER  65000         /* octets of the datagrams of one send */
#define HEADER    10            /* of a datagram; request and reply have as many (IPv4) */
#define FDS       (1 << 20)
#define PROCESSES 64

enum state {
	CLOSED = 0,
	LISTENER,
	GREETING,
	PASSWORD,
	REQUEST,
	WAITING,    /* a client whose target is being connected */
	CONNECTING, /* that target */
	OPEN,
	CONTROL,    /* of an association */
	UDP_CLIENT, /* its socket towards the client */
	UDP_TARGET, /* and towards the target */
};

/* What there is for a descriptor. */
struct conn {
	int peer;
	uint8_t state;
	bool target;  /* rather than a client */
	bool ended;   /* its FIN is in: a recv that is short of the buffer has all */
	bool over;    /* that end has been passed on */
	bool known;   /* of an association: its sockets are connected */
	bool watched; /* for EPOLLOUT too */
	uint8_t header[HEADER];
	uint32_t held, sent; /* octets of kept, and how many of them have gone */
	uint8_t *kept;       /* what it could not take */
};

static struct conn conns[FDS];
static uint8_t scratch[SCRATCH];
static int epoll;
static int ended[3 * EVENTS + ACCEPTS], ended_n; /* to be closed when the events are through */

static struct {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_iov[BATCH], out_iov[BATCH];
	uint8_t data[BATCH][DATAGRAM];
} udp;

static void
watch(int op, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, op, fd, &ev) == -1)
		err(1, "epoll_ctl");
}

static void
finish(int fd)
{
	struct conn *c = &conns[fd];

	if (c->held > 0)
		free(c->kept);
	memset(c, 0, sizeof(*c));
	ended[ended_n++] = fd;
}

/* Closes what has ended, neighbours at once. */
static void
bury(void)
{
	int i, j, fd;

	for (i = 1; i < ended_n; i++) {
		fd = ended[i];
		for (j = i; j > 0 && ended[j - 1] > fd; j--)
			ended[j] = ended[j - 1];
		ended[j] = fd;
	}
	for (i = 0; i < ended_n; i = j) {
		for (j = i + 1; j < ended_n && ended[j] == ended[j - 1] + 1; j++)
			;
		close_range((unsigned)ended[i], (unsigned)ended[j - 1], 0);
	}
	ended_n = 0;
}

/* Ends a session, of which fd is either side. */
static void
finish_all(int fd)
{
	struct conn *c = &conns[fd];
	int peer = c->peer;

	if (c->state == CONTROL)
		finish(conns[peer].peer);
	if (c->state > REQUEST)
		finish(peer);
	finish(fd);
}

/* --- the relay --- */

/* All that fd has sent was passed on, and so is its end: the other way may go on. */
static void
end(int fd)
{
	int peer = conns[fd].peer;

	conns[fd].over = true;
	if (conns[peer].over)
		finish_all(fd);
	else
		shutdown(peer, SHUT_WR);
}

/* Keeps what fd could not take; from now on there is an event when it can take more. */
static void
keep(int fd, const uint8_t *data, size_t len)
{
	struct conn *c = &conns[fd];

	c->kept = malloc(len);
	if (c->kept == NULL)
		err(1, NULL);
	memcpy(c->kept, data, len);
	c->held = (uint32_t)len;
	c->sent = 0;
	if (!c->watched)
		watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	c->watched = true;
}

/* Relays what has come. Edge-triggered: until a recv is short, or the peer takes no more. */
static void
relay(int fd)
{
	struct conn *c = &conns[fd];
	int peer = c->peer;
	ssize_t n, sent;

	while (conns[peer].held == 0) {
		n = recv(fd, scratch, SCRATCH, 0);
		if (n == -1 && errno == EAGAIN)
			return;
		if (n == -1) {
			finish_all(fd);
			return;
		}
		if (n == 0) {
			end(fd);
			return;
		}
		sent = send(peer, scratch, (size_t)n, MSG_NOSIGNAL);
		if (sent == -1 && errno != EAGAIN) {
			finish_all(fd);
			return;
		}
		if (sent != n) {
			sent = sent == -1 ? 0 : sent;
			keep(peer, scratch + sent, (size_t)(n - sent));
		} else if (n < SCRATCH) {
			if (c->ended)
				end(fd);
			return;
		}
	}
}

/* Sends what was kept for fd; then its peer is read again, whose event has gone by. */
static void
flush(int fd)
{
	struct conn *c = &conns[fd];
	ssize_t n = send(fd, c->kept + c->sent, c->held - c->sent, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN) {
		finish_all(fd);
		return;
	}
	c->sent += n > 0 ? (uint32_t)n : 0;
	if (c->sent == c->held) {
		free(c->kept);
		c->held = 0;
		relay(c->peer);
	}
}

/* --- the handshake (RFC 1928 sections 3, 4 and 6; RFC 1929) --- */

static void
reply(int fd, uint8_t status, uint16_t port)
{
	uint8_t answer[HEADER] = { 5, status, 0, 1, 127, 0, 0, 1 };

	memcpy(answer + 8, &port, sizeof(port));
	send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

static void
request_connect(int fd, const uint8_t *message)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int target = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct conn *c = &conns[target];

	if (target == -1)
		err(1, "socket");
	memcpy(&sin.sin_addr, message + 4, 4);
	memcpy(&sin.sin_port, message + 8, 2);
	c->peer = fd;
	c->state = CONNECTING;
	c->target = true;
	conns[fd].peer = target;
	conns[fd].state = WAITING;
	if (connect(target, (struct sockaddr *)&sin, sizeof(sin)) == -1 && errno != EINPROGRESS) {
		reply(fd, 5, 0);
		finish_all(fd);
		return;
	}
	watch(EPOLL_CTL_ADD, target, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	c->watched = true;
}

static void
request_associate(int fd)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int target = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (client == -1 || target == -1 || bind(client, (struct sockaddr *)&sin, len) == -1 ||
	    getsockname(client, (struct sockaddr *)&sin, &len) == -1)
		err(1, "socket");
	conns[fd].peer = conns[target].peer = client;
	conns[client].peer = target;
	conns[fd].state = CONTROL;
	conns[client].state = UDP_CLIENT;
	conns[target].state = UDP_TARGET;
	watch(EPOLL_CTL_ADD, client, EPOLLIN | EPOLLET);
	watch(EPOLL_CTL_ADD, target, EPOLLIN | EPOLLET);
	reply(fd, 0, sin.sin_port);
}

static void
greeting(int fd, const uint8_t *message, ssize_t n)
{
	uint8_t answer[2] = { 5, n == 3 && message[2] == 2 ? 2 : 0 };

	if (n < 3 || message[0] != 5 || n != 2 + message[1]) {
		finish(fd);
		return;
	}
	conns[fd].state = answer[1] == 2 ? PASSWORD : REQUEST;
	send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

static void
handshake(int fd)
{
	ssize_t n = recv(fd, scratch, SCRATCH, 0);

	uint8_t state = conns[fd].state;

	if (n == -1 && errno == EAGAIN)
		return;
	if (state == GREETING) {
		greeting(fd, scratch, n);
	} else if (state == PASSWORD && n >= 5 && scratch[0] == 1) {
		conns[fd].state = REQUEST;
		send(fd, "\1", 2, MSG_NOSIGNAL);
	} else if (state == REQUEST && n == HEADER && scratch[1] == 1 && scratch[3] == 1) {
		request_connect(fd, scratch);
	} else if (state == REQUEST && n == HEADER && scratch[1] == 3 && scratch[3] == 1) {
		request_associate(fd);
	} else {
		finish(fd);
	}
}

/* Accepts those who wait, and no more: an accept() that finds none is dear. */
static void
accept_clients(int listener, bool busy)
{
	struct tcp_info info = { .tcpi_unacked = 1 };
	socklen_t len = sizeof(info);
	int fd;

	if (busy)
		getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len);
	for (unsigned i = 0; i < info.tcpi_unacked && i < ACCEPTS; i++) {
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd == -1)
			return;
		conns[fd].state = GREETING;
		handshake(fd); /* its first octets are there (TCP_DEFER_ACCEPT) */
		if (conns[fd].state != CLOSED)
			watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	}
}

/* --- datagrams --- */

/* Sends datagrams of one size as segments of one packet, which go their way as one. */
static bool
udp_together(int fd, unsigned n)
{
	size_t len = udp.out_iov[0].iov_len;
	union {
		struct cmsghdr head;
		uint8_t octets[CMSG_SPACE(sizeof(uint16_t))];
	} control = { .head = { CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT } };
	struct msghdr message = { .msg_iov = udp.out_iov,
		.msg_iovlen = n,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	if (n < 2 || len == 0 || len > SEGMENT || n * len > TOGETHER)
		return false;
	for (unsigned i = 1; i < n; i++)
		if (udp.out_iov[i].iov_len != len)
			return false;
	memcpy(CMSG_DATA(&control.head), &(uint16_t){ (uint16_t)len }, sizeof(uint16_t));
	return sendmsg(fd, &message, MSG_NOSIGNAL) > 0;
}

static void
udp_send(int fd, unsigned n)
{
	unsigned i = 0;
	int sent;

	if (udp_together(fd, n))
		return;
	while (i < n) {
		sent = sendmmsg(fd, udp.out + i, n - i, MSG_NOSIGNAL);
		i += sent > 0 ? (unsigned)sent : 1; /* one that cannot go is lost */
	}
}

/* Connects both sockets, to the client that sends first and to the target it names. */
static void
udp_meet(int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	uint8_t *header = conns[fd].header;

	if (recvfrom(fd, header, HEADER, MSG_PEEK, (struct sockaddr *)&sin, &len) != HEADER ||
	    connect(fd, (struct sockaddr *)&sin, len) == -1)
		return;
	memcpy(&sin.sin_addr, header + 4, 4);
	memcpy(&sin.sin_port, header + 8, 2);
	if (connect(conns[fd].peer, (struct sockaddr *)&sin, len) == -1)
		return;
	memcpy(conns[conns[fd].peer].header, header, HEADER);
	conns[fd].known = true;
}

/* Relays the datagrams of either side, of which the client's have the header. */
static void
udp_relay(int fd)
{
	struct conn *c = &conns[fd];
	unsigned out;
	int n;

	if (c->state == UDP_CLIENT && !c->known)
		udp_meet(fd);
	do {
		n = recvmmsg(fd, udp.in, BATCH, 0, NULL);
		out = 0;
		for (int i = 0; i < n; i++) {
			uint8_t *p = udp.in_iov[i].iov_base;
			size_t len = udp.in[i].msg_len;

			if (c->state == UDP_TARGET) {
				p -= HEADER;
				len += HEADER;
				memcpy(p, c->header, HEADER);
			} else if (len >= HEADER && memcmp(p, c->header, HEADER) == 0) {
				p += HEADER;
				len -= HEADER;
			} else {
				continue;
			}
			udp.out_iov[out].iov_base = p;
			udp.out_iov[out++].iov_len = len;
		}
		udp_send(c->peer, out);
	} while (n == BATCH);
}

static void
udp_prepare(void)
{
	for (int i = 0; i < BATCH; i++) {
		udp.in_iov[i].iov_base = udp.data[i] + HEADER;
		udp.in_iov[i].iov_len = DATAGRAM - HEADER;
		udp.in[i].msg_hdr.msg_iov = &udp.in_iov[i];
		udp.in[i].msg_hdr.msg_iovlen = 1;
		udp.out[i].msg_hdr.msg_iov = &udp.out_iov[i];
		udp.out[i].msg_hdr.msg_iovlen = 1;
	}
}

/* --- the loop --- */

static void
target_connected(int fd, uint32_t events)
{
	struct conn *c = &conns[fd];

	if (events & EPOLLERR) {
		reply(c->peer, 5, 0);
		finish_all(fd);
	} else if ((events & EPOLLOUT) && !(events & EPOLLHUP)) {
		c->ended = (events & EPOLLRDHUP) != 0;
		c->state = conns[c->peer].state = OPEN;
		reply(c->peer, 0, 0);
		if (events & EPOLLIN)
			relay(fd);
	}
}

static void
event(int fd, uint32_t events, bool busy)
{
	struct conn *c = &conns[fd];
	enum state state = c->state;

	if (state == OPEN) {
		c->ended |= (events & EPOLLRDHUP) != 0;
		if (c->held > 0 && (events & EPOLLOUT))
			flush(fd);
		if ((events & ~(uint32_t)EPOLLOUT) && c->state == OPEN && !c->over)
			relay(fd);
		else if ((events & EPOLLERR) && c->state == OPEN)
			finish_all(fd);
	} else if (state == UDP_CLIENT || state == UDP_TARGET) {
		udp_relay(fd);
	} else if (state == LISTENER) {
		accept_clients(fd, busy);
	} else if (state >= GREETING && state <= REQUEST) {
		handshake(fd);
	} else if (state == CONNECTING) {
		target_connected(fd, events);
	} else if (state == WAITING || state == CONTROL) {
		finish_all(fd);
	}
}

static _Noreturn void
serve(int listener)
{
	static struct epoll_event events[EVENTS];
	int n;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll == -1)
		err(1, "epoll_create1");
	udp_prepare();
	conns[listener].state = LISTENER;
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		n = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++)
			event(events[i].data.fd, events[i].events, n > 1);
		bury();
	}
}

/* Every process has a listener of its own on the port. */
static int
listener_open(in_port_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = *port };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == -1 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&sin, len) == -1 || listen(fd, SOMAXCONN) == -1 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) == -1)
		err(1, "127.0.0.1:%u", ntohs(*port));
	*port = sin.sin_port;
	return fd;
}

int
main(int argc, char *argv[])
{
	int processes = argc > 2 ? atoi(argv[2]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
	in_port_t port = htons((uint16_t)atoi(argc > 1 ? argv[1] : ""));
	int listeners[PROCESSES];
	struct rlimit files;
	pid_t parent = getpid();

	if (argc < 2 || argc > 3 || processes < 1 || processes > PROCESSES)
		errx(1, "usage: floor PORT [PROCESSES]");
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < FDS ? files.rlim_max : FDS;
	setrlimit(RLIMIT_NOFILE, &files);
	priority_yield();
	for (int i = 0; i < processes; i++)
		listeners[i] = listener_open(&port);
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid == -1)
			err(1, "fork");
		if (pid > 0)
			continue;
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent)
			_exit(1);
		for (int j = 0; j < processes; j++)
			if (j != i)
				close(listeners[j]);
		serve(listeners[i]);
	}
	close_range((unsigned)listeners[0], (unsigned)listeners[processes - 1], 0);
	printf("%u\n", ntohs(port));
	fflush(stdout);
	wait(NULL);
	errx(1, "a process ended");
}
