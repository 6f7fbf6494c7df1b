#ifndef TIDEGATE_CORE_TOPIC_H
#define TIDEGATE_CORE_TOPIC_H

#include "gateway/base/span.h"

#include <stdbool.h>

#define TOPIC_LEVELS_MAX 32
#define TOPIC_BYTES_MAX  1024

/* UTF-8 as MQTT 5.0, 1.5.4 wants it: well-formed, no surrogates, no U+0000; and, because brokers
 * drop the link for them, no control characters and no non-characters. */
bool utf8_valid(struct span s);

/* Well-formed UTF-8 and no more: what a payload may be (MQTT 5.0, 3.3.2.3.2). */
bool utf8_well_formed(struct span s);

/* Set once at start from [limits]; never above the two constants times 8. */
void topic_set_limits(size_t max_bytes, unsigned max_levels);

/* MQTT 5.0, 4.7: a topic name to publish to: 1..max bytes, no wildcard, utf8_valid, levels within
 * the limit. */
bool topic_valid_name(struct span topic);
/* A topic filter: wildcards only as whole levels, '#' only last. */
bool topic_valid_filter(struct span filter);
bool topic_has_wildcard(struct span filter);
/* For conf rows: NULL, or "a topic filter such as ...". */
const char *topic_check_filter(const char *filter);
const char *topic_check_name(const char *topic);

/* `filter` matches `topic`; wildcards in the first level do not match a leading '$'
 * (MQTT 5.0, 4.7.2). */
bool topic_matches(struct span filter, struct span topic);
/* Every topic that `narrow` matches is matched by `wide`. */
bool topic_covers(struct span wide, struct span narrow);
/* There is a topic that both match. */
bool topic_overlaps(struct span a, struct span b);

/* Splits off the next level; false when there is none left. Start with *rest = the topic and *done
 * = false. */
bool topic_next_level(struct span *rest, bool *done, struct span *level);

#endif
