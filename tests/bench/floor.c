/*
 * The yardstick of the benchmark: the least SOCKS5 relay there can be. It has no rules, no record,
 * no time-outs and no sandbox, trusts everybody, and takes whole messages alone (one recv has one
 * message, or the connection ends). Nobody should use it: it says what the kernel takes for the
 * work itself, so that what a gateway adds can be told.
 *
 *   floor PORT [PROCESSES]     on 127.0.0.1:PORT (0: one that is free); prints the port, and serves
 */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
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

#ifndef SCRATCH
#define SCRATCH 61440 /* octets of a recv; 65536 would leave a tail of 53 on loopback */
#endif
#ifndef EVENTS
#define EVENTS 256 /* of an epoll_wait */
#endif
#ifndef BATCH
#define BATCH 32 /* datagrams of a recvmmsg */
#endif
#ifndef V_ACCEPT
#define V_ACCEPT 0
#endif
#ifndef V_CONNECT
#define V_CONNECT 0
#endif
#define FDS	    (1 << 20)
#define PROCESSES   64
#define UDP_HEADER  10		  /* RFC 1928 section 7, with an IPv4 address */
#define DATAGRAM    (65536 + 576) /* a multiple of 64 Ki would have all in the same lines of a cache */
#define REPLY	    10
#define REQUEST_LEN 10

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
	uint32_t generation; /* an event of the one before is told by it */
	int peer;
	uint8_t state;
	bool ended; /* its FIN is in: a recv that is short of the buffer has all */
	bool known; /* UDP: is connected */
	bool out;   /* EPOLLOUT was asked for */
	uint32_t held, sent;
	uint8_t *kept; /* of these octets, which it could not take */
	uint8_t header[UDP_HEADER];
};

static struct conn conns[FDS];
static uint8_t scratch[SCRATCH];
static int epoll;

static struct {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_iov[BATCH], out_iov[BATCH];
	uint8_t data[BATCH][DATAGRAM];
} udp;

static void
watch(int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events };

	ev.data.u64 = (uint64_t)conns[fd].generation << 32 | (uint32_t)fd;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == -1)
		err(1, "epoll_ctl");
}

static void
finish(int fd)
{
	struct conn *c = &conns[fd];

	c->generation++;
	c->state = CLOSED;
	c->ended = c->known = c->out = false;
	if (c->held > 0) {
		free(c->kept);
		c->held = 0;
	}
	close(fd);
}

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

/* Keeps what fd could not take; from now on there is an event when it can take more. */
static void
keep(int fd, const uint8_t *data, size_t len)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	struct conn *c = &conns[fd];

	c->kept = malloc(len);
	if (c->kept == NULL)
		err(1, "malloc");
	memcpy(c->kept, data, len);
	c->held = (uint32_t)len;
	c->sent = 0;
	if (c->out)
		return;
	c->out = true;
	ev.data.u64 = (uint64_t)c->generation << 32 | (uint32_t)fd;
	epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &ev);
}

/* Relays what has come from fd. Edge-triggered: until a recv is short, or the peer takes no more. */
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
		if (n <= 0) {
			finish_all(fd);
			return;
		}
		sent = send(peer, scratch, (size_t)n, MSG_NOSIGNAL);
		if (sent != n) {
			if (sent == -1 && errno != EAGAIN) {
				finish_all(fd);
				return;
			}
			sent = sent == -1 ? 0 : sent;
			keep(peer, scratch + sent, (size_t)(n - sent));
		} else if (n < SCRATCH) {
			if (c->ended)
				finish_all(fd);
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
	if (n > 0)
		c->sent += (uint32_t)n;
	if (c->sent < c->held)
		return;
	free(c->kept);
	c->held = 0;
	relay(c->peer);
}

/* --- the handshake (RFC 1928 sections 3, 4 and 6; RFC 1929) --- */

