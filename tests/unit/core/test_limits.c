#include "gateway/core/limits.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &limits_conf_section, NULL };

static int parse(const char *text, struct conf **conf, struct conf_error *err)
{
	return conf_parse(sections, "test.conf", text, strlen(text), conf, err);
}

static void defaults_fill_an_absent_section(void **state)
{
	struct conf *conf;
	struct conf_error err;
	(void)state;

	assert_int_equal(parse("", &conf, &err), 0);
	const struct limits_conf *l = conf_section(conf, "limits");
	assert_int_equal(l->sessions, 10000);
	assert_int_equal(l->subscriptions_per_client, 200);
	assert_int_equal(l->subscriptions, 100000);
	assert_int_equal(l->topic_bytes, 1024);
	assert_int_equal(l->topic_levels, 32);
	assert_int_equal(l->queue_messages, 1000);
	assert_int_equal(l->queue_bytes, 256 * 1024);
	assert_int_equal(l->inflight, 20);
	assert_int_equal(l->inbound_messages, 1000);
	assert_int_equal(l->inbound_qos2, 20);
	assert_int_equal(l->retained_messages, 100000);
	assert_int_equal(l->retained_bytes, 16 << 20);
	assert_int_equal(l->retained_message_bytes, 1 << 20);
	assert_int_equal(l->message_bytes, 1 << 20);
	assert_int_equal(l->memory, 64 << 20);
	assert_int_equal(l->session_expiry_ms, 7 * 24 * 3600 * 1000);
	conf_free(conf);
}

static void values_are_taken(void **state)
{
	struct conf *conf;
	struct conf_error err;
	(void)state;

	assert_int_equal(parse("[limits]\nsessions = 5\nmessage_bytes = 64MB\n"
			       "session_expiry = 0\n",
				 &conf, &err),
		0);
	const struct limits_conf *l = conf_section(conf, "limits");
	assert_int_equal(l->sessions, 5);
	assert_int_equal(l->message_bytes, 64 << 20);
	assert_int_equal(l->session_expiry_ms, 0);
	conf_free(conf);
}

static void refused(const char *text, const char *key)
{
	struct conf *conf;
	struct conf_error err;

	assert_int_equal(parse(text, &conf, &err), -EINVAL);
	assert_non_null(strstr(err.text, key));
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	refused("[limits]\nsessions = 0\n", "sessions");
	refused("[limits]\nmessage_bytes = 65MB\n", "message_bytes");
	refused("[limits]\ninflight = 65536\n", "inflight");
	refused("[limits]\ntopic_levels = 257\n", "topic_levels");
	refused("[limits]\nmemory = 8MB\n", "retained_bytes");
	refused("[limits]\nmemory = 512KB\nretained_bytes = 1KB\n", "message_bytes");
	refused("[limits]\nqueue_bytes = 65MB\n", "queue_bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_fill_an_absent_section),
		cmocka_unit_test(values_are_taken),
		cmocka_unit_test(nonsense_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
