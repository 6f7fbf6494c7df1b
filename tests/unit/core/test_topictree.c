#include "gateway/core/topictree.h"

#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct entry {
	struct topicleaf leaf;
	char filter[64];
	unsigned hits;
};

static struct topictree *tree;
static struct entry e[16]; /* for one test */

static int setup(void **state)
{
	(void)state;
	memset(e, 0, sizeof(e));
	tree = topictree_new();
	return tree ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(e); i++) {
		if (e[i].leaf.at)
			topictree_remove(tree, &e[i].leaf);
	}
	topictree_free(tree);
	return messages_bytes() == 0 ? 0 : -1;
}

static struct topictree_stats stats(void)
{
	struct topictree_stats s;

	topictree_stats(tree, &s);
	return s;
}

static void put(struct entry *at, const char *filter)
{
	snprintf(at->filter, sizeof(at->filter), "%s", filter);
	assert_int_equal(topictree_insert(tree, span_str(filter), &at->leaf), 0);
}

static void hit(struct topicleaf *leaf, void *arg)
{
	container_of(leaf, struct entry, leaf)->hits++;
	++*(unsigned *)arg;
}

static unsigned match(const char *topic)
{
	unsigned n = 0;

	topictree_match(tree, span_str(topic), hit, &n);
	return n;
}

static struct message *new_message(const char *topic, size_t payload)
{
	static const uint8_t zeros[256];
	struct message_init init = {
		.topic = span_str(topic), .payload = span_of(zeros, payload), .retain = true
	};
	struct message *m = message_new(&init);

	assert_non_null(m);
	return m;
}

static void retain(const char *topic)
{
	struct message *m = new_message(topic, 3);

	assert_int_equal(topictree_retain(tree, span_str(topic), m), 0);
	message_unref(m);
}

static void count_message(struct message *m, void *arg)
{
	(void)m;
	++*(unsigned *)arg;
}

static unsigned retained_by(const char *filter)
{
	unsigned n = 0;

	topictree_retained_match(tree, span_str(filter), count_message, &n);
	return n;
}

static void a_leaf_is_found_by_its_topics(void **state)
{
	(void)state;

	put(&e[0], "a/b");
	put(&e[1], "a/+");
	put(&e[2], "a/#");
	put(&e[3], "#");
	put(&e[4], "+/b");
	assert_int_equal(match("a/b"), 5);
	assert_int_equal(match("a/c"), 3);
	assert_int_equal(match("a"), 2);
	assert_int_equal(match("a/b/c"), 2);
	assert_int_equal(match("x/b"), 2);
	assert_int_equal(match("$SYS/b"), 0);
	assert_int_equal(e[3].hits, 5);
}

static void several_leaves_share_a_filter(void **state)
{
	struct topicleaf *first;
	(void)state;

	assert_null(topictree_leaves(tree, span_str("a/+")));
	for (size_t i = 0; i < 3; i++)
		put(&e[i], "a/+");
	first = topictree_leaves(tree, span_str("a/+"));
	assert_ptr_equal(first, &e[0].leaf);
	assert_ptr_equal(first->next, &e[2].leaf); /* new ones come second */
	assert_ptr_equal(topictree_first_leaf(&e[1].leaf), first);
	topictree_to_front(&e[1].leaf);
	assert_ptr_equal(topictree_leaves(tree, span_str("a/+")), &e[1].leaf);
	assert_ptr_equal(e[1].leaf.next, &e[0].leaf);
	topictree_to_end(&e[1].leaf);
	assert_ptr_equal(e[2].leaf.next, &e[1].leaf);
	assert_null(e[1].leaf.next);
	assert_null(topictree_leaves(tree, span_str("a")));
	assert_int_equal(match("a/x"), 3);
	topictree_remove(tree, &e[1].leaf);
	assert_null(e[1].leaf.at);
	assert_int_equal(match("a/x"), 2);
}

