/*
 * The rules: one evaluation over the policy image, for what is known so far.
 *
 * - First match wins; what no rule passes is blocked.
 * - A criterion on a fact that is not known yet answers "maybe". The one function thus serves the
 *   source check at accept, the choice of a method, the first pass over a name, and the decision.
 * - `auth`: `auth none` is met by any session, `auth password` only by that method; a pass rule
 *   without `auth` is met by any authenticated session; a block rule without `auth` by any session
 *   (a block must not be passed by leaving the authentication out).
 * - Destinations: the address criterion of a PASS rule matches a special address (common/addr.h,
 * the image's own addresses) only by a prefix that lies wholly inside the special range; `any` and
 *   names never name one. A BLOCK rule matches it by any prefix that covers it, `any` and names.
 * - Upstreams: where all but the address is known, the first pass rule that is met (address
 * criteria of one with `via` as "maybe") decides: with `via` the answer is final, RULES_PASS, and
 * the name is not looked up; an earlier block that answers "maybe" refuses, and a pass without
 * `via` that answers "maybe" does not match.
 * - The name criterion compares without regard to case and a trailing dot: give name_normalise's
 *   output.
 */
#ifndef COMMON_RULES_H
#define COMMON_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/image.h"
#include "common/msg.h"

/* Facts known. KNOW_NAME with name NULL: known that there is none (a literal address). */
#define KNOW_SOURCE  0x01u
#define KNOW_METHOD  0x02u
#define KNOW_USER    0x04u /* and the groups */
#define KNOW_COMMAND 0x08u
#define KNOW_NAME    0x10u
#define KNOW_PORT    0x20u
#define KNOW_ADDR    0x40u
#define KNOW_LEVEL   0x80u
#define KNOW_ALL     0xffu

struct query {
	uint32_t known;
	enum method method;
	enum command command;
	enum level level; /* of protection: meets `protection` */
	uint16_t port;
	struct addr source;  /* any spelling: canonised inside */
	struct addr target;  /* any spelling */
	const uint8_t *user; /* canonical, user_len octets */
	size_t user_len;
	const uint8_t *groups; /* packed: length octet, name, ... */
	size_t groups_len;
	const uint8_t *name; /* normalised, or NULL */
	size_t name_len;
};

enum rules_answer { RULES_BLOCK, RULES_PASS, RULES_MAYBE };

/*
 * RULES_BLOCK: refused whatever is learnt later; *rule is the block rule, or RULE_NONE.
 * RULES_PASS: *rule passes, whatever else is learnt; but while the address is not known, it may
 * still turn out to be a special one, which neither `any` nor a name passes. RULES_MAYBE: a pass
 * rule could still match; *rule is the first such. With KNOW_ALL it is never RULES_MAYBE. rule may
 * be NULL.
 */
enum rules_answer rules_eval(const struct image *img, const struct query *q, uint32_t *rule);

/* METHOD_BITs of the configured methods with which no source is refused for itself: with such a
 * method some pass rule could still match, whoever asks. Found once for an image, it spares most of
 * them the walks of each client. */
uint32_t rules_open_methods(const struct image *img);

/* The method for a source: among those offered (METHOD_BITs) and configured, the first in `auth
 * prefer` with which some pass rule could still match. `open`: the image's open methods, or 0.
 * METHOD_COUNT: none (X'FF'). */
enum method rules_method(
    const struct image *img, uint32_t open, const struct addr *source, uint32_t offered);

/* Could any pass rule that a GSSAPI client from this source, as this user, may come to demand
 * confidentiality? A block rule that certainly matches ends what it may come to. */
bool rules_wants_confidentiality(const struct image *img, const struct addr *source,
    const uint8_t *user, size_t user_len, const uint8_t *groups, size_t groups_len);

const struct image_rule *rules_rule(const struct image *img, uint32_t rule);

/* The first pass rule with `via` that could still match, or RULE_NONE. */
uint32_t rules_first_via(const struct image *img, const struct query *q);
/* Is it one with `via`? */
bool rules_via(const struct image *img, uint32_t rule);

/* The special range a canonical address lies in (own addresses included) and that range's length.
 */
enum addr_special rules_special(const struct image *img, const struct addr *a, uint8_t *plen);

/*
 * Normalises what a client sent as a name into out[NAME_MAX_LEN]: lower case (ASCII), one trailing
 * dot removed. Octets are not judged but for NUL and the empty name, empty labels and labels
 * above 63. The length, or -1 where it can be no name.
 */
int name_normalise(const uint8_t *in, size_t len, uint8_t *out);
/* A literal address in the name field is an address ("1.2.3.4", "::1", "[::1]", trailing dot).
 * Other spellings that inet_aton knows (octal, hexadecimal, fewer parts) are refused as names too:
 * true with family ADDR_NONE. False: not an address. */
bool name_is_address(const uint8_t *name, size_t len, struct addr *a);

#endif
