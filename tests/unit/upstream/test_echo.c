#include "gateway/upstream/echo.h"

#include "gateway/base/clock.h"
#include "gateway/base/timer.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"
#include "gateway/upstream/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct router *router;
static struct echo *echo;
static struct subscriber local;
static struct identity local_who, sender;
static unsigned delivered;
static char last_from[32];

static enum reason on_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	(void)s;
	(void)m;
	(void)r;
	delivered++;
	snprintf(last_from, sizeof(last_from), "%s", o->from->client_id);
	return R_SUCCESS;
}

static int setup(void **state)
{
	static const struct subscriber_ops ops = { .offer = on_offer };
	static const struct router_limits limits;
	struct sub_opts opts = { .qos = 2 };

	(void)state;
	clock_freeze(1000000, 1700000000000);
	router = router_new(&policy_allow_all, &limits);
	local_who = (struct identity){ .client_id = "lamp", .origin = identity_new_origin() };
	sender = (struct identity){ .client_id = "switch", .origin = identity_new_origin() };
	subscriber_init(&local, &ops, &local_who);
	router_subscribe(router, &local, span_str("#"), &opts);
	echo = echo_new(router);
	echo_set_timeout(echo, 2000);
	delivered = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	echo_free(echo);
	router_leave(router, &local);
	router_free(router);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static struct message *make(const char *payload)
{
	struct message_init init = { .topic = span_str("room/light"),
		.payload = span_str(payload),
		.origin = sender.origin };

	return message_new(&init);
}

static bool comes_back(const char *payload)
{
	struct uplink_message m = { .topic = span_str("room/light"), .payload = span_str(payload) };

	return echo_received(echo, &m);
}

static void advance(int64_t ms)
{
	clock_advance(ms);
	timers_run();
}

static void test_echo_is_the_delivery(void **state)
{
	struct message *m = make("on");

	(void)state;
	assert_true(echo_withhold(echo, &sender, m));
	echo_sent(echo, m);
	assert_int_equal(delivered, 0);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 1);
	assert_string_equal(last_from, "switch");
	advance(5000);
	assert_int_equal(delivered, 1);
	assert_false(comes_back("on")); /* a second one is somebody else's */
	message_unref(m);
}

static void test_timeout_then_late_echo(void **state)
{
	struct message *m = make("on");

	(void)state;
	echo_withhold(echo, &sender, m);
	echo_sent(echo, m);
	advance(2100);
	assert_int_equal(delivered, 1);
	assert_int_equal(echo_withheld(echo), 0);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 1);
	message_unref(m);
}

static void test_not_sent_before_timeout(void **state)
{
	struct message *m = make("on");

	(void)state;
	echo_withhold(echo, &sender, m);
	advance(2100);
	assert_int_equal(delivered, 1);
	assert_false(comes_back("on")); /* nothing has been sent that could come back */
	echo_sent(echo, m);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 1);
	message_unref(m);
}

static void test_delivered_already(void **state)
{
	struct message *m = make("on");

	(void)state;
	echo_sent(echo, m);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 0);
	echo_sent(echo, m);
	advance(ECHO_LATE_MS + 2000);
	assert_false(comes_back("on"));
	message_unref(m);
}

static void test_link_goes_down(void **state)
{
	struct message *a = make("a"), *c = make("c");

	(void)state;
	echo_withhold(echo, &sender, a);
	echo_sent(echo, a);
	echo_withhold(echo, &sender, c);
	echo_flush(echo);
	assert_int_equal(delivered, 2);
	assert_true(comes_back("a"));
	assert_false(comes_back("c"));
	assert_int_equal(delivered, 2);
	message_unref(a);
	message_unref(c);
}

static void test_refused(void **state)
{
	struct message *m = make("on");

	(void)state;
	echo_withhold(echo, &sender, m);
	echo_sent(echo, m);
	echo_give_up(echo, m);
	assert_int_equal(delivered, 1);
	assert_false(comes_back("on"));
	echo_give_up(echo, m); /* harmless */
	assert_int_equal(delivered, 1);
	message_unref(m);
}

/* A stale expectation must not swallow the only copy. */
static void test_withheld_before_expected(void **state)
{
	struct message *a = make("on"), *c = make("on");

	(void)state;
	echo_sent(echo, a);
	echo_withhold(echo, &sender, c);
	echo_sent(echo, c);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 1);
	assert_true(comes_back("on"));
	assert_int_equal(delivered, 1);
	message_unref(a);
	message_unref(c);
}

static void test_bounded(void **state)
{
	struct message *m = make("on");

	(void)state;
	for (int i = 0; i < ECHO_WITHHELD_MAX; i++)
		assert_true(echo_withhold(echo, &sender, m));
	assert_false(echo_withhold(echo, &sender, m));
	echo_flush(echo);
	assert_int_equal(delivered, ECHO_WITHHELD_MAX);
	message_unref(m);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_echo_is_the_delivery),
		CASE(test_timeout_then_late_echo),
		CASE(test_not_sent_before_timeout),
		CASE(test_delivered_already),
		CASE(test_link_goes_down),
		CASE(test_refused),
		CASE(test_withheld_before_expected),
		CASE(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
