#include "gateway/ctl/sys_events.h"

#include "gateway/base/count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/ctl/hub.h"

static struct sys_events events;

static void add(const char *client_id, bool attached)
{
	struct session s = { .who = { .client_id = client_id, .protocol = PROTO_MQTT } };

	assert_int_equal(addr_from_text(&s.who.peer, "10.0.0.9", 1234), 0);
	sys_events_add(&events, &s, attached);
}

static void told_when_the_turn_ends(void **state)
{
	(void)state;
	sys_events_init(&events);
	add("dev", true);
	assert_int_equal(hub.n, 0);
	sys_events_publish(&events, hub.router);
	assert_string_equal(hub.topic, "$SYS/broker/clients/dev/connected");
	assert_string_equal(hub.payload, "{\"clientid\":\"dev\",\"protocol\":\"mqtt\","
					 "\"address\":\"10.0.0.9:1234\",\"ts\":1700000000000}");
	assert_false(hub.retain);
	add("dev", false);
	sys_events_publish(&events, hub.router);
	assert_string_equal(hub.topic, "$SYS/broker/clients/dev/disconnected");
	sys_events_publish(&events, hub.router);
	assert_int_equal(hub.n, 2);
}

static void ids_are_one_level_and_valid_json(void **state)
{
	(void)state;
	sys_events_init(&events);
	add("a/+#%\"\\", true);
	sys_events_publish(&events, hub.router);
	assert_string_equal(hub.topic, "$SYS/broker/clients/a%2F%2B%23%25\"\\/connected");
	assert_non_null(strstr(hub.payload, "\"clientid\":\"a/+#%\\\"\\\\\","));
}

static void a_flood_is_counted_and_dropped(void **state)
{
	uint64_t before = count_value("sys.events_dropped");

	(void)state;
	sys_events_init(&events);
	for (int i = 0; i < 1010; i++)
		add("dev", true);
	assert_int_equal(count_value("sys.events_dropped") - before, 10);
	sys_events_clear(&events);
	sys_events_publish(&events, hub.router);
	assert_int_equal(hub.n, 0);
	add("dev", true); /* there is room again */
	sys_events_publish(&events, hub.router);
	assert_int_equal(hub.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HUB_TEST(told_when_the_turn_ends),
		HUB_TEST(ids_are_one_level_and_valid_json),
		HUB_TEST(a_flood_is_counted_and_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
