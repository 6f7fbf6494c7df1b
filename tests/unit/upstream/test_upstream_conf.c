#include "gateway/upstream/upstream_conf.h"

#include "gateway/upstream/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &upstream_conf_section, NULL };

static struct conf *parse(const char *text, struct conf_error *err)
{
	struct conf *c = NULL;

	err->text[0] = '\0';
	if (conf_parse(sections, "t.conf", text, strlen(text), &c, err) != 0)
		return NULL;
	return c;
}

static void test_defaults(void **state)
{
	struct conf_error err;
	struct conf *c = parse("[upstream]\nuri = mqtt://broker\n", &err);

	(void)state;
	assert_non_null(c);
	const struct upstream_conf *u = conf_section(c, "upstream");
	assert_int_equal(u->uri.n, 1);
	assert_int_equal(u->version, VERSION_AUTO);
	assert_true(u->verify);
	assert_int_equal(u->keepalive_ms, 30000);
	assert_int_equal(u->ack_hold_ms, 1000);
	assert_int_equal(u->inflight, 64);
	assert_int_equal(u->exports.n, 1);
	assert_string_equal(u->exports.items[0], "#");
	assert_string_equal(u->imports.items[0], "#");
	assert_int_equal(u->imports_always.n, 0);
	assert_int_equal(u->session_expiry_ms, 86400000);
	conf_free(c);
}

static void test_absent(void **state)
{
	struct conf_error err;
	struct conf *c = parse("", &err);

	(void)state;
	assert_non_null(c);
	assert_null(conf_section(c, "upstream"));
	conf_free(c);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{ "[upstream]\n", "uri" },
		{ "[upstream]\nuri = http://broker\n", "mqtt://" },
		{ "[upstream]\nuri = mqtt://broker:99999\n", "mqtt://" },
		{ "[upstream]\nuri = mqtt://\n", "mqtt://" },
		{ "[upstream]\nuri = mqtt://user:secret@broker\n", "password_file" },
		{ "[upstream]\nuri = mqtt://b\nexport = $SYS/#\n", "'$'" },
		{ "[upstream]\nuri = mqtt://b\nimport = a/#/b\n", "import" },
		{ "[upstream]\nuri = mqtts://b\nca_file = /nonexistent/ca.pem\n", "ca_file" },
		{ "[upstream]\nuri = mqtt://b\ncert_file = " __FILE__ "\n", "key_file" },
		{ "[upstream]\nuri = mqtt://b\nkey_file = " __FILE__ "\n", "cert_file" },
		{ "[upstream]\nuri = mqtt://b\npassword_file = " __FILE__ "\n", "username" },
		{ "[upstream]\nuri = mqtt://b\ninflight = 5000\n", "inflight" },
		{ "[upstream]\nuri = mqtt://b\nkeepalive = 30\n", "keepalive" },
		{ "[upstream]\nuri = mqtt://b\nversion = 3\n", "version" },
		{ "[upstream]\nuri = mqtt://b\nack_hold = 1m\n", "ack_hold" },
	};
	struct conf_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct conf *c = parse(cases[i].text, &err);
		if (c || !strstr(err.text, cases[i].complaint))
			fail_msg("%s -> %s", cases[i].text, c ? "accepted" : err.text);
	}
	/* The secret itself is not repeated. */
	assert_null(parse("[upstream]\nuri = mqtt://user:secret@broker\n", &err));
}

static void test_several(void **state)
{
	struct conf_error err;
	struct conf *c = parse("[upstream]\nuri = MQTTS://a:8884, mqtt://[::1]:1883, tcp://c\n"
			       "import = in/#, cmd/+\nimport_always = conf/#\necho = local\n"
			       "version = 3.1.1\n",
		&err);

	(void)state;
	if (!c)
		fail_msg("%s", err.text);
	const struct upstream_conf *u = conf_section(c, "upstream");
	assert_int_equal(u->uri.n, 3);
	assert_int_equal(u->imports.n, 2);
	assert_int_equal(u->imports_always.n, 1);
	assert_int_equal(u->echo, ECHO_LOCAL);
	assert_int_equal(u->version, VERSION_311);
	conf_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_several),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
