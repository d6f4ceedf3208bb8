/*
 * The resolver's sandbox: its table of system calls.
 */
#ifndef WORKER_RESOLVER_FILTER_H
#define WORKER_RESOLVER_FILTER_H

#include "common/sandbox.h"

extern const struct sandbox resolver_sandbox;

#endif
