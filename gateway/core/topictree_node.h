#ifndef TIDEGATE_CORE_TOPICTREE_NODE_H
#define TIDEGATE_CORE_TOPICTREE_NODE_H

/* The inside of the topic tree, for topictree.c and topictree_walk.c alone. */
#include "gateway/base/pool.h"
#include "gateway/core/ptrtable.h"
#include "gateway/core/topic.h"
#include "gateway/core/topictree.h"

/* The most that topic_set_limits() allows; stacks of the walks are of this size. */
enum { TOPICTREE_DEPTH_MAX = TOPIC_LEVELS_MAX * 8 };

/* The text between two slashes, once for all nodes that have it. */
struct level {
	uint32_t refs, hash;
	uint16_t len;
	uint8_t text[];
};

/* The levels of '+' and '#' nodes. */
extern struct level topictree_plus, topictree_hash;

/* Alive while something hangs at it or below it. There are very many of them. */
struct topicnode {
	struct topicnode *parent; /* NULL: the root */
	struct level *level;      /* counted, or one of the wildcards'; NULL for the root */
	struct topicnode *child;  /* first of the owned children: '#', '+', then literal ones */
	struct topicnode *next, *prev;
	struct topicleaf *leaves; /* borrowed: the first one at this filter; NULL */
	struct message *retained; /* counted; NULL */
};
_Static_assert(sizeof(struct topicnode) <= 7 * sizeof(void *), "two for each retained message");

struct topictree {
	struct topicnode root;
	struct pool memory;     /* of nodes */
	struct ptrtable nodes;  /* literal nodes by parent and level */
	struct ptrtable levels; /* by text */
	struct topictree_stats stats;
};

/* NULL: no node has this level, so only wildcards can match it. */
struct level *topictree_level(const struct topictree *t, struct span text);
struct topicnode *topictree_literal(
	const struct topictree *t, const struct topicnode *parent, const struct level *level);

static inline bool topicnode_is_wild(const struct topicnode *n)
{
	return n->level == &topictree_plus || n->level == &topictree_hash;
}

/* The children of a node for a topic's levels: those of '#' and '+', NULL where there is none. They
 * are the first in the list, so that nothing need be looked up. */
static inline struct topicnode *topicnode_hash(const struct topicnode *n)
{
	return n->child && n->child->level == &topictree_hash ? n->child : NULL;
}

static inline struct topicnode *topicnode_plus(const struct topicnode *n)
{
	struct topicnode *c = topicnode_hash(n) ? n->child->next : n->child;
	return c && c->level == &topictree_plus ? c : NULL;
}

/* Drops the retained message of a node, and the branch if nothing else needs it. */
void topictree_clear(struct topictree *t, struct topicnode *n);

#endif
