/*
 * Sockets with a mark (SO_MARK), which policy routing and packet filters go by. Setting one takes a
 * capability that workers do not have: the master makes such sockets for them, with marks of the
 * configuration and no others. It keeps the capability only where the configuration has a mark.
 */
#ifndef MASTER_MARKS_H
#define MASTER_MARKS_H

#include <stdbool.h>
#include <stdio.h>

#include "common/msg.h"
#include "master/children.h"
#include "master/conf.h"

/* Has the configuration no mark, or can this process set it? Else says why not. */
bool marks_possible(const struct conf *c, FILE *errors);

/* MARK of a worker. False: no honest worker asks so. */
bool marks_make(const struct conf *c, struct child *worker, const struct msg_marked *m);

/* A fresh socket: close-on-exec, non-blocking, marked. -1 with errno. */
int marks_socket(uint8_t family, bool datagrams, uint32_t mark);

#endif
