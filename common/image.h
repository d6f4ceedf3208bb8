/*
 * The policy image: what the master makes of the configuration, hosts and resolv.conf, as one
 * immutable, position-independent block in a sealed memfd. Children map it privately and read it;
 * nothing is parsed in a child. The master builds it (master/image_build.h).
 *
 * Offsets count octets from the image's start and are aligned to 8; an empty list's is 0. image_map
 * checks every offset and index once, so that readers need not.
 */
#ifndef COMMON_IMAGE_H
#define COMMON_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/msg.h"

#define IMAGE_MAGIC    0x31594c4c41530a06ull
#define IMAGE_SIZE_MAX (1u << 30) /* octets */
#define RULE_NONE      UINT32_MAX /* no rule decided: blocked by default */

struct image_list { /* n elements, whose type the comment beside the field names */
	uint32_t off, n;
};

struct image_str { /* octets, not NUL-terminated */
	uint32_t off, len;
};

/*
 * A prefix table, flattened at build time: the address space of each family cut into disjoint
 * intervals, sorted by start, each with the length of the longest prefix that covers it. `plen` is
 * PLEN_NONE where nothing, or a negated prefix, is the longest. Lookup is a binary search.
 */
#define PLEN_NONE 255
struct image_range4 {
	uint32_t start; /* host order; the first is 0 */
	uint8_t plen;
	uint8_t zero[3];
};
struct image_range6 {
	uint8_t start[16];
	uint8_t plen;
	uint8_t zero[7];
};
#define IMAGE_TABLE_LARGE 64 /* intervals: from here on a look-up is worth remembering */

struct image_table {
	struct image_list v4; /* struct image_range4; n 0: matches nothing */
	struct image_list v6; /* struct image_range6 */
};

struct image_name { /* lower case, no trailing dot; a suffix is stored without its leading dot */
	struct image_str name;
	uint32_t suffix; /* 1: ".example.com", which covers example.com itself too */
	uint32_t zero;
};

struct image_ports {
	uint16_t first, last;
};

/* Among several addresses of a family: by the client's address, or each in its turn. */
enum egress_pick { EGRESS_SOURCE_HASH, EGRESS_ROUND_ROBIN };
#define EGRESS_DEVICE_MAX 15 /* octets: IFNAMSIZ without its NUL */

struct image_egress {           /* what is not given in a rule is as in the image */
	struct image_list from; /* struct addr; n 0: not given */
	struct image_str device;
	uint32_t mark; /* 0: not given */
	uint8_t pick;  /* enum egress_pick */
	uint8_t zero[3];
};

enum rule_action { RULE_BLOCK, RULE_PASS };

/* `protection`: what an agreed level (RFC 1961 section 4) must promise. */
enum protection {
	PROTECTION_ANY,
	PROTECTION_INTEGRITY,
	PROTECTION_CONFIDENTIALITY,
	PROTECTION_COUNT
};

/* `auth gssapi ... allow`, and how principals become user names. */
#define GSSAPI_CLEAR     0x01u /* `allow clear`: level 0, no encapsulation at all */
#define GSSAPI_NEC       0x02u /* `allow nec`: the level is negotiated in one unwrapped octet */
#define GSSAPI_EXPIRED   0x04u /* `allow expired`: sessions outlive their ticket */
#define GSSAPI_PRINCIPAL 0x08u /* `names principal`: whole; else auth_to_local */

#define RULE_ANY      UINT32_MAX       /* in from, to: no criterion, any address */
#define RULE_NO_TABLE (UINT32_MAX - 1) /* in to: names only */

struct image_rule {
	uint8_t action;   /* enum rule_action */
	uint8_t log;      /* raise the record's severity */
	uint8_t commands; /* COMMAND_BITs; 0: any */
	uint8_t methods;  /* METHOD_BITs; 0: not given (rules.h says what that means) */
	uint32_t from;    /* table index, or RULE_ANY */
	uint32_t to; /* table index, RULE_NO_TABLE, or RULE_ANY (then to_names is ignored). "any"
			beside prefixes is in the table as 0.0.0.0/0 and ::/0 */
	struct image_list to_names; /* struct image_name */
	struct image_list ports;    /* struct image_ports; n 0: any */
	struct image_list users;    /* struct image_str; n 0: no criterion */
	struct image_list groups;   /* struct image_str; n 0: no criterion */
	struct image_egress egress;
	struct image_list bind_ports; /* struct image_ports: `bind port`, instead of `bind ports` */
	uint32_t timeout_connect;     /* ms; 0: the default's */
	uint32_t timeout_idle;
	uint32_t timeout_half_closed;
	uint32_t timeout_bind;
	uint32_t timeout_udp;
	uint8_t protection; /* enum protection */
	uint8_t zero[3];
	struct image_list
	    upstreams; /* uint32_t, indices: `via`, in the order of trying; n 0: direct */
};

