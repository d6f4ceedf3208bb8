/*
 * The control socket (run directory/control, 0600): sallyportctl sends one line and reads the
 * answer.
 */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H

#include <stdio.h>

#include "common/ev.h"

struct control;

/* `command` writes its answer for one line (without the newline) to out. NULL with errno. */
struct control *control_new(struct loop *l, const char *run_directory,
    void (*command)(void *arg, const char *line, FILE *out), void *arg);
void control_free(struct control *c); /* removes the socket's file */

#endif
