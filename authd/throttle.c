/*
 * The throttle's table: set-associative, of fixed size, keyed by a keyed hash of (source) or of
 * (source, claimed user). It trusts no one: both come from a client.
 */
#include "authd/throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/msg.h"

struct entry {
	uint64_t key;   /* 0: free */
	uint64_t last;  /* ms: when the last failure was */
	uint32_t level; /* failures that count, as of then */
	uint32_t zero;
};

_Static_assert(sizeof(struct entry) == 24, "the table's size is documented");

struct throttle {
	uint64_t k[2];
	struct entry e[THROTTLE_BUCKETS][THROTTLE_WAYS];
};

/* --- SipHash-2-4 (Aumasson, Bernstein: SipHash, a fast short-input PRF) --- */

static uint64_t
rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void
sip_rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

static uint64_t
siphash(const uint64_t k[2], const uint8_t *p, size_t len)
{
	uint64_t v[4] = { k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du,
		k[0] ^ 0x6c7967656e657261u, k[1] ^ 0x7465646279746573u };
	uint64_t m = 0;

	for (size_t i = 0; i < len; i++) {
		m |= (uint64_t)p[i] << (8 * (i % 8));
		if (i % 8 != 7)
			continue;
		v[3] ^= m;
		sip_rounds(v, 2);
		v[0] ^= m;
		m = 0;
	}
	m |= (uint64_t)len << 56;
	v[3] ^= m;
	sip_rounds(v, 2);
	v[0] ^= m;
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- the table --- */

struct throttle *
throttle_new(void)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	if (getrandom(t->k, sizeof(t->k), 0) != (ssize_t)sizeof(t->k)) {
		int saved = errno;
		free(t);
		errno = saved;
		return NULL;
	}
	return t;
}

void
throttle_free(struct throttle *t)
{
	free(t);
}

/* With user NULL the source's own. */
static uint64_t
key_of(const struct throttle *t, const struct addr *source, const uint8_t *user, size_t user_len)
{
	uint8_t in[sizeof(*source) + 1 + USER_MAX] = { 0 };
	size_t n = sizeof(*source);

	memcpy(in, source, n);
	if (user != NULL) {
		if (user_len > USER_MAX)
			user_len = USER_MAX;
		in[n++] = 1;
		memcpy(in + n, user, user_len);
		n += user_len;
	}
	uint64_t key = siphash(t->k, in, n);
	return key != 0 ? key : 1;
}

static uint32_t
level_now(const struct entry *e, uint64_t now)
{
	uint64_t quiet = now > e->last ? (now - e->last) / THROTTLE_DECAY : 0;

	return quiet >= e->level ? 0 : e->level - (uint32_t)quiet;
}

/* Levels up to `nothing` cost nothing. */
static uint64_t
entry_delay(const struct entry *e, uint64_t now, uint32_t nothing)
{
	uint32_t level = e != NULL ? level_now(e, now) : 0;

	if (level <= nothing)
		return 0;
	uint64_t until = e->last + ((uint64_t)THROTTLE_FIRST << (level - nothing - 1));
	return until > now ? until - now : 0;
}

static struct entry *
bucket_of(const struct throttle *t, uint64_t key)
{
	return (struct entry *)(uintptr_t)t->e[key % THROTTLE_BUCKETS];
}

static struct entry *
entry_find(const struct throttle *t, uint64_t key)
{
	struct entry *e = bucket_of(t, key);

	for (unsigned i = 0; i < THROTTLE_WAYS; i++) {
		if (e[i].key == key)
			return &e[i];
	}
	return NULL;
}

/* The key's entry, new if need be, in the place of the one that slows least. */
static struct entry *
entry_take(struct throttle *t, uint64_t key, uint64_t now)
{
	struct entry *e = entry_find(t, key);

	if (e != NULL)
		return e;
	struct entry *b = e = bucket_of(t, key);
	for (unsigned i = 1; i < THROTTLE_WAYS; i++) {
		uint32_t mine = level_now(&b[i], now), least = level_now(e, now);
		if (mine < least || (mine == least && b[i].last < e->last))
			e = &b[i];
	}
	*e = (struct entry){ .key = key };
	return e;
}

static void
entry_fail(struct throttle *t, uint64_t key, uint64_t now, uint32_t most)
{
	struct entry *e = entry_take(t, key, now);
	uint32_t level = level_now(e, now);

	e->level = level < most ? level + 1 : level;
	e->last = now;
}

uint64_t
throttle_delay(const struct throttle *t, uint64_t now, const struct addr *source,
    const uint8_t *user, size_t user_len)
{
	const struct entry *a = entry_find(t, key_of(t, source, NULL, 0));
	const struct entry *b = entry_find(t, key_of(t, source, user, user_len));
	uint64_t da = entry_delay(a, now, THROTTLE_SOURCE_FREE);
	uint64_t db = entry_delay(b, now, 0);

	return da > db ? da : db;
}

void
throttle_failed(struct throttle *t, uint64_t now, const struct addr *source, const uint8_t *user,
    size_t user_len)
{
	entry_fail(t, key_of(t, source, NULL, 0), now, THROTTLE_LEVELS + THROTTLE_SOURCE_FREE);
	entry_fail(t, key_of(t, source, user, user_len), now, THROTTLE_LEVELS);
}

void
throttle_succeeded(
    struct throttle *t, const struct addr *source, const uint8_t *user, size_t user_len)
{
	struct entry *e = entry_find(t, key_of(t, source, user, user_len));

	if (e != NULL)
		memset(e, 0, sizeof(*e));
}
