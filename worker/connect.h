/*
 * One attempt to connect: its socket, and what an error means.
 */
#ifndef WORKER_CONNECT_H
#define WORKER_CONNECT_H

#include <stdint.h>

#include "common/addr.h"
#include "common/msg.h"

struct session;

/* A non-blocking UDP socket of one family alone, not bound. -1 with errno. */
int connect_datagram_socket(uint8_t family);
/* What is sent to the session's target goes out at once from now on (TCP_NODELAY). */
void connect_hurry(struct session *s, int fd);
/* 0: connected or under way (then *under_way); or -1 with errno. */
int connect_start(int fd, const struct addrport *target, int *under_way);
/* Why a connect(2) failed. */
enum reason connect_reason(int error);

#endif
