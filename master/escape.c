/*
 * Text in a fixed buffer and the escapes of the audit trail. Owns nothing; trusts no octet it is
 * given.
 */
#include "master/escape.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/decimal.h"

struct text
text_in(char *buf, size_t size)
{
	buf[0] = '\0';
	return (struct text){ .p = buf, .len = 0, .size = size };
}

void
text_octets(struct text *t, const void *octets, size_t len)
{
	size_t room = t->size - 1 - t->len;

	if (len > room)
		len = room;
	if (len > 0)
		memcpy(t->p + t->len, octets, len);
	t->len += len;
	t->p[t->len] = '\0';
}

void
text_string(struct text *t, const char *s)
{
	text_octets(t, s, strlen(s));
}

void
text_char(struct text *t, char c)
{
	text_octets(t, &c, 1);
}

void
text_number(struct text *t, uint64_t n)
{
	char digits[DECIMAL_MAX];

	text_octets(t, digits, decimal_put(digits, n));
}

void
text_hex(struct text *t, uint64_t n, unsigned digits)
{
	while (digits-- > 0)
		text_char(t, "0123456789abcdef"[n >> digits * 4 & 0xf]);
}

void
text_format(struct text *t, const char *fmt, ...)
{
	size_t room = t->size - t->len;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(t->p + t->len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* As they stand in ASCII: from - to : are . / and the digits too, and @ precedes A. */
static bool
is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '-' && c <= ':') || (c >= '@' && c <= 'Z') ||
	       c == '_' || c == '+';
}

bool
escape_plain(const void *octets, size_t len)
{
	const uint8_t *p = octets;

	for (size_t i = 0; i < len; i++)
		if (!is_plain(p[i]))
			return false;
	return len > 0;
}

/* `before` and two hexadecimal digits stand for each octet that may not stand for itself. */
static void
escape_by_number(struct text *t, const uint8_t *p, size_t len, uint8_t lowest, const char *before)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] >= lowest && p[i] <= 0x7e && p[i] != '"' && p[i] != '\\') {
			text_octets(t, &p[i], 1);
		} else {
			text_string(t, before);
			text_hex(t, p[i], 2);
		}
	}
}

void
escape_logfmt(struct text *t, const void *octets, size_t len, uint8_t lowest)
{
	escape_by_number(t, octets, len, lowest, "\\x");
}

void
escape_json(struct text *t, const void *octets, size_t len, uint8_t lowest)
{
	escape_by_number(t, octets, len, lowest, "\\u00");
}
