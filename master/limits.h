/*
 * Counting sessions against `limit sessions`, `sessions per user` and `associations`.
 */
#ifndef MASTER_LIMITS_H
#define MASTER_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"

struct limits;
struct limit_user; /* one user's count; NULL: no user */

struct limits *limits_new(void);
void limits_free(struct limits *l);
void limits_set(struct limits *l, uint32_t sessions, uint32_t per_user); /* 0: none */

/* Counts one session in, and its user (len 0: none) into *user. REASON_NONE, or which limit is
 * reached (then nothing is counted). */
enum reason limits_enter(
    struct limits *l, const uint8_t *name, size_t len, struct limit_user **user);
void limits_leave(struct limits *l, struct limit_user *user);

/* UDP associations among the sessions. */
void limits_set_associations(struct limits *l, uint32_t associations); /* 0: none */
enum reason limits_associate(struct limits *l);
void limits_dissociate(struct limits *l);
uint32_t limits_sessions(const struct limits *l);

#endif
