#ifndef TIDEGATE_CORE_TOPIC_TEMPLATE_H
#define TIDEGATE_CORE_TOPIC_TEMPLATE_H

#include "gateway/core/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A topic or filter of the configuration with %c for the client id, %u for the user name, and $1 to
 * $9 for what a regular expression found. */

#define TOPIC_TEMPLATE_TEXT_MAX 8192

/* Into `buf` of TOPIC_TEMPLATE_TEXT_MAX bytes. `groups` has $1 first. False: it is too long, a
 * group is not there, or the name is missing or has one of "+#/" in it: it would widen what the
 * configuration allows. */
bool topic_template_fill(const char *text, const struct identity *who, const struct span *groups,
	size_t n_groups, uint8_t *buf, struct span *out);

#endif
