/*
 * The run directory: the ledger, the control socket, and the empty directory that children are
 * confined to.
 */
#ifndef MASTER_RUNDIR_H
#define MASTER_RUNDIR_H

#include <stddef.h>

#define RUNDIR_PATH 4096 /* octets, NUL included */

/* Makes `dir` (0755, with what is missing above it) and `dir`/empty (0555) where they are missing;
 * `made` gets the topmost directory that was made, or "". 0, or -1 with what and why on standard
 * error: not a directory, or others may write to it. */
int rundir_make(const char *dir, char made[RUNDIR_PATH]);
/* Removes empty, then `dir` and what is above it up to `made`; what others have put there stays. */
void rundir_remove(const char *dir, const char *made);

/* dir/name into buf. */
const char *rundir_path(const char *dir, const char *name, char *buf, size_t size);

#endif
