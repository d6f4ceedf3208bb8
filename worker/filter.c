/*
 * What a worker may call. It holds clients' octets and may have been taken over by them: it opens,
 * runs, forks, traces, signals nothing and never listens (listeners come from the master); it may
 * make TCP and UDP sockets, bind them to an outgoing address or, for a relay of datagrams, to the
 * one that a client came to, and connect or send from them.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "common/sandbox_rules.h"
#include "worker/filter.h"

/* Born close-on-exec and non-blocking, and no other protocol of type SOCK_STREAM (MPTCP, SCTP). */
#define TCP_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define ALLOW_TCP(family, protocol) \
	ALLOW_IF(socket, 3, ARG_IS(0, family), ARG_IS(1, TCP_TYPE), ARG_IS(2, protocol))

#define UDP_TYPE (SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define ALLOW_UDP(family) \
	ALLOW_IF(socket, 3, ARG_IS(0, family), ARG_IS(1, UDP_TYPE), ARG_IS(2, IPPROTO_UDP))

static const struct sandbox_rule rules[] = {
	SANDBOX_EVERY_CHILD,
	ALLOW_TCP(AF_INET, 0),
	ALLOW_TCP(AF_INET, IPPROTO_TCP),
	ALLOW_TCP(AF_INET6, 0),
	ALLOW_TCP(AF_INET6, IPPROTO_TCP),
	ALLOW_UDP(AF_INET),
	ALLOW_UDP(AF_INET6),
	ALLOW(recvmmsg),
	ALLOW_IF(sendmmsg, 1, ARG_WITHIN(3, SEND_FLAGS)),
	ALLOW_IF(accept4, 1, ARG_IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)),
	ALLOW(bind),
	ALLOW(connect),
	ALLOW(shutdown),
	ALLOW_IF(close_range, 1, ARG_IS(2, 0)),
	ALLOW(getsockname),
	ALLOW_SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
	ALLOW_SETSOCKOPT(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
	ALLOW_SETSOCKOPT(IPPROTO_IPV6, IPV6_V6ONLY),
	ALLOW_SETSOCKOPT(IPPROTO_UDP, UDP_GRO),
	ALLOW_SETSOCKOPT(SOL_SOCKET, SO_RCVLOWAT),
	ALLOW_SETSOCKOPT(SOL_SOCKET, SO_BINDTODEVICE), /* `egress device` */
	ALLOW_GETSOCKOPT(SOL_SOCKET, SO_ERROR),
	ALLOW_GETSOCKOPT(IPPROTO_TCP, TCP_INFO),
};

const struct sandbox worker_sandbox = {
	.role = ROLE_WORKER,
	.rules = rules,
	.nrules = sizeof(rules) / sizeof(rules[0]),
	.default_action = SCMP_ACT_KILL_PROCESS,
	.landlock_fs = true,
	.landlock_net = true,
	.landlock_bind = true, /* `egress from` */
	.landlock_connect = true,
	.nproc = 0,
};
