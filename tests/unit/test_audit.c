/*
 * The audit trail's lines: what a client sends comes back octet for octet from both formats,
 * nothing a client sends can look like another field, and the man page's lists are the code's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "common/msg.h"
#include "master/audit.h"
#include "tests/unit/audit_parse.h"

static const char *program; /* beside it a test leaves what it would have expected */
static char line[AUDIT_LINE_MAX];
static struct parsed got;

static struct addrport
address(const char *text, uint16_t port)
{
	struct addrport ap = { .port = port };

	assert_int_equal(addr_parse(text, &ap.a), 0);
	return ap;
}

static void
check_octets(enum conf_log_format f, const uint8_t *user, size_t user_len, const uint8_t *asked,
    size_t asked_len)
{
	struct addrport client = address("192.0.2.1", 4000);
	struct audit_rec r;

	audit_begin(&r, EVENT_REFUSED);
	audit_str(&r, FIELD_USER, user, user_len);
	audit_addr(&r, FIELD_CLIENT, &client);
	audit_str(&r, FIELD_ASKED, asked, asked_len);
	audit_num(&r, FIELD_UP, UINT64_MAX);
	size_t len = audit_format(&r, f, 7, line, sizeof(line));
	assert_int_equal(len, strlen(line));
	for (size_t i = 0; i < len; i++)
		assert_in_range(line[i], 0x20, 0x7e);
	assert_true(f == FORMAT_JSON ? parse_json(line, &got) : parse_logfmt(line, &got));
	assert_int_equal(got.n, 7);
	assert_true(parsed_is(&got, "event", "session-refused", 15));
	assert_true(parsed_is(&got, "seq", "7", 1));
	assert_true(parsed_is(&got, "user", user, user_len));
	assert_true(parsed_is(&got, "asked", asked, asked_len));
	assert_true(parsed_is(&got, "client", "192.0.2.1:4000", 14));
	assert_true(parsed_is(&got, "up", "18446744073709551615", 20));
}

static void
test_every_octet(void **state)
{
	static const enum conf_log_format formats[] = { FORMAT_LOGFMT, FORMAT_JSON };
	uint8_t all[256], one;

	(void)state;
	for (size_t i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	for (size_t f = 0; f < 2; f++) {
		/* RFC 1929: at most 255 octets of user; NUL stands in the second half alone. */
		check_octets(formats[f], all, 255, all + 1, 255);
		check_octets(formats[f], all, 0, all, 256);
		for (size_t i = 0; i < 256; i++) {
			one = (uint8_t)i;
			check_octets(formats[f], &one, 1, all + i, 256 - i);
		}
	}
}

/* Names that try to be other fields, or the end of the value. */
static void
test_injection(void **state)
{
	static const char *const hostile[] = {
		"x\" client=203.0.113.9:1 y=\"",
		"x\\\" client=203.0.113.9:1",
		"x\nevent=auth-failed client=203.0.113.9:1",
		"\",\"client\":\"203.0.113.9:1\",\"z\":\"",
		"\\\",\"client\":\"203.0.113.9:1",
		"\\u0022,\\x22",
		"x client=203.0.113.9:1",
		"a=b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		const uint8_t *p = (const uint8_t *)hostile[i];
		size_t n = strlen(hostile[i]);

		check_octets(FORMAT_LOGFMT, p, n, p, n);
		assert_null(strstr(line, " client=203"));
		check_octets(FORMAT_JSON, p, n, p, n);
		assert_null(strstr(line, "\"client\":\"203"));
	}
}

static void
test_exact_lines(void **state)
{
	struct addrport client = address("192.0.2.1", 4000), target = address("2001:db8::7", 443);
	struct addrport none = { .port = 80 };
	struct audit_rec r;

	(void)state;
	audit_begin(&r, EVENT_OPEN);
	assert_int_equal(r.severity, LOG_INFO);
	r.time_ms = 1795458123007;
	audit_str(&r, FIELD_ASKED,
	    "b\xfc"
	    "cher.example:443",
	    18);
	audit_str(&r, FIELD_USER, "alice", 5);
	audit_word(&r, FIELD_METHOD, "password");
	audit_word(&r, FIELD_ERROR, NULL);
	audit_addr(&r, FIELD_CLIENT, &client);
	audit_addr(&r, FIELD_TARGET, &target);
	audit_addr(&r, FIELD_OUTGOING, &none);
	audit_num(&r, FIELD_WORKER, 3);
	audit_str(&r, FIELD_DETAIL, "a b\n\"", 5);
	audit_format(&r, FORMAT_LOGFMT, 12, line, sizeof(line));
	assert_string_equal(line,
	    "event=session-open seq=12 time=2026-11-23T18:22:03.007Z worker=3 user=alice "
	    "method=password client=192.0.2.1:4000 asked=\"b\\xfccher.example:443\" "
	    "target=[2001:db8::7]:443 detail=\"a b\\x0a\\x22\"");
	audit_format(&r, FORMAT_JSON, 12, line, sizeof(line));
	assert_string_equal(line,
	    "@cee: {\"event\":\"session-open\",\"seq\":12,\"time\":\"2026-11-23T18:22:03.007Z\","
	    "\"worker\":3,\"user\":\"alice\",\"method\":\"password\",\"client\":\"192.0.2.1:4000\","
	    "\"asked\":\"b\\u00fccher.example:443\",\"target\":\"[2001:db8::7]:443\",\"detail\":\"a b\\u000a\\u0022\"}");
}

/* Every field at its longest, all of it escaped, is a whole line; and what is longer is cut. */
/* The date is kept from one record to the next, and must not outlive its second. */
static void
test_time(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} t[] = {
		{ 1795458123007, " time=2026-11-23T18:22:03.007Z" },
		{ 1795458123999, " time=2026-11-23T18:22:03.999Z" },
		{ 1795458124000, " time=2026-11-23T18:22:04.000Z" },
		{ 1795458124080, " time=2026-11-23T18:22:04.080Z" },
		{ 1795458123900, " time=2026-11-23T18:22:03.900Z" }, /* the clock was set back */
		{ 0, " time=1970-01-01T00:00:00.000Z" },
	};
	struct audit_rec r;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		audit_begin(&r, EVENT_STOP);
		r.time_ms = t[i].ms;
		audit_format(&r, FORMAT_LOGFMT, 1, line, sizeof(line));
		assert_non_null(strstr(line, t[i].text));
	}
}

