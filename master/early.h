/*
 * Floods before authentication: clients turned away (MSG_EARLY) and failed authentications, told
 * once a source and reason and then counted, so that no client fills the audit trail.
 *
 * The table is bounded: a new source takes the place of the one that was quiet longest, whose count
 * is written then.
 */
#ifndef MASTER_EARLY_H
#define MASTER_EARLY_H

#include "common/ev.h"
#include "common/msg.h"
#include "master/log.h"

#define EARLY_SOURCES 4096  /* sources and reasons under watch */
#define EARLY_WINDOW  10000 /* ms in which the further events of a source are counted */
#define EARLY_AUTH_BURST                                                     \
	8 /* failed authentications of a source told one by one in a window; \
	     fail2ban sees enough of them to act */

struct early;

/* NULL with errno. */
struct early *early_new(struct loop *l, struct log *log);
/* A client was turned away by the worker of that spawn number. */
void early_note(struct early *e, const struct msg_early *m, uint32_t worker);
/*
 * An authentication failed. r is the record, complete (EVENT_AUTH_FAILED); it is written at once
 * or, past the burst of its source, only counted: then one record tells client, method, reason and
 * count.
 */
void early_auth_failed(struct early *e, const struct msg_verdict *v, struct audit_rec *r);
/* Writes what was counted; at a stop, before the last record. */
void early_flush_all(struct early *e);
void early_free(struct early *e);

#endif
