#include "gateway/core/rewrite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &rewrite_conf_section, NULL };
static struct conf_error err;

static bool good(const char *text)
{
	struct conf *conf;

	if (conf_parse(sections, "test", text, strlen(text), &conf, &err) != 0)
		return false;
	conf_free(conf);
	return true;
}

static bool good_regex(const char *regex)
{
	char text[512];

	snprintf(text, sizeof(text), "[rewrite.a]\ntopic = a\ndestination = b\nregex = \"%s\"\n",
		regex);
	return good(text);
}

static void expressions_with_a_bound(void **state)
{
	static const char *const good_ones[] = {
		"^x/([^/]+)/(.+)$",
		"(a|b*)c+",
		"((a)(b))+",
		"[]*+?{(]+x",
		"[^]*]*(x)",
		"[[:digit:]{]*",
		"\\\\{(a)?\\\\(b*\\\\)*",
		"a+b*c?",
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(good_ones); i++)
		assert_true(good_regex(good_ones[i]));
}

static void expressions_without_one(void **state)
{
	static const char *const bad[] = {
		"(a+)+",
		"((a?a?)(a?|a.*a*)*)+$",
		"((x(a|b*))c)*",
		"a**",
		"a{1,200}",
		"(a)\\\\1",
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(good_regex(bad[i]));
		assert_non_null(strstr(err.text, "[rewrite.a] regex"));
		assert_non_null(strstr(err.text, "such as"));
	}
}

static void expressions_that_are_none(void **state)
{
	static const char *const bad[] = { "(", "[", "[[:digit", "[a", "a(b" };
	char longest[REWRITE_REGEX_MAX + 2];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(good_regex(bad[i]));
		assert_non_null(strstr(err.text, "POSIX"));
	}
	memset(longest, '(', sizeof(longest) - 1);
	longest[REWRITE_REGEX_MAX + 1] = '\0';
	assert_false(good_regex(longest));
	assert_non_null(strstr(err.text, "128"));
}

static void a_rule_is_whole(void **state)
{
	(void)state;
	assert_true(good("[rewrite]\ndirection = publish\n"));
	assert_false(good("[rewrite.a]\nregex = a\ndestination = b\n"));
	assert_non_null(strstr(err.text, "topic"));
	assert_false(good("[rewrite.a]\ntopic = a\ndestination = b\n"));
	assert_non_null(strstr(err.text, "regex"));
	assert_false(good("[rewrite.a]\ntopic = a\nregex = b\n"));
	assert_non_null(strstr(err.text, "destination"));
	assert_false(good("[rewrite.a]\ntopic = a/#/b\nregex = b\ndestination = b\n"));
}

static void the_destination_is_a_topic(void **state)
{
	(void)state;
	assert_true(good("[rewrite.a]\ntopic = a\nregex = (a)(b)\ndestination = $2/$1\n"));
	assert_true(good("[rewrite.a]\ntopic = a\nregex = a\ndestination = $delayed/10/%c\n"));
	assert_false(good("[rewrite.a]\ntopic = a\nregex = (a)\ndestination = $2\n"));
	assert_non_null(strstr(err.text, "test:4:"));
	assert_non_null(strstr(err.text, "$2"));
	assert_false(good("[rewrite.a]\ntopic = a\nregex = a\ndestination = a/#/b\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expressions_with_a_bound),
		cmocka_unit_test(expressions_without_one),
		cmocka_unit_test(expressions_that_are_none),
		cmocka_unit_test(a_rule_is_whole),
		cmocka_unit_test(the_destination_is_a_topic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
