/*
 * The bounded cursor: all reads of foreign octets go through it. A read past the end sets `bad`,
 * gives zeros, and every later read fails too, so a parser checks once at its end (wire_done).
 */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct wire
wire_from(const void *data, size_t len)
{
	return (struct wire){ .p = data, .end = (const uint8_t *)data + len, .bad = false };
}
static inline size_t
wire_left(const struct wire *w)
{
	return (size_t)(w->end - w->p);
}
/* The next n octets, or NULL (bad) if there are fewer. */
static inline const uint8_t *
wire_take(struct wire *w, size_t n)
{
	if (w->bad || wire_left(w) < n) {
		w->bad = true;
		return NULL;
	}
	const uint8_t *p = w->p;
	w->p += n;
	return p;
}
static inline uint8_t
wire_u8(struct wire *w)
{
	const uint8_t *p = wire_take(w, 1);
	return p != NULL ? *p : 0;
}
/* Network order. */
static inline uint16_t
wire_u16(struct wire *w)
{
	const uint8_t *p = wire_take(w, 2);
	return p != NULL ? (uint16_t)((unsigned)p[0] << 8 | p[1]) : 0;
}
/* Copies a fixed-width struct; zeros if there is not enough. */
static inline void
wire_copy(struct wire *w, void *out, size_t n)
{
	const uint8_t *p = wire_take(w, n);
	if (p != NULL)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}
/* Nothing was missing and nothing is left over. */
static inline bool
wire_done(const struct wire *w)
{
	return !w->bad && w->p == w->end;
}

#endif
