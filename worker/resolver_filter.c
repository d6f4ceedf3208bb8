/*
 * What the resolver may call. It reads what name servers send and may have been taken over by it:
 * it opens no file, and makes UDP and TCP sockets only.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "common/sandbox_rules.h"
#include "worker/resolver_filter.h"

/* c-ares makes a socket first and sets its flags afterwards. */
#define ALLOW_SOCKET(family, type, protocol)                                                      \
	ALLOW_IF(socket, 3, ARG_IS(0, family), ARG_IS_BUT(1, SOCK_NONBLOCK | SOCK_CLOEXEC, type), \
	    ARG_IS(2, protocol))

static const struct sandbox_rule rules[] = {
	SANDBOX_EVERY_CHILD,
	ALLOW_SOCKET(AF_INET, SOCK_DGRAM, 0),
	ALLOW_SOCKET(AF_INET, SOCK_DGRAM, IPPROTO_UDP),
	ALLOW_SOCKET(AF_INET6, SOCK_DGRAM, 0),
	ALLOW_SOCKET(AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
	ALLOW_SOCKET(AF_INET, SOCK_STREAM, 0),
	ALLOW_SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP),
	ALLOW_SOCKET(AF_INET6, SOCK_STREAM, 0),
	ALLOW_SOCKET(AF_INET6, SOCK_STREAM, IPPROTO_TCP),
	ALLOW(connect),
	ALLOW_SETSOCKOPT(IPPROTO_TCP, TCP_NODELAY),
	/* c-ares opens /dev/urandom and its configuration at each start of a channel and goes on
	 * without; the resolver gives it better (its own rand, its own options). */
	ANSWER(open, ENOENT),
	ANSWER(openat, ENOENT),
};

const struct sandbox resolver_sandbox = {
	.role = ROLE_RESOLVER,
	.rules = rules,
	.nrules = sizeof(rules) / sizeof(rules[0]),
	.default_action = SCMP_ACT_KILL_PROCESS,
	.landlock_fs = true,
	.landlock_net = true,
	.landlock_connect = true, /* name servers by TCP */
	.nproc = 0,
};
