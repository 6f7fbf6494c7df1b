#include "gateway/core/topictree_node.h"

#include "gateway/base/util.h"
#include "gateway/core/message.h"

#include <assert.h>

/* Nothing here recurses: a topic may have TOPICTREE_DEPTH_MAX levels and comes from a stranger. */

struct leaf_call {
	void (*each)(struct topicleaf *, void *);
	void *arg;
};

static void call_leaves(const struct topicnode *n, const struct leaf_call *call)
{
	for (struct topicleaf *leaf = n->leaves; leaf; leaf = leaf->next)
		call->each(leaf, call->arg);
}

/* The interned levels of a topic. 0: it has too many. */
static unsigned split(struct topictree *t, struct span topic, struct level **levels)
{
	struct span rest = topic, text;
	bool done = false;
	unsigned n = 0;

	while (topic_next_level(&rest, &done, &text)) {
		if (n == TOPICTREE_DEPTH_MAX)
			return 0;
		levels[n++] = topictree_level(t, text);
	}
	return n;
}

/* Nodes still to be visited. A visit takes one and leaves at most two, both one level deeper: at
 * each depth no more than one waits, and one is in hand. */
struct visits {
	struct {
		const struct topicnode *n; /* NULL is not visited */
		unsigned depth;            /* levels on the way to it */
	} stack[TOPICTREE_DEPTH_MAX + 2];
	unsigned top;
};

static void visit_later(struct visits *v, const struct topicnode *n, unsigned depth)
{
	if (!n)
		return;
	v->stack[v->top].n = n;
	v->stack[v->top++].depth = depth;
}

void topictree_match(
	struct topictree *t, struct span topic, void (*each)(struct topicleaf *, void *), void *arg)
{
	struct leaf_call call = { each, arg };
	struct level *levels[TOPICTREE_DEPTH_MAX];
	unsigned n_levels = split(t, topic, levels);
	/* MQTT 5.0, 4.7.2: no wildcard stands for a first level with '$'. */
	bool hidden = topic.len && topic.p[0] == '$';
	struct visits v;

	if (n_levels == 0)
		return;
	v.top = 0;
	visit_later(&v, &t->root, 0);
	while (v.top > 0) {
		const struct topicnode *n = v.stack[--v.top].n;
		unsigned depth = v.stack[v.top].depth;
		bool wild = !hidden || depth > 0;
		const struct topicnode *hash = wild ? topicnode_hash(n) : NULL;

		if (hash) /* also with no level left: 'a/#' matches 'a' */
			call_leaves(hash, &call);
		if (depth == n_levels) {
			call_leaves(n, &call);
			continue;
		}
		visit_later(&v, topictree_literal(t, n, levels[depth]), depth + 1);
		if (wild)
			visit_later(&v, topicnode_plus(n), depth + 1);
	}
}

void topictree_each_filter(
	struct topictree *t, void (*each)(struct topicleaf *first, void *), void *arg)
{
	const struct topicnode *n = &t->root;

	for (;;) {
		if (n->leaves)
			each(n->leaves, arg);
		const struct topicnode *next = n->child;
		for (; !next && n->parent; n = n->parent)
			next = n->next;
		if (!next)
			return;
		n = next;
	}
}

/* Retained messages sit on literal nodes only, so the walks below leave '+' and '#' nodes out. */

/* No wildcard of a filter stands for this node: it is of a filter itself, or a first level with
 * '$'.
 */
static bool is_hidden(const struct topicnode *n)
{
	return topicnode_is_wild(n) ||
	       (!n->parent->parent && n->level->len && n->level->text[0] == '$');
}

/* The first of `n` and its next siblings that a wildcard may stand for. */
static const struct topicnode *visible(const struct topicnode *n)
{
	while (n && is_hidden(n))
		n = n->next;
	return n;
}

struct retained_call {
	void (*each)(struct message *, void *);
	void *arg;
};

static void call_retained(const struct topicnode *n, const struct retained_call *call)
{
	if (n->retained)
		call->each(n->retained, call->arg);
}

static void call_subtree(const struct topicnode *top, const struct retained_call *call)
{
	const struct topicnode *n = top;

	for (;;) {
		call_retained(n, call);
		const struct topicnode *next = visible(n->child);
		for (; !next && n != top; n = n->parent)
			next = visible(n->next);
		if (!next)
			return;
		n = next;
	}
}

enum step { STEP_LITERAL, STEP_PLUS, STEP_HASH };
struct step_to {
	enum step kind;
	const struct level *level; /* LITERAL; NULL: no such node anywhere */
};

static unsigned split_filter(struct topictree *t, struct span filter, struct step_to *steps)
{
	struct span rest = filter, text;
	bool done = false;
	unsigned n = 0;

	while (topic_next_level(&rest, &done, &text)) {
		if (n == TOPICTREE_DEPTH_MAX)
			return 0;
		steps[n] = (struct step_to){ STEP_LITERAL, NULL };
		if (span_is(text, "+"))
			steps[n].kind = STEP_PLUS;
		else if (span_is(text, "#"))
			steps[n].kind = STEP_HASH;
		else
			steps[n].level = topictree_level(t, text);
		n++;
	}
	return n;
}

void topictree_retained_match(
	struct topictree *t, struct span filter, void (*each)(struct message *, void *), void *arg)
{
	struct step_to steps[TOPICTREE_DEPTH_MAX];
	struct retained_call call = { each, arg };
	unsigned n_steps = split_filter(t, filter, steps), depth = 0;
	const struct topicnode *n = &t->root, *next;

	if (n_steps == 0)
		return;
	for (;;) {
		next = NULL;
		if (depth == n_steps)
			call_retained(n, &call);
		else if (steps[depth].kind == STEP_HASH)
			call_subtree(n, &call);
		else if (steps[depth].kind == STEP_PLUS)
			next = visible(n->child);
		else
			next = topictree_literal(t, n, steps[depth].level);
		/* A dead end: back to the nearest '+' with a sibling left. */
		for (; !next && depth > 0; n = next ? n : n->parent) {
			depth--;
			if (steps[depth].kind == STEP_PLUS)
				next = visible(n->next);
		}
		if (!next)
			return;
		n = next;
		depth++;
	}
}

bool topictree_sweep(struct topictree *t, size_t *cursor, size_t steps,
	bool (*stale)(struct message *, void *), void *arg)
{
	for (; steps > 0 && *cursor < t->nodes.cap; steps--) {
		struct topicnode *n = t->nodes.slots[*cursor];

		/* After a removal another node may have moved to this slot: look again. */
		if (n && n->retained && stale(n->retained, arg))
			topictree_clear(t, n);
		else
			++*cursor;
	}
	if (*cursor < t->nodes.cap)
		return false;
	*cursor = 0;
	return true;
}
