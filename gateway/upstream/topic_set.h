#ifndef TIDEGATE_UPSTREAM_TOPIC_SET_H
#define TIDEGATE_UPSTREAM_TOPIC_SET_H

#include "gateway/base/span.h"
#include "gateway/base/util.h"

#include <stdbool.h>
#include <stdint.h>

/* A multiset of topics, as 64-bit hashes (seeded at start, so nobody can aim for a collision). */
struct topic_set;

static inline uint64_t topic_hash(struct span topic)
{
	return hash_bytes(topic.p, topic.len);
}

struct topic_set *topic_set_new(void);
void topic_set_free(struct topic_set *s);
int topic_set_add(struct topic_set *s, uint64_t topic); /* 0 or -ENOMEM */
void topic_set_remove(struct topic_set *s, uint64_t topic);
bool topic_set_has(const struct topic_set *s, uint64_t topic);

#endif
