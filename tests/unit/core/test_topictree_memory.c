/* The topic tree with an allocator that fails when told to: whatever fails, the tree is as it was
 * before. The sources are compiled into this program with their allocator renamed. */
#include "tests/unit/core/failing_alloc.h"

#include "gateway/base/pool.c"
#include "gateway/core/ptrtable.c"
#include "gateway/core/topictree.c"
#include "gateway/core/topictree_walk.c"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool same_stats(const struct topictree_stats *a, const struct topictree_stats *b)
{
	return a->nodes == b->nodes && a->levels == b->levels && a->leaves == b->leaves &&
	       a->retained == b->retained && a->retained_bytes == b->retained_bytes;
}

/* Inserts `filter` (or retains there) with ever later failures until it succeeds; returns how often
 * it failed. */
static unsigned insert_against_failure(
	struct topictree *t, const char *text, struct topicleaf *leaf, struct message *m)
{
	for (unsigned failures = 0;; failures++) {
		struct topictree_stats before, after;
		struct span s = span_str(text);

		topictree_stats(t, &before);
		fail_after = (long)failures;
		int err = leaf ? topictree_insert(t, s, leaf) : topictree_retain(t, s, m);
		fail_after = -1;
		if (err == 0)
			return failures;
		assert_int_equal(err, -ENOMEM);
		topictree_stats(t, &after);
		assert_true(same_stats(&before, &after));
		assert_null(topictree_leaves(t, s));
		assert_null(topictree_retained(t, s));
	}
}

static void a_failed_insertion_leaves_no_trace(void **state)
{
	static const char *const filters[] = { "a/b/c", "a/+/#", "+/+/x", "#", "a/b/#", "x//y" };
	struct topictree *t = topictree_new();
	struct topicleaf leaves[ARRAY_SIZE(filters)];
	unsigned failures = 0;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		failures += insert_against_failure(t, filters[i], &leaves[i], NULL);
	assert_in_range(failures, 15, 60);
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		assert_non_null(topictree_leaves(t, span_str(filters[i])));
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		topictree_remove(t, &leaves[i]);
	struct topictree_stats s;
	topictree_stats(t, &s);
	assert_int_equal(s.nodes + s.levels, 0);
	topictree_free(t);
}

static void a_failed_retain_leaves_no_trace(void **state)
{
	struct topictree *t = topictree_new();
	unsigned failures = 0;
	(void)state;

	for (unsigned i = 0; i < 100; i++) { /* the tables grow on the way */
		char topic[32];
		snprintf(topic, sizeof(topic), "a/%u/v", i);
		struct message_init init = { .topic = span_str(topic) };
		struct message *m = message_new(&init);
		failures += insert_against_failure(t, topic, NULL, m);
		assert_int_equal(m->refs, 2);
		message_unref(m);
	}
	assert_in_range(failures, 300, 600);
	/* A table that cannot shrink stays as it is. */
	fail_after = 0;
	for (unsigned i = 0; i < 100; i++) {
		char topic[32];
		snprintf(topic, sizeof(topic), "a/%u/v", i);
		assert_int_equal(topictree_retain(t, span_str(topic), NULL), 0);
	}
	fail_after = -1;
	assert_int_equal(messages_bytes(), 0);
	topictree_free(t);
}

static void no_memory_for_a_tree(void **state)
{
	(void)state;
	fail_after = 0;
	assert_null(topictree_new());
	fail_after = -1;
	topictree_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_insertion_leaves_no_trace),
		cmocka_unit_test(a_failed_retain_leaves_no_trace),
		cmocka_unit_test(no_memory_for_a_tree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
