/*
 * policy_image CONF VERSION: the policy image of a configuration, on standard output. For tests
 * that are an authd's master.
 */
#include <stdio.h>
#include <stdlib.h>

#include "master/conf.h"
#include "master/image_build.h"

int
main(int argc, char **argv)
{
	struct image_inputs in = {
		.hosts_path = "/dev/null", .resolv_conf_path = "/dev/null", .workers = 1
	};
	size_t size;

	if (argc != 3)
		return 2;
	struct conf *c = conf_load(argv[1], NULL, 0, stderr);
	if (c == NULL)
		return 1;
	void *block = image_build(c, &in, (uint32_t)strtoul(argv[2], NULL, 10), &size);
	if (block == NULL || fwrite(block, 1, size, stdout) != size)
		return 1;
	free(block);
	conf_free(c);
	return fflush(stdout) == 0 ? 0 : 1;
}
