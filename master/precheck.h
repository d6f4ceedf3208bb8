/*
 * What `sallyportd -n` checks of the machine, beyond what the configuration says of itself.
 */
#ifndef MASTER_PRECHECK_H
#define MASTER_PRECHECK_H

#include <stdio.h>

#include "master/conf.h"

/* Says what a start would meet: 0, or -1 with every error on `errors`. Changes nothing. */
int precheck(const struct conf *c, FILE *errors);

#endif
