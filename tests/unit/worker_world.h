/*
 * A worker's code in this process, in the middle of a made-up world: the master, authd and the
 * resolver are the other ends of its channels, played by the test; clients and targets are TCP on
 * loopback. Included by the tests of the worker after cmocka.h, and by its fuzzer.
 */
#ifndef TESTS_UNIT_WORKER_WORLD_H
#define TESTS_UNIT_WORKER_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/counts.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/socks.h"
#include "worker/link.h"
#include "worker/session.h"
#include "worker/worker.h"

#define WORLD_SLOTS   8
#define WORLD_SEEN    512
#define WORLD_WAIT_MS 3000
#define BLOCKED_PORT  9 /* rule 0 blocks it */
#define RULE_BLOCK_9  0
#define RULE_PASS_ANY 1

/* One message that the worker sent. */
struct seen {
	enum msg_type type;
	size_t len;
	_Alignas(8) uint8_t payload[2048];
};

struct world {
	struct loop *loop;
	struct worker *w;
	struct chan master, authd, resolver; /* the other ends */
	bool authd_ended, master_ended;
	struct seen seen[WORLD_SEEN];
	unsigned nseen;
	bool count_only; /* keep no messages: there will be many */
	bool grant;      /* answer each attempt that was not answered */
	uint32_t granted[WORLD_SLOTS];
	struct deadline tick;
	int listener;
	struct sockaddr_in addr; /* of the listener */
	int target;              /* a listening socket: what clients ask for */
	struct sockaddr_in target_addr;
};

static struct world W;

/* What is in an image that a test makes. */
struct world_policy {
	uint32_t version;
	uint32_t handshake, connect, idle, half_closed; /* ms */
	uint32_t bind;                                  /* likewise */
	uint32_t handshakes;
	uint8_t methods;    /* of the pass rule: METHOD_BITs */
	bool refuse_source; /* only 192.0.2.0/24 may come */
	const char *egress; /* NULL: none */
	uint16_t only_port; /* 0: the pass rule has no port */
	bool socks4;        /* `socks4 allow` */
	uint16_t upstream;  /* port: the pass rule has an upstream there, at 127.0.0.1; 0: none */
	uint8_t upstream_method, upstream_level;
};

static const struct world_policy world_default = { .version = 1,
	.handshake = 2000,
	.connect = 2000,
	.idle = 60000,
	.half_closed = 60000,
	.bind = 60000,
	.handshakes = 8,
	.methods = METHOD_BIT(METHOD_NONE) };

/* The whole image, laid out flat. */
struct world_image {
	struct image img;
	struct image_rule rules[2];
	struct image_table tables[2]; /* loopback; documentation */
	struct image_range4 v4[2][3];
	struct image_range6 v6[3];
	struct image_ports port;
	_Alignas(8) struct image_ports only;
	_Alignas(8) struct addr egress;
	_Alignas(8) struct image_upstream upstream;
	_Alignas(8) uint32_t via;
	_Alignas(8) char name[8];
};

#define AT(field)          ((uint32_t)offsetof(struct world_image, field))
#define LIST(field, count) ((struct image_list){ .off = AT(field), .n = (count) })

