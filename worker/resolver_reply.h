/*
 * Replies of name servers, read with the bounded cursor: addresses of the name that was asked for,
 * through its CNAMEs, or how long the name may be taken not to be there.
 */
#ifndef WORKER_RESOLVER_REPLY_H
#define WORKER_RESOLVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dnscache.h"

#define DNS_NAME_WIRE 255 /* octets, root label included: RFC 1035 section 2.3.4 */

/* A name as it travels, uncompressed: length octets and labels up to the root's. */
struct dns_name {
	uint8_t len;
	uint8_t b[DNS_NAME_WIRE];
};

/* Makes one of a normalised name (common/rules.h). 0, or -1 where it is too long for DNS. */
int dns_name_from(const uint8_t *text, size_t len, struct dns_name *out);

enum reply_kind {
	REPLY_ANSWER, /* *a is filled, also for an RCODE that is a failure */
	REPLY_CASE,   /* the question came back with other upper and lower case */
	REPLY_BAD     /* malformed, or not the reply to this question */
};

/* Reads the reply to a question of class IN for LOOKUP_A or LOOKUP_AAAA addresses. */
enum reply_kind reply_parse(const uint8_t *buf, size_t len, const struct dns_name *question,
    unsigned family, struct dns_answer *a);

#endif
