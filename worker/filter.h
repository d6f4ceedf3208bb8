/*
 * The worker's sandbox: its table of system calls.
 */
#ifndef WORKER_FILTER_H
#define WORKER_FILTER_H

#include "common/sandbox.h"

extern const struct sandbox worker_sandbox;

#endif
