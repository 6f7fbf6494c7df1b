#include "adapters/mqttsn/sn_conf.h"
#include "adapters/adapter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &mqttsn_conf_section, NULL };
static struct conf_error err;

static int parse(const char *text, struct conf **c)
{
	return conf_parse(sections, "test.conf", text, strlen(text), c, &err);
}

static void assert_wrong(const char *text, const char *says)
{
	struct conf *c;
	assert_int_equal(parse(text, &c), -EINVAL);
	assert_non_null(strstr(err.text, says));
}

static void test_defaults(void **state)
{
	struct conf *c;
	(void)state;
	assert_int_equal(parse("[mqttsn]\n", &c), 0);
	const struct sn_conf *sn = conf_section(c, "mqttsn");
	assert_int_equal(sn->listen.n, 1);
	assert_string_equal(sn->listen.items[0], "udp://127.0.0.1:1884");
	assert_false(sn->allow_plain);
	assert_int_equal(sn->gateway_id, 1);
	assert_int_equal(sn->retry_interval_ms, 10000);
	assert_int_equal(sn->retry_count, 3);
	assert_int_equal(sn->keepalive_max_ms, 0);
	assert_null(sn->predefined_file);
	assert_int_equal(sn->qos_minus_one, SN_MINUS_ONE_PREDEFINED);
	assert_int_equal(sn->takeover, SN_TAKEOVER_SAME_IP);
	assert_int_equal(sn->session_expiry_ms, INT64_C(604800000));
	assert_int_equal(sn->topics_per_client, 1000);
	assert_int_equal(sn->mail.messages, 100);
	assert_int_equal(sn->mail.bytes, 65536);
	assert_int_equal(sn->mail.age_ms, 0);
	assert_int_equal(sn->mail.full, QUEUE_OLDEST);
	conf_free(c);
	assert_int_equal(parse("", &c), 0);
	assert_null(conf_section(c, "mqttsn"));
	conf_free(c);
}

static void test_values(void **state)
{
	struct conf *c;
	(void)state;
	assert_int_equal(parse("[mqttsn]\nlisten = udp://0.0.0.0:1885, udp://[::1]\n"
			       "allow_plain = yes\nretry_interval = 100ms\n"
			       "takeover = refuse\nqos_minus_one = all\n",
				 &c),
		0);
	const struct sn_conf *sn = conf_section(c, "mqttsn");
	assert_int_equal(sn->listen.n, 2);
	assert_int_equal(sn->retry_interval_ms, 100);
	assert_int_equal(sn->takeover, SN_TAKEOVER_REFUSE);
	assert_int_equal(sn->qos_minus_one, SN_MINUS_ONE_ALL);
	conf_free(c);
}

static void test_mistakes(void **state)
{
	(void)state;
	assert_wrong("[mqttsn]\nlisten = tcp://127.0.0.1:1884\n", "udp://ADDRESS:PORT");
	assert_wrong("[mqttsn]\nlisten = udp://localhost:1884\n", "numeric");
	assert_wrong("[mqttsn]\nlisten = udp://239.0.0.1:1884\n", "udp://ADDRESS:PORT");
	assert_wrong("[mqttsn]\nlisten = udp://127.0.0.1:1884/path\n", "udp://ADDRESS:PORT");
	assert_wrong("[mqttsn]\ngateway_id = 0\n", "gateway_id");
	assert_wrong("[mqttsn]\nretry_interval = 99ms\n", "retry_interval");
	assert_wrong("[mqttsn]\nretry_interval = 10\n", "retry_interval");
	assert_wrong("[mqttsn]\ntopics_per_client = 65535\n", "topics_per_client");
	assert_wrong("[mqttsn]\ntakeover = perhaps\n", "same-ip");
}

static void test_plain_beyond_loopback(void **state)
{
	struct conf *c;
	(void)state;
	assert_wrong(
		"[mqttsn]\nlisten = udp://127.0.0.1:1884, udp://0.0.0.0:1884\n", "test.conf:2");
	assert_non_null(strstr(err.text, "allow_plain"));
	assert_wrong("[mqttsn]\nlisten = udp://*:1884\n", "allow_plain");
	assert_wrong("[mqttsn]\nlisten = udp://[::]:1884\n", "allow_plain");
	assert_int_equal(parse("[mqttsn]\nlisten = udp://[::1]:1884\n", &c), 0);
	conf_free(c);
}

