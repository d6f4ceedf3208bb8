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
/* The egress address for a family: the rule's list, else the default's. NULL: the kernel chooses,
 * or
 * (*none) there is a list, and it has no address of this family. */
const struct addr *connect_egress(
    const struct image *img, const struct image_rule *rule, uint8_t family, int *none);
/* A non-blocking UDP socket of one family alone, bound to `from` if it is not NULL. -1 with errno.
 */
int connect_datagram_socket(uint8_t family, const struct addr *from);
/* 0: connected or under way (then *under_way); or -1 with errno. */
int connect_start(int fd, const struct addrport *target, int *under_way);
/* Why a connect(2) failed. */
enum reason connect_reason(int error);
/* The local address. 0 or -1, errno. */
int connect_local(int fd, struct addrport *ap);

#endif
