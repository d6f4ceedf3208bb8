/*
 * Session counts, in all and by user. Users stand in a hash table with a random seed, since their
 * names are partly the clients' choice.
 */
#include "master/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#define USER_BUCKETS 4096

struct limit_user {
	LIST_ENTRY(limit_user) entry;
	uint32_t sessions;
	uint8_t len;
	uint8_t name[USER_MAX];
};

struct limits {
	uint32_t sessions, max_sessions, max_per_user;
	uint32_t associations, max_associations;
	uint64_t seed;
	LIST_HEAD(, limit_user) users[USER_BUCKETS];
};

struct limits *
limits_new(void)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (l != NULL && getrandom(&l->seed, sizeof(l->seed), 0) != sizeof(l->seed)) {
		free(l);
		return NULL;
	}
	return l;
}

void
limits_free(struct limits *l)
{
	struct limit_user *u;

	if (l == NULL)
		return;
	for (size_t i = 0; i < USER_BUCKETS; i++) {
		while ((u = LIST_FIRST(&l->users[i])) != NULL) {
			LIST_REMOVE(u, entry);
			free(u);
		}
	}
	free(l);
}

void
limits_set(struct limits *l, uint32_t sessions, uint32_t per_user)
{
	l->max_sessions = sessions;
	l->max_per_user = per_user;
}

/* FNV-1a from the seed. */
static size_t
bucket(const struct limits *l, const uint8_t *name, size_t len)
{
	uint64_t h = l->seed ^ 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ name[i]) * 0x100000001b3u;
	return (size_t)(h >> 32) % USER_BUCKETS;
}

static struct limit_user *
user_get(struct limits *l, const uint8_t *name, size_t len)
{
	size_t b = bucket(l, name, len);
	struct limit_user *u;

	LIST_FOREACH (u, &l->users[b], entry)
		if (u->len == len && memcmp(u->name, name, len) == 0)
			return u;
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return NULL;
	u->len = (uint8_t)len;
	memcpy(u->name, name, len);
	LIST_INSERT_HEAD(&l->users[b], u, entry);
	return u;
}

enum reason
limits_enter(struct limits *l, const uint8_t *name, size_t len, struct limit_user **user)
{
	struct limit_user *u = NULL;

	*user = NULL;
	if (l->max_sessions != 0 && l->sessions >= l->max_sessions)
		return REASON_LIMIT_SESSIONS;
	if (len > 0 && (u = user_get(l, name, len)) == NULL)
		return REASON_GENERAL;
	if (u != NULL && l->max_per_user != 0 && u->sessions >= l->max_per_user)
		return REASON_LIMIT_USER;
	if (u != NULL)
		u->sessions++;
	l->sessions++;
	*user = u;
	return REASON_NONE;
}

void
limits_leave(struct limits *l, struct limit_user *u)
{
	l->sessions--;
	if (u == NULL || --u->sessions > 0)
		return;
	LIST_REMOVE(u, entry);
	free(u);
}

void
limits_set_associations(struct limits *l, uint32_t associations)
{
	l->max_associations = associations;
}

enum reason
limits_associate(struct limits *l)
{
	if (l->max_associations != 0 && l->associations >= l->max_associations)
		return REASON_LIMIT_ASSOCIATIONS;
	l->associations++;
	return REASON_NONE;
}

void
limits_dissociate(struct limits *l)
{
	l->associations--;
}

uint32_t
limits_sessions(const struct limits *l)
{
	return l->sessions;
}
