/*
 * What the files of UDP ASSOCIATE share: the association, its sockets, targets and names.
 */
#ifndef WORKER_UDP_PARTS_H
#define WORKER_UDP_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "common/addr.h"
#include "common/datagram.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/msg.h"
#include "common/reassembly.h"
#include "common/rules.h"
#include "common/tree.h"
#include "worker/egress.h"
#include "worker/names.h"
#include "worker/protected.h"
#include "worker/session.h"

#define UDP_QUEUE_MAX (256u * 1024)       /* octets of one association that wait for names */
#define UDP_QUEUE_ALL (16u * 1024 * 1024) /* likewise, of all of a worker's */
#define UDP_OUTS_MAX  8 /* outgoing sockets of one association: rules may differ in their egress */
#define UDP_ADDRS_MAX 8 /* addresses of a name that are tried */

/* An outgoing socket: unconnected, so that a host may answer from another address. */
struct udp_out {
	SLIST_ENTRY(udp_out) entry;
	struct ev ev;
	struct udp *u;
	int fd;
	uint8_t family;
	struct egress_way way;
};

/* A socket with a peer, beside one without (udp_twin.c). */
struct udp_twin {
	struct ev ev;
	struct udp *u;
	enum side side;       /* whose it is */
	struct addrport peer; /* as the kernel says it */
	bool mixed;           /* datagrams of others may still wait in it */
	uint64_t until;       /* ms: a target's ends then */
};

/* Where the client has sent to, or tried to: decided by the rules, and told to the master, once. */
struct udp_target {
	RB_ENTRY(udp_target) entry;
	struct addrport at; /* ADDR_NONE: a name that is refused as such */
	uint32_t version;   /* of the policy that decided */
	bool passes;
	struct udp_out *out;   /* where it passes, but NULL: */
	bool via;              /* by the upstream */
	struct udp_twin *twin; /* of out; NULL: none */
	uint8_t name_len;      /* 0: an address was asked for */
	uint8_t name[];        /* normalised */
};
RB_HEAD(udp_targets, udp_target);

/* A datagram whose name is being looked up. */
struct udp_waiting {
	STAILQ_ENTRY(udp_waiting) entry;
	size_t len;
	uint8_t data[];
};

/* A name and port that the client sends to. Its datagrams wait, in their order, while it is looked
 * up; all others go on. */
struct udp_name {
	RB_ENTRY(udp_name) entry;
	struct udp *u;
	struct name_query q;
	unsigned asked;         /* LOOKUP_ bits of answers to come */
	struct deadline d;      /* for the answers; then for the second one (RFC 8305) */
	uint64_t fresh;         /* ms: until then it is not asked for again */
	struct udp_target *now; /* where its datagrams go; NULL: nowhere, because of `why` */
	enum drop why;
	struct addr addrs[UDP_ADDRS_MAX]; /* in the order in which they are tried */
	uint8_t naddrs, at;
	STAILQ_HEAD(, udp_waiting) waiting;
	uint16_t port;
	uint8_t len;
	uint8_t name[];
};
RB_HEAD(udp_names, udp_name);

/* The last datagram of a direction. The next one has its sender and its header as a rule, and goes
 * where it went, until a target is judged anew. */
struct udp_last {
	struct addrport from;      /* as the kernel says it; none: none has come */
	struct udp_target *target; /* of the client's, where they are sent to an address; or NULL */
	uint8_t head_len;          /* 0: of replies, nothing is known */
	uint8_t head[DATAGRAM_REPLY_MAX];
};

/* An association. Idle it is this, its user and its two sockets. */
struct udp {
	struct session *s;
	struct addrport client; /* the only one who is heard; port 0: not learnt yet */
	struct udp_leg *leg;    /* NULL: no rule of the request's had an upstream */
	SLIST_HEAD(, udp_out) outs;
	unsigned nouts;
	uint32_t turn; /* with `egress from ... round-robin` */
	struct udp_targets targets;
	uint32_t targets_max, passed, refused;
	struct udp_last last[SIDES];
	unsigned in_a_row; /* datagrams to last[UP].target, since something was made of that */
	struct udp_twin *twin[SIDES];   /* NULL: none */
	int twin_fd[SIDES];             /* of one that the master has been asked to bind; or -1 */
	bool no_twin[SIDES];            /* it could not be done */
	struct udp_target *twin_target; /* what the target's is, or is to be, for; */
	struct udp_out *twin_out;       /* and which socket of ours it stands beside */
	struct udp_names names;
	uint32_t nnames;
	size_t waiting;      /* octets, with what keeps them */
	uint8_t unreachable; /* families that could not be sent to: tried last. 1: IPv4, 2: IPv6 */
	bool replies_any, fragments;
	struct reassembly reassembly;
	struct deadline reassembly_due;
	uint64_t datagrams[SIDES];
	uint32_t drops[DROP_COUNT];
	uint8_t method;
	uint8_t level;
	uint8_t *groups; /* packed */
	size_t groups_len;
	size_t user_len;
	uint8_t user[];
};

static inline void
udp_drop(struct udp *u, enum drop why)
{
	if (u->drops[why] != UINT32_MAX)
		u->drops[why]++;
}

/* With what a side's datagrams are encapsulated (RFC 1961 section 5); NULL: with nothing. */
static inline struct token_context *
udp_token(const struct udp *u, enum side side)
{
	const struct protected *p = u->s->protected[side];

	return p != NULL ? p->token : NULL;
}
/* Octets that it takes beyond header and data. */
static inline size_t
udp_token_room(const struct token_context *t)
{
	return t != NULL ? GSS_HEADER + token_overhead(t) : 0;
}

