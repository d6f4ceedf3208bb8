/*
 * Readers of audit lines, strict and written apart from the writer: what they give back must be the
 * octets that went in. For the unit tests and the fuzzer.
 */
#ifndef TESTS_AUDIT_PARSE_H
#define TESTS_AUDIT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PARSED_FIELDS 40

struct parsed {
	size_t n;
	struct {
		char key[32];
		bool quoted;
		size_t len;
		uint8_t v[1024];
	} f[PARSED_FIELDS];
};

static inline int
parse_hex(const char *p, unsigned digits)
{
	int v = 0;

	for (unsigned i = 0; i < digits; i++) {
		const char *hex = "0123456789abcdef", *d = p[i] ? strchr(hex, p[i] | 0x20) : NULL;
		if (d == NULL)
			return -1;
		v = v * 16 + (int)(d - hex);
	}
	return v;
}

/* One octet of a quoted text, escaped or not; NULL where it is none. */
static inline const char *
parse_octet(const char *p, bool json, bool text, uint8_t *out)
{
	int v = (uint8_t)*p;

	if (v < (text ? 0x20 : 0x21) || v > 0x7e)
		return NULL;
	if (*p != '\\') {
		*out = (uint8_t)v;
		return p + 1;
	}
	if (p[1] == '\\' || p[1] == '"') {
		*out = (uint8_t)p[1];
		return p + 2;
	}
	unsigned digits = json ? 4 : 2;
	if (p[1] != (json ? 'u' : 'x') || (v = parse_hex(p + 2, digits)) < 0 || v > 255)
		return NULL;
	*out = (uint8_t)v;
	return p + 2 + digits;
}

/* A value: quoted, or plain up to the end, a space (logfmt), a comma or a brace (JSON). */
static inline const char *
parse_value(const char *p, bool json, struct parsed *r)
{
	size_t i = r->n, len = 0;
	bool text = strcmp(r->f[i].key, "detail") == 0; /* the only one with spaces */

	r->f[i].quoted = *p == '"';
	if (r->f[i].quoted) {
		for (p++; *p != '"'; len++)
			if (len == sizeof(r->f[i].v) ||
			    (p = parse_octet(p, json, text, &r->f[i].v[len])) == NULL)
				return NULL;
		p++;
	} else {
		const char *ends = json ? ",}" : " ";
		for (; *p != '\0' && strchr(ends, *p) == NULL; len++, p++) {
			bool digit = *p >= '0' && *p <= '9';
			if ((uint8_t)*p < 0x21 || (uint8_t)*p > 0x7e ||
			    strchr("\"\\=", *p) != NULL || (json && !digit) ||
			    len == sizeof(r->f[i].v))
				return NULL;
			r->f[i].v[len] = (uint8_t)*p;
		}
		if (len == 0)
			return NULL;
	}
	r->f[i].len = len;
	r->n++;
	return p;
}

/* A key up to `end`; the text after it. */
static inline const char *
parse_key(const char *p, char end, struct parsed *r)
{
	size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz-");

	if (r->n == PARSED_FIELDS || len == 0 || len >= sizeof(r->f[0].key) || p[len] != end)
		return NULL;
	for (size_t i = 0; i < r->n; i++)
		if (strlen(r->f[i].key) == len && strncmp(r->f[i].key, p, len) == 0)
			return NULL; /* twice */
	memcpy(r->f[r->n].key, p, len);
	r->f[r->n].key[len] = '\0';
	return p + len + 1;
}

static inline bool
parse_logfmt(const char *p, struct parsed *r)
{
	r->n = 0;
	for (;;) {
		if ((p = parse_key(p, '=', r)) == NULL || (p = parse_value(p, false, r)) == NULL)
			return false;
		if (*p == '\0')
			return true;
		if (*p++ != ' ')
			return false;
	}
}

static inline bool
parse_json(const char *p, struct parsed *r)
{
	r->n = 0;
	if (strncmp(p, "@cee: {", 7) != 0)
		return false;
	for (p += 7;; p++) {
		if (*p++ != '"' || (p = parse_key(p, '"', r)) == NULL || *p++ != ':' ||
		    (p = parse_value(p, true, r)) == NULL)
			return false;
		if (*p == '}')
			return p[1] == '\0';
		if (*p != ',')
			return false;
	}
}

/* The index of a key, or -1. */
static inline int
parsed_find(const struct parsed *r, const char *key)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->f[i].key, key) == 0)
			return (int)i;
	return -1;
}

static inline bool
parsed_is(const struct parsed *r, const char *key, const void *octets, size_t len)
{
	int i = parsed_find(r, key);

	return i != -1 && r->f[i].len == len && (len == 0 || memcmp(r->f[i].v, octets, len) == 0);
}

#endif