static inline void
world_image(struct world_image *i, const struct world_policy *p)
{
	memset(i, 0, sizeof(*i));
	i->img = (struct image){ .magic = IMAGE_MAGIC,
		.size = sizeof(*i),
		.version = p->version,
		.rules = LIST(rules, 2),
		.tables = LIST(tables, 2),
		.methods = p->methods | METHOD_BIT(METHOD_NONE),
		.prefer_n = 3,
		.prefer = { METHOD_GSSAPI, METHOD_PASSWORD, METHOD_NONE },
		.timeout_handshake = p->handshake,
		.timeout_connect = p->connect,
		.timeout_idle = p->idle,
		.timeout_half_closed = p->half_closed,
		.timeout_bind = p->bind,
		.timeout_udp = p->idle,
		.udp_targets = 16,
		.handshakes = p->handshakes,
		.dns_timeout = 1000,
		.dns_attempts = 1,
		.socks4 = p->socks4 };
	i->rules[RULE_BLOCK_9] = (struct image_rule){
		.action = RULE_BLOCK, .from = RULE_ANY, .to = RULE_ANY, .ports = LIST(port, 1)
	};
	if (p->egress != NULL) {
		i->img.egress.from = LIST(egress, 1);
		assert_int_equal(addr_parse(p->egress, &i->egress), 0);
	}
	if (p->only_port != 0) {
		i->rules[RULE_PASS_ANY].ports = LIST(only, 1);
		i->only = (struct image_ports){ p->only_port, p->only_port };
	}
	i->port = (struct image_ports){ BLOCKED_PORT, BLOCKED_PORT };
	i->rules[RULE_PASS_ANY] = (struct image_rule){
		.action = RULE_PASS, .methods = p->methods, .from = p->refuse_source ? 1 : RULE_ANY
	};
	if (p->upstream != 0) {
		i->img.upstreams = LIST(upstream, 1);
		i->rules[RULE_PASS_ANY].upstreams = LIST(via, 1);
		memcpy(i->name, "hq", 2);
		i->upstream = (struct image_upstream){ .name = { AT(name), 2 },
			.host = { AT(name), 2 },
			.addr = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } },
			.port = p->upstream,
			.method = p->upstream_method,
			.level = p->upstream_level };
	}
	i->tables[0].v4 = LIST(v4[0], 3);
	i->tables[0].v6 = LIST(v6, 3);
	i->tables[1].v4 = LIST(v4[1], 3);
	i->v4[0][0].plen = i->v4[0][2].plen = PLEN_NONE;
	i->v4[0][1] = (struct image_range4){ .start = 0x7f000000, .plen = 8 };
	i->v4[0][2].start = 0x80000000;
	i->v4[1][0].plen = i->v4[1][2].plen = PLEN_NONE;
	i->v4[1][1] = (struct image_range4){ .start = 0xc0000200, .plen = 24 };
	i->v4[1][2].start = 0xc0000300;
	i->v6[0].plen = i->v6[2].plen = PLEN_NONE;
	i->v6[1] = (struct image_range6){ .start = { [15] = 1 }, .plen = 128 };
	i->v6[2].start[15] = 2;
}

