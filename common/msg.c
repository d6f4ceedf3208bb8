/*
 * The message table's data: names, and the one check that every received message passes.
 */
#include "common/msg.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static const struct msg_spec {
	const char *name;
	uint32_t from, to;
	size_t min, max;
	bool fd;
} specs[] = {
#define X(NAME, name, from, to, fixed, least, most, fd) \
	{ #name, from, to, (fixed) + (least), (fixed) + (most), fd },
	MESSAGES(X)
#undef X
};

#define X(NAME, name, from, to, fixed, least, most, fd) \
	_Static_assert((fixed) + (most) <= MSG_PAYLOAD, #name " is larger than a payload");
MESSAGES(X)
#undef X

_Static_assert(ARRAY_LEN(specs) == MSG_COUNT, "the table and the enum are one");
_Static_assert(MSG_PAYLOAD + sizeof(struct msg_head) <= MSG_PACKET_MAX, "a message fits a packet");
_Static_assert(LAYER_COUNT <= 9, "struct msg_init has room for nine layers");

bool
msg_allowed(const struct msg_head *h, enum role from, enum role to, bool has_fd)
{
	const struct msg_spec *s;

	if (h->type >= MSG_COUNT || h->zero != 0)
		return false;
	s = &specs[h->type];
	return (s->from & ROLE_BIT(from)) != 0 && (s->to & ROLE_BIT(to)) != 0 && h->len >= s->min &&
	       h->len <= s->max && s->fd == has_fd;
}

bool
msg_has_fd(enum msg_type t)
{
	return specs[t].fd;
}

const char *
msg_name(unsigned type)
{
	return type < MSG_COUNT ? specs[type].name : "?";
}

const char *
role_name(enum role r)
{
	static const char *const names[] = { "master", "worker", "resolver", "password", "pam",
		"acceptor", "initiator" };

	_Static_assert(ARRAY_LEN(names) == ROLE_COUNT, "a name for each role");
	return r < ROLE_COUNT ? names[r] : "?";
}

/* const char *NAME_name(enum TYPE x): the words of a table. */
#define WORD(id, text, ...) text,
#define NAMES_OF(function, type, table, count)                      \
	const char *function(enum type x)                           \
	{                                                           \
		static const char *const names[] = { table(WORD) }; \
                                                                    \
		return x < (count) ? names[x] : "?";                \
	}

NAMES_OF(reason_name, reason, REASONS, REASON_COUNT)
NAMES_OF(drop_name, drop, DROPS, DROP_COUNT)
NAMES_OF(verdict_name, verdict_code, VERDICTS, VERDICT_COUNT)
NAMES_OF(layer_name, layer, LAYERS, LAYER_COUNT)