/* `upstream NAME socks5 ...`: another gateway, whose client this one is. */
#define UPSTREAM_NAME_MAX 63 /* octets of its name */
#define UPSTREAMS_MAX     64 /* of a configuration */
#define VIA_MAX           16 /* of a rule */
struct image_upstream {
	struct image_str name;
	struct image_str host; /* as written; for GSSAPI, the second part of the service's name */
	struct addr addr;      /* ADDR_NONE: host is a name to look up, normalised */
	uint16_t port;
	uint8_t method;             /* enum method */
	uint8_t level;              /* METHOD_GSSAPI: enum level that is asked for, and the least */
	struct image_str service;   /* METHOD_GSSAPI, all of these */
	struct image_str ccache;    /* len 0: the starter's, or none */
	struct image_str principal; /* of the keytab; len 0: its first */
	uint8_t keytab;             /* 1: credentials come of a keytab */
	uint8_t zero[7];
};

/* `group web { carol, dave }`: memberships beside those that authd gives. */
struct image_group {
	struct image_str name;
	struct image_list users; /* struct image_str */
};

struct image_host { /* /etc/hosts, sorted by name (length-independent octet order, bytes_cmp) */
	struct image_str name;
	struct image_list addrs; /* struct addr */
};

struct image {
	uint64_t magic;
	uint32_t size;
	uint32_t version;
	struct image_list rules;   /* struct image_rule, in file order */
	struct image_list tables;  /* struct image_table */
	struct image_list groups;  /* struct image_group */
	struct image_list hosts;   /* struct image_host */
	struct image_list servers; /* struct addrport: name servers */
	struct image_list nat64;   /* struct prefix */
	struct image_list own; /* struct prefix, sorted, disjoint: the gateway's own addresses */
	struct image_egress egress;
	uint8_t methods; /* METHOD_BITs that are configured; METHOD_NONE always is */
	uint8_t prefer_n;
	uint8_t prefer[6];          /* enum method, first preferred */
	uint32_t timeout_handshake; /* ms, all of these */
	uint32_t timeout_connect;
	uint32_t timeout_idle;
	uint32_t timeout_half_closed;
	uint32_t handshakes;              /* at most this many under way in one worker */
	uint32_t dns_timeout;             /* ms for the first try of one server */
	uint32_t dns_attempts;            /* rounds over the servers */
	uint32_t timeout_bind;            /* ms: for a peer to come */
	uint32_t timeout_udp;             /* ms: an association without a datagram */
	struct image_ports bind_ports;    /* 0-0: any free one */
	struct image_ports udp_ports;     /* likewise */
	struct image_list bind_advertise; /* struct addr, at most one a family */
	struct image_list udp_advertise;  /* likewise */
	uint32_t udp_targets;             /* of one association at most */
	uint8_t udp_replies_any;          /* 0: only from targets that the client has sent to */
	uint8_t udp_fragments;            /* RFC 1928 section 7 */
	uint8_t socks4;                   /* SOCKS4 and 4a are served */
	uint8_t gssapi;                   /* GSSAPI_ bits */
	uint8_t prompt_ends;              /* a limit is near so soon that no end may be told late */
	uint8_t zero[3];
	struct image_list gssapi_services; /* struct image_str: first components of principals; n 0:
					      any that the keytab has */
	struct image_list upstreams;       /* struct image_upstream */
};

/* Maps a sealed memfd (seals and bounds are checked). NULL with errno; EINVAL: not a sound image.
 */
const struct image *image_map(int fd, uint32_t size);
void image_unmap(const struct image *img);
/* The check of image_map on a block in memory: 0, or -1. */
int image_check(const void *block, size_t size);

static inline const void *
image_at(const struct image *img, struct image_list l)
{
	return (const char *)img + l.off;
}
static inline const uint8_t *
image_octets(const struct image *img, struct image_str s)
{
	return (const uint8_t *)img + s.off;
}

/* Octet order; of two where one begins the other, the shorter is first. */
int image_bytes_cmp(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen);
/* Length of the longest prefix of the table that covers a canonical address, or PLEN_NONE. */
uint8_t image_table_lookup(const struct image *img, uint32_t table, const struct addr *a);
/* IMAGE_TABLE_LARGE intervals or more. */
bool image_table_is_large(const struct image *img, uint32_t table);
const struct image_upstream *image_upstream(const struct image *img, uint32_t index);
/* Does a rule (NULL: no) name this upstream in its `via`? */
bool image_rule_via(const struct image *img, const struct image_rule *r, uint32_t upstream);
/* Does any socket that leaves by it have this mark (not 0)? */
bool image_has_mark(const struct image *img, uint32_t mark);
/* /etc/hosts: the entry of a normalised name, or NULL. */
const struct image_host *image_host(const struct image *img, const uint8_t *name, size_t len);
/* Length of the prefix of the gateway's own addresses that a canonical address is in, or PLEN_NONE.
 */
uint8_t image_own(const struct image *img, const struct addr *a);

#endif
