/*
 * The request: what was asked for, whether the rules let it, and the answer once it is connected.
 */
#ifndef WORKER_REQUEST_H
#define WORKER_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/rules.h"
#include "worker/handshake.h"

struct session;
struct socks_request;

/* Takes a whole request of n octets, of either version, out of the buffer, and decides it. */
enum step request_start(struct session *s, const struct socks_request *r, size_t n);
/* The rules on a session's request, for one address or (NULL) for what is known without one. */
enum rules_answer request_rules(const struct session *s, const struct addr *target, uint32_t *rule);
/* An attempt has connected: the target's descriptor, address and rule are in the session. */
void request_connected(struct session *s);
/* Tells the master, sends the (last) reply with this address, and starts the relay. */
void request_established(struct session *s, const struct addrport *bnd);
/* The master lets the session be. */
void request_granted(struct session *s);

#endif
