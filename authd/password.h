/*
 * The password role: checks against the users file, whose descriptor the master passes.
 */
#ifndef AUTHD_PASSWORD_H
#define AUTHD_PASSWORD_H

#include "authd/exchange.h"
#include "common/ev.h"

extern const struct check_role password_role;

/* Before the sandbox. 0, or -1 with errno. */
int password_init(struct loop *l, const struct msg_init *init);

#endif
