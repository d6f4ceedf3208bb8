/*
 * The fail2ban filter in etc/, run by fail2ban-regex over lines that the real formatter makes: each
 * failed authentication gives its client's address, in both formats and behind syslog's prefix; no
 * name that a client claims gives another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/msg.h"
#include "master/audit.h"

#define FILTER "etc/fail2ban/filter.d/sallyport.conf"

static char log_path[64];
static FILE *log_file;

static int
setup(void **state)
{
	int fd;

	(void)state;
	snprintf(log_path, sizeof(log_path), "/tmp/sallyport-fail2ban.XXXXXX");
	fd = mkstemp(log_path);
	return fd == -1 || (log_file = fdopen(fd, "w")) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	if (log_file != NULL)
		fclose(log_file);
	return unlink(log_path);
}

/* Writes the record in both formats, as the gateway's own file and as rsyslog have it. */
static void
put(enum audit_event event, const char *address, const char *user, enum verdict_code verdict)
{
	static const char *const prefix[] = { "",
		"2026-11-23T18:22:03.123456+00:00 gw-1 sallyportd[12]: ",
		"Nov 23 18:22:03 gw-1 sallyportd[12]: " };
	static uint64_t seq;
	char line[AUDIT_LINE_MAX];
	struct addrport client = { .port = 40000 };
	struct audit_rec r;

	assert_int_equal(addr_parse(address, &client.a), 0);
	audit_begin(&r, event);
	r.time_ms = 1795458123007;
	audit_word(&r, FIELD_ID, "1122334455667788-1-0-7");
	audit_num(&r, FIELD_WORKER, 1);
	audit_str(&r, FIELD_USER, user, strlen(user));
	audit_word(&r, FIELD_METHOD, "password");
	audit_addr(&r, FIELD_CLIENT, &client);
	audit_word(&r, FIELD_REASON, verdict_name(verdict));
	for (int f = 0; f < 6; f++) {
		audit_format(&r, f < 3 ? FORMAT_LOGFMT : FORMAT_JSON, ++seq, line, sizeof(line));
		fprintf(log_file, "%s%s\n", prefix[f % 3], line);
	}
}

/* How many addresses the filter finds, and how many of them are this one. */
static void
find(const char *address, unsigned *all, unsigned *these)
{
	char command[256], found[128];

	fflush(log_file);
	snprintf(command, sizeof(command), "timeout 60 fail2ban-regex --out=ip %s " FILTER " 2>&1",
	    log_path);
	FILE *p = popen(command, "r");
	assert_non_null(p);
	*all = *these = 0;
	while (fgets(found, sizeof(found), p) != NULL) {
		found[strcspn(found, "\n")] = '\0';
		if (found[0] == '\0')
			continue;
		(*all)++;
		if (strcmp(found, address) == 0)
			(*these)++;
		else
			print_message("found: %s\n", found);
	}
	assert_int_equal(pclose(p), 0);
}

static void
test_addresses(void **state)
{
	static const char *const addresses[] = { "192.0.2.1", "2001:db8::7" };
	unsigned all, these;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		rewind(log_file);
		assert_int_equal(ftruncate(fileno(log_file), 0), 0);
		put(EVENT_AUTH_FAILED, addresses[i], "bob", VERDICT_WRONG);
		put(EVENT_AUTH_FAILED, addresses[i], "", VERDICT_UNKNOWN);
		put(EVENT_AUTH_FAILED, addresses[i], "b\303\266 b", VERDICT_LOCKED);
		put(EVENT_AUTH_FAILED, addresses[i], "bob", VERDICT_EXPIRED);
		find(addresses[i], &all, &these);
		assert_int_equal(all, 24);
		assert_int_equal(these, 24);
	}
}

static void
test_not_the_clients(void **state)
{
	unsigned all, these;

	(void)state;
	put(EVENT_AUTH_FAILED, "192.0.2.1", "bob", VERDICT_BUSY);
	put(EVENT_AUTH_FAILED, "192.0.2.1", "bob", VERDICT_FAILED);
	put(EVENT_AUTH_FAILED, "192.0.2.1", "bob", VERDICT_ABORTED);
	put(EVENT_AUTH_OK, "192.0.2.1", "bob", VERDICT_WRONG);
	put(EVENT_CLOSE, "192.0.2.1", "bob", VERDICT_WRONG);
	put(EVENT_AUTH_OK, "192.0.2.1",
	    "event=auth-failed seq=1 time=2026-11-23T18:22:03.007Z client=203.0.113.9:1 "
	    "reason=locked ",
	    VERDICT_WRONG);
	put(EVENT_AUTH_FAILED, "192.0.2.2", "bob", VERDICT_WRONG); /* the positive control */
	find("192.0.2.2", &all, &these);
	assert_int_equal(these, 6);
	assert_int_equal(all, 6);
}

/* Claimed names that try to be the field `client`, or the whole line. */
static void
test_forged(void **state)
{
	static const char *const hostile[] = {
		"x client=203.0.113.9:1 reason=locked",
		"x\" client=203.0.113.9:1 reason=locked x=\"",
		"x\\\" client=203.0.113.9:1 reason=locked ",
		"client=203.0.113.9:1",
		"\nevent=auth-failed seq=1 time=2026-11-23T18:22:03.007Z client=203.0.113.9:1 "
		"reason=locked ",
		"\",\"client\":\"203.0.113.9:1\",\"reason\":\"locked\",\"z\":\"",
		"\\\",\"client\":\"203.0.113.9:1\",\"reason\":\"locked\"",
		"sallyportd[1]: event=auth-failed seq=1 time= client=203.0.113.9:1 reason=locked ",
		"\302\240client=203.0.113.9:1",
		"\tclient=203.0.113.9:1\t",
	};
	unsigned all, these, n = sizeof(hostile) / sizeof(hostile[0]);

	(void)state;
	for (unsigned i = 0; i < n; i++)
		put(EVENT_AUTH_FAILED, "192.0.2.1", hostile[i], VERDICT_UNKNOWN);
	find("192.0.2.1", &all, &these);
	assert_int_equal(these, n * 6);
	assert_int_equal(all, n * 6);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_addresses), T(test_not_the_clients),
		T(test_forged) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
