/*
 * A worker's channel to the master: everything it may be told, and everything it tells.
 */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/chan.h"
#include "common/msg.h"
#include "worker/session.h"

struct worker;
struct policy;
struct udp_target;

/* The callbacks of the master's channel. */
bool link_on_msg(struct chan *c, struct msg *m);
void link_on_room(struct chan *c);

void link_open(struct session *s);
void link_attempt(struct session *s, uint32_t rule, const struct addrport *target, uint32_t via);
void link_listen(struct session *s, uint32_t rule, const struct addrport *asked);
void link_stranger(struct session *s, uint32_t rule, const struct addrport *peer);
void link_associate(struct session *s, uint32_t rule);
void link_target(struct session *s, uint32_t rule, bool passes, const struct udp_target *t);
void link_connected(struct session *s);
void link_close(struct session *s, enum reason why, int error, uint32_t version, uint32_t rule);
void link_early(struct worker *w, const struct addrport *client, const struct addrport *gateway,
    enum reason why, uint32_t detail);
void link_peer_fault(struct worker *w, uint32_t spawn);
/* Octets that were sent on, for the closing record and for the page of live counts. */
void link_count(struct session *s, enum side d, size_t n);

/* The image in force, kept until it is released; release takes NULL too. */
struct policy *link_policy_hold(struct worker *w);
void link_policy_release(struct worker *w, struct policy *p);

#endif
