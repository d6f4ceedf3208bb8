/*
 * Addresses: one type for both families, their spellings, and the special ranges.
 *
 * Every address that rules see is canonical (addr_canon): the spellings of one IPv4 address
 * (v4-mapped, ::/96, 6to4, NAT64, 0.0.0.0) are that IPv4 address, so a rule has no second door.
 */
#ifndef COMMON_ADDR_H
#define COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum addr_family { ADDR_NONE = 0, ADDR_V4 = 4, ADDR_V6 = 6 };

/* Fixed layout: it travels in messages and in the policy image. IPv4 in b[0..3], the rest zero. */
struct addr {
	uint8_t family; /* enum addr_family */
	uint8_t zero[3];
	uint8_t b[16]; /* network order */
};

struct addrport {
	struct addr a;
	uint16_t port; /* host order */
	uint16_t zero;
	uint32_t scope; /* interface index of a link-local IPv6 address, else 0 */
};

struct prefix {
	struct addr a; /* bits past len are zero */
	uint8_t len;   /* 0..32 or 0..128 */
	uint8_t zero[3];
};

_Static_assert(sizeof(struct addr) == 20, "struct addr travels in messages");
_Static_assert(sizeof(struct addrport) == 28, "struct addrport travels in messages");
_Static_assert(sizeof(struct prefix) == 24, "struct prefix is in the image");

/* Longest text: "[" IPv6 with embedded IPv4 "%" scope "]:" port NUL. */
#define ADDR_TEXT 64

/* The kinds of addresses that no rule reaches without naming them (design, "Rules"). */
enum addr_special {
	ADDR_ORDINARY,
	ADDR_THIS_HOST, /* 0.0.0.0/8 but 0.0.0.0, which is loopback */
	ADDR_LOOPBACK,
	ADDR_LINK_LOCAL,
	ADDR_MULTICAST,
	ADDR_BROADCAST,
	ADDR_OWN /* only rules_special() finds these: the image lists them */
};

/* Reads an IPv4 (dotted quad only) or IPv6 literal, without scope or brackets. 0, or -1. */
int addr_parse(const char *s, struct addr *a);

/* Reads "ADDR" or "ADDR/LEN"; sets *host_bits if bits past the length were set (they are then
 * cleared). 0, or -1 where it is no prefix. */
int prefix_parse(const char *s, struct prefix *p, bool *host_bits);

/* Write text into buf (size ADDR_TEXT is always enough) and return buf. */
const char *addr_format(const struct addr *a, char *buf, size_t size);
/* 192.0.2.1:80 or [2001:db8::1]:80; "-" for ADDR_NONE. */
const char *addrport_format(const struct addrport *ap, char *buf, size_t size);
const char *prefix_format(const struct prefix *p, char *buf, size_t size);

/* From and to the kernel's form. A v4-mapped peer of a dual-stack socket stays as it is: call
 * addr_canon. addr_from_sockaddr: 0, or -1 for another family. addr_to_sockaddr returns the
 * length for bind(2)/connect(2), 0 for ADDR_NONE. */
int addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addrport *ap);
socklen_t addr_to_sockaddr(const struct addrport *ap, struct sockaddr_storage *ss);
/* Where a socket is bound. 0, or -1: errno, or it is of another family. */
int addr_local(int fd, struct addrport *ap);

/* 0.0.0.0 or :: */
bool addr_is_any(const struct addr *a);
/* memcmp order: family, then octets. */
int addr_cmp(const struct addr *a, const struct addr *b);
bool addr_in_prefix(const struct addr *a, const struct prefix *p);

/*
 * The one spelling that rules compare (RFC 4291 2.5.5, RFC 3056, RFC 6052): v4-mapped, ::/96 (but
 * ::1), 2002::/16, 64:ff9b::/96 and each of nat64[n] become the IPv4 address inside; 0.0.0.0 and ::
 * become 127.0.0.1 and ::1, because that is where connect(2) takes them.
 */
struct addr addr_canon(const struct addr *a, const struct prefix *nat64, size_t n);

/*
 * What is given to connect(2) for the address that was asked for: v4-mapped, ::/96 and 0.0.0.0 as
 * the canonical form; 6to4 and NAT64 as they are, because only the IPv6 route leads there. For all
 * of these the rules are checked on addr_canon of the result, which equals addr_canon of the input.
 */
struct addr addr_dial(const struct addr *a);

/* True if p lies inside one of the ranges that addr_canon turns into another address (::1 alone
 * does not; 0.0.0.0/32 does): no address that rules see is in it, so such a prefix in a
 * configuration is an error that asks for the IPv4 prefix (for 0.0.0.0 and ::, for 127.0.0.1 and
 * ::1). */
bool prefix_is_spelling(const struct prefix *p, const struct prefix *nat64, size_t n);

/* For a canonical address; *plen gets the length of the special range it lies in. */
enum addr_special addr_special(const struct addr *a, uint8_t *plen);

#endif
