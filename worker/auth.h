/*
 * A worker's side of authentication: its channel to authd.
 */
#ifndef WORKER_AUTH_H
#define WORKER_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/msg.h"

struct worker;
struct session;

/* A (new) channel to authd in this role; what waited for an old one fails. 0 or -1, errno. */
int auth_peer(struct worker *w, int fd, enum role role, uint32_t spawn);
/* Tells authd that the client has gone. */
void auth_abort(struct session *s);

#endif
