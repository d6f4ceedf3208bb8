/*
 * A session: one client's connection from accept to its end, in a slot of its worker.
 *
 * Its state changes in session_set_state alone. What is needed only until the relay runs lives in
 * struct handshake, which is gone by then.
 */
#ifndef WORKER_SESSION_H
#define WORKER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/addr.h"
#include "common/ev.h"
#include "common/msg.h"
#include "common/socks.h"
#include "common/socks4.h"

struct worker;
struct policy;
struct race;
struct bind;
struct upstream;
struct udp;
struct protected;
struct ticket;

enum session_state {
	SESSION_FREE,
	SESSION_GREETING,  /* waits for RFC 1928's method selection message */
	SESSION_AUTH,      /* waits for credentials or a token, or for an authd to give them to */
	SESSION_AUTH_WAIT, /* authd has them */
	SESSION_REQUEST,   /* waits for the request */
	SESSION_CONNECT,   /* look-up, attempts, the master's grant or listener */
	SESSION_BIND,      /* its first reply is sent; waits for the peer */
	SESSION_RELAY,
	SESSION_UDP,     /* datagrams, while the connection lasts */
	SESSION_LINGER,  /* a last reply is on its way; what comes is drained */
	SESSION_ABORTED, /* everything closed; the id is kept until authd's answer */
	SESSION_STATES
};

/* Sides of a session, and directions by the side they read from. */
enum side { CLIENT, TARGET, SIDES };
#define UP   CLIENT
#define DOWN TARGET

/* What one side did not take yet; it exists only while there is any. */
struct held {
	size_t at, len;
	size_t clear; /* octets of users' data in it, where it is encapsulated: they count at its
			 end */
	uint8_t data[];
};

struct flow {
	struct held *held;
	uint64_t octets; /* sent on */
	bool eof;        /* its sender's end was read */
	bool done;       /* that end was passed on, or its receiver is gone */
	bool broken;     /* its receiver failed */
	uint8_t whole;   /* wide reads, full and sent on, since one was held (FLOW_WHOLE) */
};

/* Holds the longest message of a handshake and some data sent along with it. */
#define HANDSHAKE_BUF 1024

/* An exchange of RFC 1961: the message that is under way in each direction. */
struct handshake_gssapi {
	uint32_t total, at;             /* of the client's token; at: authd has so many octets */
	uint32_t reply_total, reply_at; /* of authd's; at: the client was sent so many */
	uint8_t kind;                   /* enum token_kind of the last message */
	bool inside;                    /* its header has been read, its token not all */
	bool context;                   /* a token of the context has been answered before */
	bool answered;                  /* authd's answer to it was passed on whole */
	bool keys;                      /* AUTH_KEYS has come, ... */
	uint8_t level;                  /* ... for this level */
};

struct handshake {
	struct addrport client, gateway;
	struct policy *policy;     /* from the request on: what it is decided by */
	struct race *race;         /* while addresses are tried */
	struct bind *bind;         /* while a peer is waited for, and before */
	struct upstream *upstream; /* while one is asked */
	struct held
	    *early;      /* the target's data that came in one message with an upstream's reply */
	uint8_t *groups; /* packed */
	size_t groups_len;
	size_t in_len;
	uint32_t rule; /* of the attempt that connected */
	bool eof;      /* the client will send no more */
	bool held;     /* the next step waits for room at the master or at authd */
	bool granted;
	struct handshake_gssapi gssapi;
	struct held *unsent; /* what the client has not taken: no step is taken until it has */
	struct held *behind; /* data that came with the request and do not fit `in` */
	uint8_t method;      /* enum method */
	uint8_t level;       /* enum level */
	uint8_t command;     /* enum command */
	uint8_t command_raw;
	uint8_t socks; /* version of the protocol: 5 or 4 */
	uint8_t user_len, name_len, norm_len, claim_len;
	struct addrport asked, target, outgoing;
	struct addrport dest; /* with an upstream: what it is asked for, where it is no name */
	uint8_t user[USER_MAX];
	uint8_t claim[CLAIM_MAX];   /* SOCKS4's USERID, which proves nothing */
	uint8_t name[NAME_MAX_LEN]; /* as it was sent */
	uint8_t norm[NAME_MAX_LEN]; /* normalised */
	uint8_t in[HANDSHAKE_BUF];
};

