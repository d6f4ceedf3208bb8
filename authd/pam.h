/*
 * The pam role: checks by the machine's own PAM service, each in a helper process of its own.
 */
#ifndef AUTHD_PAM_H
#define AUTHD_PAM_H

#include "authd/exchange.h"
#include "common/ev.h"

#define PAM_HELPERS 8    /* checks at a time */
#define PAM_TICK    1000 /* ms: failures are answered only at whole multiples of it */
#define PAM_TICKS   20   /* after so many a helper that has not ended is killed */

extern const struct check_role pam_role;

/* 0, or -1 with errno. INIT must stay where it is. */
int pam_init(struct loop *l, const struct msg_init *init);
/* The end of this process: kills the helpers and what they have started. */
void pam_stop(void);

#endif
