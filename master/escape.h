/*
 * Text in a fixed buffer, and the two escapes of the audit trail. Whatever octets go in, what comes
 * out is printable ASCII, and a quote in it is a delimiter, never data: also a
 * quote and a backslash are written by number (\x22, \u0022), so that the simplest reader cannot be
 * misled.
 */
#ifndef MASTER_ESCAPE_H
#define MASTER_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writing past the end is not done and not told: the caller's buffer holds the longest there is. */
struct text {
	char *p;
	size_t len, size; /* len < size, and p[len] is NUL */
};

struct text text_in(char *buf, size_t size);
void text_octets(struct text *t, const void *octets, size_t len);
void text_string(struct text *t, const char *s);
void text_char(struct text *t, char c);
void text_number(struct text *t, uint64_t n);
/* The last `digits` hexadecimal digits of n, 16 at most. */
void text_hex(struct text *t, uint64_t n, unsigned digits);
/* For what is written seldom: it takes ten times as long as those above. */
void text_format(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Not empty and nothing but letters, digits and ._:/@+-: needs no quotes in logfmt. */
bool escape_plain(const void *octets, size_t len);
/* As it stands between the quotes: \xHH for octets below `lowest` (0x21, or 0x20 where a space may
 * stand for itself) or above 0x7e, quotes and backslashes. */
void escape_logfmt(struct text *t, const void *octets, size_t len, uint8_t lowest);
/* Likewise with \u00HH: each octet is one code point (Latin-1), so the octets come back exactly. */
void escape_json(struct text *t, const void *octets, size_t len, uint8_t lowest);

#endif
