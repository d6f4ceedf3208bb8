/*
 * One attempt to connect: its socket, and what an error means.
 */
#ifndef WORKER_CONNECT_H
#define WORKER_CONNECT_H

#include <stdint.h>

#include "common/addr.h"
#include "common/image.h"
#include "common/msg.h"

/* A non-blocking socket for the target, bound to the egress address of the rule or the default, and
 * its cookie. -1 with errno and *why. */
int connect_socket(const struct image *img, const struct image_rule *rule,
    const struct addrport *target, uint64_t *cookie, enum reason *why);
/* 0: connected or under way (then *under_way); or -1 with errno. */
int connect_start(int fd, const struct addrport *target, int *under_way);
/* Why a connect(2) failed. */
enum reason connect_reason(int error);
/* The local address. 0 or -1, errno. */
int connect_local(int fd, struct addrport *ap);

#endif
