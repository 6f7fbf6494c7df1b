#include "gateway/base/clock.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int64_t wall_now_ms(void)
{
	return (int64_t)time(NULL) * 1000;
}

/* Runs first: nobody has called clock_tick() yet. */
static void it_runs_before_the_first_tick(void **state)
{
	(void)state;
	assert_true(clock_ms() > 0);
	assert_true(clock_wall_ms() > wall_now_ms() - 5000);
	assert_true(clock_wall_ms() < wall_now_ms() + 5000);
}

static void it_stands_still_within_a_turn(void **state)
{
	struct timespec pause = { 0, 3000000 };
	(void)state;
	clock_tick();
	int64_t before_ms = clock_ms();
	nanosleep(&pause, NULL);
	assert_int_equal(clock_ms(), before_ms);
	clock_tick();
	assert_true(clock_ms() >= before_ms + 3);
}

static void frozen_it_moves_by_hand_only(void **state)
{
	(void)state;
	clock_freeze(1000, 5000);
	clock_tick();
	assert_int_equal(clock_ms(), 1000);
	assert_int_equal(clock_wall_ms(), 5000);
	clock_advance(250);
	clock_tick();
	assert_int_equal(clock_ms(), 1250);
	assert_int_equal(clock_wall_ms(), 5250);
	clock_freeze(0, 0);
	assert_true(clock_ms() != 0);
}

static void it_tells_what_passed_where_it_can(void **state)
{
	const int64_t year = INT64_C(365) * 86400000, then = INT64_C(1700000000000);
	(void)state;
	clock_freeze(1000, then + 250);
	assert_int_equal(clock_stamp_passed(then), 250);
	assert_int_equal(clock_stamp_passed(then + 250), 0);
	assert_int_equal(clock_stamp_passed(then + 251), 0);
	assert_int_equal(clock_stamp_passed(then - year), year + 250);
	assert_int_equal(clock_stamp_passed(then + year), 0);
	assert_int_equal(clock_stamp_passed(10000), 0); /* it was 1970 */
	assert_int_equal(clock_stamp_passed(-1), 0);
	assert_int_equal(clock_stamp_passed(INT64_MIN), 0);
	assert_int_equal(clock_stamp_passed(INT64_MAX), 0);
	clock_freeze(1000, 20000); /* it is 1970 */
	assert_int_equal(clock_stamp_passed(then), 0);
	assert_int_equal(clock_stamp_passed(10000), 0);
}

/* What is done to the wall clock does not move the stamps, and the next process goes on with them.
 * Last of all: from here on the stamps are kept. */
static void test_stamps(void **state)
{
	char path[] = "/tmp/tidegate-test-XXXXXX";
	const int64_t wall = 1700000000000, year = INT64_C(365) * 86400000;
	(void)state;

	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	clock_freeze(5000, wall);
	assert_int_equal(clock_stamp_ms(), wall);
	clock_recall(path); /* empty */
	clock_freeze(5000, wall - year);
	assert_int_equal(clock_stamp_ms(), wall - year);
	clock_freeze(5000, wall);
	assert_int_equal(clock_keep(path), 0);
	clock_freeze(6000, wall + year);
	assert_int_equal(clock_stamp_ms(), wall + 1000);
	assert_int_equal(clock_stamp_passed(wall), 1000);
	assert_int_equal(clock_keep(path), 0); /* not again */
	clock_recall(path);
	clock_freeze(7000, 1000);
	assert_int_equal(clock_stamp_ms(), wall + 2000);
	assert_int_equal(unlink(path), 0);
}

static void test_text(void **state)
{
	char buf[CLOCK_TEXT_MAX];
	(void)state;

	assert_string_equal(clock_text(0, buf), "1970-01-01T00:00:00.000Z");
	assert_string_equal(clock_text(1700000000007, buf), "2023-11-14T22:13:20.007Z");
	assert_string_equal(clock_text(-1, buf), "1970-01-01T00:00:00.000Z");
	assert_string_equal(clock_text(INT64_MAX, buf), "1970-01-01T00:00:00.000Z");
}

/* Whether the machine's clock is set is not known here; one in 1970 is not. */
static void test_not_synced_in_1970(void **state)
{
	(void)state;
	clock_freeze(1000, 86400000);
	assert_false(clock_synced());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_runs_before_the_first_tick),
		cmocka_unit_test(it_stands_still_within_a_turn),
		cmocka_unit_test(frozen_it_moves_by_hand_only),
		cmocka_unit_test(it_tells_what_passed_where_it_can),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_not_synced_in_1970),
		cmocka_unit_test(test_stamps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
