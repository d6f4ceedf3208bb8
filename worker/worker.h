/*
 * A worker process as a whole: its channels, its policy images, its slots. One per process; every
 * session points at it.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/resource.h>

#include "common/chan.h"
#include "common/counts.h"
#include "common/ev.h"
#include "common/gss.h"
#include "common/image.h"
#include "common/msg.h"
#include "common/reassembly.h"
#include "worker/names.h"
#include "worker/protected.h"
#include "worker/spare.h"
#include "worker/upstream.h"

struct session;

/* A policy image and the sessions that are deciding by it. */
struct policy {
	STAILQ_ENTRY(policy) entry;
	const struct image *img;
	uint32_t refs;
	uint32_t open_methods; /* rules_open_methods */
	struct upstream_rest rest[UPSTREAMS_MAX];
};

struct listener {
	TAILQ_ENTRY(listener) entry;
	struct ev ev;
	int fd; /* ev.fd is -1 while nothing is accepted */
	struct worker *w;
	struct addrport at; /* a wildcard: that of each client's connection is looked up */
	uint32_t index;
	bool draining;       /* UNLISTEN came: what is queued is accepted, then it is closed */
	uint32_t drain_left; /* clients that it still takes */
	struct deadline drain;
};

/*
 * What the relay reads at a time: WIDE_SIZE, which is a fourth less CPU time an octet than 60 KiB;
 * WIDEST_SIZE, 6 to 10 % less again, from who sends without end to one that takes it all
 * (FLOW_WHOLE); PROTECTED_READ, to make or open tokens side by side; or SCRATCH_SIZE while what
 * relays hold is much. Never 64 KiB: loopback carries 65483 octets a segment, and 65536 leaves a
 * tail of 53 (the design has the measurement).
 */
#define WIDE_SIZE    (480u * 1024)
#define WIDEST_SIZE  (4 * WIDE_SIZE)
#define SCRATCH_SIZE (60u * 1024)
_Static_assert(WIDEST_SIZE >= PROTECTED_READ, "one buffer takes any read");

/* Octets that all relays of a worker hold at most for reads to be wide: receivers that take nothing
 * cost no more than with reads of SCRATCH_SIZE, and this. */
#define WIDE_HELD (32u * 1024 * 1024)

/*
 * Services of authd that a worker asks, each of them a process with a channel of its own. One that
 * a session waits for is named in it, and owes it exactly one answer.
 */
enum service {
	SERVICE_NONE,
	SERVICE_PASSWORD, /* the role that is in use: password or pam */
	SERVICE_ACCEPTOR,
	SERVICE_INITIATOR,
	SERVICES
};

struct authd {
	struct chan chan;
	bool up;
};

struct worker {
	struct loop *loop;
	struct chan master;
	struct authd authd[SERVICES];
	struct chan initiator; /* authd's role that is a client of upstreams */
	bool initiator_up;
	struct names *names;
	struct egress *egress;
	struct counts *counts; /* of nslots */
	struct session *slots;
	uint32_t nslots;
	rlim_t descriptors; /* that it may have */
	uint32_t touched;   /* slots from the first that a session has ever been in; the others cost
			       no memory */
	SLIST_HEAD(, session) unused; /* of them */
	uint32_t handshakes;          /* sessions whose request is not decided */
	uint32_t sessions;            /* slots in use */
	struct spare spare;           /* struct handshake */
	TAILQ_HEAD(, listener) listeners;
	struct deadline accept_pause; /* armed while the machine is out of descriptors or memory */
	bool accepting;
	STAILQ_HEAD(, policy) policies;      /* oldest first; the last is in force */
	struct policy *policy;               /* in force; NULL before the first */
	struct reassembly_budget reassembly; /* of all associations */
	size_t held;                         /* octets that relays could not send yet */
	size_t udp_waiting;                  /* octets of all associations that wait for names */
	bool stopping;
	struct deadline stop;
	uint32_t stop_ticks;
	/* What was read, which is opened in place where it is encapsulated; what it becomes. At the
	 * start of a cache line: copies in and out take 10 to 20 % longer elsewhere. */
	_Alignas(64) uint8_t scratch[WIDEST_SIZE + TOKEN_SLACK];
	_Alignas(64) uint8_t sealed[PROTECTED_SEALED];
};

/* The worker that a process is; without channels. NULL with errno. */
struct worker *worker_new(struct loop *l, uint32_t slots);
void worker_free(struct worker *w);

#endif
