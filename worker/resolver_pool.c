/*
 * The pool of c-ares channels. Owns every socket of the resolver but its channels to other
 * processes. c-ares sees no file (all that it would read there is given as options), and its
 * sockets are made here, so that they are non-blocking and close-on-exec at birth.
 */
#include "worker/resolver_pool.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHANNELS        8
#define CHANNEL_QUERIES 64    /* asked by one channel before it is replaced */
#define CHANNEL_MS      10000 /* or so long after its first question */
#define RETIRED_MAX     32    /* replaced and still waiting for answers: bounds the descriptors */
#define CHANNEL_SOCKETS (2 * DNS_SERVERS_MAX) /* UDP and TCP to each server */
#define TICK_MS         50                    /* how late a time-out may be noticed */
#define EDNS_SIZE       1232 /* octets of UDP: passes without fragments (DNS flag day 2020) */
#define DEFAULT_TIMEOUT 2000 /* ms */
#define DEFAULT_ROUNDS  3
#define DNS_CLASS_IN    1
#define DNS_TYPE_A      1
#define DNS_TYPE_AAAA   28

struct pool_socket {
	struct ev ev;
	struct pool_channel *channel;
};

struct pool_channel {
	TAILQ_ENTRY(pool_channel) entry; /* in pool.retired */
	struct pool *pool;
	ares_channel ares;
	unsigned asked, under_way;
	uint64_t born; /* ms */
	struct pool_socket sock[CHANNEL_SOCKETS];
};

TAILQ_HEAD(channel_list, pool_channel);

struct pool {
	struct loop *loop;
	struct addrport server[DNS_SERVERS_MAX];
	size_t nservers;
	size_t first; /* the server that new channels ask first */
	int timeout_ms, rounds;
	struct pool_channel *channel[CHANNELS];
	struct channel_list retired;
	unsigned nretired, under_way;
	struct deadline tick; /* while something is under way: c-ares looks for its time-outs */
	struct deadline reap;
	bool closing;
};

/*
 * c-ares 1.18.1 takes its query ids from /dev/urandom, or, where it cannot open that (in an empty
 * chroot), from rand(3), which nobody seeds. The executable's symbol comes before libc's.
 */
int
rand(void)
{
	unsigned v;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		abort();
	return (int)(v & RAND_MAX);
}

/* --- sockets, as c-ares asks for them --- */

static ares_socket_t
sock_open(int domain, int type, int protocol, void *arg)
{
	(void)protocol;
	(void)arg;
	return socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int
sock_close(ares_socket_t fd, void *arg)
{
	(void)arg;
	return close(fd);
}

/* c-ares knows no scope: a link-local server's is put back here. */
static int
sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *arg)
{
	struct pool *p = arg;
	struct sockaddr_storage ss;
	struct addrport to;

	if (addr_from_sockaddr(sa, len, &to) == -1) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	for (size_t i = 0; i < p->nservers; i++)
		if (addr_cmp(&p->server[i].a, &to.a) == 0 && p->server[i].port == to.port)
			to.scope = p->server[i].scope;
	len = addr_to_sockaddr(&to, &ss);
	return connect(fd, (const struct sockaddr *)&ss, len);
}

static ares_ssize_t
sock_recv(ares_socket_t fd, void *buf, size_t len, int flags, struct sockaddr *from,
    ares_socklen_t *fromlen, void *arg)
{
	ssize_t n = recvfrom(fd, buf, len, flags, from, fromlen);

	(void)arg;
	/* An empty datagram, which anyone can forge, is no end of the connection (CVE-2023-32067);
	 * c-ares gives `from` for UDP only. */
	if (n == 0 && from != NULL) {
		errno = EAGAIN;
		return -1;
	}
	return n;
}

static ares_ssize_t
sock_send(ares_socket_t fd, const struct iovec *iov, int n, void *arg)
{
	struct msghdr mh = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };

	(void)arg;
	return sendmsg(fd, &mh, MSG_NOSIGNAL);
}

static const struct ares_socket_functions sock_functions = {
	.asocket = sock_open,
	.aclose = sock_close,
	.aconnect = sock_connect,
	.arecvfrom = sock_recv,
	.asendv = sock_send,
};

