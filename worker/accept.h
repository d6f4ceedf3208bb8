/*
 * A worker's listeners: which there are, and when clients are taken from them.
 */
#ifndef WORKER_ACCEPT_H
#define WORKER_ACCEPT_H

#include <stdint.h>

struct worker;

/* Takes over a listening socket. 0, or -1 with errno (fd is then closed). */
int accept_listen(struct worker *w, int fd, uint32_t index);
/* Accepts what is queued, then closes; an index that is not there is nothing to do. */
void accept_unlisten(struct worker *w, uint32_t index);
/* Closes all, at once. */
void accept_stop(struct worker *w);
/* Something that decides whether clients are accepted may have changed. */
void accept_update(struct worker *w);

#endif
