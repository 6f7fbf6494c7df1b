#include "adapters/mqtt/mq_alias.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_alias_stands_for_its_last_topic(void **state)
{
	(void)state;
	struct mq_aliases a;
	struct span topic;
	mq_aliases_init(&a, 2);
	assert_false(mq_aliases_get(&a, 1, &topic));
	assert_int_equal(mq_aliases_set(&a, 1, span_str("a")), R_SUCCESS);
	assert_int_equal(mq_aliases_set(&a, 2, span_str("b")), R_SUCCESS);
	assert_int_equal(mq_aliases_set(&a, 1, span_str("longer")), R_SUCCESS);
	assert_true(mq_aliases_get(&a, 1, &topic) && span_is(topic, "longer"));
	assert_true(mq_aliases_get(&a, 2, &topic) && span_is(topic, "b"));
	assert_false(mq_aliases_get(&a, 0, &topic));
	assert_false(mq_aliases_get(&a, 3, &topic));
	mq_aliases_clear(&a);
	assert_false(mq_aliases_get(&a, 1, &topic));
}

static void aliases_out_of_range_are_refused(void **state)
{
	(void)state;
	struct mq_aliases a;
	mq_aliases_init(&a, 2);
	assert_int_equal(mq_aliases_set(&a, 0, span_str("a")), R_TOPIC_ALIAS);
	assert_int_equal(mq_aliases_set(&a, 3, span_str("a")), R_TOPIC_ALIAS);
	mq_aliases_init(&a, 0);
	assert_int_equal(mq_aliases_set(&a, 1, span_str("a")), R_TOPIC_ALIAS);
	assert_null(a.topics);
	mq_aliases_clear(&a);
}

static void a_sender_knows_what_the_receiver_has(void **state)
{
	(void)state;
	struct mq_aliases a;
	bool known = true;
	mq_aliases_init(&a, 1);
	assert_int_equal(mq_aliases_for(&a, span_str("a/b"), &known), 1);
	assert_false(known);
	mq_aliases_set(&a, 1, span_str("a/b"));
	assert_int_equal(mq_aliases_for(&a, span_str("a/b"), &known), 1);
	assert_true(known);
	assert_int_equal(mq_aliases_for(&a, span_str("a/c"), &known), 1); /* takes its place */
	assert_false(known);
	mq_aliases_clear(&a);
	assert_int_equal(mq_aliases_for(&a, span_str("a/b"), &known), 0);
	assert_false(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_alias_stands_for_its_last_topic),
		cmocka_unit_test(aliases_out_of_range_are_refused),
		cmocka_unit_test(a_sender_knows_what_the_receiver_has),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
