#include "adapters/mqttsn/sn_topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	static struct session s;
	memset(&s, 0, sizeof(s));
	assert_null(sn_topics_peek(&s));
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	session_set_extra(*state, NULL);
	return 0;
}

static struct span name_of(unsigned i)
{
	static char name[32];
	return span_of(name, (size_t)snprintf(name, sizeof(name), "plant/line/%u", i));
}

static void test_belongs_to_the_session(void **state)
{
	struct session *s = *state;
	sn_topics_add(s, name_of(0), SN_FROM_REGISTER, 1);
	assert_ptr_equal(s->extra, &sn_topics_peek(s)->extra);
}

static void test_ids_count_up(void **state)
{
	struct session *s = *state;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(sn_topics_add(s, name_of(i), SN_FROM_REGISTER, 1000)->id, i + 1);
	assert_null(sn_topics_add(s, name_of(1000), SN_FROM_REGISTER, 1000));
	for (unsigned i = 0; i < 1000; i++) { /* also when it is full */
		assert_int_equal(sn_topics_add(s, name_of(i), SN_FROM_REGISTER, 1000)->id, i + 1);
		assert_int_equal(sn_topics_by_name(sn_topics_peek(s), name_of(i))->id, i + 1);
		assert_true(span_equal(
			sn_topic_name(sn_topics_by_id(sn_topics_peek(s), (uint16_t)(i + 1))),
			name_of(i)));
	}
	assert_null(sn_topics_by_name(sn_topics_peek(s), name_of(1000)));
}

static void test_reserved_ids(void **state)
{
	struct session *s = *state;
	struct sn_topic *last = NULL, *next;
	unsigned i = 0;
	while ((next = sn_topics_add(s, name_of(i), SN_FROM_REGISTER, UINT32_MAX))) {
		last = next;
		i++;
	}
	assert_int_equal(i, 0xFFFE);
	assert_int_equal(last->id, 0xFFFE);
	assert_null(sn_topics_by_id(sn_topics_peek(s), 0));
	assert_null(sn_topics_by_id(sn_topics_peek(s), 0xFFFF));
}

static void test_empty_table(void **state)
{
	(void)state;
	assert_null(sn_topics_by_id(NULL, 1));
	assert_null(sn_topics_by_name(NULL, span_str("a")));
	assert_null(sn_topics_by_name(sn_topics_peek(*state), span_str("a")));
}

static void test_names_of_any_octets(void **state)
{
	struct session *s = *state;
	uint16_t a = sn_topics_add(s, span_of("a\0b", 3), SN_FROM_REGISTER, 10)->id;
	uint16_t b = sn_topics_add(s, span_of("a\0c", 3), SN_FROM_REGISTER, 10)->id;
	uint16_t c = sn_topics_add(s, span_of("a", 1), SN_FROM_REGISTER, 10)->id;
	assert_true(a != b && b != c && a != c);
	assert_int_equal(sn_topics_by_name(sn_topics_peek(s), span_of("a\0b", 3))->id, a);
}

static void test_unannounce(void **state)
{
	struct session *s = *state;
	sn_topics_add(s, span_str("a"), SN_FROM_REGISTER, 10)->announced = true;
	sn_topics_add(s, span_str("b"), SN_FROM_REGISTER, 10)->refused = true;
	sn_topics_unannounce(sn_topics_peek(s));
	assert_false(sn_topics_by_id(sn_topics_peek(s), 1)->announced);
	assert_true(sn_topics_by_id(sn_topics_peek(s), 2)->refused);
}

/* Four names are what a sensor has, and all that it costs. */
static void test_few_names_are_small(void **state)
{
	struct session *s = *state;
	for (unsigned i = 0; i < SN_TOPICS_FEW; i++)
		sn_topics_add(s, name_of(i), SN_FROM_REGISTER, 100);
	assert_null(sn_topics_peek(s)->index);
	assert_true(sn_topics_peek(s)->used <= SN_TOPICS_FEW * 28);
	sn_topics_add(s, name_of(SN_TOPICS_FEW), SN_FROM_REGISTER, 100);
	assert_non_null(sn_topics_peek(s)->index);
}

static void test_what_is_told_of_a_name(void **state)
{
	struct session *s = *state;
	assert_int_equal(
		sn_topics_add(s, span_str("a"), SN_FROM_SUBSCRIBE, 9)->origin, SN_FROM_SUBSCRIBE);
	assert_int_equal(sn_topics_add(s, span_str("a"), SN_FROM_REGISTER, 9)->origin,
		SN_FROM_SUBSCRIBE); /* the first one that brought it up */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_belongs_to_the_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_count_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserved_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_of_any_octets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unannounce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_few_names_are_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_told_of_a_name, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
