#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/base/conf_table.h"

static void near_misses_are_suggested(void **state)
{
	static const char *const words[] = { "listen", "retry_interval", "retry_count", "id",
		"keepalive" };
	static const struct {
		const char *word, *like;
	} rows[] = {
		{ "lisen", "listen" }, { "listne", "listen" },
		{ "retry_intervall", "retry_interval" }, { "retryinterval", "retry_interval" },
		{ "retry-count", "retry_count" }, { "keep_alive", "keepalive" }, { "Id", "id" },
		{ "xy", NULL }, { "password", NULL }, { "", NULL },
		{ "retry_interval_retry_interval_retry_interval_retry",
			NULL }, /* longer than any key */
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *like =
			conf_suggest(rows[i].word, words, ARRAY_SIZE(words), sizeof(words[0]));
		if (rows[i].like)
			assert_string_equal(like, rows[i].like);
		else
			assert_null(like);
	}
}

static void positions_from_the_key_down_to_the_file(void **state)
{
	(void)state;
	struct conf *c = read_good("[mqttsn]\nid = x\n");
	assert_int_equal(conf_fail(&test_err, c, "mqttsn", "id", "is %s", "bad"), -EINVAL);
	assert_string_equal(test_err.text, "t.conf:2: [mqttsn] id: is bad");
	conf_fail(&test_err, c, "mqttsn", "listen", "in use");
	assert_string_equal(test_err.text, "t.conf:1: [mqttsn] listen: in use");
	conf_fail(&test_err, c, "upstream", "uri", "missing");
	assert_string_equal(test_err.text, "t.conf: [upstream] uri: missing");
	conf_fail(&test_err, c, "mqttsn", NULL, "whole section");
	assert_string_equal(test_err.text, "t.conf:1: [mqttsn]: whole section");
	conf_free(c);
}

static void a_message_is_one_line_that_fits(void **state)
{
	char long_text[2000];
	struct conf_pos at = { "t.conf", 1 };
	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	conf_error_at(&test_err, at, "s", "k", "%s", "a\nb\x1b");
	assert_string_equal(test_err.text, "t.conf:1: [s] k: a?b?");
	conf_error_at(&test_err, at, "s", "k", "%s", long_text);
	assert_int_equal(strlen(test_err.text), sizeof(test_err.text) - 1);
	at.file = long_text;
	conf_error_at(&test_err, at, "s", "k", "still there");
	assert_non_null(strstr(test_err.text, "[s] k: still there"));
}

static void memory_has_its_own_error(void **state)
{
	(void)state;
	assert_int_equal(conf_no_memory(&test_err), -ENOMEM);
	assert_non_null(strstr(test_err.text, "out of memory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_misses_are_suggested),
		cmocka_unit_test(positions_from_the_key_down_to_the_file),
		cmocka_unit_test(a_message_is_one_line_that_fits),
		cmocka_unit_test(memory_has_its_own_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
