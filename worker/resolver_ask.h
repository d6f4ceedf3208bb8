/*
 * Questions about names, of all workers: answered from the cache they share, or by the name
 * servers; equal questions under way are asked once.
 */
#ifndef WORKER_RESOLVER_ASK_H
#define WORKER_RESOLVER_ASK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/dnscache.h"
#include "common/ev.h"
#include "common/image.h"

struct questions;
struct question;

/* One who wants an answer; embedded in its owner. */
struct ask {
	TAILQ_ENTRY(ask) entry;
	struct question *question; /* NULL: none under way */
	/* Called once, maybe from inside questions_ask. It may free its owner and ask anew, but
	 * must not cancel others. The answer's TTL is inside the cache's bounds. */
	void (*done)(struct ask *a, unsigned family, const struct dns_answer *answer);
};

struct questions *questions_new(struct loop *l);
void questions_free(struct questions *qs);

/* The image's name servers from now on. */
void questions_image(struct questions *qs, const struct image *img);

/* Asks for one family (LOOKUP_A or LOOKUP_AAAA) of a normalised name. */
void questions_ask(
    struct questions *qs, struct ask *a, const uint8_t *name, size_t len, unsigned family);
/* The question itself goes on: its answer is worth keeping. */
void questions_cancel(struct ask *a);

#endif