static void
test_longest(void **state)
{
	static const struct addrport longest = {
		.a = { .family = ADDR_V6,
		    .b = { 0xfe, 0x80, 1, 1, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17 } },
		.port = 65535,
		.scope = UINT32_MAX,
	};
	static char octets[AUDIT_OCTETS_MAX + 100], word[100];
	struct audit_rec r;

	(void)state;
	memset(octets, 0xff, sizeof(octets));
	memset(word, '"', sizeof(word) - 1);
	audit_begin(&r, EVENT_RELOAD_FAILED);
#define S(f)                   audit_str(&r, f, octets, sizeof(octets))
#define W(f)                   audit_word(&r, f, word)
#define T(f)                   S(f)
#define N(f)                   audit_num(&r, f, UINT64_MAX)
#define A(f)                   audit_addr(&r, f, &longest)
#define X(id, key, kind, help) kind(id);
	AUDIT_FIELDS(X)
#undef X
	r.time_ms = 253402300799999;
	audit_format(&r, FORMAT_JSON, UINT64_MAX, line, sizeof(line));
	assert_true(parse_json(line, &got));
	assert_int_equal(got.n, FIELD_COUNT + 3);
	assert_true(parsed_is(&got, "detail", octets, AUDIT_OCTETS_MAX));
	audit_format(&r, FORMAT_LOGFMT, UINT64_MAX, line, sizeof(line));
	assert_true(parse_logfmt(line, &got));
	assert_int_equal(got.n, FIELD_COUNT + 3);
	assert_true(parsed_is(&got, "user", octets, AUDIT_OCTETS_MAX));
	/* No time can be formatted as that: it is told as no time, not as nonsense. */
	r.time_ms = UINT64_MAX;
	audit_format(&r, FORMAT_LOGFMT, 1, line, sizeof(line));
	assert_true(parse_logfmt(line, &got));
}

