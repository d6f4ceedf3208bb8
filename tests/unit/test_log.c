/*
 * The logs: syslog's socket that is full, gone or back; files that are rotated or cannot grow; a
 * reader of standard error that has stopped; and the bounds of the queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "tests/unit/log_world.h"

static char old_path[80];
static struct conf_log conf_stderr;

static int
setup(void **state)
{
	(void)state;
	if (make_log() == -1)
		return -1;
	snprintf(old_path, sizeof(old_path), "%s/log.1", dir);
	conf_stderr = (struct conf_log){ .kind = LOGTO_STDERR, .where = { "test.conf", 3 } };
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unlink(old_path);
	return remove_log();
}

/* --- helpers: a daemon's socket, records --- */

static void
daemon_end(int fd)
{
	close(fd);
	unlink(sock_path);
}

/* The next datagram, or false if there is none. */
static bool
daemon_read(int fd, char *buf, size_t size)
{
	ssize_t n = recv(fd, buf, size - 1, 0);

	if (n == -1)
		return false;
	buf[n] = '\0';
	return true;
}

/* One record in a turn of its own. */
static void
record(struct log *lg, enum audit_event e, uint64_t n, size_t pad)
{
	static const char padding[AUDIT_OCTETS_MAX] = { 0 };
	struct audit_rec r;

	audit_begin(&r, e);
	audit_num(&r, FIELD_COUNT_, n);
	audit_str(&r, FIELD_DETAIL, padding, pad); /* NUL: four octets of line each */
	log_record(lg, &r);
	log_flush(lg);
}

static uint64_t
number_of(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	assert_non_null(p);
	return strtoull(p + strlen(key), NULL, 10);
}

static size_t
read_file(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	size_t n = fread(buf, 1, size - 1, f);
	buf[n] = '\0';
	fclose(f);
	return n;
}

static unsigned
count_lines(const char *text)
{
	unsigned n = 0;

	for (; (text = strchr(text, '\n')) != NULL; text++)
		n++;
	return n;
}

/* --- syslog --- */

static void
test_syslog_line(void **state)
{
	char buf[512], want[128];
	int fd = daemon_start(), day, h, m, s, pid, used = 0;
	char month[4];
	struct audit_rec r;

	(void)state;
	use(&conf_syslog);
	struct log *lg = log_open(loop, &conf, stderr);
	assert_non_null(lg);
	audit_begin(&r, EVENT_CLOSE);
	r.severity = LOG_WARNING; /* as `log` on a rule raises it */
	log_record(lg, &r);
	log_flush(lg);
	assert_true(daemon_read(fd, buf, sizeof(buf)));
	/* RFC 3164: daemon is 3, warning 4. */
	assert_int_equal(sscanf(buf, "<28>%3s %2d %2d:%2d:%2d sallyportd[%d]: %n", month, &day, &h,
			     &m, &s, &pid, &used),
	    6);
	assert_true(buf[4 + 3] == ' ' && buf[4 + 6] == ' ' && pid == getpid());
	snprintf(want, sizeof(want), "event=session-close seq=1 time=");
	assert_int_equal(strncmp(buf + used, want, strlen(want)), 0);
	assert_int_equal(buf[strlen(buf) - 1], 'Z');
	log_close(lg, 0);
	daemon_end(fd);
}

/* The daemon is not there at the start, comes, restarts, and is gone again: all records arrive, in
 * their order. */
static void
test_syslog_restart(void **state)
{
	char buf[512];
	uint64_t seq = 0;
	int fd = -1;

	(void)state;
	use(&conf_syslog);
	struct log *lg = log_open(loop, &conf, stderr);
	assert_non_null(lg);
	for (int round = 0; round < 3; round++) {
		record(lg, EVENT_NOTICE, 1, 0); /* nobody there: waits */
		record(lg, EVENT_NOTICE, 2, 0);
		fd = daemon_start();
		if (round == 0)
			turns_run(loop, 700); /* by the deadline */
		else
			record(lg, EVENT_NOTICE, 3, 0); /* at the next record */
		for (int i = 0; i < (round == 0 ? 2 : 3); i++) {
			assert_true(daemon_read(fd, buf, sizeof(buf)));
			assert_true(number_of(buf, "seq=") == ++seq);
		}
		assert_false(daemon_read(fd, buf, sizeof(buf)));
		daemon_end(fd);
	}
	assert_false(log_refuses(lg));
	/* Restarted while nothing was sent: the first record finds the new one, without a wait. */
	fd = daemon_start();
	record(lg, EVENT_NOTICE, 4, 0);
	assert_true(daemon_read(fd, buf, sizeof(buf)));
	daemon_end(fd);
	fd = daemon_start();
	record(lg, EVENT_NOTICE, 5, 0);
	assert_true(daemon_read(fd, buf, sizeof(buf)));
	assert_true(number_of(buf, "seq=") == seq + 2);
	daemon_end(fd);
	log_close(lg, 0);
}

