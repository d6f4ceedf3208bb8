/*
 * The users file: every kind of line, right and wrong, its escapes, dates, phrases and safety.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/users.h"

static struct users *
read_text(const char *text, size_t len, unsigned *line, const char **what)
{
	int fd = memfd_create("users", MFD_CLOEXEC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	struct users *u = users_read(fd, line, what); /* from the start, wherever the offset is */
	close(fd);
	return u;
}

static struct users *
good(const char *text)
{
	unsigned line;
	const char *what;
	struct users *u = read_text(text, strlen(text), &line, &what);

	if (u == NULL)
		fail_msg("line %u: %s", line, what);
	assert_int_equal(line, 0);
	return u;
}

static void
bad(const char *text, size_t len, unsigned at)
{
	unsigned line;
	const char *what = NULL;
	struct users *u = read_text(text, len, &line, &what);

	if (u != NULL)
		fail_msg("accepted: %s", text);
	assert_int_equal(errno, EINVAL);
	assert_non_null(what);
	if (line != at)
		fail_msg("line %u instead of %u: %s", line, at, what);
}
#define BAD(text, at) bad((text), sizeof(text) - 1, (at))

static const struct user *
find(const struct users *u, const char *name)
{
	return users_find(u, (const uint8_t *)name, strlen(name));
}

static void
test_lines(void **state)
{
	(void)state;
	struct users *u = good("# a comment: with:colons\n\nalice:$y$h:web,a%20b:2030-01-31\n"
			       "bob:x:::locked\ncarol:x:::\n#\ndave:y::");
	const struct user *x = find(u, "alice");

	assert_int_equal(users_count(u), 4);
	assert_non_null(x);
	assert_string_equal(x->hash, "$y$h");
	assert_int_equal(x->groups_len, 8);
	assert_memory_equal(x->groups, "\3web\3a b", 8);
	assert_int_equal(x->expires, 1896134400); /* 2030-02-01T00:00:00Z */
	assert_false(x->locked);
	x = find(u, "bob");
	assert_true(x->locked && x->expires == 0 && x->groups == NULL);
	assert_false(find(u, "carol")->locked);
	assert_ptr_equal(users_nth(u, 3), find(u, "dave"));
	assert_null(users_nth(u, 4));
	assert_null(find(u, "Alice"));
	assert_null(find(u, "alic"));
	assert_null(users_find(u, (const uint8_t *)"alice", 0));
	users_free(u);
	u = good("");
	assert_int_equal(users_count(u), 0);
	assert_null(find(u, "x"));
	users_free(u);
	users_free(NULL);
}

static void
test_malformed_lines(void **state)
{
	(void)state;
	BAD("a", 1);
	BAD("a:x", 1);
	BAD("a:x:", 1);
	BAD("#\n\na:x::\nb:x:\n", 4);
	BAD("a:x:::locked:", 1);
	BAD("a:x:::Locked", 1);
	BAD("a:x:::locked ", 1);
	BAD("a:x:::no", 1);
	BAD(":x::\n", 1);
	BAD("a:x::\n:x::\n", 2);
	BAD("a::::\n", 1);
	BAD("a b:x::\n", 1);
	BAD(" a:x::\n", 1);
	BAD("a,b:x::\n", 1);
	BAD("a#:x::\n", 1);
	BAD("a%:x::\n", 1);
	BAD("a%4:x::\n", 1);
	BAD("a%4g:x::\n", 1);
	BAD("a\x7f:x::\n", 1);
	BAD("a\xff:x::\n", 1);
	BAD("a\0b:x::\n", 1);
	BAD("\0\n", 1);
	BAD("a:x::\r\n", 1);
	BAD("a:x y::\n", 1);
	BAD("a:x\0::\n", 1);
	BAD("a:x:,:\n", 1);
	BAD("a:x:web,:\n", 1);
	BAD("a:x:,web:\n", 1);
	BAD("a:x:we b:\n", 1);
	BAD("a:x::\na:y::\n", 2);
	BAD("A:x::\n%41:y::\n", 2); /* the same name in another spelling */
	BAD("a:x::\n \n", 2);
}

