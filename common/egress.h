/*
 * How a socket of a session leaves the machine: from which address, by which device, with which
 * mark. One answer for connections, listeners of BIND and UDP sockets alike.
 */
#ifndef COMMON_EGRESS_H
#define COMMON_EGRESS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/image.h"

struct egress_way {
	struct addr from;      /* ADDR_NONE: as the routes have it */
	char device[IFNAMSIZ]; /* "": any */
	uint32_t mark;         /* 0: none */
};

/*
 * What the rule says, and for what it does not say, what the configuration says. Of several
 * addresses of the family the client's is chosen by a hash of its address: the same at each time,
 * in each process, also where others are added. With `round-robin` *turn, which goes one on, says
 * which. -1: there are addresses, but none of this family.
 */
int egress_way(const struct image *img, const struct image_rule *rule, uint8_t family,
    const struct addr *client, uint32_t *turn, struct egress_way *out);

static inline bool
egress_same(const struct egress_way *a, const struct egress_way *b)
{
	return addr_cmp(&a->from, &b->from) == 0 && strcmp(a->device, b->device) == 0 &&
	       a->mark == b->mark;
}

/* Binds a fresh socket to the device, if there is one. It takes no capability (Linux 5.7) while the
 * socket has none yet. 0 or -1, errno. */
int egress_bind_device(int fd, const struct egress_way *way);

#endif