static void nothing_is_left_of_what_is_removed(void **state)
{
	size_t memory = stats().memory_bytes;
	(void)state;

	put(&e[0], "a/b/c/+/#");
	put(&e[1], "a/b");
	put(&e[2], "+/+/+");
	retain("a/b/x/y");
	assert_int_equal(stats().nodes, 10);
	assert_int_equal(stats().levels, 5);
	topictree_remove(tree, &e[0].leaf);
	assert_int_equal(stats().nodes, 7);
	assert_int_equal(topictree_retain(tree, span_str("a/b/x/y"), NULL), 0);
	assert_int_equal(stats().nodes, 5);
	topictree_remove(tree, &e[1].leaf);
	topictree_remove(tree, &e[2].leaf);
	assert_int_equal(stats().nodes, 0);
	assert_int_equal(stats().levels, 0);
	assert_int_equal(stats().leaves, 0);
	/* The smallest tables are kept. */
	assert_in_range(stats().memory_bytes, memory, memory + 1024);
}

static void a_filter_is_read_back(void **state)
{
	static const char *const filters[] = { "a", "#", "+", "/", "a//b", "+/#", "a/+/c/#",
		"$SYS/+/x", "/+" };
	uint8_t text[TOPICTREE_TEXT_MAX];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		put(&e[i], filters[i]);
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_true(span_is(topictree_text(e[i].leaf.at, text), filters[i]));
}

static void count_list(struct topicleaf *first, void *arg)
{
	assert_non_null(first);
	for (struct topicleaf *leaf = first; leaf; leaf = leaf->next)
		container_of(leaf, struct entry, leaf)->hits++;
	++*(unsigned *)arg;
}