static void test_predefined_file(void **state)
{
	char path[] = "/tmp/tidegate-topics-XXXXXX", text[128];
	int fd = mkstemp(path);
	(void)state;
	assert_int_equal(write(fd, "[*]\n1 = a/#\n", 12), 12);
	close(fd);
	snprintf(text, sizeof(text), "[mqttsn]\n\npredefined_file = %s\n", path);
	assert_wrong(text, "test.conf:3");
	snprintf(text, sizeof(text), "%s:2:", path);
	assert_non_null(strstr(err.text, text));
	unlink(path);
	assert_wrong("[mqttsn]\npredefined_file = /nonexistent\n", "/nonexistent");
}

static void test_groups(void **state)
{
	struct conf *c;
	const char *name;
	(void)state;
	assert_int_equal(parse("[mqttsn]\nretry_interval = 5s\nallow_plain = yes\n"
			       "[mqttsn.field]\nlisten = udp://0.0.0.0:1885\nretry_count = 9\n",
				 &c),
		0);
	const struct sn_conf *sn = conf_named_section(c, "mqttsn", 0, &name);
	assert_string_equal(name, "field");
	assert_int_equal(sn->retry_interval_ms, 5000);
	assert_int_equal(sn->retry_count, 9);
	assert_string_equal(sn->listen.items[0], "udp://0.0.0.0:1885");
	conf_free(c);
	assert_wrong("[mqttsn]\n[mqttsn.a]\nretry_count = 1\n", "own listeners");
	assert_wrong("[mqttsn]\n[mqttsn.a]\nlisten = udp://0.0.0.0:1\n", "[mqttsn.a] listen");
	assert_wrong("[mqttsn]\n[mqttsn.a]\ngateway_id = 3\n", "belongs into section [mqttsn]");
	assert_wrong("[mqttsn]\n[mqttsn.a]\nadvertise = 10.0.0.1\n", "section [mqttsn]");
}

static void test_addresses(void **state)
{
	struct addr a;
	(void)state;
	assert_int_equal(sn_conf_addr("10.0.0.255", 7, &a), 0);
	assert_int_equal(a.port, 7);
	assert_int_equal(sn_conf_addr("10.0.0.255:1885", 7, &a), 0);
	assert_int_equal(a.port, 1885);
	assert_int_equal(sn_conf_addr("ff05::1", 7, &a), 0);
	assert_int_equal(a.port, 7);
	assert_int_equal(sn_conf_addr("[ff05::1]:9", 7, &a), 0);
	assert_int_equal(a.family, 6);
	assert_int_equal(a.port, 9);
	assert_int_equal(sn_conf_addr("host:9", 7, &a), -EINVAL);
	assert_int_equal(sn_conf_addr("10.0.0.1:70000", 7, &a), -EINVAL);
	assert_int_equal(sn_conf_addr("10.0.0.1:1/x", 7, &a), -EINVAL);
	assert_int_equal(sn_conf_addr("", 7, &a), -EINVAL);
}

static void test_discovery_values(void **state)
{
	struct conf *c;
	(void)state;
	assert_int_equal(parse("[mqttsn]\nmulticast = 239.255.18.84, [ff05::1]:1885\n"
			       "advertise = 239.255.18.84:1885, 10.0.0.255\n"
			       "multicast_interface = eth0\nforwarders = 10.0.0.7, ::1\n",
				 &c),
		0);
	const struct sn_conf *sn = conf_section(c, "mqttsn");
	assert_int_equal(sn->advertise_interval_ms, 900000);
	assert_int_equal(sn->gwinfo_delay_ms, 0);
	assert_int_equal(sn->multicast_ttl, 1);
	conf_free(c);
	assert_wrong("[mqttsn]\nmulticast = 10.0.0.1\n", "multicast address");
	assert_wrong("[mqttsn]\nadvertise = 0.0.0.0:1885\n", "numeric address and a port");
	assert_wrong("[mqttsn]\nforwarders = 10.0.0.7:5\n", "without a port");
	assert_wrong("[mqttsn]\nforwarders = any, 10.0.0.7\n", "any does not go together");
	assert_wrong("[mqttsn]\nmulticast_interface = a-name-that-is-too-long\n", "eth0");
	assert_wrong("[mqttsn]\nadvertise_interval = 1d\n", "65535s");
	assert_wrong("[mqttsn]\nadvertise_interval = 999ms\n", "too short");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_plain_beyond_loopback),
		cmocka_unit_test(test_predefined_file),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_discovery_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
