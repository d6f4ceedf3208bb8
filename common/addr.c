/*
 * Addresses and prefixes: text, the kernel's form, the one spelling that rules compare, and the
 * special ranges. Owns nothing; pure functions. Whatever address comes in is foreign, and any bit
 * pattern of it is handled.
 */
#include "common/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/decimal.h"

#define V6(length, ...)                                                           \
	{                                                                         \
		.a = { .family = ADDR_V6, .b = { __VA_ARGS__ } }, .len = (length) \
	}
#define V4(length, ...)                                                           \
	{                                                                         \
		.a = { .family = ADDR_V4, .b = { __VA_ARGS__ } }, .len = (length) \
	}

static const struct prefix mapped = V6(96, [10] = 0xff, 0xff);           /* RFC 4291 2.5.5.2 */
static const struct prefix compatible = V6(96, 0);                       /* RFC 4291 2.5.5.1 */
static const struct prefix six_to_four = V6(16, 0x20, 0x02);             /* RFC 3056 section 2 */
static const struct prefix nat64_known = V6(96, 0x00, 0x64, 0xff, 0x9b); /* RFC 6052 2.1 */

static const struct addr any4 = { .family = ADDR_V4 };
static const struct addr any6 = { .family = ADDR_V6 };
static const struct addr loopback4 = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } };
static const struct addr loopback6 = { .family = ADDR_V6, .b = { [15] = 1 } };

static const struct {
	struct prefix range;
	enum addr_special kind;
} specials[] = {
	{ V4(8, 0), ADDR_THIS_HOST },          /* RFC 1122 3.2.1.3 */
	{ V4(8, 127), ADDR_LOOPBACK },         /* RFC 1122 3.2.1.3 */
	{ V4(16, 169, 254), ADDR_LINK_LOCAL }, /* RFC 3927 */
	{ V4(4, 224), ADDR_MULTICAST },        /* RFC 5771 */
	{ V4(32, 255, 255, 255, 255), ADDR_BROADCAST },
	{ V6(128, [15] = 1), ADDR_LOOPBACK },    /* RFC 4291 2.5.3 */
	{ V6(10, 0xfe, 0x80), ADDR_LINK_LOCAL }, /* RFC 4291 2.5.6 */
	{ V6(8, 0xff), ADDR_MULTICAST },         /* RFC 4291 2.7 */
};

#define NSPECIALS (sizeof(specials) / sizeof(specials[0]))

int
addr_parse(const char *s, struct addr *a)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, s, a->b) == 1) {
		a->family = ADDR_V4;
		return 0;
	}
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET6, s, a->b) == 1) {
		a->family = ADDR_V6;
		return 0;
	}
	memset(a, 0, sizeof(*a));
	return -1;
}

/* One to three digits without a needless zero, at most max; -1 otherwise. */
static int
prefix_length(const char *s, int max)
{
	int n = 0;

	if (*s == '\0' || strlen(s) > 3 || (s[0] == '0' && s[1] != '\0'))
		return -1;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n <= max ? n : -1;
}

/* Clears the bits of p's address past its length; true if one was set. */
static bool
prefix_mask(struct prefix *p)
{
	bool cleared = false;

	for (unsigned i = 0; i < sizeof(p->a.b); i++) {
		unsigned first = i * 8;
		unsigned keep = p->len <= first ? 0 : 0xffu;
		if (p->len > first && p->len < first + 8)
			keep = 0xffu << (first + 8 - p->len) & 0xffu;
		if ((p->a.b[i] & ~keep) != 0)
			cleared = true;
		p->a.b[i] = (uint8_t)(p->a.b[i] & keep);
	}
	return cleared;
}

int
prefix_parse(const char *s, struct prefix *p, bool *host_bits)
{
	char text[ADDR_TEXT];
	const char *slash = strchr(s, '/');
	size_t len = slash != NULL ? (size_t)(slash - s) : strlen(s);

	memset(p, 0, sizeof(*p));
	if (host_bits != NULL)
		*host_bits = false;
	if (len >= sizeof(text))
		return -1;
	memcpy(text, s, len);
	text[len] = '\0';
	if (addr_parse(text, &p->a) == -1)
		return -1;
	int max = p->a.family == ADDR_V4 ? 32 : 128;
	int n = slash != NULL ? prefix_length(slash + 1, max) : max;
	if (n == -1) {
		memset(p, 0, sizeof(*p));
		return -1;
	}
	p->len = (uint8_t)n;
	bool cleared = prefix_mask(p);
	if (host_bits != NULL)
		*host_bits = cleared;
	return 0;
}

