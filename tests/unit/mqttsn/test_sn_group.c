#include "adapters/mqttsn/sn_handlers.h"
#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static struct sn_conf with_forwarders(size_t n, const char **items)
{
	struct sn_conf conf = world_conf();
	conf.forwarders = (struct conf_list){ n, items };
	return conf;
}

static void test_forwarders(void **state)
{
	struct world *w = *state;
	struct sn_group *g = &w->gw->base;
	struct addr a = addr_at("10.0.0.1", 77), b = addr_at("10.0.0.2", 0);
	const char *any[] = { "any" }, *none[] = { "none" }, *list[] = { "10.0.0.1", "::1" };
	struct sn_conf conf = with_forwarders(1, any);
	sn_group_configure(g, &conf);
	assert_true(sn_group_forwards(g, &a));
	conf = with_forwarders(1, none);
	sn_group_configure(g, &conf);
	assert_false(sn_group_forwards(g, &a));
	conf = with_forwarders(2, list);
	sn_group_configure(g, &conf);
	assert_true(sn_group_forwards(g, &a)); /* whatever the port */
	assert_false(sn_group_forwards(g, &b));
	conf = with_forwarders(0, NULL);
	sn_group_configure(g, &conf);
	assert_false(sn_group_forwards(g, &a));
}

/* The file goes, what the groups need of it stays. */
static void test_keeps_nothing_of_the_file(void **state)
{
	struct world *w = *state;
	struct sn_conf conf = world_conf();
	conf.multicast_interface = "eth0";
	sn_group_configure(&w->gw->base, &conf);
	assert_null(w->gw->conf.multicast_interface);
	assert_null(w->gw->conf.forwarders.items);
	assert_int_equal(w->gw->conf.retry_count, 3);
}

static void test_find(void **state)
{
	struct world *w = *state;
	struct sn_conf conf = world_conf();
	struct sn_group *a = sn_group_new(w->gw, "a", &conf);
	struct sn_group *b = sn_group_new(w->gw, "b", &conf);
	assert_ptr_equal(sn_group_find(&w->gw->groups, "a"), a);
	assert_ptr_equal(sn_group_find(&w->gw->groups, "b"), b);
	assert_null(sn_group_find(&w->gw->groups, "c"));
}

/* Each listener serves by its own section. */
static void test_own_values(void **state)
{
	struct world *w = *state;
	struct sn_conf conf = world_conf();
	conf.retry_interval_ms = 500;
	conf.retry_count = 1;
	conf.qos_minus_one = SN_MINUS_ONE_OFF;
	connect_as(w, DEV, "slow", true);
	subscribe_to(w, DEV, "t", 1);
	w->socket.group = sn_group_new(w->gw, "fast", &conf);
	connect_as(w, DEV, "fast", true);
	subscribe_to(w, DEV, "fast/t", 1);
	publish(w, "fast/t", "x", 1);
	assert_hears(w, DEV, SN_PUBLISH);
	pass_ms(w, 500);
	assert_hears(w, DEV, SN_PUBLISH);
	pass_ms(w, 500);
	assert_hears(w, DEV, SN_DISCONNECT);
	unsigned before = w->spy.n;
	struct sn_packet minus_one = { .type = SN_PUBLISH,
		.qos = SN_QOS_MINUS_1,
		.topic_type = SN_TOPIC_PREDEFINED,
		.topic_id = 1,
		.data = TEXT("x") };
	say(w, DEV, minus_one);
	assert_int_equal(w->spy.n, before);
	w->socket.group = &w->gw->base;
	say(w, DEV, minus_one);
	assert_int_equal(w->spy.n, before + 1);
}

/* A lenient group is no way into the sessions of a strict one. */
static void test_the_stricter_takeover(void **state)
{
	struct world *w = *state;
	struct sn_conf conf = world_conf();
	conf.takeover = SN_TAKEOVER_ALLOW;
	connect_as(w, DEV, "dev", false);
	struct sn_group *lenient = sn_group_new(w->gw, "lenient", &conf);
	struct sn_socket socket = w->socket;
	socket.group = lenient;
	struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, "dev");
	struct sn_route far = { .socket = &socket, .addr = addr_at("10.0.0.66", 5) };
	struct sn_peer *p = peer_at(w, DEV);
	assert_false(sn_may_speak_for(s, &far));
	p->route.socket = &socket;
	assert_true(sn_may_speak_for(s, &far));
	p->route.socket = &w->socket;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_forwarders),
		world_test(test_keeps_nothing_of_the_file),
		world_test(test_find),
		world_test(test_own_values),
		world_test(test_the_stricter_takeover),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
