/*
 * The ledger of open sessions: what the master knows of each, by worker and slot, in a mapped file
 * in the run directory, locked while its master lives. A session is entered at its open and leaves
 * with its closing record, so that the sessions of a killed worker, or of a killed master at the
 * next start, still get theirs.
 */
#ifndef MASTER_LEDGER_H
#define MASTER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/msg.h"

enum ledger_state {
	LEDGER_FREE,
	LEDGER_OPEN,    /* asked */
	LEDGER_REFUSED, /* refused by the master; the worker's close is still to come */
	LEDGER_GRANTED, /* its first attempt is recorded as session-open, and it may connect */
	LEDGER_CONNECTED
};

/* Fixed layout: another build of the master may read it. */
struct ledger_entry {
	uint32_t state;  /* written last when entered, first when it leaves */
	uint32_t worker; /* spawn number */
	struct sid sid;
	uint64_t opened_ms; /* CLOCK_REALTIME */
	uint64_t up, down;  /* as of the last update record */
	uint64_t datagrams_up, datagrams_down;
	uint32_t drops[DROP_COUNT];
	struct addrport client, gateway, asked, target, outgoing;
	uint8_t method, command, command_raw, user_len, name_len, log;
	uint8_t claim_len, socks, level;
	uint8_t zero;
	uint32_t version, rule, reason;
	uint8_t user[USER_MAX + 1];
	uint8_t name[NAME_MAX_LEN + 1];
	uint8_t claim[CLAIM_MAX + 1];
	char rule_text[128]; /* file:line as of then */
	char via[64];        /* the upstream's name; "" : none */
};

struct ledger;

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
    void (*orphan)(const struct ledger_entry *e, uint64_t instance, void *arg), void *arg);
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
void ledger_enter(struct ledger *lg, struct ledger_entry *e, const struct ledger_entry *with);
void ledger_leave(struct ledger *lg, struct ledger_entry *e);

#endif
