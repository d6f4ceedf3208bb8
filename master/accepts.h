/*
 * What authd accepted and no session has used yet, by worker and slot. An accept ends by use, by
 * the slot's next verdict or close, or with its worker; so there are at most as many as slots.
 */
#ifndef MASTER_ACCEPTS_H
#define MASTER_ACCEPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"

struct accepts;

/* Who was accepted, and how. */
struct accepted {
	enum method method;
	enum level level;
	const uint8_t *user;
	uint8_t user_len;
};

struct accepts *accepts_new(unsigned workers, uint32_t slots); /* NULL with errno */
void accepts_free(struct accepts *a);

/* False: no such slot. */
bool accepts_put(struct accepts *a, unsigned worker, struct sid sid, const struct accepted *what);
/* Uses up the accept of that session; false where there is none for exactly this. */
bool accepts_take(struct accepts *a, unsigned worker, struct sid sid, const struct accepted *what);
void accepts_drop_worker(struct accepts *a, unsigned worker);

#endif
