/*
 * The reassembly queue of RFC 1928 section 7. Owns the memory of the fragments of one association;
 * trusts nothing in them: whatever the client sends, at most REASSEMBLY_MAX octets are held.
 */
#include "common/reassembly.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_FRAG 2 /* offset of FRAG in a header, after RSV */

void
reassembly_init(struct reassembly *r, struct reassembly_budget *budget, uint32_t *drops)
{
	memset(r, 0, sizeof(*r));
	r->budget = budget;
	r->drops = drops;
}

/* "The reassembly queue must be reinitialized": what it holds, if anything, is dropped. */
static void
reinitialise(struct reassembly *r, enum drop why)
{
	r->drops[why] += r->highest; /* positions 1 to highest are all there */
	r->highest = 0;
	r->budget->used -= r->size;
	free(r->buf);
	r->buf = NULL;
	r->size = r->len = 0;
	r->until = 0;
}

void
reassembly_expire(struct reassembly *r, uint64_t now)
{
	if (r->until != 0 && now >= r->until)
		reinitialise(r, DROP_FRAGMENT);
}

void
reassembly_end(struct reassembly *r)
{
	reinitialise(r, DROP_FRAGMENT);
}

/* Makes room for n more octets. False: the budget or the memory is used up. */
static bool
make_room(struct reassembly *r, size_t n)
{
	size_t need = r->len + n, size = r->size > 0 ? r->size : 512;
	uint8_t *buf;

	if (need <= r->size)
		return true;
	while (size < need)
		size *= 2;
	if (size > REASSEMBLY_MAX)
		size = REASSEMBLY_MAX;
	if (r->budget->used - r->size + size > REASSEMBLY_BUDGET)
		return false;
	buf = realloc(r->buf, size);
	if (buf == NULL)
		return false;
	r->buf = buf;
	r->budget->used += size - r->size;
	r->size = size;
	return true;
}

static bool
append(struct reassembly *r, const uint8_t *p, size_t n)
{
	if (!make_room(r, n))
		return false;
	memcpy(r->buf + r->len, p, n);
	r->len += n;
	return true;
}

/* Adds d at the end. False: the sequence cannot become whole; it is abandoned with d. */
static bool
take(struct reassembly *r, const struct datagram *d)
{
	enum drop why = DROP_QUEUE;

	r->last = r->len;
	if (r->len - r->head_len + d->data_len > DATAGRAM_MAX)
		why = DROP_SIZE;
	else if (append(r, d->data, d->data_len)) {
		r->highest++;
		return true;
	}
	r->drops[why]++;
	reinitialise(r, why);
	return false;
}

static bool
begin(struct reassembly *r, uint64_t now, const struct datagram *d)
{
	reinitialise(r, DROP_FRAGMENT);
	r->head_len = d->head_len;
	r->until = now + REASSEMBLY_MS;
	if (!append(r, d->head, d->head_len)) {
		r->drops[DROP_QUEUE]++;
		reinitialise(r, DROP_QUEUE);
		return false;
	}
	r->buf[HEAD_FRAG] = 0;
	return take(r, d);
}

/* True if d's header is that of the sequence, FRAG aside. */
static bool
belongs(const struct reassembly *r, const struct datagram *d)
{
	return d->head_len == r->head_len && memcmp(d->head + HEAD_FRAG + 1, r->buf + HEAD_FRAG + 1,
						 r->head_len - HEAD_FRAG - 1) == 0;
}

/* Takes a fragment of this position if it has a place. */
static bool
place(struct reassembly *r, uint64_t now, const struct datagram *d, uint8_t position)
{
	if (position == 1)
		return begin(r, now, d);
	if (position >= r->highest && r->highest != 0) {
		if (!belongs(r, d)) {
			r->drops[DROP_FRAGMENT]++;
			return false;
		}
		if (position == r->highest) {
			r->drops[DROP_FRAGMENT]++;
			r->highest--;
			r->len = r->last;
		}
		if (position == r->highest + 1)
			return take(r, d);
	}
	/* lower than the highest, after a gap, or without a beginning */
	r->drops[DROP_FRAGMENT]++;
	reinitialise(r, DROP_FRAGMENT);
	return false;
}

bool
reassembly_feed(
    struct reassembly *r, uint64_t now, const struct datagram *d, struct datagram *whole)
{
	reassembly_expire(r, now);
	if (r->highest == 0)
		reinitialise(r, DROP_FRAGMENT); /* what was given out the last time */
	if (d->frag == SALLYPORT_FRAG_NONE) {
		reinitialise(r, DROP_FRAGMENT);
		*whole = *d;
		return true;
	}
	if (!place(r, now, d, d->frag & SALLYPORT_FRAG_MAX) || (d->frag & SALLYPORT_FRAG_END) == 0)
		return false;
	r->highest = 0;
	return datagram_parse(r->buf, r->len, whole) == 0;
}
