#include "gateway/core/delay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0];

static int setup(void **state)
{
	if (rig_setup(state))
		return -1;
	router_set_limits(
		rig.router, &(struct router_limits){ .max_delayed = 3, .max_delayed_bytes = 2000 });
	subscribe(a, "#", 2);
	return 0;
}

static void wait_ms(int64_t ms)
{
	clock_advance(ms);
	timers_run();
}

static void published_when_it_is_time(void **state)
{
	(void)state;
	assert_int_equal(publish("$delayed/5/t/x", 1), R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 1);
	wait_ms(4999);
	assert_int_equal(a->n, 0);
	wait_ms(1);
	assert_int_equal(a->n, 1);
	assert_string_equal(a->seen[0].topic, "t/x");
	assert_int_equal(a->seen[0].offer.qos, 1);
	assert_true(a->had_receipt); /* it is given up when that is safe */
	wait_ms(10000);
	assert_int_equal(a->n, 1);
}

static void bad_ones_are_refused(void **state)
{
	static const char *const bad[] = { "$delayed/", "$delayed/5", "$delayed/5/", "$delayed//t",
		"$delayed/-1/t", "$delayed/+5/t", "$delayed/1.5/t", "$delayed/4294968/t",
		"$delayed/99999999999999999999/t", "$delayed/5/$SYS/t", "$delayed/5/a/#",
		"$delayed/5/$delayed/5/t", "$delayed/x/t" };
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(publish(bad[i], 1), R_TOPIC_INVALID);
}

static void the_longest_delay(void **state)
{
	(void)state;
	publish("$delayed/4294967/t", 0);
	wait_ms(INT64_C(4294966999));
	assert_int_equal(a->n, 0);
	wait_ms(1);
	assert_int_equal(a->n, 1);
}

static void none_at_all(void **state)
{
	(void)state;
	router_set_limits(rig.router, &(struct router_limits){ .max_delayed = 0 });
	assert_int_equal(publish("$delayed/5/t", 0), R_TOPIC_INVALID);
}

static void the_caps(void **state)
{
	char big[2000];
	(void)state;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(publish_as(&rig.boxes[3].who, "$delayed/5/t", big, 0, false), R_QUOTA);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(publish("$delayed/5/t", 0), R_SUCCESS);
	assert_int_equal(publish("$delayed/5/t", 0), R_QUOTA);
	wait_ms(5000);
	assert_int_equal(a->n, 3);
	assert_int_equal(publish("$delayed/5/t", 0), R_SUCCESS);
}

static void rights_are_asked_at_once(void **state)
{
	(void)state;
	rig.deny_client = "dev-3";
	rig.deny_filter = "t";
	rig.deny_access = ACCESS_PUBLISH;
	assert_int_equal(publish("$delayed/5/t", 1), R_NOT_AUTHORIZED);
	rig.deny_client = NULL;
	assert_int_equal(publish("$delayed/5/t", 1), R_SUCCESS);
	rig.deny_client = "dev-3";
	wait_ms(5000);
	assert_int_equal(a->n, 1);
}

static void the_publisher_is_the_first_one(void **state)
{
	(void)state;
	subscribe_opts(&rig.boxes[3], "t", (struct sub_opts){ .no_local = true });
	publish("$delayed/0/t", 0);
	wait_ms(0);
	assert_int_equal(a->n, 1);
	assert_int_equal(rig.boxes[3].n, 0);
}

static void expiry_counts_from_publication(void **state)
{
	struct message *m = rig_message("$delayed/10/t", "1", 0, true, 2000);
	(void)state;

	router_publish(rig.router, &rig.boxes[3].who, m, NULL);
	message_unref(m);
	wait_ms(10000);
	assert_int_equal(a->n, 1);
	const struct message *kept = router_retained(rig.router, span_str("t"));
	assert_non_null(kept);
	assert_int_equal(kept->expires_ms, clock_ms() + 2000);
}

static void nothing_acknowledged_that_is_bound_upstream(void **state)
{
	(void)state;
	subscribe(&rig.gate, "up/#", 2);
	assert_int_equal(publish("$delayed/1/up/x", 1), R_IMPLEMENTATION);
	assert_int_equal(publish("$delayed/1/up/x", 2), R_IMPLEMENTATION);
	assert_int_equal(publish("$delayed/1/up/x", 0), R_SUCCESS);
	assert_int_equal(publish("$delayed/1/here/x", 1), R_SUCCESS);
	wait_ms(1000);
	assert_int_equal(rig.gate.n, 1);
	assert_int_equal(a->n, 2);
}

static void what_waits_at_the_end_is_dropped(void **state)
{
	(void)state;
	publish("$delayed/1/t", 0); /* the teardown looks for what is left */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(published_when_it_is_time),
		TEST(bad_ones_are_refused),
		TEST(the_longest_delay),
		TEST(none_at_all),
		TEST(the_caps),
		TEST(rights_are_asked_at_once),
		TEST(the_publisher_is_the_first_one),
		TEST(expiry_counts_from_publication),
		TEST(nothing_acknowledged_that_is_bound_upstream),
		TEST(what_waits_at_the_end_is_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
