/*
 * This gateway as the client of another: a request whose rule has `via` is passed on to one of the
 * rule's upstreams (RFC 1928, RFC 1929, RFC 1961 from the client's side), names unresolved.
 */
#ifndef WORKER_UPSTREAM_H
#define WORKER_UPSTREAM_H

#include <stdint.h>

#include "common/addr.h"
#include "common/image.h"
#include "common/msg.h"

struct session;
struct upstream;
struct worker;

/* What a worker remembers of an upstream that fails: it is passed over for a while, twice as long
 * each time up to UPSTREAM_REST_MAX_MS. A new policy begins anew. */
#define UPSTREAM_REST_MS     2000
#define UPSTREAM_REST_MAX_MS 60000
struct upstream_rest {
	uint64_t until; /* ms */
	uint32_t last;  /* ms: how long the last time was; 0: it does not fail */
};

/* While another upstream is left, one that is not done with the authentication by then is given up.
 */
#define UPSTREAM_TRY_MS 5000

/* Passes the session's request on by this rule. The session may have ended when it returns. */
void upstream_start(struct session *s, uint32_t rule);
/* What becomes of the race for the upstream's address: its socket, or why there is none. */
void upstream_connected(struct session *s, int fd, const struct addrport *at);
void upstream_unreachable(struct session *s, enum reason why, int error);
/* The master lets the session be. */
void upstream_granted(struct session *s);
/* The session's time-out: `timeout connect`, or while BIND waits, `timeout bind`. */
void upstream_timeout(struct session *s);
/* Nothing where there is none. */
void upstream_free(struct session *s);

/* --- the initiator, as the exchange with the upstream sees it (upstream_auth.c) --- */

/* A (new) channel to it; what waited for an old one fails over. 0 or -1, errno. */
int upstream_peer(struct worker *w, int fd, uint32_t spawn);

#endif