static void
on_socket(struct ev *e, uint32_t events)
{
	struct pool_socket *s =
	    (struct pool_socket *)((char *)e - offsetof(struct pool_socket, ev));
	uint32_t broken = events & (EPOLLERR | EPOLLHUP);
	bool in = broken != 0 || (events & EPOLLIN) != 0;
	bool out = broken != 0 || (events & EPOLLOUT) != 0;

	ares_process_fd(
	    s->channel->ares, in ? e->fd : ARES_SOCKET_BAD, out ? e->fd : ARES_SOCKET_BAD);
}

/* c-ares wants to read or write this socket, or (neither) is about to close it. */
static void
on_interest(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct pool_channel *c = arg;
	struct pool_socket *s = NULL;
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);

	for (size_t i = 0; i < CHANNEL_SOCKETS; i++) {
		if (c->sock[i].ev.fd == fd) {
			s = &c->sock[i];
			break;
		}
		if (s == NULL && c->sock[i].ev.fd == -1)
			s = &c->sock[i];
	}
	if (s == NULL) /* there are no more than two a server; its questions would time out */
		return;
	if (events == 0)
		ev_del(c->pool->loop, &s->ev);
	else if (s->ev.fd == fd)
		ev_set(c->pool->loop, &s->ev, events);
	else
		ev_add(c->pool->loop, &s->ev, fd, events);
}

/* --- channels --- */

/* Gives a channel its servers, beginning with the one that has been found to answer. */
static int
channel_servers(struct pool_channel *c)
{
	const struct pool *p = c->pool;
	struct ares_addr_port_node node[DNS_SERVERS_MAX];

	memset(node, 0, sizeof(node));
	for (size_t i = 0; i < p->nservers; i++) {
		const struct addrport *s = &p->server[(p->first + i) % p->nservers];

		node[i].next = i + 1 < p->nservers ? &node[i + 1] : NULL;
		node[i].udp_port = node[i].tcp_port = s->port;
		if (s->a.family == ADDR_V4) {
			node[i].family = AF_INET;
			memcpy(&node[i].addr.addr4, s->a.b, sizeof(node[i].addr.addr4));
		} else {
			node[i].family = AF_INET6;
			memcpy(&node[i].addr.addr6, s->a.b, sizeof(node[i].addr.addr6));
		}
	}
	return ares_set_servers_ports(c->ares, node) == ARES_SUCCESS ? 0 : -1;
}

static struct pool_channel *
channel_new(struct pool *p)
{
	struct pool_channel *c = calloc(1, sizeof(*c));
	struct in_addr none = { .s_addr = htonl(INADDR_LOOPBACK) };
	char lookups[] = "b";
	/* With each of these given, c-ares reads neither resolv.conf nor nsswitch.conf, and asks
	 * for no host name. The server only stands in until channel_servers(). */
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
		.timeout = p->timeout_ms,
		.tries = p->rounds,
		.ndots = 0,
		.servers = &none,
		.nservers = 1,
		.ndomains = 0,
		.lookups = lookups,
		.sock_state_cb = on_interest,
		.sock_state_cb_data = c,
		.nsort = 0,
		.ednspsz = EDNS_SIZE,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
		   ARES_OPT_SORTLIST | ARES_OPT_EDNSPSZ | ARES_OPT_NOROTATE;

	if (c == NULL)
		return NULL;
	c->pool = p;
	c->born = loop_now(p->loop);
	for (size_t i = 0; i < CHANNEL_SOCKETS; i++) {
		c->sock[i].channel = c;
		c->sock[i].ev = (struct ev){ .fd = -1, .cb = on_socket };
	}
	if (ares_init_options(&c->ares, &o, mask) != ARES_SUCCESS) {
		free(c);
		return NULL;
	}
	ares_set_socket_functions(c->ares, &sock_functions, p);
	if (channel_servers(c) == -1) {
		ares_destroy(c->ares);
		free(c);
		return NULL;
	}
	return c;
}

/* Never from inside one of c's own callbacks. What is under way comes back with EDESTRUCTION. */
static void
channel_free(struct pool_channel *c)
{
	if (c == NULL)
		return;
	ares_destroy(c->ares);
	free(c);
}

