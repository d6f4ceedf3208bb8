/*
 * The load generator's command line, its protocol on standard input and output, and its loop. It
 * says "ready" when all that is not measured is done, waits for a line, does the work, says "done"
 * and what it took, and ends with another line or the end of its input; see usage().
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS   128
#define TICK_MS  50
#define STALL_MS 10000 /* without any event: what is under way will not end any more */

struct load load;

static int epoll_fd;
static const struct work *const works[] = { &work_connect, &work_greet, &work_pingpong, &work_bulk,
	&work_udp, &work_idle };
#define WORKS (sizeof(works) / sizeof(works[0]))

static _Noreturn void
usage(void)
{
	for (size_t i = 0; i < WORKS; i++)
		fprintf(stderr, "%s load [-p PORT] [-u] %s %s\n", i == 0 ? "usage:" : "      ",
		    works[i]->name, works[i]->usage);
	exit(2);
}

int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

uint64_t
number(const char *what, const char *s, uint64_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v == 0 || v > max)
		errx(2, "%s is '%s', expected a number from 1 to %llu", what, s,
		    (unsigned long long)max);
	return v;
}

void
loop_add(struct ev *ev, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = ev };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ev->fd, &e) == -1)
		err(1, "epoll_ctl: add descriptor %d", ev->fd);
}

void
loop_change(struct ev *ev, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = ev };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, ev->fd, &e) == -1)
		err(1, "epoll_ctl: change descriptor %d", ev->fd);
}

/* No handler closes another's descriptor, so each event of a batch has its owner still. */
void
loop_run(void)
{
	struct epoll_event events[EVENTS];
	int64_t ticked = now(), heard = ticked, t;
	int n, wait_ms = load.patient ? -1 : load.tick != NULL ? TICK_MS : STALL_MS;

	while (!load.over) {
		n = epoll_wait(epoll_fd, events, EVENTS, wait_ms);
		if (n == -1 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++) {
			struct ev *ev = events[i].data.ptr;
			ev->ready(ev, events[i].events);
		}
		if (load.tick == NULL && n > 0)
			continue;
		t = now();
		if (n > 0)
			heard = t;
		else if (t - heard >= STALL_MS * NS_PER_MS)
			conn_stalled(STALL_MS / 1000);
		if (load.tick != NULL && t - ticked >= TICK_MS * NS_PER_MS) {
			ticked = t;
			load.tick(t);
		}
	}
	load.over = false;
}

void
line_read(void)
{
	char c;

	/* by the octet: the next line is not for this call */
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
}

/* Two descriptors a session. */
static void
descriptors_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == -1)
		err(1, "getrlimit");
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) == -1)
		err(1, "setrlimit");
}

static void
results_print(double seconds)
{
	double units = (double)load.done / (load.octets ? 1 << 20 : 1);

	printf("units %.0f\n", units);
	stats_print(units, seconds);
	if (load.tick != NULL)
		printf("lost %llu\n", (unsigned long long)load.lost);
}

int
main(int argc, char **argv)
{
	const struct work *work = NULL;
	int64_t began = 0, ended = 0;
	int c;

	while ((c = getopt(argc, argv, "+p:u")) != -1) {
		if (c == 'p')
			load.port = (uint16_t)number("-p", optarg, UINT16_MAX);
		else if (c == 'u')
			load.password = true;
		else
			usage();
	}
	argv += optind;
	for (size_t i = 0; i < WORKS && argv[0] != NULL; i++)
		if (strcmp(argv[0], works[i]->name) == 0 && argc - optind - 1 == works[i]->args)
			work = works[i];
	if (work == NULL)
		usage();
	if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) == -1)
		err(1, "epoll_create1");
	descriptors_raise();
	work->setup(argv + 1);
	puts("ready");
	fflush(stdout);
	line_read();
	if (work->begin != NULL) {
		began = now();
		work->begin();
		loop_run();
		ended = now();
	}
	puts("done");
	fflush(stdout);
	if (work->begin != NULL)
		results_print((double)(ended - began) / 1e9);
	fflush(stdout);
	/* what is open stays so until the caller has counted the stretch */
	if (work->rest != NULL)
		work->rest();
	else
		line_read();
	return 0;
}