/* A daemon that does not read: sessions are refused at three quarters, the queue ends, and when it
 * reads again all that was queued comes in order, and one record with the number of those lost. */
static void
check_full(enum audit_event e, bool drop, bool refuses)
{
	static char buf[AUDIT_LINE_MAX];
	uint64_t sent = 0, seen = 0, lost = 0, last = 0;
	unsigned told = 0;
	int fd = daemon_start();

	use(&conf_syslog);
	conf.log_overflow_drop = drop;
	struct log *lg = log_open(loop, &conf, stderr);
	assert_false(log_refuses(lg));
	bool refused = false;
	while (sent < 6000) { /* of 2 KiB: past every bound */
		record(lg, e, ++sent, 500);
		refused = refused || log_refuses(lg);
	}
	assert_int_equal(refused, refuses);
	for (int quiet = 0; quiet < 20;) {
		turns_run(loop, 5);
		quiet++;
		while (daemon_read(fd, buf, sizeof(buf))) {
			quiet = 0;
			assert_true(number_of(buf, "seq=") > last);
			last = number_of(buf, "seq=");
			if (strstr(buf, "event=records-lost") == NULL) {
				seen++;
			} else {
				lost += number_of(buf, "count=");
				told++;
				assert_non_null(strstr(buf, sock_path));
			}
		}
	}
	assert_false(log_refuses(lg));
	assert_int_equal(told, 1);
	assert_true(lost > 0 && seen + lost == sent);
	/* The cap: an event that a client causes gets a part of the queue. */
	assert_int_equal(seen * 2100 < 2 * LOG_CAPPED_MAX, audit_event_capped(e));
	log_close(lg, 0);
	daemon_end(fd);
}

static void
test_syslog_full(void **state)
{
	(void)state;
	check_full(EVENT_CLOSE, false, true);
}

static void
test_syslog_full_drop(void **state)
{
	(void)state;
	check_full(EVENT_CLOSE, true, false);
}

static void
test_syslog_capped(void **state)
{
	(void)state;
	check_full(EVENT_EARLY, false, false);
}

/* The daemon reads on, and a session's close is among what comes. */
static bool
close_arrives(int fd)
{
	static char buf[AUDIT_LINE_MAX];
	bool found = false;

	for (int i = 0; i < 3000 && !found; i++) {
		turns_run(loop, 1);
		while (daemon_read(fd, buf, sizeof(buf)))
			found = found || strstr(buf, "event=session-close") != NULL;
	}
	return found;
}

/* Where capped events have filled their share, others still find room. */
static void
test_capped_leave_room(void **state)
{
	int fd = daemon_start();

	(void)state;
	use(&conf_syslog);
	struct log *lg = log_open(loop, &conf, stderr);
	for (unsigned i = 0; i < 3000; i++)
		record(lg, EVENT_AUTH_FAILED, i, 500);
	record(lg, EVENT_CLOSE, 4711, 511);
	assert_true(close_arrives(fd));
	log_close(lg, 0);
	daemon_end(fd);
}

/* When sessions are refused, the refusals leave room for the ends of those that are open. */
static void
test_refusals_leave_room(void **state)
{
	int fd = daemon_start();

	(void)state;
	use(&conf_syslog);
	struct log *lg = log_open(loop, &conf, stderr);
	for (unsigned i = 0; i < 6000 && !log_refuses(lg); i++)
		record(lg, EVENT_OPEN, i, 500);
	assert_true(log_refuses(lg));
	for (unsigned i = 0; i < 3000; i++)
		record(lg, EVENT_REFUSED, i, 500);
	record(lg, EVENT_CLOSE, 4711, 511);
	assert_true(close_arrives(fd));
	log_close(lg, 0);
	daemon_end(fd);
}

