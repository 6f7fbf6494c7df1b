#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/store/day_count.h"

#define HOUR (DAY_MS / 24)
#define T0   INT64_C(5000000)

static void counts_a_day(void **state)
{
	(void)state;
	struct day_count d;
	day_count_init(&d, T0);

	assert_int_equal(day_count_last_day(&d, T0), 0);
	day_count_add(&d, T0, 5);
	day_count_add(&d, T0 + HOUR, 7);
	day_count_add(&d, T0 + HOUR + 1, 1);
	assert_int_equal(day_count_last_day(&d, T0 + 2 * HOUR), 13);
	assert_int_equal(day_count_last_day(&d, T0 + 24 * HOUR - 1), 13);
	assert_int_equal(day_count_last_day(&d, T0 + 24 * HOUR), 8);
	assert_int_equal(day_count_last_day(&d, T0 + 25 * HOUR), 0);
	assert_int_equal(day_count_last_day(&d, T0 + 1000 * HOUR), 0);
	assert_int_equal(d.total, 13);
}

static void old_hours_make_room(void **state)
{
	(void)state;
	struct day_count d;
	day_count_init(&d, T0);

	for (int h = 0; h < 100; h++)
		day_count_add(&d, T0 + h * HOUR, 1);
	assert_int_equal(day_count_last_day(&d, T0 + 99 * HOUR), 24);
	day_count_add(&d, T0 + 110 * HOUR, 10); /* hours 87..99 and this one */
	assert_int_equal(day_count_last_day(&d, T0 + 110 * HOUR), 23);
	day_count_add(&d, T0 + 500 * HOUR, 2);
	assert_int_equal(day_count_last_day(&d, T0 + 500 * HOUR), 2);
	assert_int_equal(d.total, 112);
}

static void means_are_of_whole_days_at_least(void **state)
{
	(void)state;
	struct day_count d;
	day_count_init(&d, T0);

	day_count_add(&d, T0 + 1, 1000);
	assert_int_equal(day_count_per_day(&d, T0 + 1), 1000);
	assert_int_equal(day_count_per_day(&d, T0 + DAY_MS), 1000);
	assert_int_equal(day_count_per_day(&d, T0 + 4 * DAY_MS), 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_a_day),
		cmocka_unit_test(old_hours_make_room),
		cmocka_unit_test(means_are_of_whole_days_at_least),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