static inline void
world_policy(const struct world_policy *p)
{
	struct world_image i;
	int fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	world_image(&i, p);
	assert_int_equal(image_check(&i, sizeof(i)), 0);
	assert_int_equal(write(fd, &i, sizeof(i)), sizeof(i));
	assert_int_equal(
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	struct msg_policy m = { .version = p->version, .size = sizeof(i) };
	assert_int_equal(chan_send(&W.master, MSG_POLICY, &m, sizeof(m), fd), 0);
}

/* --- time --- */

static inline void
world_tick(struct deadline *d)
{
	(void)d;
	loop_stop(W.loop);
}

static inline void
world_run(unsigned ms)
{
	W.tick.cb = world_tick;
	deadline_arm(W.loop, &W.tick, ms);
	assert_int_equal(loop_run(W.loop), 0);
	deadline_disarm(&W.tick);
}

/* Runs the world until the condition holds; fails the test if it never does. */
#define world_until(cond)                                       \
	do {                                                    \
		unsigned waited = 0;                            \
		while (!(cond) && waited++ < WORLD_WAIT_MS / 2) \
			world_run(2);                           \
		assert_true(cond);                              \
	} while (0)

/* --- what the worker said --- */

/* Lets what has been said come through the channels, which takes a few turns; what was to wait for
 * more too. */
static inline void
world_settle(void)
{
	if (W.loop != NULL)
		chan_flush(&W.w->master);
	for (unsigned i = 0; i < 4 && W.loop != NULL; i++)
		world_run(0);
}

/* What has been said so far counts no longer. */
static inline void
world_forget(void)
{
	world_settle();
	W.nseen = 0;
}

static inline unsigned
world_count(enum msg_type t)
{
	unsigned n = 0;

	world_settle();
	for (unsigned i = 0; i < W.nseen; i++)
		n += W.seen[i].type == t;
	return n;
}

/* The last message of a type; fails the test where there is none. */
static inline const void *
world_last(enum msg_type t)
{
	world_settle();
	for (unsigned i = W.nseen; i > 0; i--)
		if (W.seen[i - 1].type == t)
			return W.seen[i - 1].payload;
	fail_msg("no message %s", msg_name(t));
	return NULL;
}

static inline bool
world_on_msg(struct chan *c, struct msg *m)
{
	(void)c;
	if (W.count_only)
		return true;
	assert_true(W.nseen < WORLD_SEEN && m->len <= sizeof(W.seen[0].payload));
	struct seen *s = &W.seen[W.nseen++];
	s->type = m->type;
	s->len = m->len;
	memcpy(s->payload, m->payload, m->len);
	if (m->type == MSG_ATTEMPT && W.grant) {
		const struct msg_attempt *a = m->payload;
		struct msg_grant g = { .sid = a->sid };
		if (W.granted[a->sid.slot] != a->sid.gen)
			chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
		W.granted[a->sid.slot] = a->sid.gen;
	}
	return true;
}

static inline void
world_on_end(struct chan *c, enum chan_end why)
{
	(void)why;
	if (c == &W.authd)
		W.authd_ended = true;
	if (c == &W.master)
		W.master_ended = true;
}

/* --- the world's parts --- */

static inline int
world_socket(int type, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

static inline int
world_udp(struct sockaddr_in *at)
{
	return world_socket(SOCK_DGRAM, at);
}

static inline int
world_listen(struct sockaddr_in *at)
{
	int fd = world_socket(SOCK_STREAM, at);

	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static inline void
world_peer(struct chan *c, enum role role, uint32_t spawn)
{
	struct msg_peer p = { .role = role, .spawn = spawn };
	int fd[2];

	chan_stop(c);
	*c = (struct chan){ .on_msg = world_on_msg, .on_end = world_on_end };
	assert_int_equal(chan_pair(fd), 0);
	assert_int_equal(chan_start(c, W.loop, fd[0], role, ROLE_WORKER, 1), 0);
	assert_int_equal(chan_send(&W.master, MSG_PEER, &p, sizeof(p), fd[1]), 0);
}

static inline void
world_worker_end(struct chan *c, enum chan_end why)
{
	(void)why;
	if (c->fault != NULL)
		fail_msg(
		    "the worker refused the master's %s: %s", msg_name(c->fault_type), c->fault);
}

static inline void
world_start(const struct world_policy *p)
{
	struct msg_counts counts = { .slots = WORLD_SLOTS };
	struct msg_listener l = { .index = 3 };
	int fd[2];

	memset(&W, 0, sizeof(W));
	W.grant = true;
	W.loop = loop_new();
	W.w = worker_new(W.loop, WORLD_SLOTS);
	assert_non_null(W.w);
	assert_int_equal(chan_pair(fd), 0);
	W.w->master.on_msg = link_on_msg;
	W.w->master.on_end = world_worker_end;
	assert_int_equal(chan_start(&W.w->master, W.loop, fd[0], ROLE_WORKER, ROLE_MASTER, 0), 0);
	W.master = (struct chan){ .on_msg = world_on_msg, .on_end = world_on_end };
	assert_int_equal(chan_start(&W.master, W.loop, fd[1], ROLE_MASTER, ROLE_WORKER, 1), 0);
	world_policy(p);
	chan_send(&W.master, MSG_COUNTS, &counts, sizeof(counts), counts_create(WORLD_SLOTS));
	W.listener = world_listen(&W.addr);
	W.target = world_listen(&W.target_addr);
	chan_send(&W.master, MSG_LISTENER, &l, sizeof(l), fcntl(W.listener, F_DUPFD_CLOEXEC, 0));
	world_until(world_count(MSG_POLICY_ACK) == 1);
}

/* Every session is over, and with exactly one `close` for each `open`. */
static inline void
world_end(void)
{
	world_until(W.w->sessions == 0);
	world_run(5);
	assert_int_equal(world_count(MSG_OPEN), world_count(MSG_CLOSE));
	assert_int_equal(W.w->handshakes, 0);
	worker_free(W.w);
	chan_stop(&W.master);
	chan_stop(&W.authd);
	chan_stop(&W.resolver);
	loop_free(W.loop);
	W.loop = NULL; /* what was said can still be looked at */
	close(W.listener);
	close(W.target);
}

/* --- associations --- */

/* The master lets the first one be. */
static inline void
world_grant_association(void)
{
	world_until(world_count(MSG_ASSOCIATE) == 1);
	struct msg_grant g = { .sid =
				   ((const struct msg_associate *)world_last(MSG_ASSOCIATE))->sid };
	chan_send(&W.master, MSG_GRANT, &g, sizeof(g), -1);
}

/* Where a reply says that the client's datagrams go to. */
static inline struct sockaddr_in
world_relay(const uint8_t reply[10])
{
	struct sockaddr_in relay = { .sin_family = AF_INET };

	memcpy(&relay.sin_addr, reply + 4, 4);
	memcpy(&relay.sin_port, reply + 8, 2);
	return relay;
}

/* Ends it: its closing record. */
static inline struct msg_close
world_closing(int control)
{
	close(control);
	world_until(world_count(MSG_CLOSE) == 1);
	return *(const struct msg_close *)world_last(MSG_CLOSE);
}

/* --- clients --- */

static inline int
client_new(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&W.addr, sizeof(W.addr)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline void
client_send(int fd, const void *p, size_t len)
{
	assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Reads exactly len octets, while the world runs. */
static inline void
client_read(int fd, void *p, size_t len)
{
	size_t at = 0;

	for (unsigned waited = 0; at < len && waited < WORLD_WAIT_MS;) {
		ssize_t n = recv(fd, (uint8_t *)p + at, len - at, 0);
		if (n > 0) {
			at += (size_t)n;
			continue;
		}
		if (n == 0)
			fail_msg("closed after %zu octets of %zu", at, len);
		if (errno != EAGAIN)
			fail_msg("%s after %zu octets of %zu", strerror(errno), at, len);
		world_run(1);
		waited++;
	}
	assert_int_equal(at, len);
}

static inline void
client_expect(int fd, const void *what, size_t len)
{
	uint8_t got[512];

	client_read(fd, got, len);
	assert_memory_equal(got, what, len);
}

/* The orderly end comes, and nothing before it. */
static inline void
client_expect_end(int fd)
{
	uint8_t c;
	ssize_t n = -1;

	errno = EAGAIN;
	for (unsigned waited = 0; n == -1 && errno == EAGAIN && waited < WORLD_WAIT_MS; waited++) {
		world_run(1);
		n = recv(fd, &c, 1, 0);
	}
	assert_int_equal(n, 0);
}

static inline bool
client_silent(int fd)
{
	uint8_t c;

	return recv(fd, &c, 1, MSG_PEEK) == -1 && errno == EAGAIN;
}

/* A CONNECT request for 127.0.0.1 and this port into out; its length. */
static inline size_t
request_v4(uint8_t *out, uint16_t port)
{
	memcpy(out, (uint8_t[]){ 5, 1, 0, 1, 127, 0, 0, 1 }, 8);
	out[8] = (uint8_t)(port >> 8);
	out[9] = (uint8_t)port;
	return 10;
}

static inline size_t
request_name(uint8_t *out, const char *name, uint16_t port)
{
	size_t n = strlen(name);

	memcpy(out, (uint8_t[]){ 5, 1, 0, 3, (uint8_t)n }, 5);
	memcpy(out + 5, name, n);
	out[5 + n] = (uint8_t)(port >> 8);
	out[6 + n] = (uint8_t)port;
	return 7 + n;
}

static inline uint16_t
target_port(void)
{
	return ntohs(W.target_addr.sin_port);
}

static inline int
target_accept(void)
{
	int fd = -1;

	for (unsigned waited = 0; fd == -1 && waited < WORLD_WAIT_MS; waited++) {
		world_run(1);
		fd = accept4(W.target, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	assert_true(fd != -1);
	return fd;
}

/* Past the greeting without authentication. */
static inline int
client_greeted(void)
{
	int fd = client_new();

	client_send(fd, "\5\1\0", 3);
	client_expect(fd, "\5\0", 2);
	return fd;
}

/* Past the greeting, with its request for 127.0.0.1 and this port on its way. */
static inline int
client_asks(uint16_t port)
{
	uint8_t out[16];
	int fd = client_greeted();

	client_send(fd, out, request_v4(out, port));
	return fd;
}

/* Through to the target: the client's end, and the target's. */
static inline int
client_connected(int *target)
{
	uint8_t reply[10];
	int fd = client_asks(target_port());

	client_read(fd, reply, sizeof(reply));
	assert_int_equal(reply[1], SOCKS_REP_OK);
	*target = target_accept();
	return fd;
}

/* The failure reply comes whole, and then the orderly end. */
static inline void
client_expect_failure(int fd, uint8_t rep)
{
	client_expect(fd, ((uint8_t[]){ 5, rep, 0, 1, 0, 0, 0, 0, 0, 0 }), 10);
	client_expect_end(fd);
	close(fd);
}

#endif
