#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/store/journal.h"

#include <errno.h>
#include <string.h>

static const struct conf_section *const sections[] = { &store_conf_section, NULL };

static int parse(const char *text, struct conf **c)
{
	struct conf_error err;

	return conf_parse(sections, "test", text, strlen(text), c, &err);
}

static void defaults(void **state)
{
	(void)state;
	struct conf *c;

	assert_int_equal(parse("", &c), 0);
	assert_null(conf_section(c, "store")); /* memory only */
	conf_free(c);
	assert_int_equal(parse("[store]\ndir = /x\n", &c), 0);
	const struct store_conf *s = conf_section(c, "store");
	assert_non_null(s);
	assert_int_equal(s->max_bytes, 64 << 20);
	assert_int_equal(s->commit_interval_ms, 250);
	conf_free(c);
}

static void values(void **state)
{
	(void)state;
	struct conf *c;

	assert_int_equal(
		parse("[store]\ndir = /var/lib/x\nmax_bytes = 1MB\ncommit_interval = 0\n", &c), 0);
	const struct store_conf *s = conf_section(c, "store");
	assert_string_equal(s->dir, "/var/lib/x");
	assert_int_equal(s->max_bytes, 1 << 20);
	assert_int_equal(s->commit_interval_ms, 0);
	conf_free(c);
}

static void wrong_values_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "[store]\ndir = relative/path\n",
		"[store]\nmax_bytes = 1023KB\n", "[store]\nmax_bytes = 5GB\n",
		"[store]\ncommit_interval = 6s\n", "[store]\ncommit_interval = 5\n",
		"[store]\nmax_byte = 2MB\n" };
	struct conf *c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse(bad[i], &c), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(wrong_values_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
