/*
 * The audit records of sessions and authentications, made from ledger entries and verdicts.
 */
#ifndef MASTER_SESSION_RECORD_H
#define MASTER_SESSION_RECORD_H

#include <stdint.h>
#include <stdio.h>

#include "master/audit.h"
#include "master/early.h"
#include "master/ledger.h"
#include "master/log.h"

/* What the records of a session are made from. */
struct session_facts {
	const struct ledger_entry *e;
	struct ledger_text text;
	uint64_t instance;             /* of the master whose session it is */
	const struct msg_close *close; /* what its worker told at its end, or NULL */
};

/* A record of EVENT_OPEN or EVENT_UPDATE; of EVENT_TARGET or EVENT_TARGET_REFUSED from facts that
 * name that target as what was asked. */
void session_record(struct log *log, enum audit_event ev, const struct session_facts *f);

/* The last record: session-close if it was granted, else session-refused. */
void session_record_end(
    struct log *log, const struct session_facts *f, enum reason reason, int error);

/* auth-ok, or auth-failed (through `early`, which counts floods). */
void session_record_verdict(struct log *log, struct early *early, const struct msg_verdict *v,
    const uint8_t *user, uint64_t instance);

/* The same facts as a line for sallyportctl, in logfmt. */
void session_print(const struct session_facts *f, FILE *out);

/* The word for an enum method. */
const char *method_name(unsigned m);

#endif
