/*
 * How every child starts: descriptor CHILD_FD is its channel to the master; INIT comes in on it,
 * the sandbox is entered, READY goes out (or FAILED, and it ends).
 */
#ifndef COMMON_CHILD_H
#define COMMON_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/msg.h"
#include "common/sandbox.h"

#define CHILD_FD 3 /* everything above it is closed at start */

/* Waits for INIT on CHILD_FD and checks that its role is in `roles` (ROLE_BITs). Ends the process
 * otherwise. Also: closes all other descriptors but 0-2, sets RLIMIT_CORE 0, umask, SIGPIPE
 * ignored, SIGINT ignored (a terminal's Ctrl-C is the master's to handle). */
void child_init(uint32_t roles, struct msg_init *init);

/* Enters the sandbox or ends the process with FAILED; then sends READY. Call with the loop made and
 * everything opened that cannot be opened later. */
void child_enter(const struct sandbox *s, const struct msg_init *init);

/* Before child_enter or after: tells the master what failed (with errno) and exits with 1. */
_Noreturn void child_fail(const char *what);

/* Starts the channel to the master on CHILD_FD; its end ends the process (the master is gone). */
void child_master(struct chan *c, struct loop *l, const struct msg_init *init,
    bool (*on_msg)(struct chan *, struct msg *));

/* Helpers for on_msg of the master's channel: map the image of a POLICY message, replacing and
 * unmapping *img, and acknowledge it. False: refused. */
bool child_policy(struct chan *c, struct msg *m, const struct image **img);

#endif
