#include "gateway/ctl/sys_values.h"

#include "gateway/base/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/ctl/hub.h"

static struct traffic adapter = TRAFFIC("adapter");
static struct sys_values *values;

static int up(void **state)
{
	static struct sys_sources from;

	hub_up(state);
	from = (struct sys_sources){ .router = hub.router, .sessions = hub.sessions };
	values = sys_values_new(&from);
	traffic_register(&adapter);
	return 0;
}

static int down(void **state)
{
	sys_values_free(values);
	return hub_down(state);
}

static void look(int64_t after_ms)
{
	clock_advance(after_ms);
	sys_values_look(values);
}

static void assert_value(const char *name, const char *wanted)
{
	const char *got = hub_value(name);

	assert_non_null(got);
	assert_string_equal(got, wanted);
}

static void traffic_of_the_adapters(void **state)
{
	(void)state;
	for (int k = 0; k < TRAFFIC_KINDS; k++)
		traffic_add(&adapter, (enum traffic_kind)k, (uint64_t)(k + 1) * 60);
	look(0);
	assert_value("messages/received", "120");
	assert_value("messages/sent", "180");
	assert_value("bytes/received", "240");
	assert_value("bytes/sent", "300");
	assert_value("publish/messages/received", "360");
	assert_value("publish/messages/sent", "420");
	assert_value("publish/bytes/received", "480");
	assert_value("publish/bytes/sent", "540");
	assert_value("counters/adapter/bytes_sent", "300");
	assert_null(hub_value("load/sockets/1min"));
	look(60000); /* 1 - 1/e of a rate of 60 a minute */
	assert_value("load/sockets/1min", "37.93");
	assert_value("load/publish/sent/15min", "27.09");
	assert_value("uptime", "60 seconds");
}

static void subscriptions_by_their_kind(void **state)
{
	struct sub_opts opts = { .qos = 0 };

	(void)state;
	look(0);
	assert_value("subscriptions/count", "1");
	assert_value("shared_subscriptions/count", "0");
	router_subscribe(hub.router, &hub.watcher, span_str("$share/g/a"), &opts);
	router_subscribe(hub.router, &hub.watcher, span_str("$share/h/a"), &opts);
	router_subscribe(hub.router, &hub.watcher, span_str("$exclusive/a"), &opts);
	look(0);
	assert_value("subscriptions/count", "2");
	assert_value("shared_subscriptions/count", "2");
	router_unsubscribe(hub.router, &hub.watcher, span_str("$share/g/a"));
	look(0);
	assert_value("subscriptions/count", "2");
	assert_value("shared_subscriptions/count", "1");
}

static void what_is_stored(void **state)
{
	struct message_init init = { .topic = span_str("t"), .payload = span_str("12345") };
	size_t count = messages_count(), bytes = messages_payload_bytes();
	struct message *m = message_new(&init);

	(void)state;
	assert_int_equal(messages_count(), count + 1);
	assert_int_equal(messages_payload_bytes(), bytes + 5);
	look(0);
	assert_true(atoi(hub_value("messages/stored")) > (int)count);
	assert_true(atoi(hub_value("store/messages/bytes")) >= 5);
	message_unref(m);
	/* What is retained is all that is left. */
	look(0);
	assert_true(messages_count() >= (size_t)atoi(hub_value("retained messages/count")));
	assert_int_equal(
		atoi(hub_value("store/messages/count")), atoi(hub_value("messages/stored")));
}

static void the_peak_of_clients(void **state)
{
	(void)state;
	sys_values_peak(values, 7);
	sys_values_peak(values, 3);
	look(0);
	assert_value("clients/maximum", "7");
	assert_value("clients/connected", "0");
	assert_value("clients/expired", "0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(traffic_of_the_adapters),
		TEST(subscriptions_by_their_kind),
		TEST(what_is_stored),
		TEST(the_peak_of_clients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
