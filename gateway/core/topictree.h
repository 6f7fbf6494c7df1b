#ifndef TIDEGATE_CORE_TOPICTREE_H
#define TIDEGATE_CORE_TOPICTREE_H

#include "gateway/base/list.h"
#include "gateway/base/span.h"

#include <stdint.h>

struct message;

/* One trie for filters and retained messages. Nodes are found through one open-addressing table
 * keyed by (parent, level); level strings are interned; empty branches are freed at once. Matching
 * is iterative. */
struct topictree;
struct topicnode;

/* Embedded in a subscription; hangs at the node of its filter. */
struct topicleaf {
	struct list node;
	struct topicnode *at; /* borrowed; NULL: not in the tree */
};

struct topictree *topictree_new(void);
void topictree_free(struct topictree *t);

/* 0, or -ENOMEM. The filter is taken as valid. */
int topictree_insert(struct topictree *t, struct span filter, struct topicleaf *leaf);
void topictree_remove(struct topictree *t, struct topicleaf *leaf);
/* Calls `each` for every leaf whose filter matches `topic` (a leaf once). `each` must not change
 * the tree. */
void topictree_match(struct topictree *t, struct span topic,
	void (*each)(struct topicleaf *, void *), void *arg);
/* The list head of the leaves at exactly this filter, or NULL. */
struct list *topictree_leaves(struct topictree *t, struct span filter);

/* Retained messages. The tree holds a reference. `m` NULL clears. 0, or -ENOMEM. */
int topictree_retain(struct topictree *t, struct span topic, struct message *m);
struct message *topictree_retained(
	struct topictree *t, struct span topic); /* borrowed; NULL: none */
/* Calls `each` for every retained message that `filter` matches. `each` must not change the tree.
 */
void topictree_retained_match(
	struct topictree *t, struct span filter, void (*each)(struct message *, void *), void *arg);

struct topictree_stats {
	size_t nodes, levels, leaves, retained, retained_bytes, memory_bytes;
};
void topictree_stats(const struct topictree *t, struct topictree_stats *s);

#endif
