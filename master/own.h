/*
 * The machine's own addresses, from rtnetlink: every interface's, and the broadcast addresses of
 * its IPv4 networks. One for the process.
 */
#ifndef MASTER_OWN_H
#define MASTER_OWN_H

#include <stddef.h>

#include "common/addr.h"
#include "common/ev.h"

/* Reads them once and follows changes: `changed` is called from the loop when the set is another
 * one. 0, or -1 with errno. */
int own_open(struct loop *l, void (*changed)(void));
/* Sorted, each once, canonical but for NAT64. An IPv4 network on a loopback interface is there as
 * one, because all of it is local. Valid until the loop turns. */
const struct prefix *own_addrs(size_t *n);
void own_close(void);

#endif
