/*
 * sallyportctl: asks a running gateway through its control socket; edits the users file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/version.h"
#include "master/ctl_passwd.h"

#define DEFAULT_SOCKET "/run/sallyport/control"

static void
usage(FILE *out)
{
	fputs("usage: sallyportctl [-hV] [-s SOCKET] COMMAND\n"
	      "  status      processes, listeners, policy\n"
	      "  sessions    the open sessions, one a line\n"
	      "  reload      read the configuration again; says its errors\n"
	      "  passwd ...  edit the users file; see `sallyportctl passwd`\n"
	      "  -s SOCKET   control socket (default " DEFAULT_SOCKET ")\n"
	      "  -V          print the version and end\n"
	      "  -h          print this and end\n",
	    out);
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
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
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

int
main(int argc, char **argv)
{
	const char *path = DEFAULT_SOCKET;
	int c;

	while ((c = getopt(argc, argv, "+hs:V")) != -1) {
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
	if (optind + 1 < argc) {
		fprintf(stderr, "sallyportctl: unexpected argument %s\n", argv[optind + 1]);
		return 2;
	}
	return ask(path, argv[optind]);
}
