/*
 * The Kerberos configuration as one text: what a process in a chroot can read of krb5.conf(5) and
 * all that it includes.
 */
#ifndef MASTER_KRB5_CONF_H
#define MASTER_KRB5_CONF_H

#include <stddef.h>
#include <stdio.h>

#define KRB5_CONF_MAX       (1u << 20) /* octets of all files together */
#define KRB5_CONF_FILES_MAX 256u       /* files and directories read; more is a circle */
#define KRB5_CONF_NEST_MAX  16u        /* includes inside includes */

struct krb5_conf {
	char *text;
	size_t len;
	unsigned modules; /* `module` lines that were left out: no file is there to load */
	char *sources[KRB5_CONF_FILES_MAX]; /* files and directories it was made of */
	unsigned nsources;
};

/* Reads path and what it includes; a path that is not there gives an empty text. NULL with
 * "file:line: what is wrong\n" on errors. */
struct krb5_conf *krb5_conf_read(const char *path, FILE *errors);
void krb5_conf_free(struct krb5_conf *k);

#endif
