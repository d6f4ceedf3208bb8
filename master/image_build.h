/*
 * Builds the policy image (common/image.h) from a configuration, the hosts file, the resolver's
 * configuration, and the machine's own addresses.
 */
#ifndef MASTER_IMAGE_BUILD_H
#define MASTER_IMAGE_BUILD_H

#include <stddef.h>

#include "common/image.h"
#include "master/conf.h"

struct image_inputs {
	const char *hosts_path;       /* "/etc/hosts" */
	const char *resolv_conf_path; /* "/etc/resolv.conf"; read where conf names no servers */
	const struct prefix *own;     /* the machine's addresses, any order (master/own.h) */
	size_t nown;
	unsigned workers; /* as started */
};

/* A block of *size octets in malloc'ed memory that image_check accepts; NULL with errno. An
 * unreadable hosts or resolv.conf is not an error: it is empty (127.0.0.1 is then the name server).
 */
void *image_build(
    const struct conf *c, const struct image_inputs *in, uint32_t version, size_t *size);
/* Puts a block into a memfd sealed against every change. fd, or -1 with errno. */
int image_seal(const void *block, size_t size);

#endif
