#include "gateway/ctl/sys_publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/ctl/hub.h"

static void values_are_retained_and_told_when_they_change(void **state)
{
	(void)state;
	sys_publish_number(hub.router, "a/b", 7);
	assert_string_equal(hub.topic, "$SYS/broker/a/b");
	assert_string_equal(hub.payload, "7");
	assert_true(hub.retain);
	sys_publish_number(hub.router, "a/b", 7);
	assert_int_equal(hub.n, 1);
	sys_publish_value(hub.router, "a/b", "%.2f", 0.5);
	assert_int_equal(hub.n, 2);
	assert_string_equal(hub_value("a/b"), "0.50");
}

static void the_largest_number_fits(void **state)
{
	(void)state;
	sys_publish_number(hub.router, "n", UINT64_MAX);
	assert_string_equal(hub.payload, "18446744073709551615");
}

static void events_are_not_retained(void **state)
{
	(void)state;
	sys_publish(hub.router, span_str("$SYS/broker/x"), span_str("1"), false);
	assert_int_equal(hub.n, 1);
	assert_null(hub_value("x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HUB_TEST(values_are_retained_and_told_when_they_change),
		HUB_TEST(the_largest_number_fits),
		HUB_TEST(events_are_not_retained),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
