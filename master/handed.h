/*
 * The files that the master opens and hands to a role of authd as a descriptor, since that cannot
 * open them itself: the users file, the acceptor's keytab. Each is checked when it is opened, at a
 * start, at a reload and when it changes; the role says whether it could be loaded.
 */
#ifndef MASTER_HANDED_H
#define MASTER_HANDED_H

#include <stdbool.h>
#include <stdio.h>

#include "master/children.h"
#include "master/conf.h"

enum handed { HANDED_USERS, HANDED_KEYTAB, HANDED_COUNT };

/* As for people: "users file", "keytab". */
const char *handed_name(enum handed h);
/* NULL: the configuration has none. */
const char *handed_path(const struct conf *c, enum handed h);

/* *fd: the file, -1 where the configuration has none. 0, or -1 with why on errors. */
int handed_open(const struct conf *c, enum handed h, int *fd, FILE *errors);
/* All or none. */
int handed_open_all(const struct conf *c, int fds[HANDED_COUNT], FILE *errors);
void handed_close_all(int fds[HANDED_COUNT]);

/* Sends a child what its role is given. */
void handed_send(struct child *c, const int fds[HANDED_COUNT]);
/* Does it wait for such a file, or has said that it cannot load it? */
bool handed_missing(const struct child *c);

#endif
