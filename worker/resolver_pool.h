/*
 * Asking the name servers: a pool of c-ares channels. A channel is one source port and one stream
 * of query ids, so there are several, each question goes by one taken at random, and each is
 * replaced after some questions or some time: an answer forged from off the path has to guess the
 * port, the id and the upper and lower case of the name.
 */
#ifndef WORKER_RESOLVER_POOL_H
#define WORKER_RESOLVER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/dnscache.h"
#include "common/ev.h"
#include "worker/resolver_reply.h"

struct pool;
struct pool_channel;

/* A question for one family, embedded in its owner, which must keep it until `done`. */
struct pool_query {
	struct dns_name name; /* as asked for; the case that it travels in is the pool's */
	unsigned family;      /* LOOKUP_A or LOOKUP_AAAA */
	/* Called once, maybe from inside dnspool_ask. It may free q and ask anew. */
	void (*done)(struct pool_query *q, const struct dns_answer *a);

	/* the pool's own */
	struct pool *pool;
	struct pool_channel *channel;
	struct dns_name sent; /* as it travels */
	bool plain;           /* in lower case: a server has changed the case before */
};

struct pool *dnspool_new(struct loop *l);
/* Questions under way are dropped without a call. */
void dnspool_free(struct pool *p);

/* Asks these servers from now on, in this order (DNS_SERVERS_MAX at most); timeout_ms for the first
 * try of one, and so many rounds over them. Questions under way are asked again. True: they are not
 * the ones before. */
bool dnspool_servers(
    struct pool *p, const struct addrport *servers, size_t n, uint32_t timeout_ms, uint32_t rounds);

/* With no server known, or no memory, the answer is a failure at once. */
void dnspool_ask(struct pool *p, struct pool_query *q);

#endif
