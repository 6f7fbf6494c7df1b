#ifndef TIDEGATE_UPSTREAM_TOPIC_SET_H
#define TIDEGATE_UPSTREAM_TOPIC_SET_H

#include "gateway/base/span.h"

#include <stdbool.h>

/* A multiset of topics, kept as 64-bit hashes (seeded at start, so nobody can aim for a
 * collision). */
struct topic_set;

struct topic_set *topic_set_new(void);
void topic_set_free(struct topic_set *s);
int topic_set_add(struct topic_set *s, struct span topic); /* 0 or -ENOMEM */
void topic_set_remove(struct topic_set *s, struct span topic);
bool topic_set_has(const struct topic_set *s, struct span topic);

#endif
