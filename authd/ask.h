/*
 * What a worker asks of the password and pam roles: one message with user and password, and one
 * check of them, slowed by the throttle.
 */
#ifndef AUTHD_ASK_H
#define AUTHD_ASK_H

#include <stdbool.h>

#include "authd/exchange.h"
#include "common/ev.h"
#include "common/msg.h"

/* Before the sandbox. 0, or -1 with errno. */
int ask_init(struct loop *l);

/* For struct check_role: a message, the throttle's hold, and what it learns. */
bool ask_password(struct worker *w, const struct msg *m);
bool ask_hold(struct exchange *x);
void ask_checked(const struct exchange *x, enum verdict_code v);

#endif
