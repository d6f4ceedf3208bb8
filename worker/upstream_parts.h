/*
 * What the files of the upstreams share: the exchange with one, until it has replied.
 */
#ifndef WORKER_UPSTREAM_PARTS_H
#define WORKER_UPSTREAM_PARTS_H

#include <stdbool.h>

#include "common/ev.h"
#include "common/socks.h"
#include "worker/protected.h"
#include "worker/upstream.h"
#include "worker/worker.h"

enum upstream_state {
	UPSTREAM_CONNECTING,
	UPSTREAM_METHOD, /* its choice of a method */
	UPSTREAM_AUTH,   /* the initiator has the exchange */
	UPSTREAM_STATUS, /* of RFC 1929 */
	UPSTREAM_REPLY,  /* to the request */
	UPSTREAM_GRANT,  /* it has replied; the master has not */
	UPSTREAM_PEER    /* BIND's second reply */
};

/* The longest message of an upstream that is read whole: a reply with a name. */
#define UPSTREAM_IN_MAX SOCKS_REQUEST_MAX

struct upstream {
	struct session *s;
	uint32_t rule;
	uint32_t tried;   /* bit per place in the rule's `via` */
	unsigned current; /* that place */
	enum upstream_state state;
	struct ev ev;
	int fd; /* -1: not connected */
	struct addrport at;
	struct deadline try;
	enum reason why; /* of the last that failed */
	int error;
	struct held *out;    /* what it has not taken yet */
	struct addrport bnd; /* of its reply; none: it gave none that is an address */
	size_t in_len;
	uint8_t in[UPSTREAM_IN_MAX];
	struct protected *protected; /* its octets are encapsulated */
	struct held *early;          /* octets of its that stood behind the message in `in` */
	/* RFC 1961's tokens, with the initiator in turn. */
	bool level_asked;                 /* its next token is that of the level */
	uint32_t reply_total, reply_at;   /* the initiator's, that goes out in pieces */
	uint32_t token_left, token_total; /* its own, that comes in */
	bool in_token;
	bool asked;    /* the initiator has an exchange of this session */
	unsigned owed; /* results of exchanges that were given up: what comes before is theirs */
};

const struct image_upstream *upstream_of(const struct upstream *u);
/* This one cannot be used: the next, or the end. u may be gone afterwards. */
void upstream_skip(struct upstream *u, enum reason why, int error);
/* Sends, or keeps. -1: there is no memory, or it is gone; errno. */
int upstream_put(struct upstream *u, const void *data, size_t len);
/* Authenticated: the request goes out. */
void upstream_ask(struct upstream *u);

/* --- upstream_auth.c --- */

/* Begins the exchange. -1: there is no initiator, or it has no room. */
int upstream_auth_begin(struct upstream *u);
/* Ends it, if there is one. */
void upstream_auth_end(struct upstream *u);
/* It has something to say in the exchange. */
void upstream_auth_event(struct upstream *u);

/* --- upstream_read.c --- */

enum got { GOT_ALL, GOT_LESS, GOT_END };
/* Reads until `need` octets of its message are in `in`, and no further. */
enum got upstream_more(struct upstream *u, size_t need);
/* Likewise a whole reply; version 0: it is none. */
enum got upstream_more_reply(struct upstream *u, struct socks_request *r);

#endif
