/*
 * What one turn of the loop hands to the logs: its records together, and before any packet of a
 * channel leaves, since a packet may grant what the record tells.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/chan.h"
#include "master/gateway.h"
#include "tests/unit/log_world.h"

static struct log *lg;
static struct gateway gateway;
static struct chan chan;
static int peer, syslogd;

/* --- the calls that were made, in their order: these stand before libc's own --- */

static char calls[256]; /* r: records to syslog, w: to a file, p: a packet */

static void
note(char what)
{
	size_t n = strlen(calls);

	if (n < sizeof(calls) - 1) {
		calls[n] = what;
		calls[n + 1] = '\0';
	}
}

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
	note('p');
	return syscall(SYS_sendmsg, fd, m, flags);
}

int
sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	note('r');
	return (int)syscall(SYS_sendmmsg, fd, m, n, flags);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	note('w');
	return syscall(SYS_writev, fd, iov, n);
}

/* --- helpers --- */

static bool
nothing(struct chan *c, struct msg *m)
{
	(void)c;
	(void)m;
	return true;
}

static void
no_end(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
}

/* As the master does it (wiring.c). */
static void
before_send(struct chan *c)
{
	(void)c;
	gateway_children.before_send(&gateway);
}

static int
setup(void **state)
{
	int sv[2];

	(void)state;
	if (make_log() == -1)
		return -1;
	syslogd = daemon_start();
	chan = (struct chan){ .on_msg = nothing, .on_end = no_end, .before_send = before_send };
	if (chan_pair(sv) == -1 ||
	    chan_start(&chan, loop, sv[0], ROLE_MASTER, ROLE_WORKER, 1) == -1)
		return -1;
	peer = sv[1];
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	chan_stop(&chan);
	close(peer);
	close(syslogd);
	log_close(lg, 0);
	return remove_log();
}

static void
open_log(struct conf_log *to)
{
	use(to);
	lg = gateway.log = log_open(loop, &conf, stderr);
	assert_non_null(lg);
	calls[0] = '\0';
}

static void
record(uint64_t n)
{
	struct audit_rec r;

	audit_begin(&r, EVENT_OPEN);
	audit_num(&r, FIELD_COUNT_, n);
	log_record(lg, &r);
}

static void
grant(void)
{
	struct msg_grant g = { .sid = { 1, 1 } };

	assert_int_equal(chan_send(&chan, MSG_GRANT, &g, sizeof(g), -1), 0);
}

/* How many records syslog's daemon finds, with turns in between; they come in their order. */
static unsigned
taken(void)
{
	static uint64_t seq;
	char buf[1024];
	unsigned n = 0;

	for (int quiet = 0; quiet < 5; quiet++) {
		ssize_t len;
		while ((len = recv(syslogd, buf, sizeof(buf) - 1, 0)) > 0) {
			buf[len] = '\0';
			uint64_t got = strtoull(strstr(buf, " seq=") + 5, NULL, 10);
			assert_true(n == 0 || got == seq + 1);
			seq = got;
			n++;
			quiet = 0;
		}
		turns_run(loop, 1);
	}
	return n;
}

/* --- records before packets --- */

/* The channel was armed first in this turn, and the records come behind its messages. */
static void
test_armed_first(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	grant();
	record(1);
	grant();
	record(2);
	assert_string_equal(calls, "");
	turns_run(loop, 1);
	assert_string_equal(calls, "rp");
	assert_int_equal(taken(), 2);
}

/* Flushed by its owner, not by the end of the turn. */
static void
test_flushed_directly(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	record(1);
	grant();
	chan_flush(&chan);
	assert_string_equal(calls, "rp");
}

static void
test_several_packets(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	for (int i = 0; i < 3; i++) {
		for (size_t k = 0; k < MSG_PACKET_MAX / sizeof(struct msg_grant) / 2; k++)
			grant();
		record(1);
	}
	turns_run(loop, 1);
	assert_int_equal(strncmp(calls, "rp", 2), 0);
	assert_null(strchr(calls + 1, 'r'));
}

/* The peer has room again: packets leave within the events of a turn, before its deadlines. */
static void
test_room_again(void **state)
{
	static unsigned char buf[MSG_PACKET_MAX];

	(void)state;
	open_log(&conf_syslog);
	for (int i = 0; i < 1000 && chan_mark(&chan) == chan_sent(&chan); i++) {
		grant();
		chan_flush(&chan);
	}
	assert_true(chan_mark(&chan) > chan_sent(&chan));
	calls[0] = '\0';
	record(1);
	while (recv(peer, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	turns_run(loop, 1);
	assert_int_equal(strncmp(calls, "rp", 2), 0);
}

/* Nothing is asked of the logs where there is no record. */
static void
test_no_record(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	grant();
	turns_run(loop, 1);
	assert_string_equal(calls, "p");
}

/* --- the master's channels are of this kind --- */

static unsigned flushes;

static void
count_flush(void *arg)
{
	(void)arg;
	assert_null(strchr(calls, 'p'));
	flushes++;
}

static void
init(void *arg, const struct child *c, struct msg_init *m)
{
	(void)arg;
	(void)c;
	(void)m;
}

static void
spawned(void *arg, struct child *c)
{
	(void)arg;
	(void)c;
}

static void
test_children(void **state)
{
	static const struct children_ops ops = {
		.init = init, .spawned = spawned, .before_send = count_flush
	};

	(void)state;
	open_log(&conf_syslog);
	flushes = 0;
	struct children *f = children_new(loop, dir, true, &ops, NULL); /* no program is there */
	assert_non_null(f);
	assert_int_equal(children_want(f, ROLE_RESOLVER, 1), 0);
	assert_int_equal(flushes, 1);
	assert_string_equal(calls, "p");
	chan_stop(&children_get(f, ROLE_RESOLVER, 0)->chan);
	children_free(f);
}

/* --- records together --- */

static void
test_together(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	for (uint64_t i = 0; i < 8; i++)
		record(i);
	assert_string_equal(calls, "");
	turns_run(loop, 1);
	assert_string_equal(calls, "r");
	assert_int_equal(taken(), 8);
	log_flush(lg); /* nothing waits */
	assert_string_equal(calls, "r");
}

/* More than a batch, and more than the daemon's socket takes at once: none is lost, none comes
 * twice. */
static void
test_more_than_a_batch(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	for (uint64_t i = 0; i < 150; i++)
		record(i);
	assert_non_null(strchr(calls, 'r')); /* the first of them did not wait for the turn */
	assert_int_equal(taken(), 150);
}

static void
test_file_together(void **state)
{
	(void)state;
	open_log(&conf_file);
	for (uint64_t i = 0; i < 150; i++)
		record(i);
	assert_string_equal(calls, "ww");
	turns_run(loop, 1);
	assert_string_equal(calls, "www");
	FILE *f = fopen(file_path, "r");
	char line[1024], want[32];
	unsigned n = 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		snprintf(want, sizeof(want), " count=%u\n", n++);
		assert_non_null(strstr(line, want));
	}
	assert_int_equal(n, 150);
	fclose(f);
}

static void
test_close_hands_over(void **state)
{
	(void)state;
	open_log(&conf_syslog);
	record(1);
	log_close(lg, 0);
	lg = NULL;
	assert_int_equal(taken(), 1);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_armed_first), T(test_flushed_directly),
		T(test_several_packets), T(test_room_again), T(test_no_record), T(test_children),
		T(test_together), T(test_more_than_a_batch), T(test_file_together),
		T(test_close_hands_over) };

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
