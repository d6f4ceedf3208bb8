/*
 * The versions of the policy: each a sealed image in a memfd, with the table that says from which
 * file and line a rule of that version came, kept until no worker names that version any more.
 */
#ifndef MASTER_POLICY_H
#define MASTER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "master/conf.h"
#include "master/image_build.h"

struct policies;

struct policies *policies_new(void);
void policies_free(struct policies *p);

/* Builds and seals the next version from a configuration. 0, or -1 with errno: the last one stays.
 */
int policies_add(struct policies *p, const struct conf *c, const struct image_inputs *in);

/* The newest: 0 where there is none yet. */
uint32_t policies_version(const struct policies *p);
/* A duplicate of its descriptor, for a message, and its size. -1 with errno. */
int policies_fd(const struct policies *p, uint32_t *size);

/* Is `version` still kept, and has it that rule (or is it RULE_NONE)? */
bool policies_has(const struct policies *p, uint32_t version, uint32_t rule);
/* "file:line" of a rule, "default" for RULE_NONE. Valid while the version is kept. */
const char *policies_rule_text(const struct policies *p, uint32_t version, uint32_t rule);
bool policies_rule_logs(const struct policies *p, uint32_t version, uint32_t rule);
bool policies_rule_passes(const struct policies *p, uint32_t version, uint32_t rule);

/* The image of a version, as its workers read it; NULL where it is not kept. */
const struct image *policies_image(const struct policies *p, uint32_t version);
/* The rule, where it is one by which a request with this command may be served; else NULL. */
const struct image_rule *policies_serving(
    const struct policies *p, uint32_t version, uint32_t rule, enum command command);

/* Forgets the versions below `oldest`, but never the newest. */
void policies_trim(struct policies *p, uint32_t oldest);

#endif