/* n datagrams were passed on: they count, and the association is not idle. */
void udp_passed(struct udp *u, enum side d, unsigned n, size_t octets);

#define UDP_BATCH  32    /* datagrams a turn and socket, so that others have their turn */
#define UDP_BUFFER 65536 /* octets: the kernel gives no more, so nothing is ever cut short */

/* For one number beside a message: how long its datagrams are. */
union udp_control {
	struct cmsghdr align;
	char octets[CMSG_SPACE(sizeof(int))];
};

/* --- udp_in.c: what comes, by the batch --- */

struct udp_packet {
	const struct addrport *from; /* of many the same */
	uint8_t *data;
	size_t len;
	size_t room; /* octets before data that are no one's */
};

/* A socket of an association, once: many datagrams of one sender may come as one message. */
void udp_prepare(int fd);

/* Takes what has come, at most UDP_BATCH messages, into the one set of buffers: how many datagrams.
 * They stand until the next call. `peer`: the only one who can have sent them, where the kernel
 * sees to that; NULL: each names its sender. */
unsigned udp_receive(struct ev *e, const struct addrport *peer, struct udp_packet **packets);

/* --- udp_out.c: what goes, by the batch --- */

/* What is known of a datagram on its way out. */
struct udp_sending {
	struct udp *u;
	enum side direction;
	struct udp_name *name; /* that it was sent to, if it was to a name */
	const uint8_t *data;   /* its octets are what is counted */
	size_t len;
	struct token_context *token; /* header and data go encapsulated; NULL: as they are */
	const uint8_t *head;         /* of a reply, or to an upstream: what goes before it */
	size_t head_len;             /* at most DATAGRAM_HEADER_MAX */
};
/* Sends it with others, at the latest at udp_flush; its data must stand until then, but for one
 * that is encapsulated, which is done at once. Its header need not, unless it stands
 * right before the data: then both go as one piece. `to` NULL: the socket has a peer. */
void udp_put(int fd, const struct addrport *to, const struct udp_sending *one);
void udp_flush(void);
/* Sends one now: 0 or errno. */
int udp_send(int fd, const struct addrport *to, const uint8_t *data, size_t len);

/* Octets that it is when it goes; and whether a datagram to an address of this family holds them.
 */
static inline size_t
udp_size(const struct udp_sending *one)
{
	return one->head_len + one->len + udp_token_room(one->token);
}
static inline bool
udp_fits(const struct udp_sending *one, uint8_t family)
{
	return udp_size(one) <= (family == ADDR_V6 ? DATAGRAM_MAX : DATAGRAM_MAX_V4);
}

/* To the client, or to a target that passes and is not behind an upstream. */
static inline void
udp_put_client(struct udp *u, const struct udp_sending *one)
{
	if (u->twin[CLIENT] != NULL)
		udp_put(u->twin[CLIENT]->ev.fd, NULL, one);
	else
		udp_put(u->s->fd[TARGET], &u->client, one);
}
static inline void
udp_put_target(struct udp_target *t, const struct udp_sending *one)
{
	if (t->twin != NULL)
		udp_put(t->twin->ev.fd, NULL, one);
	else
		udp_put(t->out->fd, &t->at, one);
}

/* --- udp_client.c --- */

/* Takes datagrams that claim to be the client's, as udp_receive does, and sends them on: how many
 * there were. */
unsigned udp_from_client(struct udp *u, struct ev *e, const struct addrport *peer);

/* Takes a datagram out of its message. False: it is dropped. */
bool udp_open_token(struct udp *u, struct token_context *t, struct udp_packet *p);

/* --- udp_leg.c: by an upstream --- */

/* Takes over both descriptors: of the datagrams, and of the connection that the upstream's
 * association lives by. -1 with errno: they stay the caller's. */
int udp_leg_new(struct udp *u, int fd, int tcp, const struct addrport *at, const struct image *img,
    const struct image_upstream *up);
void udp_leg_free(struct udp *u);
/* Is the upstream one that this rule may use? */
bool udp_leg_has(const struct udp *u, const struct image *img, const struct image_rule *r);
/* Sends a datagram on, to an address or (name_len > 0) a name. */
void udp_leg_put(struct udp *u, const struct addrport *to, const uint8_t *name, size_t name_len,
    const struct datagram *d);

/* --- udp_twin.c --- */

/* After datagrams of the client: ends a twin whose time is over, and makes what is worth it. */
void udp_twins(struct udp *u);
void udp_twins_free(struct udp *u);

/* --- udp_target.c --- */

/* Likewise from an outgoing socket. */
unsigned udp_from_targets(struct udp *u, struct ev *e, const struct addrport *peer);

enum rules_answer udp_rules(const struct udp *u, const struct addrport *at, const uint8_t *name,
    size_t name_len, uint32_t *rule);
/* The socket for a target that this rule passes, or NULL: there is no egress. */
struct udp_out *udp_out(struct udp *u, uint32_t rule, uint8_t family);
/* The target, decided by the policy in force, and told to the master where it is new. NULL: what
 * goes there is dropped, because of *why. `at` may have no address: the name itself is refused. */
struct udp_target *udp_target(
    struct udp *u, const struct addrport *at, const uint8_t *name, size_t name_len, enum drop *why);
void udp_targets_free(struct udp *u);

/* --- udp_name.c --- */

/* A datagram to a name: sent, kept or dropped. */
void udp_to_name(struct udp *u, const struct datagram *d);
/* Its address could not be reached: the next one, if there is one. */
void udp_name_failed(struct udp_name *n, const struct udp_sending *one, int error);
uint32_t udp_names_waiting(const struct udp *u);
void udp_names_free(struct udp *u);

#endif