static void
test_dates(void **state)
{
	static const struct {
		const char *text;
		int64_t expires; /* -1: no date */
	} dates[] = { { "1970-01-01", 86400 }, { "1999-12-31", 946684800 },
		{ "2000-02-29", 951868800 }, { "2024-02-29", 1709251200 },
		{ "2023-02-28", 1677628800 }, { "2038-01-19", 2147558400 },
		{ "9999-12-31", 253402300800 }, { "1969-12-31", -1 }, { "2023-02-29", -1 },
		{ "2100-02-29", -1 }, { "2024-04-31", -1 }, { "2024-00-10", -1 },
		{ "2024-13-01", -1 }, { "2024-01-00", -1 }, { "2024-01-32", -1 },
		{ "2024-1-1", -1 }, { "24-01-01", -1 }, { "2024/01/01", -1 }, { "2024-01-01 ", -1 },
		{ "+024-01-01", -1 }, { "2024-01-0x", -1 }, { "20240-1-01", -1 }, { "never", -1 },
		{ "0000-00-00", -1 } };
	char line[64];

	(void)state;
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
		snprintf(line, sizeof(line), "a:x::%s\n", dates[i].text);
		if (dates[i].expires == -1) {
			bad(line, strlen(line), 1);
			continue;
		}
		struct users *u = good(line);
		assert_int_equal(users_nth(u, 0)->expires, dates[i].expires);
		users_free(u);
	}
}

/* Names of every octet and every length: escaped, read, found, and nothing else is. */
static void
test_all_octets_and_lengths(void **state)
{
	char text[3 * USER_MAX + 1], line[6 * USER_MAX + 16];
	uint8_t name[USER_MAX], back[USER_MAX];

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		uint8_t one = (uint8_t)c;
		ssize_t n = users_escape(&one, 1, text, sizeof(text));
		bool plain = c >= 0x21 && c <= 0x7e && strchr(":,%#", (int)c) == NULL;

		assert_int_equal(n, plain ? 1 : 3);
		assert_int_equal(users_unescape(text, (size_t)n, back, sizeof(back)), 1);
		assert_int_equal(back[0], one);
		snprintf(line, sizeof(line), "%s:x:%s:\n", text, text);
		struct users *u = good(line);
		assert_non_null(users_find(u, &one, 1));
		assert_int_equal(users_nth(u, 0)->groups_len, 2);
		assert_int_equal(users_nth(u, 0)->groups[1], one);
		users_free(u);
	}
	for (size_t len = 1; len <= USER_MAX; len++) {
		for (size_t i = 0; i < len; i++)
			name[i] = (uint8_t)(len * 31 + i);
		ssize_t n = users_escape(name, len, text, sizeof(text));
		assert_in_range(n, (ssize_t)len, (ssize_t)(3 * len));
		assert_int_equal(users_unescape(text, (size_t)n, back, sizeof(back)), len);
		assert_true(memcmp(name, back, len) == 0);
		snprintf(line, sizeof(line), "%s:x::\n", text);
		struct users *u = good(line);
		assert_int_equal(users_nth(u, 0)->name_len, len);
		assert_non_null(users_find(u, name, len));
		assert_null(users_find(u, name, len - 1));
		users_free(u);
	}
}

static void
test_bounds(void **state)
{
	char text[GROUPS_MAX * 3];
	uint8_t out[4];
	char small[4];

	(void)state;
	assert_int_equal(users_unescape("abcd", 4, out, 4), 4);
	assert_int_equal(users_unescape("abcde", 5, out, 4), -1);
	assert_int_equal(users_escape((const uint8_t *)"abc", 3, small, 4), 3);
	assert_int_equal(users_escape((const uint8_t *)"abcd", 4, small, 4), -1);
	assert_int_equal(users_escape((const uint8_t *)" a", 2, small, 4), -1);
	assert_int_equal(users_escape((const uint8_t *)" ", 1, small, 4), 3);
	assert_int_equal(users_escape((const uint8_t *)"", 0, small, 0), -1);

	/* A name of 256, a hash of 384, a group of 256: one too many; one fewer is right. */
	for (size_t over = 0; over < 2; over++) {
		memset(text, 'a', sizeof(text));
		strcpy(text + USER_MAX + over, ":x::\n");
		over ? bad(text, strlen(text), 1) : users_free(good(text));
		memset(text, 'a', sizeof(text));
		text[1] = ':';
		strcpy(text + 2 + USERS_HASH_MAX - 1 + over, "::\n");
		over ? bad(text, strlen(text), 1) : users_free(good(text));
		memcpy(text, "a:x:", 4);
		memset(text + 4, 'g', USER_MAX + over);
		strcpy(text + 4 + USER_MAX + over, ":\n");
		over ? bad(text, strlen(text), 1) : users_free(good(text));
		/* 16 groups of 255 take 4096 octets packed: full. */
		size_t n = 4;
		for (unsigned g = 0; g < 16; g++) {
			memset(text + n, 'g', USER_MAX);
			n += USER_MAX;
			text[n++] = ',';
		}
		strcpy(text + n - 1, over ? ",x:\n" : ":\n");
		over ? bad(text, strlen(text), 1) : users_free(good(text));
	}
}

