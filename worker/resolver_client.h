/*
 * The workers, as the resolver sees them: their channels, and their look-ups within bounds.
 */
#ifndef WORKER_RESOLVER_CLIENT_H
#define WORKER_RESOLVER_CLIENT_H

#include <stdint.h>

#include "common/ev.h"
#include "worker/resolver_ask.h"

struct clients;

/* `workers`: how many share what the resolver can have under way. `report` is told the spawn number
 * of a worker that broke the rules; its channel is closed then. */
struct clients *resolver_clients_new(struct loop *l, struct questions *qs, uint32_t workers,
    void (*report)(void *arg, uint32_t spawn), void *arg);
void resolver_clients_free(struct clients *cs);

/* A worker's channel; one that this worker had is closed. Takes over fd. 0, or -1 with errno. */
int resolver_clients_add(struct clients *cs, int fd, uint32_t spawn);

/* Before the first call no look-up is read: there are no name servers to ask yet. */
void resolver_clients_serve(struct clients *cs);

#endif
