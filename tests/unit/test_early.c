/*
 * Floods before authentication: told once, then counted; however many sources there are, the counts
 * add up to what happened, and a client cannot make one source look like many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "master/early.h"
#include "tests/unit/turns.h"

static char path[64];
static char text[8 << 20];
static struct loop *loop;
static struct conf conf;
static struct conf_log conf_file;
static struct log *lg;
static struct early *e;
static long skipped_s; /* that the loop's clock is ahead */

/* The executable's own wins over libc's: the tests need not wait for ten seconds. */
int
clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	ts->tv_sec += skipped_s;
	return r;
}

static int
setup(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/sallyport-early.XXXXXX");
	fd = mkstemp(path);
	memset(&conf, 0, sizeof(conf));
	STAILQ_INIT(&conf.logs);
	conf_file =
	    (struct conf_log){ .kind = LOGTO_FILE, .path = path, .where = { "test.conf", 1 } };
	STAILQ_INSERT_TAIL(&conf.logs, &conf_file, entry);
	if (fd == -1 || (loop = loop_new()) == NULL ||
	    (lg = log_open(loop, &conf, stderr)) == NULL || (e = early_new(loop, lg)) == NULL)
		return -1;
	close(fd);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	early_free(e);
	log_close(lg, 0);
	loop_free(loop);
	return unlink(path);
}

static void
skip_s(long s)
{
	skipped_s += s;
	turns_run(loop, 5);
}

static struct msg_early
early(const char *address, uint32_t reason, uint32_t detail)
{
	struct msg_early m = { .reason = reason, .detail = detail };

	assert_int_equal(addr_parse(address, &m.client.a), 0);
	m.client.port = 4000;
	return m;
}

/* How many lines hold `needle`, and the sum of their counts (a line without one is one event). */
static unsigned
lines_with(const char *needle, uint64_t *sum)
{
	log_flush(lg);
	FILE *f = fopen(path, "r");
	unsigned n = 0;
	char *save = NULL;

	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	*sum = 0;
	for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		const char *count = strstr(l, " count=");
		if (strstr(l, needle) == NULL)
			continue;
		n++;
		*sum += count != NULL ? strtoull(count + 7, NULL, 10) : 1;
	}
	return n;
}

static void
expect(const char *needle, unsigned lines, uint64_t events)
{
	uint64_t sum;

	assert_int_equal(lines_with(needle, &sum), lines);
	assert_true(sum == events);
}

static void
note(const char *address, uint32_t reason, uint32_t detail)
{
	struct msg_early m = early(address, reason, detail);

	early_note(e, &m, 3);
}

static void
test_told_and_counted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		note("192.0.2.1", REASON_VERSION, i & 0xff); /* the detail makes no new source */
	note("192.0.2.2", REASON_VERSION, 71);
	note("192.0.2.1", REASON_SOURCE, 0);
	expect("client=192.0.2.1:4000 reason=version-not-supported count=1 detail=version:0", 1, 1);
	expect(
	    "client=192.0.2.2:4000 reason=version-not-supported count=1 detail=version:71", 1, 1);
	expect("client=192.0.2.1:4000 reason=source-blocked", 1, 1);
	expect("event=client-refused", 3, 3);
	/* The window ends: what was counted is told; the quiet ones are forgotten. */
	skip_s(11);
	expect("event=client-refused", 4, 1002);
	expect(" count=999 ", 1, 999);
	/* Still counted, as long as it goes on; then told at once again. */
	note("192.0.2.1", REASON_VERSION, 4);
	expect("event=client-refused", 4, 1002);
	skip_s(11);
	expect("event=client-refused", 5, 1003);
	skip_s(11);
	expect("event=client-refused", 5, 1003);
	note("192.0.2.1", REASON_VERSION, 4);
	expect("event=client-refused", 6, 1004);
}

/* Every spelling of an address is one source, and so is a /64. */
static void
test_one_source(void **state)
{
	(void)state;
	note("192.0.2.1", REASON_HANDSHAKE, 0);
	note("::ffff:192.0.2.1", REASON_HANDSHAKE, 0);
	expect("event=client-refused", 1, 1);
	note("2001:db8::1", REASON_HANDSHAKE, 0);
	note("2001:db8::ffff:1", REASON_HANDSHAKE, 0);
	expect("event=client-refused", 2, 2);
	note("2001:db8:0:1::1", REASON_HANDSHAKE, 0);
	expect("event=client-refused", 3, 3);
	early_flush_all(e);
	expect("event=client-refused", 5, 5);
	expect("client=[2001:db8::ffff:1]:4000", 1, 1);
}

/* More sources than the table has: none of the events is missing in the end. */
static void
test_many_sources(void **state)
{
	char address[32];

	(void)state;
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < EARLY_SOURCES + 100; i++) {
			snprintf(address, sizeof(address), "10.%u.%u.1", i >> 8, i & 0xff);
			note(address, REASON_PROTOCOL, 0);
			note(address, REASON_PROTOCOL, 0);
		}
	early_flush_all(e);
	uint64_t sum;
	lines_with("event=client-refused", &sum);
	assert_true(sum == 6 * (EARLY_SOURCES + 100));
	early_flush_all(e);
	lines_with("event=client-refused", &sum);
	assert_true(sum == 6 * (EARLY_SOURCES + 100));
}

/* A worker's fields are not trusted. */
static void
test_foreign_fields(void **state)
{
	struct msg_early m = early("192.0.2.1", UINT32_MAX, UINT32_MAX);

	(void)state;
	early_note(e, &m, UINT32_MAX);
	expect("reason=none", 1, 1);
	m.client.a.family = 99;
	early_note(e, &m, 1);
	memset(&m, 0xff, sizeof(m));
	early_note(e, &m, 1);
	memset(&m, 0, sizeof(m));
	early_note(e, &m, 1);
	early_flush_all(e);
	uint64_t sum;
	lines_with("event=client-refused", &sum);
	assert_true(sum == 4);
}

static void
fail_auth(const char *address, const char *user, enum verdict_code verdict)
{
	struct msg_verdict v = {
		.spawn = 3, .verdict = (uint8_t)verdict, .method = METHOD_PASSWORD
	};
	struct audit_rec r;

	assert_int_equal(addr_parse(address, &v.client.a), 0);
	audit_begin(&r, EVENT_AUTH_FAILED);
	audit_str(&r, FIELD_USER, user, strlen(user));
	audit_addr(&r, FIELD_CLIENT, &v.client);
	audit_word(&r, FIELD_REASON, verdict_name(verdict));
	early_auth_failed(e, &v, &r);
}

static void
test_auth_burst(void **state)
{
	char user[16];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(user, sizeof(user), "user%u", i); /* the name makes no new source */
		fail_auth("192.0.2.1", user, VERDICT_UNKNOWN);
	}
	fail_auth("192.0.2.2", "bob", VERDICT_WRONG);
	expect("event=auth-failed", EARLY_AUTH_BURST + 1, EARLY_AUTH_BURST + 1);
	expect("user=user7 client=192.0.2.1:0 reason=unknown-user", 1, 1);
	skip_s(11);
	expect("client=192.0.2.1:0", EARLY_AUTH_BURST + 1, 100);
	expect("method=password client=192.0.2.1:0 reason=unknown-user count=92", 1, 92);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_told_and_counted), T(test_one_source),
		T(test_many_sources), T(test_foreign_fields), T(test_auth_burst) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
