/*
 * The users file: one line a user, NAME:HASH:GROUPS:EXPIRES[:LOCKED]. authd's password role reads
 * it from a descriptor; sallyportctl passwd edits it. See sallyportctl(8) for the format.
 *
 * NAME is 1 to 255 octets; those outside 0x21-0x7e, and ':', ',', '%', '#', stand as %XX. HASH is
 * crypt(5)'s. GROUPS is a comma list, escaped likewise. EXPIRES is empty or YYYY-MM-DD: the last
 * day on which the account serves (UTC). LOCKED is empty or "locked". Lines that begin with '#' and
 * empty ones are comments and kept.
 */
#ifndef COMMON_USERS_H
#define COMMON_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/msg.h"

#define USERS_HASH_MAX   384         /* CRYPT_OUTPUT_SIZE */
#define USERS_FILE_MAX   (64u << 20) /* octets */
#define CRYPT_PHRASE_MAX (2 * PASSWORD_MAX + 1)

struct user {
	uint8_t name[USER_MAX];
	uint8_t name_len;
	char hash[USERS_HASH_MAX];
	uint8_t *groups; /* packed as in messages: length octet, name, ... */
	size_t groups_len;
	int64_t expires; /* first second (UTC) at which it no longer serves; 0: never */
	bool locked;
};

struct users; /* all of a file, immutable, looked up by name */

/* Reads all of fd (from its start, with pread). NULL on error with errno, and for a fault in the
 * text *line and *what (a constant). */
struct users *users_read(int fd, unsigned *line, const char **what);
void users_free(struct users *u); /* wipes hashes */
size_t users_count(const struct users *u);
const struct user *users_find(const struct users *u, const uint8_t *name, size_t len);
const struct user *users_nth(const struct users *u, size_t i); /* in file order */

/* Is fd (opened O_RDONLY|O_NOFOLLOW) a regular file, owned by root (or by the caller's uid where
 * that is not root), and without any right for group's write or others? 0, or -1 and *what says
 * which. */
int users_file_safe(int fd, const char **what);

/* The EXPIRES field of the file: *out as in struct user. False: it is neither empty nor a date. */
bool users_expires(const char *text, int64_t *out);

/* crypt(3) takes a C string, a password may hold any octet: one without NUL stands for itself; in
 * one with NUL, 00 becomes 01 01 and 01 becomes 01 02. Returns the length; out is NUL-terminated;
 * wipe it. */
size_t users_phrase(const uint8_t *password, size_t len, char out[CRYPT_PHRASE_MAX]);

/* Text escapes of the file. Return length or -1 (too long, bad escape). */
ssize_t users_escape(const uint8_t *in, size_t len, char *out, size_t size);
ssize_t users_unescape(const char *in, size_t len, uint8_t *out, size_t size);

#endif