/* No more questions by this channel; it goes when the last answer is there. */
static void
channel_retire(struct pool *p, size_t i)
{
	TAILQ_INSERT_TAIL(&p->retired, p->channel[i], entry);
	p->nretired++;
	if (p->channel[i]->under_way == 0)
		deadline_arm(p->loop, &p->reap, 0);
	p->channel[i] = NULL;
}

static void
on_reap(struct deadline *d)
{
	struct pool *p = (struct pool *)((char *)d - offsetof(struct pool, reap));
	struct pool_channel *c, *next;

	for (c = TAILQ_FIRST(&p->retired); c != NULL; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->under_way > 0)
			continue;
		TAILQ_REMOVE(&p->retired, c, entry);
		p->nretired--;
		channel_free(c);
	}
}

static void
on_tick(struct deadline *d)
{
	struct pool *p = (struct pool *)((char *)d - offsetof(struct pool, tick));
	struct pool_channel *c;

	/* Callbacks may retire channels, but only on_reap frees them. */
	for (size_t i = 0; i < CHANNELS; i++)
		if ((c = p->channel[i]) != NULL && c->under_way > 0)
			ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	for (c = TAILQ_FIRST(&p->retired); c != NULL; c = TAILQ_NEXT(c, entry))
		if (c->under_way > 0)
			ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (p->under_way > 0)
		deadline_arm(p->loop, &p->tick, TICK_MS);
}

/* A channel for the next question: a random one, replaced when its time has come. */
static struct pool_channel *
channel_pick(struct pool *p)
{
	size_t i = (size_t)rand() % CHANNELS;
	struct pool_channel *c = p->channel[i];

	if (c != NULL && p->nretired < RETIRED_MAX &&
	    (c->asked >= CHANNEL_QUERIES || loop_now(p->loop) - c->born >= CHANNEL_MS))
		channel_retire(p, i);
	if (p->channel[i] == NULL && p->nservers > 0)
		p->channel[i] = channel_new(p);
	return p->channel[i];
}

/* The server asked first did not answer and another did: ask that one first from now on. */
static void
next_server(struct pool *p, const struct pool_channel *c)
{
	/* Only what a channel of the present order saw counts, so that one outage is one step. */
	for (size_t i = 0; i < CHANNELS; i++) {
		if (p->channel[i] != c)
			continue;
		p->first = (p->first + 1) % p->nservers;
		for (size_t j = 0; j < CHANNELS; j++)
			if (p->channel[j] != NULL && p->nretired < RETIRED_MAX)
				channel_retire(p, j);
		return;
	}
}

/* --- questions --- */

/* Upper and lower case at random, which servers copy into the reply: bits for a forger to guess. */
static void
random_case(struct dns_name *n)
{
	uint8_t bits[(DNS_NAME_WIRE + 7) / 8];

	if (getrandom(bits, sizeof(bits), 0) != sizeof(bits))
		abort();
	for (size_t i = 0; i < n->len; i++)
		if (n->b[i] >= 'a' && n->b[i] <= 'z' && (bits[i / 8] >> i % 8 & 1) != 0)
			n->b[i] = (uint8_t)(n->b[i] - ('a' - 'A'));
}

/* As c-ares takes a name: labels and dots, a backslash before a backslash. */
static void
name_text(const struct dns_name *n, char out[2 * DNS_NAME_WIRE])
{
	size_t at = 0;

	for (size_t i = 0; n->b[i] != 0; i += n->b[i] + 1u) {
		if (i > 0)
			out[at++] = '.';
		for (size_t j = i + 1; j <= i + n->b[i]; j++) {
			if (n->b[j] == '\\')
				out[at++] = '\\';
			out[at++] = (char)n->b[j];
		}
	}
	out[at] = '\0';
}

static void
query_failed(struct pool_query *q, enum answer_status status, uint32_t ttl)
{
	struct dns_answer a = { .status = status, .ttl = ttl };

	q->done(q, &a);
}

