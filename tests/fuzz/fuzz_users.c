/*
 * The users file's reader: any octets. What it accepts must be found by its name, and its names and
 * groups must come back through the file's escapes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool holds)
{
	if (!holds)
		abort();
}

static void
check_text(const uint8_t *octets, size_t len)
{
	char text[3 * USER_MAX + 1];
	uint8_t back[USER_MAX];
	ssize_t n = users_escape(octets, len, text, sizeof(text));

	require(n >= (ssize_t)len && users_unescape(text, (size_t)n, back, len) == (ssize_t)len);
	require(memcmp(octets, back, len) == 0);
}

static void
check_user(const struct users *u, const struct user *x)
{
	size_t at = 0;

	require(x->name_len > 0 && users_find(u, x->name, x->name_len) == x);
	require(strlen(x->hash) > 0 && strlen(x->hash) < USERS_HASH_MAX);
	require(x->expires >= 0 && x->expires % 86400 == 0 && x->groups_len <= GROUPS_MAX);
	check_text(x->name, x->name_len);
	while (at < x->groups_len) {
		require(x->groups[at] > 0 && x->groups[at] < x->groups_len - at);
		check_text(x->groups + at + 1, x->groups[at]);
		at += 1u + x->groups[at];
	}
	require(at == x->groups_len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	unsigned line;
	const char *what;
	char phrase[CRYPT_PHRASE_MAX];

	if (fd == -1)
		fd = memfd_create("users", MFD_CLOEXEC);
	require(fd != -1 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	struct users *u = users_read(fd, &line, &what);
	if (u == NULL) {
		require(line > 0 && what != NULL);
	} else {
		require(line == 0);
		for (size_t i = 0; i < users_count(u); i++)
			check_user(u, users_nth(u, i));
	}
	users_free(u);

	size_t len = size < PASSWORD_MAX ? size : PASSWORD_MAX;
	size_t n = users_phrase(data, len, phrase);
	require(n >= len && strlen(phrase) == n);
	return 0;
}
