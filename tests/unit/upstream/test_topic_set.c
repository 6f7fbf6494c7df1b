#include "gateway/upstream/topic_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void test_counts(void **state)
{
	struct topic_set *s = topic_set_new();
	uint64_t a = topic_hash(span_str("a/b")), b = topic_hash(span_str("a/c"));

	(void)state;
	assert_false(topic_set_has(s, a));
	topic_set_remove(s, a); /* harmless */
	assert_int_equal(topic_set_add(s, a), 0);
	assert_int_equal(topic_set_add(s, a), 0);
	assert_int_equal(topic_set_add(s, b), 0);
	topic_set_remove(s, a);
	assert_true(topic_set_has(s, a));
	topic_set_remove(s, a);
	assert_false(topic_set_has(s, a));
	assert_true(topic_set_has(s, b));
	topic_set_free(s);
}

static void test_many(void **state)
{
	struct topic_set *s = topic_set_new();
	char topic[16];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		snprintf(topic, sizeof(topic), "t/%d", i);
		assert_int_equal(topic_set_add(s, topic_hash(span_str(topic))), 0);
	}
	for (int i = 0; i < 2000; i += 2) {
		snprintf(topic, sizeof(topic), "t/%d", i);
		topic_set_remove(s, topic_hash(span_str(topic)));
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(topic, sizeof(topic), "t/%d", i);
		assert_int_equal(topic_set_has(s, topic_hash(span_str(topic))), i % 2);
	}
	topic_set_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
