/*
 * sallyportctl: asks a running gateway through its control socket; edits the users file.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/run_directory.h"
#include "common/version.h"
#include "master/ctl_passwd.h"

static const struct {
	const char *name, *what;
} commands[] = {
	{ "status", "processes, listeners, policy" },
	{ "sessions", "the open sessions, one a line" },
	{ "reload", "read the configuration again; says its errors" },
	{ "passwd", "edit the users file; see `sallyportctl passwd -h`" },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static char default_socket[RUN_DIRECTORY_MAX + sizeof("/control")];

static void
usage(FILE *out)
{
	fputs("usage: sallyportctl [-hV] [-s SOCKET] COMMAND\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-13s  %s\n", commands[i].name, commands[i].what);
	fprintf(out,
	    "  -s SOCKET      control socket (default %s)\n"
	    "  -V, --version  print the version and end\n"
	    "  -h, --help     print this and end\n",
	    default_socket);
}

/* Is who listens at the default place root or ourselves? In /tmp anyone may have made it. */
static int
check_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1)
		return -1;
	if (peer.uid == 0 || peer.uid == geteuid() || geteuid() == 0)
		return 0;
	errno = EPERM;
	return -1;
}

static int
connect_to(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1 ||
	    (path == default_socket && check_peer(fd) == -1)) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

/* Copies the answer to standard output. 0, or 1 where it says that there was an error. */
static int
copy_answer(int fd)
{
	FILE *in = fdopen(fd, "r");
	char line[8192];
	int status = 0;

	if (in == NULL)
		return 1;
	while (fgets(line, sizeof(line), in) != NULL) {
		if (strncmp(line, "error:", 6) == 0)
			status = 1;
		fputs(line, status ? stderr : stdout);
	}
	fclose(in);
	return status;
}

static int
ask(const char *path, const char *command)
{
	int fd = connect_to(path);

	if (fd == -1) {
		fprintf(stderr,
		    "sallyportctl: %s: %s; is the gateway running, and is this its control socket "
		    "(-s SOCKET, in its run directory)?\n",
		    path, strerror(errno));
		return 1;
	}
	if (dprintf(fd, "%s\n", command) < 0) {
		fprintf(stderr, "sallyportctl: %s: %s\n", path, strerror(errno));
		close(fd);
		return 1;
	}
	return copy_answer(fd);
}

static bool
known(const char *command)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, command) == 0)
			return true;
	return false;
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 } };
	const char *path = default_socket;
	char dir[RUN_DIRECTORY_MAX];
	int c;

	snprintf(default_socket, sizeof(default_socket), "%s/control", run_directory_default(dir));
	while ((c = getopt_long(argc, argv, "+hs:V", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			path = optarg;
			break;
		case 'V':
			puts("sallyportctl " SALLYPORT_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return 2;
	}
	if (strcmp(argv[optind], "passwd") == 0)
		return ctl_passwd(argc - optind, argv + optind);
	if (!known(argv[optind])) {
		fprintf(stderr, "sallyportctl: unknown command %s\n", argv[optind]);
		usage(stderr);
		return 2;
	}
	if (optind + 1 < argc) {
		fprintf(stderr, "sallyportctl: unexpected argument %s\n", argv[optind + 1]);
		return 2;
	}
	return ask(path, argv[optind]);
}
