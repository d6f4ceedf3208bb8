/*
 * libkrb5's contexts: one for all that libgssapi does.
 */
#ifndef AUTHD_CONTEXTS_H
#define AUTHD_CONTEXTS_H

#include <krb5.h>

/* From now on krb5_init_context() gives one and the same context, with the configuration as it is
 * now. For a process with one thread; until it is called, each caller has one of its own. 0, or an
 * error's code, and the one before stays. */
krb5_error_code contexts_share(void);

#endif
