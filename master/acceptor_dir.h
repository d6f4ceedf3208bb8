/*
 * The acceptor's directory, which is its chroot: `krb5.conf`, the Kerberos configuration as one
 * text, and `rcache`, the replay cache, which outlives the gateway: without it a recorded token
 * would be accepted a second time.
 */
#ifndef MASTER_ACCEPTOR_DIR_H
#define MASTER_ACCEPTOR_DIR_H

#include <stddef.h>
#include <stdio.h>

#include "master/conf.h"

/* Its path, by the configuration of the gateway's start, into buf. */
const char *acceptor_dir_path(const struct conf *first, char *buf, size_t size);
/* Makes what is missing of it, and writes krb5.conf anew, as `c` names it. *modules: `module` lines
 * that were left out. 0, or -1 with why on errors. */
int acceptor_dir_make(
    const struct conf *first, const struct conf *c, unsigned *modules, FILE *errors);
/* Removes it from the run directory, where the replay cache was never written to. */
void acceptor_dir_remove(const char *run_directory);

#endif
