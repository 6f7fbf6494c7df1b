#include "adapters/mqtt/mq_listen.h"

#include "tests/unit/mqtt/hub.h"

static void assert_place(const char *uri, const char *addr, bool tls, bool ws)
{
	struct mq_place p;
	char text[ADDR_TEXT_MAX];

	assert_int_equal(mq_listen_parse(uri, &p), 0);
	assert_string_equal(addr_text(&p.addr, text), addr);
	assert_memory_equal(p.scheme, uri, strlen(p.scheme));
	assert_int_equal(p.tls, tls);
	assert_int_equal(p.ws, ws);
}

static void a_uri_becomes_a_place(void **state)
{
	(void)state;
	struct mq_place p;
	assert_place("mqtt://127.0.0.1", "127.0.0.1:1883", false, false);
	assert_place("mqtts://127.0.0.1", "127.0.0.1:8883", true, false);
	assert_place("ws://127.0.0.1", "127.0.0.1:8083", false, true);
	assert_place("wss://127.0.0.1", "127.0.0.1:8084", true, true);
	assert_place("wss://[::1]:99", "[::1]:99", true, true);
	assert_int_equal(mq_listen_parse("mqtt://*:99", &p), 0);
	assert_true(addr_is_any(&p.addr));
	assert_int_equal(mq_listen_parse("mqtt://localhost", &p), -EINVAL);
	assert_int_equal(mq_listen_parse("ws://127.0.0.1/mqtt", &p), -EINVAL);
	assert_int_equal(mq_listen_parse("http://127.0.0.1", &p), -EINVAL);
	assert_int_equal(mq_listen_parse("127.0.0.1", &p), -EINVAL);
}

static bool have_ipv6(void)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool have = fd >= 0 && bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) == 0;

	if (fd >= 0)
		close(fd);
	return have;
}

/* Listens on these hosts (`b` may be NULL), on the hub's port, and is reached by IPv4. */
static void assert_serves_ipv4(const char *a, const char *b)
{
	struct hub h;
	struct conf_error err;
	struct conf *conf;
	char text[256];

	hub_start(&h, &policy_allow_all, "", "");
	adapter_mqtt.stop(h.mqtt);
	int len = snprintf(text, sizeof(text), "[mqtt]\nallow_plain = yes\nlisten = mqtt://%s:%u\n",
		a, h.port);
	if (b)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "listen = mqtt://%s:%u\n",
			b, h.port);
	assert_int_equal(conf_parse(hub_sections, "x", text, (size_t)len, &conf, &err), 0);
	struct env env = { h.base, h.router, h.sessions, "test", NULL, false };
	assert_int_equal(adapter_mqtt.start(&env, conf, &h.mqtt), 0);
	client_free(client_new(&h, "dev"));
	conf_free(conf);
	hub_stop(&h);
}

static void an_ipv6_wildcard_takes_ipv4(void **state)
{
	(void)state;
	if (!have_ipv6())
		skip();
	assert_serves_ipv4("[::]", NULL);
}

static void both_wildcards_stand_side_by_side(void **state)
{
	(void)state;
	if (!have_ipv6())
		skip();
	assert_serves_ipv4("[::]", "0.0.0.0");
	assert_serves_ipv4("0.0.0.0", "[::]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_uri_becomes_a_place),
		cmocka_unit_test(an_ipv6_wildcard_takes_ipv4),
		cmocka_unit_test(both_wildcards_stand_side_by_side),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
