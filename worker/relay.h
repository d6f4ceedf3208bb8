/*
 * The data path of a connected session.
 */
#ifndef WORKER_RELAY_H
#define WORKER_RELAY_H

#include <stdint.h>

#include "worker/session.h"

/* Connected and replied to: data that came with the handshake first, then all that follows. The
 * session may have ended when it returns. */
void relay_start(struct session *s);
void relay_event(struct session *s, enum side side, uint32_t events);
/* The idle or half-closed time may be over. */
void relay_timeout(struct session *s);

#endif
