#include "gateway/core/sub_ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void one_or_none_needs_no_block(void **state)
{
	(void)state;
	assert_int_equal(sub_ids_count(0), 0);
	assert_int_equal(sub_ids_add(0, 0), 0);
	uint32_t ids = sub_ids_add(0, 268435455);
	assert_int_equal(sub_ids_count(ids), 1);
	assert_int_equal(sub_ids_at(ids, 0), 268435455);
	assert_int_equal(sub_ids_add(ids, 0), ids);
	assert_int_equal(sub_ids_blocks(), 0);
	sub_ids_unref(sub_ids_ref(ids));
}

static void several_are_kept_in_their_order(void **state)
{
	(void)state;
	uint32_t ids = 0;
	for (uint32_t id = 1; id <= 50; id++)
		ids = sub_ids_add(ids, id % 7 + 1); /* the same more than once, too */
	assert_int_equal(sub_ids_count(ids), 50);
	for (uint32_t id = 1; id <= 50; id++)
		assert_int_equal(sub_ids_at(ids, id - 1), id % 7 + 1);
	assert_int_equal(sub_ids_blocks(), 1);
	sub_ids_ref(ids);
	sub_ids_unref(ids);
	assert_int_equal(sub_ids_count(ids), 50);
	sub_ids_unref(ids);
	assert_int_equal(sub_ids_blocks(), 0);
}

static void many_sets_live_side_by_side(void **state)
{
	(void)state;
	uint32_t sets[100];
	for (uint32_t i = 0; i < 100; i++)
		sets[i] = sub_ids_add(i + 1, 1000 + i);
	for (uint32_t i = 0; i < 100; i += 2)
		sub_ids_unref(sets[i]);
	for (uint32_t i = 0; i < 100; i += 2)
		sets[i] = sub_ids_add(i + 1, 2000 + i);
	assert_int_equal(sub_ids_blocks(), 100);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(sub_ids_at(sets[i], 0), i + 1);
		assert_int_equal(sub_ids_at(sets[i], 1), (i % 2 ? 1000 : 2000) + i);
		sub_ids_unref(sets[i]);
	}
	assert_int_equal(sub_ids_blocks(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_or_none_needs_no_block),
		cmocka_unit_test(several_are_kept_in_their_order),
		cmocka_unit_test(many_sets_live_side_by_side),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
