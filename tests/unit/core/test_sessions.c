#include "gateway/core/session.h"

#include "tests/unit/core/rig.h"

#include <stdio.h>

#define MANY 3000

static const char *name(unsigned i)
{
	static char text[32];
	snprintf(text, sizeof(text), "device-%u", i);
	return text;
}

static void the_protocol_belongs_to_the_name(void **state)
{
	(void)state;
	static struct fake_link a, b;
	fake_init(&a);
	fake_init(&b);
	struct session_connect c = connecting("dev", &a);
	struct session *mqtt = connect_as(&c);
	c.protocol = PROTO_MQTTSN;
	c.link = &b.link;
	struct session *sn = connect_as(&c);
	assert_ptr_not_equal(mqtt, sn);
	assert_ptr_equal(sessions_find(rig.all, PROTO_MQTT, "dev"), mqtt);
	assert_ptr_equal(sessions_find(rig.all, PROTO_MQTTSN, "dev"), sn);
	assert_null(sessions_find(rig.all, PROTO_COAP, "dev"));
	assert_null(sessions_find(rig.all, PROTO_MQTT, "de"));
	assert_int_equal(a.n_closed, 0);
}

static void many_are_found_again(void **state)
{
	(void)state;
	static struct fake_link links[MANY];
	static struct session *made[MANY];
	for (unsigned i = 0; i < MANY; i++)
		made[i] = connect_client(name(i), &links[i]);
	for (unsigned i = 0; i < MANY; i += 2)
		session_end(made[i], R_ADMINISTRATIVE, false);
	for (unsigned i = 0; i < MANY; i++)
		assert_ptr_equal(
			sessions_find(rig.all, PROTO_MQTT, name(i)), i % 2 ? made[i] : NULL);
	assert_int_equal(sessions_count(rig.all, false), MANY / 2);
	assert_int_equal(sessions_count(rig.all, true), MANY / 2);
}

static void the_limit_refuses_new_ones_only(void **state)
{
	(void)state;
	static struct fake_link a, b, c;
	rig.conf.max_sessions = 2;
	sessions_set_conf(rig.all, &rig.conf);
	connect_client("a", &a);
	connect_client("b", &b);
	fake_init(&c);
	struct session *s = NULL;
	bool present;
	struct session_connect third = connecting("c", &c);
	assert_int_equal(session_connect(rig.all, &third, &s, &present), R_QUOTA);
	assert_null(c.link.session);
	third.client_id = "b";
	third.clean_start = true;
	assert_int_equal(session_connect(rig.all, &third, &s, &present), R_SUCCESS);
	assert_int_equal(b.closed, R_TAKEN_OVER);
	assert_int_equal(sessions_count(rig.all, false), 2);
}

static void attached_ones_are_counted_apart(void **state)
{
	(void)state;
	static struct fake_link a, b;
	connect_client("a", &a);
	connect_client("b", &b);
	session_detach(&a.link, DETACH_CLEAN);
	session_detach(&a.link, DETACH_CLEAN);
	assert_int_equal(sessions_count(rig.all, true), 1);
	assert_int_equal(sessions_count(rig.all, false), 2);
	connect_client("a", &a);
	assert_int_equal(sessions_count(rig.all, true), 2);
}

static void note(struct session *s, void *arg)
{
	unsigned number, *seen = arg;
	assert_int_equal(sscanf(s->who.client_id, "device-%u", &number), 1);
	seen[number]++;
}

static void a_walk_meets_each_once(void **state)
{
	(void)state;
	static struct fake_link links[MANY];
	unsigned seen[MANY] = { 0 };
	for (unsigned i = 0; i < MANY; i++)
		connect_client(name(i), &links[i]);
	sessions_each(rig.all, note, seen);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
}

static void new_limits_hold_for_present_sessions(void **state)
{
	(void)state;
	static struct fake_link a;
	struct session *s = connect_client("a", &a);
	subscribe(s, "x", 0);
	rig.conf.max_subscriptions = 1;
	sessions_set_conf(rig.all, &rig.conf);
	struct sub_opts opts = { .qos = 0 };
	assert_int_equal(session_subscribe(s, span_str("y"), &opts), R_QUOTA);
	assert_int_equal(session_unsubscribe(s, span_str("x")), R_SUCCESS);
	assert_int_equal(session_subscribe(s, span_str("y"), &opts), R_SUCCESS);
}

static void the_end_tells_every_link(void **state)
{
	(void)state;
	static struct fake_link a, b;
	connect_client("a", &a);
	connect_client("b", &b);
	session_detach(&b.link, DETACH_CLEAN);
	sessions_free(rig.all);
	assert_int_equal(a.n_closed, 1);
	assert_int_equal(a.closed, R_SHUTTING_DOWN);
	assert_int_equal(b.n_closed, 0);
	rig.all = sessions_new(rig.router, &rig.conf);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)
	const struct CMUnitTest tests[] = {
		TEST(the_protocol_belongs_to_the_name),
		TEST(many_are_found_again),
		TEST(the_limit_refuses_new_ones_only),
		TEST(attached_ones_are_counted_apart),
		TEST(a_walk_meets_each_once),
		TEST(new_limits_hold_for_present_sessions),
		TEST(the_end_tells_every_link),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
