/*
 * The default run directory. The environment is the caller's own: it only moves the caller's own
 * gateway, and root's ignores it.
 */
#include "common/run_directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *
run_directory_default(char dir[RUN_DIRECTORY_MAX])
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		snprintf(dir, RUN_DIRECTORY_MAX, "/run/sallyport");
	else if (xdg != NULL && xdg[0] == '/' &&
		 strlen(xdg) + sizeof("/sallyport") <= RUN_DIRECTORY_MAX)
		snprintf(dir, RUN_DIRECTORY_MAX, "%s/sallyport", xdg);
	else
		snprintf(dir, RUN_DIRECTORY_MAX, "/tmp/sallyport-%u", (unsigned)geteuid());
	return dir;
}