static void each_filter_comes_once(void **state)
{
	static const char *const filters[] = { "a", "a", "#", "+", "+/+", "+/#", "a/b/c", "a/b/+",
		"a/b/#", "x/+/y", "a/+/#" };
	unsigned n = 0;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		put(&e[i], filters[i]);
	retain("q/r/s");
	topictree_each_filter(tree, count_list, &n);
	assert_int_equal(n, ARRAY_SIZE(filters) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_int_equal(e[i].hits, 1);
}

static void retained_is_kept_replaced_and_cleared(void **state)
{
	struct message *a = new_message("a/b", 5), *b = new_message("a/b", 9);
	struct span topic = span_str("a/b");
	(void)state;

	assert_null(topictree_retained(tree, topic));
	assert_int_equal(topictree_retain(tree, topic, NULL), 0);
	assert_int_equal(topictree_retain(tree, topic, a), 0);
	assert_ptr_equal(topictree_retained(tree, topic), a);
	assert_null(topictree_retained(tree, span_str("a")));
	assert_int_equal(topictree_retain(tree, topic, b), 0);
	assert_ptr_equal(topictree_retained(tree, topic), b);
	assert_int_equal(a->refs, 1);
	assert_int_equal(stats().retained, 1);
	assert_int_equal(stats().retained_bytes, message_size(b));
	assert_int_equal(topictree_retain(tree, topic, b), 0); /* the same once more */
	assert_int_equal(b->refs, 2);
	assert_int_equal(topictree_retain(tree, topic, NULL), 0);
	assert_int_equal(b->refs, 1);
	assert_int_equal(stats().retained_bytes, 0);
	message_unref(a);
	message_unref(b);
}

static void retained_is_found_by_filters(void **state)
{
	(void)state;

	retain("a");
	retain("a/b");
	retain("a/b/c");
	retain("a/x/c");
	retain("$SYS/up");
	retain("/lead");
	put(&e[0], "a/+/c"); /* wildcard nodes are no topics */
	put(&e[1], "a/#");
	assert_int_equal(retained_by("#"), 5);
	assert_int_equal(retained_by("+"), 1);
	assert_int_equal(retained_by("a/#"), 4);
	assert_int_equal(retained_by("a/+/c"), 2);
	assert_int_equal(retained_by("+/+"), 2);
	assert_int_equal(retained_by("/+"), 1);
	assert_int_equal(retained_by("+/#"), 5);
	assert_int_equal(retained_by("$SYS/#"), 1);
	assert_int_equal(retained_by("$SYS/+"), 1);
	assert_int_equal(retained_by("+/up"), 0);
	assert_int_equal(retained_by("a/b"), 1);
	assert_int_equal(retained_by("a/nobody"), 0);
	assert_int_equal(retained_by("nobody/#"), 0);
}

static void the_deepest_topic_is_no_trouble(void **state)
{
	char text[TOPIC_LEVELS_MAX * 8 * 2 + 16];
	struct entry plus = { 0 };
	unsigned n = 0;
	(void)state;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 ? '/' : '+';
	struct span deepest = span_of(text, TOPIC_LEVELS_MAX * 8 * 2 - 1);
	assert_int_equal(topictree_insert(tree, deepest, &plus.leaf), 0);
	assert_int_equal(stats().nodes, TOPIC_LEVELS_MAX * 8);
	for (size_t i = 0; i < sizeof(text); i += 2)
		text[i] = 'x';
	topictree_match(tree, deepest, hit, &n);
	assert_int_equal(n, 1);
	/* One more level than anybody may have: matched by nothing, and harmless. */
	topictree_match(tree, span_of(text, deepest.len + 2), hit, &n);
	assert_int_equal(n, 1);
	topictree_retained_match(tree, span_of(text, deepest.len + 2), count_message, &n);
	assert_int_equal(n, 1);
	topictree_remove(tree, &plus.leaf);
	assert_int_equal(stats().nodes, 0);
}

/* A full binary tree of '+' and 'x' down to ten levels: what the stack must bear. */
static void all_branches_are_walked(void **state)
{
	enum { DEPTH = 10, N = 1 << DEPTH };
	struct entry *all = calloc(N, sizeof(*all));
	unsigned hits = 0;
	(void)state;

	assert_non_null(all);
	for (unsigned bits = 0; bits < N; bits++) {
		char text[64] = "";
		for (unsigned d = 0; d < DEPTH; d++) {
			strcat(text, d ? "/" : "");
			strcat(text, bits >> d & 1 ? "+" : "x");
		}
		put(&all[bits], text);
	}
	topictree_match(tree, span_str("x/x/x/x/x/x/x/x/x/x"), hit, &hits);
	assert_int_equal(hits, N);
	for (unsigned i = 0; i < N; i++)
		topictree_remove(tree, &all[i].leaf);
	free(all);
}

/* Random filters and retained topics against the obvious model: a list and topic_matches(). */
enum { MODEL = 300, STEPS = 6000 };
static struct entry model[MODEL];
static char retained_topics[MODEL][64];

static void random_text(char *text, bool wild)
{
	static const char *const words[] = { "a", "b", "", "$s", "cd", "+", "#" };
	unsigned depth = 1 + random_below(5);

	*text = '\0';
	for (unsigned d = 0; d < depth; d++) {
		const char *w = words[random_below(wild ? 7 : 5)];
		strcat(text, d ? "/" : "");
		strcat(text, w);
		if (*w == '#')
			return;
	}
	if (*text == '\0')
		strcpy(text, "/");
}

static void check_match(void)
{
	char topic[64];
	unsigned n = 0, expected = 0;

	random_text(topic, false);
	for (size_t i = 0; i < MODEL; i++)
		model[i].hits = 0;
	topictree_match(tree, span_str(topic), hit, &n);
	for (size_t i = 0; i < MODEL; i++) {
		bool want = model[i].leaf.at &&
			    topic_matches(span_str(model[i].filter), span_str(topic));
		if (model[i].hits != want)
			fail_msg("%s on %s: %u", model[i].filter, topic, model[i].hits);
		expected += want;
	}
	assert_int_equal(n, expected);
}

static void mark_retained(struct message *m, void *arg)
{
	bool *seen = arg;
	struct span topic = message_topic(m);

	for (size_t i = 0; i < MODEL; i++) {
		if (span_is(topic, retained_topics[i])) {
			assert_false(seen[i]);
			seen[i] = true;
			return;
		}
	}
	fail_msg("%.*s is not retained", SPAN_ARGS(topic));
}

static void check_retained(void)
{
	char filter[64];
	bool seen[MODEL] = { 0 };

	random_text(filter, true);
	topictree_retained_match(tree, span_str(filter), mark_retained, seen);
	for (size_t i = 0; i < MODEL; i++) {
		bool want = retained_topics[i][0] &&
			    topic_matches(span_str(filter), span_str(retained_topics[i]));
		if (seen[i] != want)
			fail_msg("%s on %s: %d", filter, retained_topics[i], seen[i]);
	}
}

static void change_filter(void)
{
	struct entry *at = &model[random_below(MODEL)];
	char text[64];

	if (at->leaf.at) {
		topictree_remove(tree, &at->leaf);
		return;
	}
	random_text(text, true);
	put(at, text);
}

static void change_retained(void)
{
	char text[64];
	size_t at = MODEL, empty = MODEL;

	random_text(text, false);
	for (size_t i = 0; i < MODEL; i++) {
		if (strcmp(retained_topics[i], text) == 0)
			at = i;
		else if (!retained_topics[i][0])
			empty = i;
	}
	if (at < MODEL) {
		retained_topics[at][0] = '\0';
		assert_int_equal(topictree_retain(tree, span_str(text), NULL), 0);
	} else if (empty < MODEL) {
		strcpy(retained_topics[empty], text);
		retain(text);
	}
}

static void behaves_as_the_model(void **state)
{
	(void)state;
	for (unsigned i = 0; i < STEPS; i++) {
		change_filter();
		change_retained();
		check_match();
		check_retained();
	}
	for (size_t i = 0; i < MODEL; i++) {
		if (model[i].leaf.at)
			topictree_remove(tree, &model[i].leaf);
		if (retained_topics[i][0])
			topictree_retain(tree, span_str(retained_topics[i]), NULL);
	}
	assert_int_equal(stats().nodes, 0);
	assert_int_equal(stats().levels, 0);
	assert_int_equal(stats().retained, 0);
}

static bool is_even(struct message *m, void *arg)
{
	struct span topic = message_topic(m);
	(void)arg;
	return (topic.p[topic.len - 1] - '0') % 2 == 0;
}

static void a_sweep_clears_what_is_stale(void **state)
{
	size_t cursor = 0;
	unsigned rounds = 0;
	(void)state;

	for (unsigned i = 0; i < 500; i++) {
		char topic[32];
		snprintf(topic, sizeof(topic), "sweep/%u/v%u", i, i % 10);
		retain(topic);
	}
	/* The table shrinks and shifts under the sweep; a second round finds what it missed. */
	while (rounds < 3)
		rounds += topictree_sweep(tree, &cursor, 50, is_even, NULL);
	assert_int_equal(cursor, 0);
	assert_int_equal(stats().retained, 250);
	assert_int_equal(retained_by("sweep/+/v4"), 0);
	assert_int_equal(retained_by("sweep/+/v5"), 50);
}

/* What malloc() takes from the heap for a block. */
static size_t block(size_t size)
{
	return (size + 8 + 15) & ~(size_t)15;
}

/* The bar: at most 350 octets for a retained message of 64 octets under a topic of 31, of which
 * either one or two levels are its own, all included. */
static void a_retained_message_is_small(void **state)
{
	static const char *const shapes[] = { "plant/hall-2/values/sensor%06u",
		"plant/hall-2/sensor%06u/value" };
	enum { N = 20000 };
	(void)state;

	for (size_t s = 0; s < ARRAY_SIZE(shapes); s++) {
		struct topictree_stats before = stats();
		size_t messages = 0;

		for (unsigned i = 0; i < N; i++) {
			char topic[40];
			int len = snprintf(topic, sizeof(topic), shapes[s], i);
			struct message *m;

			while (len < 31)
				topic[len++] = '_';
			topic[len] = '\0';
			m = new_message(topic, 64);
			assert_int_equal(topictree_retain(tree, span_str(topic), m), 0);
			messages += block(message_size(m));
			message_unref(m);
		}
		size_t all = messages + stats().memory_bytes - before.memory_bytes;
		print_message("retained message, \"%s\": %zu octets (%zu of them the message)\n",
			shapes[s], all / N, messages / N);
		assert_in_range(all / N, 100, 350);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_leaf_is_found_by_its_topics, setup, teardown),
		cmocka_unit_test_setup_teardown(several_leaves_share_a_filter, setup, teardown),
		cmocka_unit_test_setup_teardown(
			nothing_is_left_of_what_is_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_filter_is_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(each_filter_comes_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			retained_is_kept_replaced_and_cleared, setup, teardown),
		cmocka_unit_test_setup_teardown(retained_is_found_by_filters, setup, teardown),
		cmocka_unit_test_setup_teardown(the_deepest_topic_is_no_trouble, setup, teardown),
		cmocka_unit_test_setup_teardown(all_branches_are_walked, setup, teardown),
		cmocka_unit_test_setup_teardown(behaves_as_the_model, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sweep_clears_what_is_stale, setup, teardown),
		cmocka_unit_test_setup_teardown(a_retained_message_is_small, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
