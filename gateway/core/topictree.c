#include "gateway/core/topictree.h"

#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/topictree_node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

_Static_assert(TOPICTREE_TEXT_MAX >= TOPIC_BYTES_MAX * 8, "the longest filter fits");

/* What malloc() takes from the heap for a block. */
static size_t block_bytes(size_t size)
{
	return MAX((size + sizeof(size_t) + 15) & ~(size_t)15, (size_t)32);
}

/* Level strings */

struct level topictree_plus = { .len = 1, .text = "+" };
struct level topictree_hash = { .len = 1, .text = "#" };

static uint32_t level_hash(const void *entry)
{
	return ((const struct level *)entry)->hash;
}

static bool level_is(const void *entry, const void *key)
{
	const struct level *l = entry;
	const struct span *text = key;

	return span_equal(span_of(l->text, l->len), *text);
}

static uint32_t text_hash(struct span text)
{
	return (uint32_t)(hash_bytes(text.p, text.len) >> 32);
}

struct level *topictree_level(const struct topictree *t, struct span text)
{
	return ptrtable_find(&t->levels, text_hash(text), level_is, &text);
}

/* Takes a reference. NULL: no memory. */
static struct level *level_intern(struct topictree *t, struct span text)
{
	struct level *l = topictree_level(t, text);

	if (l) {
		l->refs++;
		return l;
	}
	l = malloc(sizeof(*l) + text.len);
	if (!l)
		return NULL;
	l->refs = 1;
	l->hash = text_hash(text);
	l->len = (uint16_t)text.len;
	if (text.len)
		memcpy(l->text, text.p, text.len);
	if (ptrtable_add(&t->levels, l)) {
		free(l);
		return NULL;
	}
	t->stats.memory_bytes += block_bytes(sizeof(*l) + l->len);
	return l;
}

static void level_unref(struct topictree *t, struct level *l)
{
	if (--l->refs > 0)
		return;
	ptrtable_remove(&t->levels, l);
	t->stats.memory_bytes -= block_bytes(sizeof(*l) + l->len);
	free(l);
}

/* Nodes */

struct node_key {
	const struct topicnode *parent;
	const struct level *level;
};

/* The level's hash is seeded, so the mixture of both is as hard to aim at. */
static uint32_t node_key_hash(const struct topicnode *parent, const struct level *level)
{
	uint64_t h = (uint64_t)(uintptr_t)parent >> 4 ^ (uint64_t)level->hash << 32;

	h *= 0x9e3779b97f4a7c15u;
	h ^= h >> 32;
	return (uint32_t)(h * 0xd6e8feb86659fd93u >> 32);
}

static uint32_t node_hash(const void *entry)
{
	const struct topicnode *n = entry;

	return node_key_hash(n->parent, n->level);
}

static bool node_is(const void *entry, const void *key)
{
	const struct topicnode *n = entry;
	const struct node_key *k = key;

	return n->parent == k->parent && n->level == k->level;
}

struct topicnode *topictree_literal(
	const struct topictree *t, const struct topicnode *parent, const struct level *level)
{
	struct node_key key = { parent, level };

	if (!level || !parent->child)
		return NULL;
	return ptrtable_find(&t->nodes, node_key_hash(parent, level), node_is, &key);
}

/* NULL: a literal level. */
static struct level *wildcard(struct span text)
{
	if (span_is(text, "+"))
		return &topictree_plus;
	return span_is(text, "#") ? &topictree_hash : NULL;
}

static struct topicnode *child_find(
	const struct topictree *t, const struct topicnode *parent, struct span text)
{
	const struct level *wild = wildcard(text);

	if (wild)
		return wild == &topictree_plus ? topicnode_plus(parent) : topicnode_hash(parent);
	return parent->child ? topictree_literal(t, parent, topictree_level(t, text)) : NULL;
}

static int name_literal(struct topictree *t, struct topicnode *n, struct span text)
{
	n->level = level_intern(t, text);
	if (!n->level)
		return -ENOMEM;
	if (ptrtable_add(&t->nodes, n)) {
		level_unref(t, n->level);
		return -ENOMEM;
	}
	return 0;
}

/* '#' goes first, '+' behind it, all others behind these. */
static void link_child(struct topicnode *n)
{
	struct topicnode *parent = n->parent, *prev = NULL;

	if (n->level != &topictree_hash)
		prev = topicnode_hash(parent);
	if (!topicnode_is_wild(n) && topicnode_plus(parent))
		prev = topicnode_plus(parent);
	n->prev = prev;
	n->next = prev ? prev->next : parent->child;
	if (n->next)
		n->next->prev = n;
	*(prev ? &prev->next : &parent->child) = n;
}

static struct topicnode *child_new(struct topictree *t, struct topicnode *parent, struct span text)
{
	struct topicnode *n = pool_get(&t->memory);

	if (!n)
		return NULL;
	n->parent = parent;
	n->level = wildcard(text);
	if (!n->level && name_literal(t, n, text) < 0) {
		pool_put(&t->memory, n);
		return NULL;
	}
	link_child(n);
	t->stats.nodes++;
	t->stats.memory_bytes += sizeof(*n);
	return n;
}

static void node_free(struct topictree *t, struct topicnode *n)
{
	if (!topicnode_is_wild(n)) {
		ptrtable_remove(&t->nodes, n);
		level_unref(t, n->level);
	}
	*(n->prev ? &n->prev->next : &n->parent->child) = n->next;
	if (n->next)
		n->next->prev = n->prev;
	t->stats.nodes--;
	t->stats.memory_bytes -= sizeof(*n);
	pool_put(&t->memory, n);
}

