/*
 * The reader of name servers' replies (RFC 1035 section 4). Trusts nothing in them: every read is
 * bounded, compression only leads backwards, and the work is bounded by constants. Section numbers
 * are RFC 1035's where no other is named.
 */
#include "worker/resolver_reply.h"

#include <string.h>

#include "common/wire.h"

#define LABEL_MAX   63  /* octets: section 2.3.4 */
#define CNAMES_MAX  16  /* followed in one reply; a loop ends here */
#define RECORDS_MAX 512 /* read of one section; what follows is left out */

#define TYPE_A     1u
#define TYPE_CNAME 5u
#define TYPE_SOA   6u
#define TYPE_AAAA  28u
#define CLASS_IN   1u

#define FLAG_QR        0x8000u
#define FLAG_OPCODE    0x7800u
#define FLAG_TC        0x0200u
#define FLAG_RCODE     0x000fu
#define RCODE_NOERROR  0u
#define RCODE_NXDOMAIN 3u

/* A reply being read. */
struct reply {
	const uint8_t *msg;
	size_t size;
	struct wire w;
};

struct record {
	struct dns_name owner;
	unsigned type, class;
	uint32_t ttl;
	struct wire data; /* starts inside the message, so that names in it can be expanded */
};

int
dns_name_from(const uint8_t *text, size_t len, struct dns_name *out)
{
	size_t at = 0;

	/* Every dot becomes a length, one more stands in front, and the root's zero at the end. */
	if (len == 0 || len + 2 > DNS_NAME_WIRE)
		return -1;
	while (at <= len) {
		const uint8_t *dot = memchr(text + at, '.', len - at);
		size_t label = (dot != NULL ? (size_t)(dot - text) : len) - at;

		if (label == 0 || label > LABEL_MAX)
			return -1;
		out->b[at] = (uint8_t)label;
		memcpy(out->b + at + 1, text + at, label);
		at += label + 1;
	}
	out->b[at] = 0;
	out->len = (uint8_t)(at + 1);
	return 0;
}

static uint8_t
fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* RFC 4343: names are equal without regard to the case of ASCII letters. (Lengths are below 'A'.)
 */
static bool
same_name(const struct dns_name *a, const struct dns_name *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		if (fold(a->b[i]) != fold(b->b[i]))
			return false;
	return true;
}

static bool
label_take(struct wire *w, uint8_t label, struct dns_name *out)
{
	const uint8_t *octets = wire_take(w, label);

	/* Room for this label's length and for the root's. */
	if (octets == NULL || out->len + 1u + label + 1u > DNS_NAME_WIRE)
		return false;
	out->b[out->len] = label;
	memcpy(out->b + out->len + 1, octets, label);
	out->len = (uint8_t)(out->len + 1 + label);
	return true;
}

/*
 * Reads a name at the cursor, which then stands behind it; sets w->bad where it is none. A pointer
 * (section 4.1.4) must lead before the run of labels that it ends, so that the walk is finite.
 */
static void
read_name(const struct reply *r, struct wire *w, struct dns_name *out)
{
	struct wire jumped, *at = w;
	size_t limit = (size_t)(w->p - r->msg);

	out->len = 0;
	for (;;) {
		uint8_t label = wire_u8(at);

		if (at->bad)
			break;
		if (label == 0) {
			out->b[out->len++] = 0;
			return;
		}
		if (label <= LABEL_MAX) {
			if (!label_take(at, label, out))
				break;
			continue;
		}
		size_t to = (label & 0x3fu) << 8 | wire_u8(at);
		if ((label & 0xc0) != 0xc0 || at->bad || to >= limit)
			break;
		limit = to;
		jumped = wire_from(r->msg + to, r->size - to);
		at = &jumped;
	}
	w->bad = true;
}

static uint32_t
read_u32(struct wire *w)
{
	uint32_t high = wire_u16(w);

	return high << 16 | wire_u16(w);
}

/* RFC 2181 section 8: a TTL with the highest bit set is 0. */
static uint32_t
read_ttl(struct wire *w)
{
	uint32_t ttl = read_u32(w);

	return ttl <= INT32_MAX ? ttl : 0;
}

