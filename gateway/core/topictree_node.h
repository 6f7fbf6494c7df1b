#ifndef TIDEGATE_CORE_TOPICTREE_NODE_H
#define TIDEGATE_CORE_TOPICTREE_NODE_H

/* The inside of the topic tree, for topictree.c and topictree_walk.c alone. */
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

/* What only nodes with filters at or right below them have; most nodes lead to a retained message
 * and do without. Present while any field is in use. */
struct wild {
	struct topicnode *plus, *hash; /* owned children */
	struct list leaves;            /* of topicleaf.node; borrowed */
};

/* 56 octets: with the allocator's eight it fills one cache line. Alive while something hangs at it
 * or below it. */
struct topicnode {
	struct topicnode *parent; /* NULL: the root */
	struct level *level;      /* counted; NULL for the root, '+' and '#' */
	struct topicnode *child;  /* first of the owned literal children */
	struct topicnode *next, *prev;
	struct wild *wild;        /* owned; NULL */
	struct message *retained; /* counted; NULL */
};

struct topictree {
	struct topicnode root;
	struct ptrtable nodes;  /* literal nodes by parent and level */
	struct ptrtable levels; /* by text */
	struct topictree_stats stats;
};

/* NULL: no node has this level, so only wildcards can match it. */
struct level *topictree_level(const struct topictree *t, struct span text);
struct topicnode *topictree_literal(
	const struct topictree *t, const struct topicnode *parent, const struct level *level);

/* Every branch of a node once: literal children first, then '+', then '#'. */
struct topicnode *topictree_first_branch(const struct topicnode *n);
struct topicnode *topictree_next_branch(const struct topicnode *n);

/* Drops the retained message of a node, and the branch if nothing else needs it. */
void topictree_clear(struct topictree *t, struct topicnode *n);

#endif
