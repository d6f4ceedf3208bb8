/*
 * sallyportd: the command line, and going into the background.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/version.h"
#include "master/conf.h"
#include "master/gateway.h"
#include "master/precheck.h"

#define DEFINES_MAX  64
#define DEFAULT_CONF SYSCONFDIR "/sallyport/sallyport.conf"

struct arguments {
	const char *conf;
	bool foreground, check, verbose;
	struct conf_define defines[DEFINES_MAX];
	size_t ndefines;
};

static void
usage(FILE *out)
{
	fputs("usage: sallyportd [-dhnVv] [-D NAME=VALUE] [-f FILE]\n"
	      "  -d             stay in the foreground\n"
	      "  -n             check the configuration and end\n"
	      "  -v             say more on standard error\n"
	      "  -D NAME=VALUE  define a macro; it wins over the file's own\n"
	      "  -f FILE        configuration (default " DEFAULT_CONF ")\n"
	      "  -V, --version  print the version and end\n"
	      "  -h, --help     print this and end\n",
	    out);
}

static bool
define(struct arguments *a, char *text)
{
	char *eq = strchr(text, '=');

	if (eq == NULL || eq == text) {
		fprintf(stderr, "sallyportd: -D %s: expected NAME=VALUE\n", text);
		return false;
	}
	if (a->ndefines == DEFINES_MAX) {
		fprintf(stderr, "sallyportd: -D: at most %d of them\n", DEFINES_MAX);
		return false;
	}
	*eq = '\0';
	a->defines[a->ndefines++] = (struct conf_define){ .name = text, .value = eq + 1 };
	return true;
}

/* -1: go on; else the exit status. */
static int
parse_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "dD:f:hnVv", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			a->foreground = true;
			break;
		case 'D':
			if (!define(a, optarg))
				return 2;
			break;
		case 'f':
			a->conf = optarg;
			break;
		case 'n':
			a->check = true;
			break;
		case 'v':
			a->verbose = true;
			break;
		case 'V':
			puts("sallyportd " SALLYPORT_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sallyportd: unexpected argument %s\n", argv[optind]);
		usage(stderr);
		return 2;
	}
	return -1;
}

/* Where the children's programs are: installed, LIBEXECDIR; in a build tree, beside us. */
static const char *
find_libexec(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);

	if (n <= 0)
		return LIBEXECDIR; /* no /proc, as in a bare chroot: there we are installed */
	buf[n] = '\0';
	char *slash = strrchr(buf, '/');
	*slash = '\0';
	return strcmp(buf, SBINDIR) == 0 ? LIBEXECDIR : buf;
}

/* Goes on in a child in the background; this process ends with the status of its start. */
static int
go_background(void)
{
	int p[2];
	char octet;

	if (pipe2(p, O_CLOEXEC) == -1)
		return -1;
	pid_t pid = fork();
	if (pid == -1)
		return -1;
	if (pid != 0) {
		close(p[1]);
		_exit(read(p[0], &octet, 1) == 1 ? 0 : 1);
	}
	close(p[0]);
	setsid();
	return p[1];
}

/* Descriptors 0-2 must be there before anything else is opened. /dev/null is asked for only where
 * one is missing: a bare chroot has none. */
static int
open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

static struct conf *
load(const struct arguments *a, const char *path)
{
	struct conf *c = conf_load(path, a->defines, a->ndefines, stderr);

	if (c == NULL)
		fprintf(stderr, "sallyportd: %s: the configuration has errors\n", path);
	return c;
}

int
main(int argc, char **argv)
{
	static struct arguments a = { .conf = DEFAULT_CONF };
	char path[PATH_MAX], libexec[PATH_MAX];
	struct gateway_options o = { .ready_fd = -1 };
	struct conf *c;

	if (open_standard() == -1)
		return 1;
	int status = parse_arguments(&a, argc, argv);
	if (status != -1)
		return status;
	/* A reload reads it again, wherever we stand then. */
	if (realpath(a.conf, path) == NULL) {
		fprintf(stderr, "sallyportd: %s: %s; expected a configuration file (-f FILE)\n",
		    a.conf, strerror(errno));
		return 1;
	}
	if ((c = load(&a, path)) == NULL)
		return 1;
	if (a.check) {
		if (precheck(c, stderr) == -1) {
			conf_free(c);
			return 1;
		}
		printf("%s: the configuration is right\n", path);
		conf_free(c);
		return 0;
	}
	o.conf_path = path;
	o.defines = a.defines;
	o.ndefines = a.ndefines;
	o.libexec = find_libexec(libexec, sizeof(libexec));
	o.verbose = a.verbose;
	if (!a.foreground && (o.ready_fd = go_background()) == -1) {
		fprintf(stderr, "sallyportd: cannot go into the background: %s\n", strerror(errno));
		return 1;
	}
	return gateway_run(&o, c);
}
