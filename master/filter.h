/*
 * The master's own confinement: a short list of refused system calls, and no capability that it has
 * no use for.
 */
#ifndef MASTER_FILTER_H
#define MASTER_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/msg.h"

/*
 * Enters no_new_privs, the filter and the cut of capabilities as `layers` (enum layer_mode by enum
 * layer) asks; with `marks` it stays able to set them on sockets. The other layers are the
 * children's. Call once, single-threaded, before the first child is started and after what needs
 * more than is kept (resource limits above the hard one). 0 with *lacking (bit per layer tried in
 * vain), or -1 with errno and *failed the required layer that is not to be had.
 */
int master_harden(
    const uint8_t layers[LAYER_COUNT], bool marks, uint32_t *lacking, enum layer *failed);

#endif