/* Without a NUL; how many octets: INET_ADDRSTRLEN - 1 at most. */
static size_t
put_v4(char *buf, const uint8_t b[4])
{
	size_t n = decimal_put(buf, b[0]);

	for (int i = 1; i < 4; i++) {
		buf[n++] = '.';
		n += decimal_put(buf + n, b[i]);
	}
	return n;
}

/* As snprintf(3) would: cut where the buffer ends. */
static const char *
copy_text(char *buf, size_t size, const char *text, size_t len)
{
	if (size == 0)
		return buf;
	if (len > size - 1)
		len = size - 1;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return buf;
}

const char *
addr_format(const struct addr *a, char *buf, size_t size)
{
	char v4[INET_ADDRSTRLEN];

	if (a->family == ADDR_V4)
		return copy_text(buf, size, v4, put_v4(v4, a->b));
	if (size == 0)
		return buf;
	if (a->family == ADDR_NONE || inet_ntop(AF_INET6, a->b, buf, (socklen_t)size) == NULL)
		snprintf(buf, size, "-");
	return buf;
}

const char *
addrport_format(const struct addrport *ap, char *buf, size_t size)
{
	char text[ADDR_TEXT];

	if (ap->a.family == ADDR_V4) {
		size_t n = put_v4(text, ap->a.b);
		text[n++] = ':';
		n += decimal_put(text + n, ap->port);
		return copy_text(buf, size, text, n);
	}
	addr_format(&ap->a, text, sizeof(text));
	if (ap->a.family == ADDR_V6 && ap->scope != 0)
		snprintf(buf, size, "[%s%%%u]:%u", text, ap->scope, ap->port);
	else if (ap->a.family == ADDR_V6)
		snprintf(buf, size, "[%s]:%u", text, ap->port);
	else
		snprintf(buf, size, "-");
	return buf;
}

const char *
prefix_format(const struct prefix *p, char *buf, size_t size)
{
	char text[ADDR_TEXT];

	snprintf(buf, size, "%s/%u", addr_format(&p->a, text, sizeof(text)), p->len);
	return buf;
}

/* The kernel wants to know the interface for link-local addresses, unicast and multicast, only. */
static bool
addr_scoped(const struct addr *a)
{
	return a->family == ADDR_V6 && ((a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80) ||
					   (a->b[0] == 0xff && (a->b[1] & 0x0f) == 0x02));
}

int
addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addrport *ap)
{
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	memset(ap, 0, sizeof(*ap));
	if (len >= sizeof(sin) && sa->sa_family == AF_INET) {
		memcpy(&sin, sa, sizeof(sin));
		ap->a.family = ADDR_V4;
		memcpy(ap->a.b, &sin.sin_addr, 4);
		ap->port = ntohs(sin.sin_port);
		return 0;
	}
	if (len >= sizeof(sin6) && sa->sa_family == AF_INET6) {
		memcpy(&sin6, sa, sizeof(sin6));
		ap->a.family = ADDR_V6;
		memcpy(ap->a.b, &sin6.sin6_addr, 16);
		ap->port = ntohs(sin6.sin6_port);
		if (addr_scoped(&ap->a))
			ap->scope = sin6.sin6_scope_id;
		return 0;
	}
	return -1;
}

int
addr_local(int fd, struct addrport *ap)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == -1)
		return -1;
	return addr_from_sockaddr((struct sockaddr *)&ss, len, ap);
}

socklen_t
addr_to_sockaddr(const struct addrport *ap, struct sockaddr_storage *ss)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(ap->port) };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(ap->port) };

	memset(ss, 0, sizeof(*ss));
	if (ap->a.family == ADDR_V4) {
		memcpy(&sin.sin_addr, ap->a.b, 4);
		memcpy(ss, &sin, sizeof(sin));
		return sizeof(sin);
	}
	if (ap->a.family == ADDR_V6) {
		memcpy(&sin6.sin6_addr, ap->a.b, 16);
		sin6.sin6_scope_id = ap->scope;
		memcpy(ss, &sin6, sizeof(sin6));
		return sizeof(sin6);
	}
	return 0;
}