_Static_assert(HANDSHAKE_BUF >= SOCKS_AUTH_MAX && HANDSHAKE_BUF >= SOCKS_REQUEST_MAX &&
		   HANDSHAKE_BUF >= SOCKS_GREETING_MAX && HANDSHAKE_BUF >= SOCKS4_REQUEST_MAX,
    "a whole message fits");

struct session {
	struct ev ev[SIDES];
	int fd[SIDES];
	struct deadline
	    deadline; /* handshake, connect, idle or half-closed, linger: one at a time */
	struct worker *w;
	struct handshake *hs; /* NULL from the relay on */
	struct flow flow[SIDES];
	struct udp *udp;                    /* the association that it is */
	struct protected *protected[SIDES]; /* a side whose octets are encapsulated (RFC 1961) */
	struct ticket *ticket;              /* the client's, if its end ends the session */
	uint64_t last;                      /* ms: last activity */
	uint32_t gen;                       /* never 0 once used */
	uint32_t idle, half_closed;         /* ms */
	uint32_t drained;                   /* octets, while lingering */
	uint8_t state;                      /* enum session_state */
	uint8_t first_closed;               /* enum reason: which side closed first */
	bool opened;                        /* the master has its `open` ... */
	bool closed;                        /* ... and its `close` */
	bool counted;                       /* in the worker's handshakes */
	uint8_t auth_wait;                  /* enum service: of authd's, this one owes its answer */
	bool half_armed;                    /* the deadline is the half-closed one */
	bool hurried;                       /* its target's socket has TCP_NODELAY */
	SLIST_ENTRY(session) entry;
};

_Static_assert(sizeof(struct session) <= 300, "an idle session takes under 0.8 KiB in all");

/* Set by tests: sees every change of state. */
extern void (*session_trace)(
    const struct session *s, enum session_state from, enum session_state to);

void session_set_state(struct session *s, enum session_state to);
struct sid session_sid(const struct session *s);
/* The session that a message names, or NULL where it has ended; *sane is false where no such
 * session can have been. */
struct session *session_find(struct worker *w, struct sid sid, bool *sane);

/* Is there room for one more? */
bool session_slots_left(const struct worker *w);
/* Takes over an accepted client's descriptor. NULL with errno (fd is then closed). */
struct session *session_new(
    struct worker *w, int fd, const struct addrport *client, const struct addrport *gateway);

/* Its request is decided: it counts no longer as a handshake. */
void session_decided(struct session *s);
/* Tells the master what was asked, if it has not been told. */
void session_open(struct session *s);

/* Sends a short reply to the client whole; false: the client is gone, and the session ended. */
bool session_send(struct session *s, const void *data, size_t len);
/* Ends a handshake before its request, with a record and after a last reply (len 0: none). */
void session_turn_away(
    struct session *s, enum reason why, uint32_t detail, const void *reply, size_t len);
/* Ends a session that never connected, with the reply for `why`; `rule` blocked it, or RULE_NONE.
 */
void session_fail(struct session *s, enum reason why, int error, uint32_t rule);
/* Ends a connected session with its closing record now; what is on its way to the client arrives.
 */
void session_hang_up(struct session *s, enum reason why, int error);
/* Ends a session now. */
void session_close(struct session *s, enum reason why, int error);
/* authd's final answer for a session that is gone: its slot is free now. */
void session_auth_done(struct session *s);
/* From now on a session lasts no longer than so many seconds. False: there is no memory. Once. */
bool session_ticket(struct session *s, uint32_t seconds);

/* Wipes and frees the handshake with all that it holds. */
void handshake_free(struct session *s);

#endif