static void
on_reply(void *arg, int status, int timeouts, unsigned char *buf, int len)
{
	struct pool_query *q = arg;
	struct pool *p = q->pool;
	struct pool_channel *c = q->channel;
	struct dns_answer a;

	p->under_way--;
	if (--c->under_way == 0 && !deadline_armed(&p->reap))
		deadline_arm(p->loop, &p->reap, 0);
	if (status == ARES_EDESTRUCTION) { /* other servers came, or the process ends */
		if (!p->closing)
			dnspool_ask(p, q);
		return;
	}
	if (buf == NULL || len <= 0) {
		/* RFC 7686: c-ares itself says that .onion names are not there. */
		if (status == ARES_ENOTFOUND || status == ARES_EBADNAME)
			query_failed(q, ANSWER_NO_NAME, DNS_NEGATIVE_MAX);
		else
			query_failed(q, ANSWER_FAILED, DNS_FAILED_MAX);
		return;
	}
	if (timeouts > 0 && p->nservers > 1)
		next_server(p, c);
	switch (reply_parse(buf, (size_t)len, &q->sent, q->family, &a)) {
	case REPLY_ANSWER:
		q->done(q, &a);
		return;
	case REPLY_CASE:
		if (!q->plain) {
			/* Forged, or by a server that changes case: asked again, with a new id and
			 * most likely from another port. */
			q->plain = true;
			dnspool_ask(p, q);
			return;
		}
		break;
	case REPLY_BAD:
		break;
	}
	query_failed(q, ANSWER_FAILED, DNS_FAILED_MAX);
}

void
dnspool_ask(struct pool *p, struct pool_query *q)
{
	struct pool_channel *c = channel_pick(p);
	char text[2 * DNS_NAME_WIRE];

	if (c == NULL) {
		query_failed(q, ANSWER_FAILED, DNS_FAILED_MAX);
		return;
	}
	q->pool = p;
	q->channel = c;
	q->sent = q->name;
	if (!q->plain)
		random_case(&q->sent);
	name_text(&q->sent, text);
	c->asked++;
	c->under_way++;
	p->under_way++;
	if (!deadline_armed(&p->tick))
		deadline_arm(p->loop, &p->tick, TICK_MS);
	ares_query(c->ares, text, DNS_CLASS_IN, q->family == LOOKUP_A ? DNS_TYPE_A : DNS_TYPE_AAAA,
	    on_reply, q);
}

/* --- the pool --- */

struct pool *
dnspool_new(struct loop *l)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->loop = l;
	p->tick.cb = on_tick;
	p->reap.cb = on_reap;
	TAILQ_INIT(&p->retired);
	return p;
}

/* Takes every channel out of the pool before it ends them, for what was under way to find new ones.
 */
static void
drop_channels(struct pool *p)
{
	struct channel_list old = TAILQ_HEAD_INITIALIZER(old);
	struct pool_channel *c;

	TAILQ_CONCAT(&old, &p->retired, entry);
	for (size_t i = 0; i < CHANNELS; i++) {
		if (p->channel[i] != NULL)
			TAILQ_INSERT_TAIL(&old, p->channel[i], entry);
		p->channel[i] = NULL;
	}
	p->nretired = 0;
	while ((c = TAILQ_FIRST(&old)) != NULL) {
		TAILQ_REMOVE(&old, c, entry);
		channel_free(c);
	}
}

void
dnspool_free(struct pool *p)
{
	if (p == NULL)
		return;
	p->closing = true;
	drop_channels(p);
	deadline_disarm(&p->tick);
	deadline_disarm(&p->reap);
	free(p);
}

bool
dnspool_servers(
    struct pool *p, const struct addrport *servers, size_t n, uint32_t timeout_ms, uint32_t rounds)
{
	if (n > DNS_SERVERS_MAX)
		n = DNS_SERVERS_MAX;
	if (timeout_ms == 0 || timeout_ms > INT32_MAX)
		timeout_ms = DEFAULT_TIMEOUT;
	if (rounds == 0 || rounds > INT32_MAX)
		rounds = DEFAULT_ROUNDS;
	bool same = n == p->nservers && memcmp(p->server, servers, n * sizeof(*servers)) == 0;
	if (same && p->timeout_ms == (int)timeout_ms && p->rounds == (int)rounds)
		return false;
	memcpy(p->server, servers, n * sizeof(*servers));
	p->nservers = n;
	p->first = 0;
	p->timeout_ms = (int)timeout_ms;
	p->rounds = (int)rounds;
	drop_channels(p);
	return !same;
}
