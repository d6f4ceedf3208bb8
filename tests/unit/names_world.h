/*
 * Names in a worker, sessions that ask for them, and their resolver, which is played on a real
 * channel. Included by its tests after cmocka.h.
 */
#ifndef TESTS_UNIT_NAMES_WORLD_H
#define TESTS_UNIT_NAMES_WORLD_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/names.h"

#define TURN_MS 20 /* long enough for what was sent to arrive */
#define BOTH    (LOOKUP_A | LOOKUP_AAAA)

static struct loop *l;
static struct names *n;
static uint32_t reported; /* spawn number of the resolver that was reported */

/* --- the resolver --- */

#define SEEN_MAX (NAMES_WINDOW + 100)

static struct {
	struct chan chan;
	bool up;
	unsigned seen;
	struct {
		uint32_t id;
		unsigned families;
		char name[NAME_MAX_LEN + 1];
	} q[SEEN_MAX];
} R;

static inline bool
on_lookup(struct chan *c, struct msg *m)
{
	struct msg_lookup head;

	(void)c;
	assert_int_equal(m->type, MSG_LOOKUP);
	memcpy(&head, m->payload, sizeof(head));
	assert_int_equal(m->len, sizeof(head) + head.name_len);
	assert_true(R.seen < SEEN_MAX);
	R.q[R.seen].id = head.id;
	R.q[R.seen].families = head.families;
	memcpy(R.q[R.seen].name, (const char *)m->payload + sizeof(head), head.name_len);
	R.q[R.seen++].name[head.name_len] = '\0';
	return true;
}

static inline void
on_gone(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
	R.up = false;
}

static inline void
resolver_start(uint32_t spawn)
{
	int fd[2];

	assert_int_equal(chan_pair(fd), 0);
	chan_stop(&R.chan);
	memset(&R, 0, sizeof(R));
	R.chan.on_msg = on_lookup;
	R.chan.on_end = on_gone;
	R.up = true;
	assert_int_equal(chan_start(&R.chan, l, fd[1], ROLE_RESOLVER, ROLE_WORKER, 1), 0);
	assert_int_equal(names_resolver(n, fd[0], spawn), 0);
}

/* `naddr` addresses 192.0.2.1, ... or 2001::1, ... */
static inline void
answer(uint32_t id, unsigned family, unsigned status, unsigned naddr, uint32_t ttl)
{
	struct addr addr[ANSWER_ADDRS];
	struct msg_answer m = { .id = id,
		.family = (uint8_t)family,
		.status = (uint8_t)status,
		.naddr = (uint8_t)naddr,
		.ttl = ttl };

	memset(addr, 0, sizeof(addr));
	for (unsigned i = 0; i < naddr; i++) {
		addr[i].family = family == LOOKUP_A ? ADDR_V4 : ADDR_V6;
		memcpy(addr[i].b, family == LOOKUP_A ? "\300\0\2" : "\40\1\0", 3);
		addr[i].b[family == LOOKUP_A ? 3 : 15] = (uint8_t)(i + 1);
	}
	chan_send_tail(&R.chan, MSG_ANSWER, &m, sizeof(m), addr, naddr * sizeof(addr[0]), -1);
}

static inline void
stop_loop(struct deadline *d)
{
	(void)d;
	loop_stop(l);
}

static inline void
turn(void)
{
	struct deadline d = { .cb = stop_loop };

	deadline_arm(l, &d, TURN_MS);
	assert_int_equal(loop_run(l), 0);
}

/* --- an image with a host and a name server, for those that want it --- */

static struct {
	struct image img;
	struct image_host host;
	char name[8];
	struct addr addr[2];
	struct addrport server;
} image;

/* --- a session --- */

struct asker {
	struct name_query q;
	unsigned calls, of[4]; /* of[family] */
	enum answer_status status[4];
	struct addr first[4];
	size_t naddr[4];
	void (*then)(struct asker *a, unsigned family);
};

static inline void
on_answer(struct name_query *q, unsigned family, enum answer_status status,
    const struct addr *addrs, size_t count)
{
	struct asker *a = (struct asker *)((char *)q - offsetof(struct asker, q));

	a->calls++;
	a->of[family]++;
	a->status[family] = status;
	a->naddr[family] = count;
	if (count > 0)
		a->first[family] = addrs[0];
	if (a->then != NULL)
		a->then(a, family);
}

static inline void
ask(struct asker *a, const char *name, unsigned families)
{
	a->q.cb = on_answer;
	names_lookup(n, &a->q, (const uint8_t *)name, strlen(name), families);
}

static inline void
report(void *arg, uint32_t spawn)
{
	assert_ptr_equal(arg, &reported);
	reported = spawn;
}

static inline int
start(void **state)
{
	(void)state;
	l = loop_new();
	n = names_new(l);
	if (l == NULL || n == NULL)
		return -1;
	reported = 0;
	names_on_fault(n, report, &reported);
	resolver_start(7);
	return 0;
}

static inline int
finish(void **state)
{
	(void)state;
	chan_stop(&R.chan);
	names_free(n);
	loop_free(l);
	return 0;
}

#endif