static void
reply(int fd, uint8_t status, uint16_t port)
{
	uint8_t answer[REPLY] = { 5, status, 0, 1 };

	if (port != 0) {
		answer[4] = 127;
		answer[7] = 1;
		memcpy(answer + 8, &port, 2);
	}
	send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

static void
connected(int fd)
{
	struct conn *c = &conns[fd];

	reply(c->peer, 0, 0);
	c->state = conns[c->peer].state = OPEN;
}

static void
request_connect(int fd, const uint8_t *message)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int target = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (target == -1 || target >= FDS)
		err(1, "socket");
	memcpy(&sin.sin_addr, message + 4, 4);
	memcpy(&sin.sin_port, message + 8, 2);
	conns[target].peer = fd;
	conns[target].state = CONNECTING;
	conns[fd].peer = target;
	conns[fd].state = WAITING;
	if (connect(target, (struct sockaddr *)&sin, sizeof(sin)) == -1 && errno != EINPROGRESS) {
		reply(fd, 5, 0);
		finish_all(fd);
		return;
	}
#if V_CONNECT == 1
	/* On loopback, it is connected by now */
	if (connect(target, (struct sockaddr *)&sin, sizeof(sin)) == 0) {
		watch(target, EPOLLIN | EPOLLRDHUP | EPOLLET);
		connected(target);
		return;
	}
#endif
	conns[target].out = true;
	watch(target, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
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
	    getsockname(client, (struct sockaddr *)&sin, &len) == -1 || target >= FDS)
		err(1, "socket");
	conns[fd].peer = conns[target].peer = client;
	conns[client].peer = target;
	conns[fd].state = CONTROL;
	conns[client].state = UDP_CLIENT;
	conns[target].state = UDP_TARGET;
	watch(client, EPOLLIN | EPOLLET);
	watch(target, EPOLLIN | EPOLLET);
	reply(fd, 0, sin.sin_port);
}

