/*
 * The listeners: for every address of the configuration one socket a worker (SO_REUSEPORT), of
 * which the master keeps a duplicate, so that a worker's end resets no client that is queued.
 */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"
#include "master/children.h"
#include "master/conf.h"

struct listeners;

struct listeners *listeners_new(unsigned workers);
void listeners_free(struct listeners *l);

/*
 * Opens what a configuration asks for and is not open yet, and marks what it no longer asks for;
 * then listeners_commit closes that, or listeners_rollback undoes the opening. New addresses are
 * bound once without SO_REUSEPORT first: another gateway on the same port is an error, not a
 * partner. 0, or -1 with every failure told on `errors`, a line each.
 */
int listeners_prepare(struct listeners *l, const struct conf *c, FILE *errors);
void listeners_rollback(struct listeners *l);
/* Sends LISTENER for the new and UNLISTEN for the old to every running worker. */
void listeners_commit(struct listeners *l, struct children *f);

/* A worker process begins: sends it all of its listeners, after a check that the sockets still
 * listen (a hostile worker can shut one down); one that does not is made anew. 0, or -1 with errno.
 */
int listeners_send(struct listeners *l, struct child *w);

unsigned listeners_count(const struct listeners *l);
void listeners_print(const struct listeners *l, FILE *out); /* one line an address */

#endif
