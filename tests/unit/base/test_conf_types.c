#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} rows[] = {
		{ "0", 0 },
		{ "0KB", 0 },
		{ "300B", 300 },
		{ "64KB", 65536 },
		{ "64kb", 65536 },
		{ "1 MB", 1048576 },
		{ "3GB", INT64_C(3) << 30 },
		{ "8388607TB", INT64_C(8388607) << 40 },
	};
	char why[128];
	int64_t v;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(conf_parse_size(rows[i].text, &v, why, sizeof(why)), 0);
		assert_true(v == rows[i].bytes);
	}
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "0", 0 },
		{ "250ms", 250 },
		{ "10s", 10000 },
		{ "5m", 300000 },
		{ "2h", 7200000 },
		{ "1d", 86400000 },
	};
	char why[128];
	int64_t v;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(conf_parse_time(rows[i].text, &v, why, sizeof(why)), 0);
		assert_true(v == rows[i].ms);
	}
}

static void wrong_sizes_and_times(void **state)
{
	static const struct {
		int (*parse)(const char *, int64_t *, char *, size_t);
		const char *text, *why;
	} rows[] = {
		{ conf_parse_size, "64", "has no unit; write 64KB, 512B or 2MB" },
		{ conf_parse_size, "64XB", "has an unknown unit; write 512B or 2MB" },
		{ conf_parse_size, "1.5MB", "has an unknown unit; write 512B or 2MB" },
		{ conf_parse_size, "", "is not a number with a unit; write 512B or 2MB" },
		{ conf_parse_size, "-1KB", "is not a number with a unit; write 512B or 2MB" },
		{ conf_parse_size, "9223372036854775808B", "is too large" },
		{ conf_parse_size, "8388608TB", "is too large" },
		{ conf_parse_size, "9223372036854775807KB", "is too large" },
		{ conf_parse_time, "10", "has no unit; write 10s, 500ms or 2m" },
		{ conf_parse_time, "10S", "has an unknown unit; write 500ms or 2m" },
		{ conf_parse_time, "10s 5ms", "has an unknown unit; write 500ms or 2m" },
		{ conf_parse_time, "soon", "is not a number with a unit; write 500ms or 2m" },
	};
	char why[128];
	int64_t v;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rows[i].parse(rows[i].text, &v, why, sizeof(why)), -EINVAL);
		assert_string_equal(why, rows[i].why);
	}
}

static void whole_numbers(void **state)
{
	static const char *const wrong[] = { "", "-", "--1", "+1", " 1", "1 ", "0x10", "1e3",
		"9223372036854775808" };
	char why[128];
	int64_t v;
	(void)state;
	assert_int_equal(conf_parse_int("-42", &v, why, sizeof(why)), 0);
	assert_int_equal(v, -42);
	assert_int_equal(conf_parse_int("9223372036854775807", &v, why, sizeof(why)), 0);
	assert_true(v == INT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(conf_parse_int(wrong[i], &v, why, sizeof(why)), -EINVAL);
}

static void yes_and_no(void **state)
{
	static const char *const yes[] = { "yes", "true", "on", "1", "YES" };
	static const char *const no[] = { "no", "false", "off", "0", "False" };
	char why[128];
	bool v;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		assert_int_equal(conf_parse_bool(yes[i], &v, why, sizeof(why)), 0);
		assert_true(v);
		assert_int_equal(conf_parse_bool(no[i], &v, why, sizeof(why)), 0);
		assert_false(v);
	}
	assert_int_equal(conf_parse_bool("2", &v, why, sizeof(why)), -EINVAL);
	assert_int_equal(conf_parse_bool("", &v, why, sizeof(why)), -EINVAL);
}

static void the_shortest_exact_form(void **state)
{
	char buf[32];
	(void)state;
	assert_string_equal(conf_format_size(0, buf), "0");
	assert_string_equal(conf_format_size(1023, buf), "1023B");
	assert_string_equal(conf_format_size(1536, buf), "1536B");
	assert_string_equal(conf_format_size(64 << 20, buf), "64MB");
	assert_string_equal(conf_format_size(INT64_MAX, buf), "9223372036854775807B");
	assert_string_equal(conf_format_time(250, buf), "250ms");
	assert_string_equal(conf_format_time(90000, buf), "90s");
	assert_string_equal(conf_format_time(86400000, buf), "1d");
}

static void a_reason_is_cut_to_its_buffer(void **state)
{
	char why[8];
	int64_t v;
	(void)state;
	assert_int_equal(conf_parse_time("10", &v, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "has no ");
}

static void quoting_goes_there_and_back(void **state)
{
	static const char *const values[] = { "", "plain", "a b", "#", "a ; b", " x ", "\"", "\\",
		"a\\", "\\\"", "a,b", "tab\tbed", "a \\ \" b" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char *text = NULL, out[64];
		size_t len;
		FILE *f = open_memstream(&text, &len);
		assert_non_null(f);
		conf_put_quoted(values[i], f);
		fclose(f);
		assert_int_equal(len, conf_quoted_len(values[i]));
		assert_int_equal(conf_value_len(text), len); /* no comment is seen in it */
		const char *rest = text;
		assert_null(conf_take_value(&rest, ",\n", out));
		assert_string_equal(out, values[i]);
		assert_string_equal(rest, "");
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(wrong_sizes_and_times),
		cmocka_unit_test(whole_numbers),
		cmocka_unit_test(yes_and_no),
		cmocka_unit_test(the_shortest_exact_form),
		cmocka_unit_test(a_reason_is_cut_to_its_buffer),
		cmocka_unit_test(quoting_goes_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
