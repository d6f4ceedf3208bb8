/*
 * Sockets for workers at the address and port of one of theirs, each to have a peer (see
 * worker/udp_twin.c). Two sockets share a port while both have SO_REUSEPORT, which a worker may not
 * set: it could enter ports of other workers. The master sets it for as long as the second is
 * bound; as it does nothing else meanwhile, no third one comes in.
 */
#ifndef MASTER_TWINS_H
#define MASTER_TWINS_H

#include "common/msg.h"
#include "master/children.h"

/* TWIN of a worker, with its descriptor, which stays m's. False: no honest worker asks so. */
bool twins_make(struct child *worker, const struct msg *m);

/* Another UDP socket where `of` is bound, with its mark, device and owner: close-on-exec,
 * non-blocking. -1: there is none; *sane is false where `of` is no UDP socket. */
int twins_socket(int of, bool *sane);

#endif