static bool
read_record(struct reply *r, struct record *rr)
{
	read_name(r, &r->w, &rr->owner);
	rr->type = wire_u16(&r->w);
	rr->class = wire_u16(&r->w);
	rr->ttl = read_ttl(&r->w);
	size_t len = wire_u16(&r->w);
	const uint8_t *data = wire_take(&r->w, len);
	if (data == NULL)
		return false;
	rr->data = wire_from(data, len);
	return true;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The walk from the name asked for to its addresses. */
struct chase {
	struct dns_name name; /* where the CNAMEs have led so far */
	unsigned cnames;
	unsigned family;
	struct dns_answer *a;
};

static bool
take_record(const struct reply *r, struct record *rr, struct chase *c)
{
	size_t size = c->family == LOOKUP_A ? 4 : 16;

	if (rr->class != CLASS_IN || !same_name(&rr->owner, &c->name))
		return true;
	if (rr->type == TYPE_CNAME) {
		read_name(r, &rr->data, &c->name);
		c->a->ttl = least(c->a->ttl, rr->ttl);
		return wire_done(&rr->data) && ++c->cnames <= CNAMES_MAX;
	}
	if (rr->type != (c->family == LOOKUP_A ? TYPE_A : TYPE_AAAA))
		return true;
	if (wire_left(&rr->data) != size)
		return false;
	if (c->a->naddr < ANSWER_ADDRS) {
		struct addr *to = &c->a->addr[c->a->naddr++];
		*to = (struct addr){ .family = c->family == LOOKUP_A ? ADDR_V4 : ADDR_V6 };
		memcpy(to->b, wire_take(&rr->data, size), size);
		c->a->ttl = least(c->a->ttl, rr->ttl);
	}
	return true;
}

/* The answer section. It is read again whenever CNAMEs led on, because their order is not given. */
static bool
read_answers(struct reply *r, unsigned count, struct chase *c)
{
	struct wire start = r->w;
	unsigned before;
	struct record rr;

	do {
		before = c->cnames;
		c->a->naddr = 0;
		r->w = start;
		for (unsigned i = 0; i < count && i < RECORDS_MAX; i++)
			if (!read_record(r, &rr) || !take_record(r, &rr, c))
				return false;
	} while (c->cnames > before);
	return true;
}

/* RFC 2308 section 5: the SOA's own TTL or its MINIMUM, the smaller; with no SOA it is not kept. */
static bool
read_negative_ttl(struct reply *r, unsigned count, struct dns_answer *a)
{
	struct record rr;
	struct dns_name skip;

	for (unsigned i = 0; i < count && i < RECORDS_MAX; i++) {
		if (!read_record(r, &rr))
			return false;
		if (rr.type != TYPE_SOA || rr.class != CLASS_IN)
			continue;
		read_name(r, &rr.data, &skip);
		if (!rr.data.bad)
			read_name(r, &rr.data, &skip);
		wire_take(&rr.data, 4 * sizeof(uint32_t)); /* SERIAL to EXPIRE: section 3.3.13 */
		a->ttl = least(a->ttl, least(rr.ttl, read_ttl(&rr.data)));
		return wire_done(&rr.data);
	}
	a->ttl = 0;
	return true;
}

static enum reply_kind
check_question(struct reply *r, unsigned count, const struct dns_name *question, unsigned family)
{
	struct dns_name name;

	if (count != 1)
		return REPLY_BAD;
	read_name(r, &r->w, &name);
	unsigned type = wire_u16(&r->w), class = wire_u16(&r->w);
	if (r->w.bad || type != (family == LOOKUP_A ? TYPE_A : TYPE_AAAA) || class != CLASS_IN ||
	    !same_name(&name, question))
		return REPLY_BAD;
	return memcmp(name.b, question->b, name.len) == 0 ? REPLY_ANSWER : REPLY_CASE;
}

enum reply_kind
reply_parse(const uint8_t *buf, size_t len, const struct dns_name *question, unsigned family,
    struct dns_answer *a)
{
	struct reply r = { .msg = buf, .size = len, .w = wire_from(buf, len) };
	struct chase c = { .name = *question, .family = family, .a = a };

	wire_u16(&r.w); /* the id: c-ares has matched it */
	unsigned flags = wire_u16(&r.w);
	unsigned questions = wire_u16(&r.w), answers = wire_u16(&r.w), authority = wire_u16(&r.w);
	wire_u16(&r.w);
	if (r.w.bad || (flags & FLAG_QR) == 0 || (flags & (FLAG_OPCODE | FLAG_TC)) != 0)
		return REPLY_BAD;
	enum reply_kind kind = check_question(&r, questions, question, family);
	if (kind != REPLY_ANSWER)
		return kind;

	a->naddr = 0;
	a->ttl = UINT32_MAX;
	unsigned rcode = flags & FLAG_RCODE;
	if (rcode != RCODE_NOERROR && rcode != RCODE_NXDOMAIN) {
		a->status = ANSWER_FAILED;
		a->ttl = DNS_FAILED_MAX;
		return REPLY_ANSWER;
	}
	if (!read_answers(&r, answers, &c))
		return REPLY_BAD;
	if (a->naddr > 0 && rcode == RCODE_NOERROR) {
		a->status = ANSWER_OK;
		return REPLY_ANSWER;
	}
	a->naddr = 0;
	a->status = rcode == RCODE_NXDOMAIN ? ANSWER_NO_NAME : ANSWER_NO_DATA;
	if (answers > RECORDS_MAX)
		a->ttl = 0;
	else if (!read_negative_ttl(&r, authority, a))
		return REPLY_BAD;
	return REPLY_ANSWER;
}
