/*
 * The ledger of open sessions: what the master knows of each, by worker and slot, in a mapped file
 * in the run directory, locked while its master lives. A session is entered at its open and leaves
 * with its closing record, so that the sessions of a killed worker, or of a killed master at the
 * next start, still get theirs.
 */
#ifndef MASTER_LEDGER_H
#define MASTER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"

enum ledger_state {
	LEDGER_FREE,
	LEDGER_OPEN,    /* asked */
	LEDGER_REFUSED, /* refused by the master; the worker's close is still to come */
	LEDGER_GRANTED, /* its first attempt is recorded as session-open, and it may connect */
	LEDGER_CONNECTED
};

#define LEDGER_NEAR     88  /* octets of an entry's texts that stand in it: most sessions' fit */
#define LEDGER_VIA_MAX  63  /* of an upstream's name */
#define LEDGER_RULE_MAX 255 /* of a rule's file:line */

/* Fixed layout: another build of the master may read it. */
struct ledger_entry {
	uint32_t state;  /* written last when entered, first when it leaves */
	uint32_t worker; /* spawn number */
	struct sid sid;
	uint64_t opened_ms; /* CLOCK_REALTIME */
	uint64_t up, down;  /* as of the last update record */
	struct addrport client, gateway, asked, target, outgoing;
	uint32_t rule;
	uint8_t method, level, command, command_raw, socks, reason, log;
	/* The ledger's own: where the texts are, and their lengths; see ledger_text. */
	uint8_t far;
	uint8_t user_len, name_len, claim_len, via_len, rule_len;
	uint8_t by_upstream; /* 1: an attempt named one, though its name may have found no room */
	uint8_t zero[2];
	uint8_t near[LEDGER_NEAR];
};

struct ledger_octets {
	const uint8_t *at;
	size_t len;
};

/* The texts of an entry, wherever they are. */
struct ledger_text {
	struct ledger_octets user, name, claim; /* as the client gave them */
	struct ledger_octets via;               /* the upstream's name, if any */
	struct ledger_octets rule;              /* file:line as of then */
};

struct ledger;

/* An entry that an earlier master left open, with its texts; they are there during the call. */
typedef void ledger_orphan(
    const struct ledger_entry *e, const struct ledger_text *t, uint64_t instance, void *arg);

/*
 * Opens or makes `dir/ledger` for `workers` workers of `slots` sessions each and locks it. Entries
 * that an earlier master left open are handed to `orphan` with that master's instance, one by one,
 * and then freed. NULL with errno; EWOULDBLOCK: another master has it; EPERM: not a regular file of
 * ours.
 *
 * What an earlier file holds is foreign: all of it is checked. A file that is no ledger of this
 * layout is renamed to `dir/ledger.old`; see ledger_found.
 */
struct ledger *ledger_open(const char *dir, uint64_t instance, uint32_t workers, uint32_t slots,
    ledger_orphan *orphan, void *arg);
/* What ledger_open met, for a notice. */
struct ledger_found {
	bool set_aside;   /* the file was none of this layout and is now ledger.old */
	uint32_t orphans; /* entries handed over */
	uint32_t unsound; /* entries that held nonsense, and were dropped */
};
struct ledger_found ledger_found(const struct ledger *lg);

void ledger_close(struct ledger *lg, const char *dir_to_remove_file_from); /* NULL: keep it */

/* The entry of worker number w (0 .. workers-1) and slot; NULL out of range. */
struct ledger_entry *ledger_at(struct ledger *lg, uint32_t w, uint32_t slot);

/*
 * Enters a session: its entry, in which all is filled in but the state and the texts, has them from
 * now on; of the texts those of the client. False: they are too long for the entry, and the disk is
 * full; it is entered, but they are cut.
 */
bool ledger_enter(struct ledger *lg, struct ledger_entry *e, enum ledger_state state,
    const struct ledger_text *t);
/* The rule that decided, and the upstream (NULL: as it was). Where the disk is full, of what is too
 * long the end is kept. */
void ledger_decided(struct ledger *lg, struct ledger_entry *e, const struct ledger_octets *via,
    struct ledger_octets rule);
/* An entry's texts; of one that ledger_at gave, until it leaves or is decided anew. */
struct ledger_text ledger_text(const struct ledger *lg, const struct ledger_entry *e);
void ledger_leave(struct ledger *lg, struct ledger_entry *e);

#endif
