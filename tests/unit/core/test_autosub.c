#include "gateway/core/autosub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/core/rig.h"

static const struct conf_section *const sections[] = { &autosub_conf_section, NULL };

static struct conf *parsed(const char *text, struct conf_error *err)
{
	struct conf *conf = NULL;

	return conf_parse(sections, "test", text, strlen(text), &conf, err) == 0 ? conf : NULL;
}

static struct session *connected(const char *client_id, struct fake_link *f)
{
	struct session_connect c = connecting(client_id, f);
	struct session *s = NULL;
	bool present;

	assert_int_equal(session_connect(rig.all, &c, &s, &present), R_SUCCESS);
	return s;
}

static void new_sessions_get_what_is_theirs(void **state)
{
	static struct fake_link first, second;
	struct conf_error err;
	struct autosub rules;
	struct conf *conf = parsed("[autosubscribe]\nqos = 1\n"
				   "[autosubscribe.a]\ntopic = in/%c\n"
				   "[autosubscribe.b]\ntopic = all\nqos = 2\n"
				   "[autosubscribe.c]\ntopic = field\nprotocol = mqttsn\n",
		&err);
	(void)state;

	fake_init(&first);
	fake_init(&second);
	assert_non_null(conf);
	autosub_load(&rules, conf);
	assert_int_equal(rules.n, 3);
	sessions_set_autosub(rig.all, &rules);
	struct session *s = connected("dev", &first);
	assert_int_equal(s->sub.n_subscriptions, 2);
	assert_int_equal(session_unsubscribe(s, span_str("in/dev")), R_SUCCESS);
	assert_int_equal(session_unsubscribe(s, span_str("all")), R_SUCCESS);
	session_detach(&first.link, DETACH_CLEAN);
	assert_int_equal(connected("dev", &first)->sub.n_subscriptions, 0); /* resumed */
	assert_int_equal(connected("a+", &second)->sub.n_subscriptions, 1); /* "all" alone */
	sessions_set_autosub(rig.all, NULL);
	conf_free(conf);
}

static void bad_rules(void **state)
{
	static const char *const bad[] = {
		"[autosubscribe.x]\nqos = 1\n",
		"[autosubscribe.x]\ntopic = a#\n",
		"[autosubscribe.x]\ntopic = $share/g\n",
		"[autosubscribe.x]\ntopic = a/$1\n",
		"[autosubscribe.x]\ntopic = a\nqos = 3\n",
		"[autosubscribe.x]\ntopic = $share/g/a\nno_local = yes\n",
	};
	struct conf_error err;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_null(parsed(bad[i], &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(new_sessions_get_what_is_theirs, rig_up, rig_down),
		cmocka_unit_test_setup_teardown(bad_rules, rig_up, rig_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
