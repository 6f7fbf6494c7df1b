#include "adapters/mqtt/mq_group.h"

#include "adapters/mqtt/mqtt.h"
#include "tests/unit/mqtt/hub.h"

static struct mqtt_conf conf_of(int64_t timeout_ms, const char *mountpoint)
{
	return (struct mqtt_conf){
		.connect_timeout_ms = timeout_ms,
		.max_keepalive_ms = 60000,
		.ws_path = "/mqtt",
		.mountpoint = mountpoint,
	};
}

static void groups_have_values_of_their_own(void **state)
{
	struct mqtt_conf base = conf_of(1000, NULL), room = conf_of(2000, "room/");
	struct mqtt m = { 0 };
	(void)state;

	list_init(&m.groups);
	assert_int_equal(mq_group_configure(mq_group_new(&m, "mqtt", &base), &base), 0);
	assert_int_equal(mq_group_configure(mq_group_new(&m, "mqtt.room", &room), &room), 0);
	struct mq_group *g = mq_group_find(&m, "mqtt.room");
	assert_non_null(g);
	assert_int_equal(g->connect_timeout_ms, 2000);
	assert_int_equal(g->max_keepalive_s, 60);
	assert_string_equal(g->mountpoint, "room/");
	assert_null(mq_group_find(&m, "mqtt")->mountpoint);
	assert_null(mq_group_find(&m, "room"));
	room.mountpoint = "other/"; /* needs a restart */
	assert_int_equal(mq_group_configure(g, &room), 0);
	assert_string_equal(g->mountpoint, "room/");
	mq_groups_free(&m);
	assert_true(list_empty(&m.groups));
}

static bool good(const char *text, struct conf_error *err)
{
	struct conf *conf;

	if (conf_parse(hub_sections, "test", text, strlen(text), &conf, err) != 0)
		return false;
	conf_free(conf);
	return true;
}

static void sections_of_groups(void **state)
{
	struct conf_error err;
	(void)state;

	assert_true(good("[mqtt]\n[mqtt.a]\nlisten = mqtt://127.0.0.1:2883\n", &err));
	assert_false(good("[mqtt]\n[mqtt.a]\nmountpoint = x/\n", &err));
	assert_non_null(strstr(err.text, "[mqtt.a] listen: is missing"));
	assert_false(good("[mqtt]\n[mqtt.a]\nlisten = mqtt://0.0.0.0:2883\n", &err));
	assert_non_null(strstr(err.text, "test:3: [mqtt.a] listen"));
	assert_false(good("[mqtt]\n[mqtt.a]\nmax_connections = 5\n", &err));
	assert_false(good("[mqtt]\nmountpoint = site\n", &err));
	assert_non_null(strstr(err.text, "site/%c/"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_have_values_of_their_own),
		cmocka_unit_test(sections_of_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
