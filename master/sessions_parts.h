/*
 * What the files of the sessions share: their state, and the steps that CONNECT, BIND and UDP
 * ASSOCIATE have in common.
 */
#ifndef MASTER_SESSIONS_PARTS_H
#define MASTER_SESSIONS_PARTS_H

#include <sys/queue.h>

#include "common/counts.h"
#include "master/accepts.h"
#include "master/ledger.h"
#include "master/limits.h"
#include "master/session_record.h"
#include "master/sessions.h"

/* The master's own of a session, beside its ledger entry. */
struct session {
	uint32_t last_gen; /* of this worker process; a generation is used once */
	uint32_t slot;     /* where it stands */
	uint16_t worker;
	bool counted : 1;
	bool over : 1;     /* among sessions.over: nothing but its ledger entry is left */
	bool listens : 1;  /* BIND: its listener waits for the peer */
	uint8_t strangers; /* records of those that were turned away */
	STAILQ_ENTRY(session) over_entry;
	struct limit_user *user;
	struct deadline update;
	struct association *udp; /* while it is one */
	struct sessions *all;
};

struct worker_sessions {
	uint32_t spawn;
	uint32_t open;      /* how many */
	uint32_t listeners; /* of BIND, that wait for a peer */
	struct counts *counts;
	struct session *slot; /* setup.slots of them; untouched pages cost nothing */
};

struct sessions {
	struct sessions_setup setup;
	struct ledger *ledger;
	struct accepts *accepts;
	struct limits *limits;
	uint32_t update_ms;
	STAILQ_HEAD(, session) over; /* their closing records may not have been handed to the log */
	struct deadline settle;
	struct worker_sessions *workers;
};

/* The entry of a session of this worker that is open, or NULL. */
struct ledger_entry *sessions_entry(struct sessions *s, const struct child *w, struct sid sid);
/* The worker is told which limit stands in the way; its closing message is still to come. */
void sessions_refuse(struct child *w, struct ledger_entry *e, enum reason reason);
/* BIND: the peer has come, or nobody waits for it any more. */
void sessions_unlisten(struct worker_sessions *ws, uint32_t slot);
/* Records session-open; the updates begin. */
void sessions_opened(struct sessions *s, const struct child *w, struct ledger_entry *e);
/* Likewise, and tells the worker that it may go on. */
void sessions_grant(struct sessions *s, struct child *w, struct ledger_entry *e);

/* The part of an end that is UDP ASSOCIATE's; nothing where it was none. */
void sessions_udp_end(struct sessions *s, struct session *ss);

/* --- what is told of a session (sessions_facts.c) --- */

/* What its records are made from. */
struct session_facts sessions_facts(const struct sessions *s, const struct ledger_entry *e);
/* Notes which rule decided, as text: the entry outlives the policy's version. */
void sessions_decided_by(
    struct sessions *s, struct ledger_entry *e, uint32_t version, uint32_t rule);
/* Likewise, and by which upstream: an attempt's. */
void sessions_attempted(struct sessions *s, struct ledger_entry *e, const struct msg_attempt *a);
/* Facts of one target or host, for which `told` is a copy of the session's entry, to change. */
struct session_facts sessions_told(const struct sessions *s, const struct ledger_entry *e,
    struct ledger_entry *told, uint32_t version, uint32_t rule);

#endif
