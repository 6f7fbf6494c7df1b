#include "gateway/base/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct traffic one = TRAFFIC("one"), two = TRAFFIC("two"), unregistered = TRAFFIC("three");

static void test_totals_are_sums_of_those_registered(void **state)
{
	(void)state;
	assert_int_equal(traffic_total(TRAFFIC_PACKETS_IN), 0);
	traffic_register(&one);
	traffic_register(&two);
	traffic_register(&one);
	traffic_one(&one, TRAFFIC_PACKETS_IN);
	traffic_one(&two, TRAFFIC_PACKETS_IN);
	traffic_add(&two, TRAFFIC_BYTES_IN, 100);
	traffic_one(&unregistered, TRAFFIC_PACKETS_IN);
	assert_int_equal(traffic_total(TRAFFIC_PACKETS_IN), 2);
	assert_int_equal(traffic_total(TRAFFIC_BYTES_IN), 100);
	assert_int_equal(traffic_total(TRAFFIC_BYTES_OUT), 0);
}

static void test_each_kind_is_a_counter_of_its_own(void **state)
{
	(void)state;
	for (int k = 0; k < TRAFFIC_KINDS; k++) {
		uint64_t before = one.of[k].n;
		traffic_one(&one, (enum traffic_kind)k);
		assert_int_equal(count_value(one.of[k].name), before + 1);
	}
	assert_int_equal(count_value("two.bytes_received"), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_totals_are_sums_of_those_registered),
		cmocka_unit_test(test_each_kind_is_a_counter_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