static void
test_phrases(void **state)
{
	uint8_t password[PASSWORD_MAX];
	char out[CRYPT_PHRASE_MAX];

	(void)state;
	for (unsigned i = 0; i < PASSWORD_MAX; i++)
		password[i] = (uint8_t)(i + 1);
	assert_int_equal(users_phrase(password, PASSWORD_MAX, out), PASSWORD_MAX);
	assert_memory_equal(out, password, PASSWORD_MAX); /* without NUL: itself, 01 included */
	assert_int_equal(out[PASSWORD_MAX], 0);

	assert_int_equal(users_phrase((const uint8_t *)"a\0b\1c", 5, out), 7);
	assert_memory_equal(out, "a\1\1b\1\2c", 8);
	memset(password, 0, sizeof(password));
	assert_int_equal(users_phrase(password, PASSWORD_MAX, out), 2 * PASSWORD_MAX);
	assert_int_equal(strlen(out), 2 * PASSWORD_MAX);
	/* NUL or not, what is behind it counts. */
	char other[CRYPT_PHRASE_MAX];
	users_phrase((const uint8_t *)"a\0x", 3, out);
	users_phrase((const uint8_t *)"a\0y", 3, other);
	assert_string_not_equal(out, other);
}

static void
check_safe(int fd, mode_t mode, uid_t uid, bool safe)
{
	const char *what = NULL;

	assert_int_equal(fchmod(fd, mode), 0);
	if (geteuid() == 0)
		assert_int_equal(fchown(fd, uid, 0), 0);
	else if (uid != 0)
		return; /* only root can give a file away */
	assert_int_equal(users_file_safe(fd, &what), safe ? 0 : -1);
	if (!safe)
		assert_non_null(what);
}

static void
test_file_safe(void **state)
{
	char path[] = "/tmp/sallyport-users-XXXXXX";
	const char *what = NULL;
	int fd = mkstemp(path), p[2];

	(void)state;
	assert_int_not_equal(fd, -1);
	unlink(path);
	check_safe(fd, 0600, 0, true);
	check_safe(fd, 0640, 0, true);
	check_safe(fd, 0400, 0, true);
	check_safe(fd, 0604, 0, false);
	check_safe(fd, 0602, 0, false);
	check_safe(fd, 0601, 0, false);
	check_safe(fd, 0660, 0, false);
	check_safe(fd, 0644, 0, false);
	check_safe(fd, 0600, 65534, geteuid() != 0);
	close(fd);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(users_file_safe(p[0], &what), -1);
	close(p[0]);
	close(p[1]);
	assert_int_equal(users_file_safe(-1, &what), -1);
	assert_int_equal((fd = open("/tmp", O_RDONLY | O_DIRECTORY)) == -1, 0);
	assert_int_equal(users_file_safe(fd, &what), -1);
	close(fd);
}

static void
test_unreadable_and_too_large(void **state)
{
	unsigned line = 7;
	const char *what;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_null(users_read(p[0], &line, &what));
	assert_int_equal(line, 0);
	close(p[0]);
	close(p[1]);
	int fd = memfd_create("users", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)USERS_FILE_MAX + 1), 0);
	assert_null(users_read(fd, &line, &what));
	assert_int_equal(errno, EFBIG);
	close(fd);
}

static void
test_many_users(void **state)
{
	const unsigned n = 20000;
	char *text = malloc(n * 24), name[16];
	size_t len = 0;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "user%u:hash%u::\n", i, i);
	struct users *u = good(text);
	assert_int_equal(users_count(u), n);
	for (unsigned i = 0; i < n; i++) {
		sprintf(name, "user%u", i);
		assert_ptr_equal(find(u, name), users_nth(u, i));
	}
	assert_null(find(u, "user20000"));
	users_free(u);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_malformed_lines),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_all_octets_and_lengths),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_phrases),
		cmocka_unit_test(test_file_safe),
		cmocka_unit_test(test_unreadable_and_too_large),
		cmocka_unit_test(test_many_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
