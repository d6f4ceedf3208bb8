/*
 * Names as clients send them (RFC 1928 section 5: up to 255 octets of anything) made comparable,
 * and told from addresses. Owns nothing. The octets are foreign.
 */
#include <string.h>

#include "common/rules.h"

#define LABEL_MAX 63 /* octets; RFC 1035 section 2.3.4 */

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

int
name_normalise(const uint8_t *in, size_t len, uint8_t *out)
{
	size_t label = 0;

	if (len > 0 && in[len - 1] == '.')
		len--;
	if (len == 0 || len > NAME_MAX_LEN)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (in[i] == '\0' || (in[i] == '.' && label == 0))
			return -1;
		label = in[i] == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return -1;
		out[i] = lower(in[i]);
	}
	return label > 0 ? (int)len : -1;
}

/* A number as strtoul(3) with base 0 takes it: decimal, octal, hexadecimal; of any size. */
static bool
numeric(const uint8_t *s, size_t len)
{
	bool hex = len >= 2 && s[0] == '0' && lower(s[1]) == 'x';

	for (size_t i = hex ? 2 : 0; i < len; i++) {
		uint8_t c = lower(s[i]);
		if (!(c >= '0' && c <= '9') && !(hex && c >= 'a' && c <= 'f'))
			return false;
	}
	return len > 0;
}

/* One to four numbers between dots, up to the first white space: inet_aton(3) looks no further. */
static bool
loose_ipv4(const uint8_t *s, size_t len)
{
	size_t start = 0, parts = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == ' ' || (s[i] >= '\t' && s[i] <= '\r'))
			len = i;
	}
	for (size_t i = 0; i <= len; i++) {
		if (i < len && s[i] != '.')
			continue;
		if (!numeric(s + start, i - start))
			return false;
		parts++;
		start = i + 1;
	}
	return parts <= 4;
}

bool
name_is_address(const uint8_t *name, size_t len, struct addr *a)
{
	char text[ADDR_TEXT];

	memset(a, 0, sizeof(*a));
	if (len > 0 && name[len - 1] == '.')
		len--;
	bool bracketed = len >= 2 && name[0] == '[' && name[len - 1] == ']';
	const uint8_t *p = bracketed ? name + 1 : name;
	size_t n = bracketed ? len - 2 : len;

	if (n < sizeof(text) && memchr(p, '\0', n) == NULL) {
		memcpy(text, p, n);
		text[n] = '\0';
		if (addr_parse(text, a) == 0 && (!bracketed || a->family == ADDR_V6))
			return true;
		memset(a, 0, sizeof(*a));
	}
	/* No host name has a colon or a bracket: what is left of these are addresses with a scope,
	 * and misspelt ones. */
	if (len > 0 && (name[0] == '[' || memchr(name, ':', len) != NULL))
		return true;
	return loose_ipv4(name, len);
}
