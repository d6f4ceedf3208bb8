/*
 * The channels of authd: to the master, and one to each worker.
 */
#ifndef AUTHD_LINK_H
#define AUTHD_LINK_H

#include <stdbool.h>

#include "common/chan.h"
#include "common/ev.h"
#include "common/msg.h"

/* The master's channel, not started before link_start. */
struct chan *link_master(void);
/* After READY. `users` takes MSG_USERS and its descriptor; NULL where the role has none. */
void link_start(struct loop *l, const struct msg_init *init, void (*users)(int fd));
/* Stops or resumes reading all workers. */
void link_pause(bool pause);

#endif