/* Frees the branch that ends in `n` as far up as nothing else needs it. */
static void prune(struct topictree *t, struct topicnode *n)
{
	while (n->parent && !n->child && !n->leaves && !n->retained) {
		struct topicnode *parent = n->parent;

		node_free(t, n);
		n = parent;
	}
}

static struct topicnode *node_find(struct topictree *t, struct span filter)
{
	struct topicnode *n = &t->root;
	struct span rest = filter, text;
	bool done = false;

	while (n && topic_next_level(&rest, &done, &text))
		n = child_find(t, n, text);
	return n;
}

/* The node of a filter, made when absent. NULL: no memory, and the tree is as before. */
static struct topicnode *node_need(struct topictree *t, struct span filter)
{
	struct topicnode *n = &t->root;
	struct span rest = filter, text;
	bool done = false;

	while (topic_next_level(&rest, &done, &text)) {
		struct topicnode *child = child_find(t, n, text);

		if (!child && !(child = child_new(t, n, text))) {
			prune(t, n);
			return NULL;
		}
		n = child;
	}
	return n;
}

struct topictree *topictree_new(void)
{
	struct topictree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pool_init(&t->memory, sizeof(struct topicnode));
	ptrtable_init(&t->nodes, node_hash);
	ptrtable_init(&t->levels, level_hash);
	return t;
}

void topictree_free(struct topictree *t)
{
	if (!t)
		return;
	assert(t->stats.leaves == 0);
	for (struct topicnode *n = &t->root, *next; n; n = next) {
		next = n->child;
		if (next)
			continue;
		next = n->parent;
		if (!next)
			break;
		message_unref(n->retained);
		node_free(t, n);
	}
	ptrtable_clear(&t->nodes);
	ptrtable_clear(&t->levels);
	free(t);
}

/* Leaves */

static void leaf_link(struct topicleaf *leaf, struct topicleaf **link)
{
	leaf->next = *link;
	leaf->link = link;
	if (leaf->next)
		leaf->next->link = &leaf->next;
	*link = leaf;
}

static void leaf_unlink(struct topicleaf *leaf)
{
	*leaf->link = leaf->next;
	if (leaf->next)
		leaf->next->link = leaf->link;
}

int topictree_insert(struct topictree *t, struct span filter, struct topicleaf *leaf)
{
	struct topicnode *n = node_need(t, filter);

	if (!n)
		return -ENOMEM;
	leaf_link(leaf, n->leaves ? &n->leaves->next : &n->leaves);
	leaf->at = n;
	t->stats.leaves++;
	return 0;
}

void topictree_remove(struct topictree *t, struct topicleaf *leaf)
{
	struct topicnode *n = leaf->at;

	leaf_unlink(leaf);
	leaf->at = NULL;
	t->stats.leaves--;
	prune(t, n);
}

struct topicleaf *topictree_leaves(struct topictree *t, struct span filter)
{
	const struct topicnode *n = node_find(t, filter);

	return n ? n->leaves : NULL;
}

struct topicleaf *topictree_first_leaf(const struct topicleaf *leaf)
{
	return leaf->at->leaves;
}

void topictree_to_front(struct topicleaf *leaf)
{
	leaf_unlink(leaf);
	leaf_link(leaf, &leaf->at->leaves);
}

void topictree_to_end(struct topicleaf *leaf)
{
	struct topicleaf **link = &leaf->at->leaves;

	leaf_unlink(leaf);
	while (*link)
		link = &(*link)->next;
	leaf_link(leaf, link);
}

struct span topictree_text(const struct topicnode *n, uint8_t *buf)
{
	uint8_t *end = buf + TOPICTREE_TEXT_MAX, *p = end;

	for (;;) {
		const struct level *l = n->level;

		assert((size_t)(p - buf) > l->len);
		p -= l->len;
		if (l->len)
			memcpy(p, l->text, l->len);
		n = n->parent;
		if (!n->parent)
			return span_of(p, (size_t)(end - p));
		*--p = '/';
	}
}

/* Retained messages */

void topictree_clear(struct topictree *t, struct topicnode *n)
{
	struct message *old = n->retained;

	t->stats.retained--;
	t->stats.retained_bytes -= message_size(old);
	n->retained = NULL;
	message_unref(old);
	prune(t, n);
}

int topictree_retain(struct topictree *t, struct span topic, struct message *m)
{
	struct topicnode *n = m ? node_need(t, topic) : node_find(t, topic);

	if (!n)
		return m ? -ENOMEM : 0;
	if (!m) {
		if (n->retained)
			topictree_clear(t, n);
		return 0;
	}
	struct message *old = n->retained;
	n->retained = message_ref(m);
	t->stats.retained++;
	t->stats.retained_bytes += message_size(m);
	if (old) {
		t->stats.retained--;
		t->stats.retained_bytes -= message_size(old);
		message_unref(old);
	}
	return 0;
}

struct message *topictree_retained(struct topictree *t, struct span topic)
{
	struct topicnode *n = node_find(t, topic);

	return n ? n->retained : NULL;
}

void topictree_stats(const struct topictree *t, struct topictree_stats *s)
{
	*s = t->stats;
	s->levels = t->levels.n;
	s->memory_bytes +=
		block_bytes(sizeof(*t)) + (t->nodes.cap + t->levels.cap) * sizeof(void *);
}
