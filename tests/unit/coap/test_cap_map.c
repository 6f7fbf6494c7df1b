#include "adapters/coap/cap_map.h"

#include "gateway/base/util.h"
#include "gateway/core/props.h"

#include <coap3/coap.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct cap_path path;

static void add_all(const char *const *segments)
{
	cap_path_init(&path);
	for (; *segments; segments++)
		cap_path_add(&path, span_str(*segments));
}

#define ADD(...) add_all((const char *const[]){ __VA_ARGS__, NULL })

static void paths(void **state)
{
	(void)state;
	ADD("ps");
	assert_int_equal(path.target, CAP_ROOT);
	ADD("ps", "a", "b");
	assert_int_equal(path.target, CAP_TOPIC);
	assert_true(span_is(cap_path_topic(&path), "a/b"));
	ADD("ps", "", "b", "");
	assert_true(span_is(cap_path_topic(&path), "/b/"));
	ADD("ps", "ps");
	assert_true(span_is(cap_path_topic(&path), "ps"));
	ADD("ps", "%2f");
	assert_true(span_is(cap_path_topic(&path), "%2f"));
	ADD(".well-known", "core");
	assert_int_equal(path.target, CAP_WELL_KNOWN);
	ADD(".well-known", "core", "x");
	assert_int_equal(path.target, CAP_NOWHERE);
	ADD(".well-known");
	assert_int_equal(path.target, CAP_NOWHERE);
	ADD("x", "ps");
	assert_int_equal(path.target, CAP_NOWHERE);
	ADD("x", "core");
	assert_int_equal(path.target, CAP_NOWHERE);
	cap_path_init(&path);
	assert_int_equal(path.target, CAP_NOWHERE);
	assert_false(path.bad);
	ADD("ps", "a/b");
	assert_true(path.bad);
}

static void path_is_bounded(void **state)
{
	char level[256];

	(void)state;
	memset(level, 'x', 255);
	level[255] = 0;
	cap_path_init(&path);
	cap_path_add(&path, span_str("ps"));
	for (unsigned i = 0; i < 5; i++)
		cap_path_add(&path, span_str(level));
	assert_false(path.bad);
	assert_int_equal(path.len, 5 * 255 + 4);
	cap_path_add(&path, span_str(level));
	assert_true(path.bad);
}

