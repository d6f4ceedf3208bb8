/*
 * Where the run directory is when nobody says: one rule for the gateway, which makes it, and for
 * sallyportctl, which looks for the control socket in it.
 */
#ifndef COMMON_RUN_DIRECTORY_H
#define COMMON_RUN_DIRECTORY_H

#define RUN_DIRECTORY_MAX 81 /* octets with the NUL: names of sockets in it must fit sun_path */

/* Into dir, which is returned. */
const char *run_directory_default(char dir[RUN_DIRECTORY_MAX]);

#endif
