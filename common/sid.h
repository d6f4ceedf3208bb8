/*
 * What a session is called between processes.
 */
#ifndef COMMON_SID_H
#define COMMON_SID_H

#include <stdint.h>

/* One session of one worker; the master adds its instance and the worker's spawn number. */
struct sid {
	uint32_t slot; /* 0 .. slots-1 */
	uint32_t gen;  /* counts up at each use of the slot; never 0 */
};

#endif
