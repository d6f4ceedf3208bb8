/*
 * The listeners of BIND (RFC 1928 section 4), which workers may not make for themselves: on which
 * address, which port, and what the client is told.
 */
#ifndef MASTER_BIND_H
#define MASTER_BIND_H

#include "common/addr.h"
#include "common/image.h"
#include "common/msg.h"

/* Ports that one request tries, from a random one of its range on: what fills a range must not
 * make each further request cost as many system calls as it has ports. */
#define BIND_TRIES 1024

struct bind_request {
	const struct image *img;
	const struct image_rule *rule; /* of img */
	struct addrport asked;         /* DST.ADDR: the peer; all-zero: any */
	struct addr client;
	struct addrport gateway; /* where the client reached the gateway */
};

struct bind_listener {
	int fd;
	struct addrport bound;
	struct addrport advertised; /* what a peer outside has to be told */
};

/*
 * Makes a listening socket. Its address is the rule's or the default egress address of DST.ADDR's
 * family; with neither, the one from which a route leads to DST.ADDR, and for all-zero the one on
 * which the client reached the gateway. Its port is the rule's `bind port`, or one of `bind ports`
 * from 1024 on, or any free one. REASON_NONE, or why not, with the errno behind it in *error.
 */
enum reason bind_listen(const struct bind_request *r, struct bind_listener *l, int *error);

#endif
