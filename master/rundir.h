/*
 * The run directory: the ledger, the control socket, and the empty directory that children are
 * confined to.
 */
#ifndef MASTER_RUNDIR_H
#define MASTER_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>

/* Makes `dir` (0755) and `dir`/empty (0555) where they are missing; *made says whether `dir` was.
 * 0, or -1 with what and why on standard error: not a directory, or others may write to it. */
int rundir_make(const char *dir, bool *made);
/* Removes empty, and `dir` itself if `made`; what others have put there stays. */
void rundir_remove(const char *dir, bool made);

/* dir/name into buf. */
const char *rundir_path(const char *dir, const char *name, char *buf, size_t size);

#endif
