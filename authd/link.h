/*
 * The channels of authd: to the master, and one to each worker.
 */
#ifndef AUTHD_LINK_H
#define AUTHD_LINK_H

#include <stdbool.h>

#include "authd/exchange.h"
#include "common/chan.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/msg.h"

/* The master's channel, not started before link_start. */
struct chan *link_master(void);
/* The policy in force; NULL: none yet. */
const struct image *link_image(void);
/* After READY. */
void link_start(struct loop *l, const struct msg_init *init, const struct check_role *role);
/* Stops or resumes reading all workers. */
void link_pause(bool pause);

#endif