static void
greeting(int fd, const uint8_t *message, ssize_t n)
{
	uint8_t answer[2] = { 5, message[2] };

	if (n < 3 || message[0] != 5 || n != 2 + message[1]) {
		finish_all(fd);
		return;
	}
	if (message[1] > 1 || message[2] != 2)
		answer[1] = 0;
	conns[fd].state = answer[1] == 2 ? PASSWORD : REQUEST;
	send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

static void
handshake(int fd)
{
	static const uint8_t welcome[2] = { 1, 0 };
	ssize_t n = recv(fd, scratch, SCRATCH, 0);

	if (n == -1 && errno == EAGAIN)
		return;
	switch (conns[fd].state) {
	case GREETING:
		greeting(fd, scratch, n);
		return;
	case PASSWORD:
		if (n < 5 || scratch[0] != 1)
			break;
		conns[fd].state = REQUEST;
		send(fd, welcome, sizeof(welcome), MSG_NOSIGNAL);
		return;
	case REQUEST:
		if (n != REQUEST_LEN || scratch[0] != 5 || scratch[3] != 1)
			break;
		if (scratch[1] == 1)
			request_connect(fd, scratch);
		else if (scratch[1] == 3)
			request_associate(fd);
		else
			break;
		return;
	}
	finish_all(fd);
}

static void
accept_one(int fd)
{
	ssize_t n = recv(fd, scratch, SCRATCH, 0);

	conns[fd].state = GREETING;
	if (n > 0)
		greeting(fd, scratch, n);
	else if (n == 0 || errno != EAGAIN)
		finish(fd);
	if (conns[fd].state != CLOSED)
		watch(fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

static void
accept_clients(int listener)
{
	int fd, most;
#if V_ACCEPT == 2
	struct tcp_info info;
	socklen_t len = sizeof(info);

	getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len);
	most = (int)info.tcpi_unacked;
#elif V_ACCEPT == 1
	most = 1000;
#else
	most = 1;
#endif
	while (most-- > 0) {
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd == -1)
			return;
		if (fd >= FDS)
			errx(1, "too many descriptors");
		accept_one(fd);
	}
}

/* --- datagrams --- */

static void
udp_send(int fd, unsigned n)
{
	unsigned i = 0;
	int sent;

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

	if (recvfrom(fd, header, UDP_HEADER, MSG_PEEK, (struct sockaddr *)&sin, &len) !=
	    UDP_HEADER)
		return;
	if (connect(fd, (struct sockaddr *)&sin, len) == -1)
		return;
	memcpy(&sin.sin_addr, header + 4, 4);
	memcpy(&sin.sin_port, header + 8, 2);
	if (connect(conns[fd].peer, (struct sockaddr *)&sin, len) == -1)
		return;
	memcpy(conns[conns[fd].peer].header, header, UDP_HEADER);
	conns[fd].known = true;
}

static void
udp_client(int fd)
{
	struct conn *c = &conns[fd];
	unsigned out;
	int i, n;

	if (!c->known)
		udp_meet(fd);
	do {
		n = recvmmsg(fd, udp.in, BATCH, 0, NULL);
		for (i = 0, out = 0; i < n; i++) {
			size_t len = udp.in[i].msg_len;
			uint8_t *p = udp.in_iov[i].iov_base;

			if (len < UDP_HEADER || memcmp(p, c->header, UDP_HEADER) != 0)
				continue;
			udp.out_iov[out].iov_base = p + UDP_HEADER;
			udp.out_iov[out++].iov_len = len - UDP_HEADER;
		}
		udp_send(c->peer, out);
	} while (n == BATCH);
}

static void
udp_target(int fd)
{
	struct conn *c = &conns[fd];
	int i, n;

	do {
		n = recvmmsg(fd, udp.in, BATCH, 0, NULL);
		for (i = 0; i < n; i++) {
			uint8_t *p = (uint8_t *)udp.in_iov[i].iov_base - UDP_HEADER;

			memcpy(p, c->header, UDP_HEADER);
			udp.out_iov[i].iov_base = p;
			udp.out_iov[i].iov_len = udp.in[i].msg_len + UDP_HEADER;
		}
		if (n > 0)
			udp_send(c->peer, (unsigned)n);
	} while (n == BATCH);
}

static void
udp_prepare(void)
{
	for (int i = 0; i < BATCH; i++) {
		udp.in_iov[i].iov_base = udp.data[i] + UDP_HEADER;
		udp.in_iov[i].iov_len = DATAGRAM - UDP_HEADER;
		udp.in[i].msg_hdr.msg_iov = &udp.in_iov[i];
		udp.in[i].msg_hdr.msg_iovlen = 1;
		udp.out[i].msg_hdr.msg_iov = &udp.out_iov[i];
		udp.out[i].msg_hdr.msg_iovlen = 1;
	}
}

/* --- the loop --- */

static void
event(int fd, uint32_t events)
{
	struct conn *c = &conns[fd];

	c->ended |= (events & EPOLLRDHUP) != 0;
	switch ((enum state)c->state) {
	case OPEN:
		if (c->held > 0 && (events & EPOLLOUT))
			flush(fd);
		if ((events & ~(uint32_t)EPOLLOUT) && c->state == OPEN)
			relay(fd);
		return;
	case LISTENER:
		accept_clients(fd);
		return;
	case GREETING:
	case PASSWORD:
	case REQUEST:
		handshake(fd);
		return;
	case CONNECTING:
		if (events & EPOLLERR) {
			reply(c->peer, 5, 0);
			finish_all(fd);
		} else if (events & EPOLLOUT) {
			connected(fd);
			if (events & (EPOLLIN | EPOLLRDHUP))
				relay(fd); /* a target that speaks first */
		}
		return;
	case WAITING:
	case CONTROL:
		finish_all(fd);
		return;
	case UDP_CLIENT:
		udp_client(fd);
		return;
	case UDP_TARGET:
		udp_target(fd);
		return;
	case CLOSED:
		return;
	}
}

static void
serve(int listener)
{
	static struct epoll_event events[EVENTS];
	int n, fd;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll == -1)
		err(1, "epoll_create1");
	udp_prepare();
	conns[listener].state = LISTENER;
	watch(listener, EPOLLIN);
	for (;;) {
		n = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			fd = (int)(uint32_t)events[i].data.u64;
			if (conns[fd].generation == events[i].data.u64 >> 32)
				event(fd, events[i].events);
		}
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
#ifndef V_NODEFER
	    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)) == -1 ||
#endif
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
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
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
	for (int i = 0; i < processes; i++)
		close(listeners[i]);
	printf("%u\n", ntohs(port));
	fflush(stdout);
	wait(NULL);
	errx(1, "a process ended");
}