static void queries(void **state)
{
	static const char *const good[] = { "qos=2", "r=false", "e=60", "nl=1", "c=dev", "u=me",
		"p=secret", "rt=x", "href=/ps", "unknown", "=", "", "unknown=qos=7" };
	static const char *const bad[] = { "qos", "qos=", "qos=3", "q=-1", "qos=01x", "qos=1 ",
		"retain=yes!", "r=2", "expiry=0", "expiry=", "e=4294967296", "e=99999999999",
		"nl=x", "c=\xff", "u=\x01" };
	struct cap_query q;

	(void)state;
	cap_query_init(&q);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(cap_query_add(&q, span_str(good[i])), 0);
	assert_int_equal(q.qos, 2);
	assert_int_equal(q.retain, 0);
	assert_int_equal(q.expiry_s, 60);
	assert_int_equal(q.no_local, 1);
	assert_true(span_is(q.client_id, "dev"));
	assert_true(span_is(q.username, "me"));
	assert_true(span_is(q.password, "secret"));
	assert_true(span_is(q.rt, "x"));
	assert_true(span_is(q.href, "/ps"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cap_query_add(&q, span_str(bad[i])), -EINVAL);
	cap_query_init(&q);
	assert_int_equal(q.qos, -1);
	assert_int_equal(cap_query_add(&q, span_str("retain")), 0);
	assert_int_equal(q.retain, 1);
	assert_int_equal(cap_query_add(&q, span_str("e=4294967295")), 0);
	assert_int_equal(q.expiry_s, 4294967295);
}

static void outcomes(void **state)
{
	(void)state;
	assert_int_equal(cap_code_of(R_SUCCESS, 68), 68);
	assert_int_equal(cap_code_of(R_NO_MATCHING_SUBSCRIBERS, 68), 68);
	assert_int_equal(cap_code_of(R_TOPIC_INVALID, 68), COAP_RESPONSE_CODE(400));
	assert_int_equal(cap_code_of(R_BAD_CREDENTIALS, 68), COAP_RESPONSE_CODE(401));
	assert_int_equal(cap_code_of(R_NOT_AUTHORIZED, 68), COAP_RESPONSE_CODE(403));
	assert_int_equal(cap_code_of(R_TOO_LARGE, 68), COAP_RESPONSE_CODE(413));
	assert_int_equal(cap_code_of(R_RATE, 68), COAP_RESPONSE_CODE(429));
	assert_int_equal(cap_code_of(R_QUOTA, 68), COAP_RESPONSE_CODE(503));
	assert_int_equal(cap_code_of(R_SHUTTING_DOWN, 68), COAP_RESPONSE_CODE(503));
	assert_int_equal(cap_code_of((enum reason)0xff, 68), COAP_RESPONSE_CODE(500));
	assert_true(cap_retry_after(COAP_RESPONSE_CODE(503)) > 0);
	assert_true(cap_retry_after(COAP_RESPONSE_CODE(429)) > 0);
	assert_int_equal(cap_retry_after(COAP_RESPONSE_CODE(205)), 0);
}

static int there_and_back(int format, const char *payload)
{
	uint8_t buf[96];
	struct writer w = writer_of(buf, sizeof(buf));

	cap_format_write(&w, format, span_str(payload));
	assert_false(w.bad);
	assert_true(props_valid(span_of(buf, w.len)));
	return cap_format_of(span_of(buf, w.len));
}

static void formats(void **state)
{
	static const int all[] = { 0, 40, 41, 42, 50, 60, 110, 112, 1, 65535, CAP_FORMAT_NONE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(there_and_back(all[i], "{}"), all[i]);
	/* Not text, though it says so. */
	assert_int_equal(there_and_back(50, "\xff"), 50);
}

static int format_of(enum prop_id id, const char *name, const char *value)
{
	uint8_t buf[96];
	struct writer w = writer_of(buf, sizeof(buf));

	props_write(&w,
		&(struct prop){
			.id = id, .byte = 1, .name = span_str(name), .value = span_str(value) });
	return cap_format_of(span_of(buf, w.len));
}

static void formats_of_mqtt_clients(void **state)
{
	(void)state;
	assert_int_equal(format_of(PROP_CONTENT_TYPE, "", "application/json"), 50);
	assert_int_equal(format_of(PROP_CONTENT_TYPE, "", "Application/JSON ; charset=utf-8"), 50);
	assert_int_equal(format_of(PROP_CONTENT_TYPE, "", "text/plain"), 0);
	assert_int_equal(format_of(PROP_CONTENT_TYPE, "", "image/png"), CAP_FORMAT_NONE);
	assert_int_equal(format_of(PROP_CONTENT_TYPE, "", ""), CAP_FORMAT_NONE);
	assert_int_equal(format_of(PROP_PAYLOAD_FORMAT, "", ""), 0);
	assert_int_equal(format_of(PROP_USER, "coap-content-format", "311"), 311);
	assert_int_equal(format_of(PROP_USER, "coap-content-format", "70000"), CAP_FORMAT_NONE);
	assert_int_equal(format_of(PROP_USER, "other", "311"), CAP_FORMAT_NONE);
	assert_int_equal(cap_format_of(span_of(NULL, 0)), CAP_FORMAT_NONE);
}

static void links(void **state)
{
	char buf[64];
	struct writer w = writer_of(buf, sizeof(buf));

	(void)state;
	cap_link_write(&w, span_str("a/b>,\xc3\xa4"), 50, 7);
	assert_false(w.bad);
	assert_true(span_is(span_of(w.p, w.len), "</ps/a/b%3E%2C%C3%A4>;ct=50;sz=7;obs"));
	w = writer_of(buf, 10);
	cap_link_write(&w, span_str("a/b"), CAP_FORMAT_NONE, 7);
	assert_true(w.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(path_is_bounded),
		cmocka_unit_test(queries),
		cmocka_unit_test(outcomes),
		cmocka_unit_test(formats),
		cmocka_unit_test(formats_of_mqtt_clients),
		cmocka_unit_test(links),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
