/*
 * Text in a fixed buffer and the escapes of the audit trail. Owns nothing; trusts no octet it is
 * given.
 */
#include "master/escape.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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

bool
escape_plain(const void *octets, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789._:/@+-";
	const char *p = octets;

	for (size_t i = 0; i < len; i++)
		if (memchr(plain, p[i], sizeof(plain) - 1) == NULL)
			return false;
	return len > 0;
}

/* `before` and two hexadecimal digits stand for each octet that may not stand for itself. */
static void
escape_by_number(struct text *t, const uint8_t *p, size_t len, uint8_t lowest, const char *before)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] >= lowest && p[i] <= 0x7e && p[i] != '"' && p[i] != '\\')
			text_octets(t, &p[i], 1);
		else
			text_format(t, "%s%02x", before, p[i]);
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
