/*
 * Watches files by inotify for a change of what a path leads to: written in place, replaced by
 * rename, made, removed, or reached through a symbolic link that now leads elsewhere. A burst of
 * changes is one call, a short while after its first.
 */
#ifndef MASTER_WATCH_H
#define MASTER_WATCH_H

#include "common/ev.h"

struct watch;

/* NULL with errno. */
struct watch *watch_new(struct loop *l);
/* Add before reading the file, so that no change is missed; a call may come without one. The file
 * need not be there. The path is absolute, or the working directory stays. 0, or -1 with errno; a
 * second call with the same path and callback changes nothing. */
int watch_add(struct watch *w, const char *path, void (*changed)(void *arg), void *arg);
/* Forgets every path, before a new configuration's are added; also from inside a call. */
void watch_clear(struct watch *w);
void watch_free(struct watch *w);

#endif