/* The longest record of a client's making passes through rsyslog's default of 8 KiB a message. */
static void
test_longest_of_a_client(void **state)
{
	static const struct addrport longest = {
		.a = { .family = ADDR_V6,
		    .b = { 0x20, 1, 0xd, 0xb8, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17 } },
		.port = 65535
	};
	static char octets[AUDIT_OCTETS_MAX];
	struct audit_rec r;

	(void)state;
	audit_begin(&r, EVENT_REFUSED);
	for (enum audit_field i = 0; i < FIELD_COUNT; i++)
		audit_num(&r, i, UINT64_MAX); /* those of another kind follow */
#define FOR_S(f)
#define FOR_T(f)
#define FOR_N(f)
#define FOR_W(f)               audit_word(&r, f, "1122334455667788-4294967295-4294967295-4294967295");
#define FOR_A(f)               audit_addr(&r, f, &longest);
#define X(id, key, kind, help) FOR_##kind(id)
	AUDIT_FIELDS(X)
#undef X
	audit_str(&r, FIELD_USER, octets, USER_MAX);
	audit_str(&r, FIELD_ASKED, octets, NAME_MAX_LEN + 6);
	audit_str(&r, FIELD_RULE, octets, 127);
	audit_str(&r, FIELD_FILE, octets, 0);
	audit_str(&r, FIELD_DETAIL, octets, 32);
	assert_true(audit_format(&r, FORMAT_JSON, UINT64_MAX, line, sizeof(line)) < 8000);
}

/* A buffer too small cuts, and is never passed. */
static void
test_small_buffer(void **state)
{
	struct audit_rec r;

	(void)state;
	audit_begin(&r, EVENT_NOTICE);
	audit_str(&r, FIELD_DETAIL, "\xff\xff\xff\xff", 4);
	size_t whole = audit_format(&r, FORMAT_JSON, 1, line, sizeof(line));
	for (size_t size = 1; size <= whole; size++) {
		char *small = malloc(size);
		size_t n = audit_format(&r, FORMAT_JSON, 1, small, size);
		assert_int_equal(n, size - 1);
		assert_int_equal(small[n], '\0');
		assert_int_equal(strncmp(small, "@cee: {", n < 7 ? n : 7), 0);
		free(small);
	}
}

#define MAN_BEGIN ".\\\" The lists below are audit_print_tables()'s; a test compares them.\n"
#define MAN_END   ".\\\" The end of the lists.\n"

static void
test_man_page(void **state)
{
	static char tables[1 << 16], page[1 << 17];
	FILE *out = tmpfile(), *man = fopen("etc/man/sallyport-audit.7", "r");

	(void)state;
	assert_non_null(out);
	assert_non_null(man); /* the tests run at the top of the tree */
	audit_print_tables(out);
	rewind(out);
	size_t size = fread(tables, 1, sizeof(tables) - 1, out);
	assert_in_range(fread(page, 1, sizeof(page) - 1, man), 1, sizeof(page) - 2);
	fclose(out);
	fclose(man);
	char *begin = strstr(page, MAN_BEGIN), *end = strstr(page, MAN_END);
	assert_non_null(begin);
	assert_non_null(end);
	begin += strlen(MAN_BEGIN);
	if ((size_t)(end - begin) != size || memcmp(begin, tables, size) != 0) {
		char path[4096];

		snprintf(path, sizeof(path), "%s.sallyport-audit.7", program);
		assert_non_null(man = fopen(path, "w"));
		fprintf(man, "%.*s%s%s", (int)(begin - page), page, tables, end);
		fclose(man);
		fail_msg("etc/man/sallyport-audit.7 is not what the tables say; it is in %s", path);
	}
}

/* Each name once: the vocabulary is what filters and reports are written on. */
static void
test_names_differ(void **state)
{
	(void)state;
	for (enum audit_event e = 0; e < EVENT_COUNT; e++)
		for (enum audit_event o = 0; o < e; o++)
			assert_string_not_equal(audit_event_name(e), audit_event_name(o));
	assert_true(audit_event_capped(EVENT_EARLY));
	assert_true(audit_event_capped(EVENT_AUTH_FAILED));
	assert_false(audit_event_capped(EVENT_CLOSE));
	assert_false(audit_event_capped(EVENT_LOST));
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_octet),
		cmocka_unit_test(test_injection),
		cmocka_unit_test(test_exact_lines),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_longest_of_a_client),
		cmocka_unit_test(test_small_buffer),
		cmocka_unit_test(test_man_page),
		cmocka_unit_test(test_names_differ),
	};

	program = argc > 0 ? argv[0] : "test_audit";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