static void
test_close_waits(void **state)
{
	char buf[512];

	(void)state;
	use(&conf_syslog);
	struct log *lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_STOP, 1, 0);
	int fd = daemon_start();
	log_close(lg, 1000);
	assert_true(daemon_read(fd, buf, sizeof(buf)));
	assert_non_null(strstr(buf, "event=stop"));
	daemon_end(fd);
	/* And with nobody there it ends. */
	lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_STOP, 1, 0);
	log_close(lg, 50);
}

/* --- files --- */

static void
test_file_formats(void **state)
{
	char buf[4096];
	struct stat st;

	(void)state;
	conf_file.format = FORMAT_JSON;
	use(&conf_file);
	umask(0);
	struct log *lg = log_open(loop, &conf, stderr);
	assert_non_null(lg);
	record(lg, EVENT_START, 1, 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(strncmp(buf, "@cee: {\"event\":\"start\",\"seq\":1,", 31), 0);
	assert_string_equal(strchr(buf, '}'), "}\n");
	assert_int_equal(stat(file_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	log_close(lg, 0);
}

static void
test_file_rotated(void **state)
{
	char buf[4096];

	(void)state;
	use(&conf_file);
	struct log *lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_NOTICE, 1, 0);
	assert_int_equal(rename(file_path, old_path), 0);
	record(lg, EVENT_NOTICE, 2, 0);
	assert_int_equal(log_reopen(lg, &conf, stderr), 0);
	record(lg, EVENT_NOTICE, 3, 0);
	read_file(old_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 2);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 1);
	assert_true(number_of(buf, "seq=") == 3);
	/* One that cannot be opened leaves the old ones in force. */
	struct conf other = conf;
	struct conf_log bad = { .kind = LOGTO_FILE, .path = dir, .where = { "test.conf", 9 } };
	STAILQ_INIT(&other.logs);
	STAILQ_INSERT_TAIL(&other.logs, &bad, entry);
	assert_int_equal(log_reopen(lg, &other, stderr), -1);
	record(lg, EVENT_NOTICE, 4, 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 2);
	log_close(lg, 0);
}

/* A file that cannot grow (as on a full disk): what waits is written when it can, each line whole.
 */
static void
test_file_full(void **state)
{
	static char buf[1 << 16];
	struct rlimit was, small;

	(void)state;
	use(&conf_file);
	struct log *lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_NOTICE, 1, 10);
	size_t one = read_file(file_path, buf, sizeof(buf));
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = (struct rlimit){ one + one / 2, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	record(lg, EVENT_NOTICE, 2, 10);
	record(lg, EVENT_NOTICE, 3, 10);
	assert_int_equal(read_file(file_path, buf, sizeof(buf)), one + one / 2); /* the control */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	turns_run(loop, 700);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 3);
	for (uint64_t i = 1; i <= 3; i++) {
		char want[64];
		snprintf(want, sizeof(want), "event=notice seq=%u ", (unsigned)i);
		assert_non_null(strstr(buf, want));
	}

	/* Rotated while a line was half written: the new file has the whole of it. */
	small.rlim_cur = read_file(file_path, buf, sizeof(buf)) + one / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	record(lg, EVENT_NOTICE, 4, 10);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(rename(file_path, old_path), 0);
	assert_int_equal(log_reopen(lg, &conf, stderr), 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(strncmp(buf, "event=notice seq=4 ", 19), 0);
	assert_int_equal(count_lines(buf), 1);

	/* Not rotated: the line goes on where it stopped. */
	small.rlim_cur = read_file(file_path, buf, sizeof(buf)) + one / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	record(lg, EVENT_NOTICE, 5, 10);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(log_reopen(lg, &conf, stderr), 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 2);
	assert_null(strstr(buf, "\n\n"));
	log_close(lg, 0);
}

/* A gateway was killed within a line: the next one's first record stands on a line of its own. */
static void
test_file_mended(void **state)
{
	char buf[1024];
	FILE *f = fopen(file_path, "w");

	(void)state;
	fputs("event=noti", f);
	fclose(f);
	use(&conf_file);
	struct log *lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_START, 1, 0);
	record(lg, EVENT_STOP, 1, 0);
	log_close(lg, 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(strncmp(buf, "event=noti\nevent=start seq=1 ", 29), 0);
	assert_int_equal(count_lines(buf), 3);
}

static void
check_file_refused(void)
{
	assert_null(log_open(loop, &conf, stderr));
	assert_int_equal(unlink(file_path), 0);
}

static void
test_file_refused(void **state)
{
	(void)state;
	use(&conf_file);
	assert_int_equal(symlink(old_path, file_path), 0);
	check_file_refused();
	assert_int_equal(access(old_path, F_OK), -1);
	assert_int_equal(mkfifo(file_path, 0600), 0);
	check_file_refused();
	if (geteuid() == 0) {
		assert_int_equal(mknod(file_path, S_IFCHR | 0600, 0x103), 0); /* null */
		check_file_refused();
		close(open(file_path, O_CREAT | O_WRONLY, 0600));
		assert_int_equal(chown(file_path, 65534, 65534), 0);
		check_file_refused();
	}
	struct log *lg = log_open(loop, &conf, stderr); /* the positive control */
	assert_non_null(lg);
	log_close(lg, 0);
}

/* Several logs: each in its format, with one number for one event; one that is stuck does not hold
 * up the others; one that a new configuration adds goes on with the numbers. */
static void
test_several(void **state)
{
	char buf[4096];

	(void)state;
	use(&conf_syslog); /* nobody there */
	use(&conf_file);
	struct log *lg = log_open(loop, &conf, stderr);
	record(lg, EVENT_NOTICE, 1, 0);
	record(lg, EVENT_NOTICE, 2, 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 2);
	conf_file.path = old_path;
	conf_file.format = FORMAT_JSON;
	assert_int_equal(log_reopen(lg, &conf, stderr), 0);
	record(lg, EVENT_NOTICE, 3, 0);
	read_file(file_path, buf, sizeof(buf));
	assert_int_equal(count_lines(buf), 2);
	read_file(old_path, buf, sizeof(buf));
	assert_true(number_of(buf, "\"seq\":") == 3);
	int fd = daemon_start(); /* what had waited for it was kept */
	turns_run(loop, 700);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_true(daemon_read(fd, buf, sizeof(buf)));
		assert_true(number_of(buf, "seq=") == i);
	}
	log_close(lg, 0);
	daemon_end(fd);
}

