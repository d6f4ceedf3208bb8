/*
 * Sockets to targets, made ready to leave as rule and configuration say (common/egress.h). A mark
 * takes a capability, which a worker does not have: such sockets come from the master, which marks
 * nothing that the configuration does not name. A few of each kind are held in stock, so that none
 * need wait for one but where many are wanted at once.
 */
#ifndef WORKER_EGRESS_H
#define WORKER_EGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/egress.h"
#include "common/image.h"
#include "common/msg.h"

struct egress;
struct worker;

/* How long after EAGAIN a caller tries again. */
#define EGRESS_WAIT_MS 5

struct egress *egress_new(void);
void egress_free(struct egress *e);

/*
 * A non-blocking socket of a type (SOCK_STREAM or SOCK_DGRAM) for targets of a family, not yet
 * connected: on its device and bound to its address, with a port that is chosen later. -1 with
 * errno and *why; EAGAIN: the master has been asked for one, try again in EGRESS_WAIT_MS.
 */
int egress_socket(struct worker *w, const struct image *img, const struct image_rule *rule,
    const struct addr *client, uint8_t family, int type, enum reason *why);

/* The parts of it: the turn of something that opens several sockets which leave the same way, and a
 * socket for a way that is chosen; unbound, it has the way's mark and device, not its address. */
uint32_t egress_turn(struct worker *w);
int egress_unbound(
    struct worker *w, const struct egress_way *way, uint8_t family, int type, enum reason *why);
int egress_open(
    struct worker *w, const struct egress_way *way, uint8_t family, int type, enum reason *why);

/* MSG_MARKED: the master's answer. Takes over the descriptor. False: it did not ask for that. */
bool egress_marked(struct worker *w, struct msg *m);
/* A new policy: sockets with its marks are asked for, and those with others let go. */
void egress_policy(struct worker *w);

#endif
