/*
 * Sockets of workers at the address and port of others of theirs, each to have a peer (see
 * worker/udp_twin.c). Two sockets share a port while both have SO_REUSEPORT, which a worker may not
 * set: it could enter ports of other workers. The master sets it for as long as the second is
 * bound; as it does nothing else meanwhile, no third one comes in. Both stay the worker's, of its
 * user and in its cgroup, for whoever filters by these.
 */
#ifndef MASTER_TWINS_H
#define MASTER_TWINS_H

#include "common/msg.h"
#include "master/children.h"

/* BESIDE of a worker: takes over the descriptor. False: no honest worker sends that. */
bool twins_beside(struct child *worker, struct msg *m);
/* TWIN, which follows it at once; its descriptor stays m's. */
bool twins_make(struct child *worker, const struct msg *m);
/* Anything else: the descriptor of BESIDE is let go, and the port with it. */
void twins_forget(struct child *worker);

/* Binds fd where `beside` is bound: can it be, and is it? */
bool twins_bind(int fd, int beside);

#endif