/* --- standard error --- */

/* With a pipe that nobody reads as standard error: no call blocks (the alarm would end the test),
 * and the pipe's own flags are left alone. */
static void
test_stderr_stuck(void **state)
{
	static char buf[1 << 20];
	int fd[2], was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	size_t n = 0;

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	use(&conf_stderr);
	alarm(20);
	struct log *lg = log_open(loop, &conf, stderr);
	for (unsigned i = 0; i < 100; i++)
		record(lg, EVENT_NOTICE, i, 500); /* 200 KB; the pipe holds 64 */
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	dup2(was, STDERR_FILENO);
	close(fd[1]);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 50; i++) {
		ssize_t r;
		turns_run(loop, 2);
		while ((r = read(fd[0], buf + n, sizeof(buf) - 1 - n)) > 0)
			n += (size_t)r;
	}
	log_close(lg, 0);
	close(fd[0]);
	close(was);
	alarm(0);
	buf[n] = '\0';
	assert_int_equal(flags & O_NONBLOCK, 0);
	assert_int_equal(count_lines(buf), 100);
	assert_int_equal(strncmp(buf, "event=notice seq=1 ", 19), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_syslog_line), T(test_syslog_restart),
		T(test_syslog_full), T(test_syslog_full_drop), T(test_syslog_capped),
		T(test_capped_leave_room), T(test_refusals_leave_room), T(test_close_waits),
		T(test_file_formats), T(test_file_rotated), T(test_file_full), T(test_file_mended),
		T(test_file_refused), T(test_several), T(test_stderr_stuck) };

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
