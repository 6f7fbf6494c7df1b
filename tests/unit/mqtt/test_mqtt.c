#include "gateway/base/count.h"
#include "tests/unit/mqtt/hub.h"

#include <sys/resource.h>

static int start(void **state)
{
	static struct hub hub;

	hub_start(&hub, &policy_allow_all, "", "max_connections = 3\n");
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	hub_stop(*state);
	return 0;
}

static void assert_conf_error(const char *text, const char *says)
{
	struct conf_error err;
	struct conf *conf;
	assert_int_equal(
		conf_parse(hub_sections, "x.conf", text, strlen(text), &conf, &err), -EINVAL);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void a_wrong_configuration_is_told(void **state)
{
	(void)state;
	assert_conf_error("[mqtt]\nlisten = http://127.0.0.1\n", "mqtt://ADDRESS");
	assert_conf_error("[mqtt]\nlisten = mqtts://127.0.0.1\n", "cert_file");
	assert_conf_error("[mqtt]\nlisten = wss://0.0.0.0\n", "cert_file");
	assert_conf_error("[mqtt]\nlisten = ws://0.0.0.0\n", "allow_plain");
	assert_conf_error("[mqtt]\nws_path = mqtt\n", "ws_path");
	assert_conf_error("[mqtt]\nws_path =\n", "ws_path");
	assert_conf_error("[mqtt]\nws_origins = panel.example\n", "ws_origins");
	assert_conf_error("[mqtt]\nws_origins = https://panel.example/\n", "ws_origins");
	assert_conf_error("[mqtt]\ntls_min_version = 1.1\n", "1.2");
	assert_conf_error("[mqtt]\nrequire_certificate = maybe\n", "optional");
	assert_conf_error("[mqtt]\nlisten = mqtt://example.org\n", "numeric");
	assert_conf_error("[mqtt]\nlisten = mqtt://127.0.0.1:70000\n", "mqtt://ADDRESS");
	assert_conf_error("[mqtt]\nlisten = mqtt://127.0.0.1/path\n", "mqtt://ADDRESS");
	assert_conf_error("[mqtt]\nlisten = mqtt://0.0.0.0:1\n", "allow_plain");
	assert_conf_error("[mqtt]\nlisten = mqtt://127.0.0.1, mqtt://[::]:1\n", "allow_plain");
	assert_conf_error("[mqtt]\nmax_connections = 0\n", "max_connections");
	assert_conf_error("[mqtt]\nconnect_timeout = 10\n", "connect_timeout");
}

static void an_absent_section_is_no_listener(void **state)
{
	(void)state;
	struct conf_error err;
	struct conf *conf;
	assert_int_equal(conf_parse(hub_sections, "x.conf", "", 0, &conf, &err), 0);
	assert_null(conf_section(conf, "mqtt"));
	conf_free(conf);
}

static void a_port_in_use_is_told(void **state)
{
	struct hub *h = *state;
	struct env env = { h->base, h->router, h->sessions, "test", NULL, false };
	void *other;
	assert_int_equal(adapter_mqtt.start(&env, h->conf, &other), -EADDRINUSE);
	client_free(client_new(h, "dev")); /* the first goes on */
}

static void too_many_connections_are_turned_away(void **state)
{
	struct client *c[3], *more;
	for (unsigned i = 0; i < 3; i++)
		c[i] = client_new(*state, "");
	uint64_t before = count_value("mqtt.turned_away");
	more = client_open(*state);
	client_expect_closed(more);
	client_free(more);
	assert_int_equal(count_value("mqtt.turned_away") - before, 1);
	client_free(c[0]);
	c[0] = client_new(*state, "");
	for (unsigned i = 0; i < 3; i++)
		client_free(c[i]);
}

static void a_reload_applies_the_limits(void **state)
{
	struct hub *h = *state;
	struct conf *conf = hub_conf(
		h->port, "message_bytes = 128B\n", "max_connections = 1\nconnect_timeout = 1s\n");
	assert_int_equal(adapter_mqtt.reload(h->mqtt, conf), 0);
	conf_free(conf);

	struct client *c = client_new(h, "dev"), *more = client_open(h);
	client_expect_closed(more);
	client_free(more);
	char payload[130] = { 0 };
	memset(payload, 'x', 128);
	client_publish(c, "t", payload, 1, 1);
	client_expect_ack(c, MQ_PUBACK, 1);
	payload[128] = 'x';
	client_publish(c, "t", payload, 1, 2);
	client_expect_closed(c);
	client_free(c);

	c = client_open(h);
	clock_advance(1100);
	client_expect_closed(c);
	client_free(c);
}

/* No descriptor left: the listener rests for a second instead of spinning. */
static void without_descriptors_the_listener_rests(void **state)
{
	struct hub *h = *state;
	struct client *c = client_new(h, "dev");
	struct rlimit old, none;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	none.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);

	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(h->port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	hub_turns(h, 5);
	client_ping(c); /* who is there is served */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	uint64_t before = count_value("mqtt.sockets");
	hub_turns(h, 5);
	assert_int_equal(count_value("mqtt.sockets"), before);
	clock_advance(1100);
	hub_turns(h, 5);
	assert_int_equal(count_value("mqtt.sockets"), before + 1);
	close(fd);
	client_free(c);
}

static void draining_takes_nobody_new(void **state)
{
	struct hub *h = *state;
	struct client *c = client_new(h, "dev");
	assert_true(adapter_mqtt.drain(h->mqtt));
	client_ping(c);
	adapter_mqtt.dump(h->mqtt);

	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(h->port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	client_free(c);
}

static void the_end_of_sessions_closes_their_sockets(void **state)
{
	struct hub *h = *state;
	struct client *c = client_new(h, "dev");
	session_end(sessions_find(h->sessions, PROTO_MQTT, "dev"), R_ADMINISTRATIVE, false);
	client_expect_closed(c);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_configuration_is_told),
		cmocka_unit_test(an_absent_section_is_no_listener),
		TEST(a_port_in_use_is_told),
		TEST(too_many_connections_are_turned_away),
		TEST(a_reload_applies_the_limits),
		TEST(without_descriptors_the_listener_rests),
		TEST(draining_takes_nobody_new),
		TEST(the_end_of_sessions_closes_their_sockets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
