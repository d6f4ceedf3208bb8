/*
 * Names in a worker: /etc/hosts from the policy image, the worker's cache, and the resolver
 * process, behind one question. No lookup blocks another session; equal questions under way are
 * asked once.
 */
#ifndef WORKER_NAMES_H
#define WORKER_NAMES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/chan.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/msg.h"

/* Questions that one worker has before the resolver; more wait in the worker, where they can still
 * be cancelled. The resolver takes at least as many (worker/resolver_client.c). */
#define NAMES_WINDOW 2048

struct names;

/* A question, embedded in its session. */
struct name_query {
	TAILQ_ENTRY(name_query) entry;
	struct name_pending *pending; /* NULL: not under way */
	unsigned waiting;             /* LOOKUP_A | LOOKUP_AAAA still to come */
	/* Called once per family asked, in any order, maybe from inside names_lookup (hosts,
	 * cache). The addresses are valid during the call. It may cancel q, and free its owner
	 * after that (after the last family's call there is nothing to cancel, though it does no
	 * harm). */
	void (*cb)(struct name_query *q, unsigned family, enum answer_status status,
	    const struct addr *addrs, size_t n);
};

struct names *names_new(struct loop *l);
/* For tests: no question may be under way. */
void names_free(struct names *n);
/* A policy image came into force: hosts are read from it from now on. */
void names_image(struct names *n, const struct image *img);
/* A (new) channel to the resolver, taken over; chan_start is done here. Questions under way are
 * asked again. */
int names_resolver(struct names *n, int fd, uint32_t spawn);
/* Told by the owner what to do when the resolver breaks the rules: report to the master. */
void names_on_fault(struct names *n, void (*report)(void *arg, uint32_t spawn), void *arg);

/* Asks for a normalised name (rules.h). Families: LOOKUP_A | LOOKUP_AAAA or one of them. With no
 * resolver there (being replaced) the question waits. No time-out of its own: the session has one.
 */
void names_lookup(
    struct names *n, struct name_query *q, const uint8_t *name, size_t len, unsigned families);
void names_cancel(struct names *n, struct name_query *q);

#endif
