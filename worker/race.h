/*
 * Connecting to a target: its name's addresses, tried one after another and side by side (RFC
 * 8305), until one connects, inside the session's one deadline.
 */
#ifndef WORKER_RACE_H
#define WORKER_RACE_H

#include <stdint.h>

#include "common/addr.h"

struct session;

/* Starts with one address, as addr_dial gives it, which `rule` passes; or with the session's name.
 * The session may have ended when it returns. */
void race_address(struct session *s, const struct addr *a, uint32_t rule);
void race_name(struct session *s);
/* Likewise with an upstream of the session's policy, by its index; the rule is that which names it.
 * Ends in upstream_connected or upstream_unreachable. */
void race_upstream(struct session *s, uint32_t rule, uint32_t index);
/* `timeout connect` is over. */
void race_timeout(struct session *s);
/* Cancels the question and closes every attempt; nothing where there is no race. */
void race_free(struct session *s);

#endif