bool
addr_is_any(const struct addr *a)
{
	static const uint8_t zero[sizeof(a->b)];

	return a->family != ADDR_NONE && memcmp(a->b, zero, sizeof(zero)) == 0;
}

int
addr_cmp(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool
addr_in_prefix(const struct addr *a, const struct prefix *p)
{
	if (a->family != p->a.family || a->family == ADDR_NONE || p->len > 8 * sizeof(a->b))
		return false;
	unsigned whole = p->len / 8, rest = p->len % 8;
	if (memcmp(a->b, p->a.b, whole) != 0)
		return false;
	return rest == 0 || (a->b[whole] ^ p->a.b[whole]) >> (8 - rest) == 0;
}

/* The IPv4 address in the four octets at `at`; 0.0.0.0 is where connect(2) takes it. */
static struct addr
embedded(const struct addr *a, size_t at)
{
	struct addr v4 = { .family = ADDR_V4 };

	memcpy(v4.b, a->b + at, 4);
	return addr_cmp(&v4, &any4) == 0 ? loopback4 : v4;
}

/* RFC 6052 section 2.2: the address follows the prefix, but octet 8 is passed over. Other lengths
 * than the six of the RFC hold no address. */
static bool
nat64_extract(const struct addr *a, const struct prefix *p, struct addr *v4)
{
	struct addr packed = *a;

	if (!addr_in_prefix(a, p))
		return false;
	switch (p->len) {
	case 32:
	case 40:
	case 48:
	case 56:
	case 64:
		memmove(packed.b + 8, packed.b + 9, 7);
		*v4 = embedded(&packed, p->len / 8);
		return true;
	case 96:
		*v4 = embedded(a, 12);
		return true;
	default:
		return false;
	}
}

struct addr
addr_canon(const struct addr *a, const struct prefix *nat64, size_t n)
{
	struct addr v4;

	if (addr_cmp(a, &any4) == 0)
		return loopback4;
	if (addr_cmp(a, &any6) == 0)
		return loopback6;
	if (a->family != ADDR_V6 || addr_cmp(a, &loopback6) == 0)
		return *a;
	if (addr_in_prefix(a, &mapped) || addr_in_prefix(a, &compatible) ||
	    addr_in_prefix(a, &nat64_known))
		return embedded(a, 12);
	if (addr_in_prefix(a, &six_to_four))
		return embedded(a, 2);
	for (size_t i = 0; i < n; i++) {
		if (nat64_extract(a, &nat64[i], &v4))
			return v4;
	}
	return *a;
}

struct addr
addr_dial(const struct addr *a)
{
	if (addr_in_prefix(a, &six_to_four) || addr_in_prefix(a, &nat64_known))
		return *a;
	return addr_canon(a, NULL, 0);
}

bool
prefix_is_spelling(const struct prefix *p, const struct prefix *nat64, size_t n)
{
	const struct prefix *fixed[] = { &mapped, &compatible, &six_to_four, &nat64_known };

	if (p->a.family == ADDR_V4)
		return p->len == 32 && addr_cmp(&p->a, &any4) == 0;
	if (p->len == 128 && addr_cmp(&p->a, &loopback6) == 0)
		return false;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		if (p->len >= fixed[i]->len && addr_in_prefix(&p->a, fixed[i]))
			return true;
	}
	for (size_t i = 0; i < n; i++) {
		if (p->len >= nat64[i].len && addr_in_prefix(&p->a, &nat64[i]))
			return true;
	}
	return false;
}

enum addr_special
addr_special(const struct addr *a, uint8_t *plen)
{
	for (size_t i = 0; i < NSPECIALS; i++) {
		if (addr_in_prefix(a, &specials[i].range)) {
			*plen = specials[i].range.len;
			return specials[i].kind;
		}
	}
	*plen = 0;
	return ADDR_ORDINARY;
}
