#ifndef TIDEGATE_CORE_TOPICTREE_H
#define TIDEGATE_CORE_TOPICTREE_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message;

/* One trie for filters and retained messages. Nodes are found through one open-addressing table
 * keyed by (parent, level); level strings are interned; empty branches are freed at once. Matching
 * is iterative. */
struct topictree;
struct topicnode;

/* Embedded in a subscription; hangs at the node of its filter. */
struct topicleaf {
	struct topicleaf *next;  /* at the same filter */
	struct topicleaf **link; /* what leads to this one */
	struct topicnode *at;    /* borrowed; NULL: not in the tree */
};

struct topictree *topictree_new(void);
void topictree_free(struct topictree *t); /* its leaves were removed; NULL is fine */

/* 0, or -ENOMEM. The filter is taken as valid. The leaf comes behind the first one there; apart
 * from that the order at a filter is the caller's. */
int topictree_insert(struct topictree *t, struct span filter, struct topicleaf *leaf);
void topictree_remove(struct topictree *t, struct topicleaf *leaf);
/* Calls `each` for every leaf whose filter matches `topic` (a leaf once). `each` must not change
 * the tree. */
void topictree_match(struct topictree *t, struct span topic,
	void (*each)(struct topicleaf *, void *), void *arg);
/* The first of the leaves at exactly this filter, or NULL. */
struct topicleaf *topictree_leaves(struct topictree *t, struct span filter);
/* The first of all leaves at the filter of this one. */
struct topicleaf *topictree_first_leaf(const struct topicleaf *leaf);
void topictree_to_front(struct topicleaf *leaf);
void topictree_to_end(struct topicleaf *leaf); /* walks along all of them */

/* The filter of a node as text, at the end of `buf` (TOPICTREE_TEXT_MAX bytes). */
#define TOPICTREE_TEXT_MAX 8192
struct span topictree_text(const struct topicnode *n, uint8_t *buf);
/* Calls `each` with the first leaf of every filter that has any. `each` must not change the tree.
 */
void topictree_each_filter(
	struct topictree *t, void (*each)(struct topicleaf *first, void *), void *arg);

/* Retained messages. The tree holds a reference. `m` NULL clears. 0, or -ENOMEM. */
int topictree_retain(struct topictree *t, struct span topic, struct message *m);
struct message *topictree_retained(
	struct topictree *t, struct span topic); /* borrowed; NULL: none */
/* Calls `each` for every retained message that `filter` matches. `each` must not change the tree.
 */
void topictree_retained_match(
	struct topictree *t, struct span filter, void (*each)(struct message *, void *), void *arg);

/* Goes on with a look at all retained messages, at most `steps` table slots from *cursor on, and
 * clears those that are `stale`. True when the end was reached; *cursor is 0 then. Messages that
 * move in the table meanwhile may be missed until the next round. */
bool topictree_sweep(struct topictree *t, size_t *cursor, size_t steps,
	bool (*stale)(struct message *, void *), void *arg);

struct topictree_stats {
	size_t nodes, levels; /* of the trie; distinct level strings */
	size_t leaves, retained;
	size_t retained_bytes; /* of the messages */
	size_t memory_bytes;   /* of the trie, without leaves and messages */
};
void topictree_stats(const struct topictree *t, struct topictree_stats *s);

#endif
