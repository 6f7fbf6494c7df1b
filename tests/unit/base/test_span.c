#include "gateway/base/span.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void equality_is_of_bytes_and_length(void **state)
{
	(void)state;
	assert_true(span_equal(span_of("a\0b", 3), span_of("a\0b", 3)));
	assert_false(span_equal(span_of("a\0b", 3), span_of("a\0c", 3)));
	assert_false(span_equal(span_of("ab", 2), span_of("abc", 3)));
	assert_true(span_equal(span_of(NULL, 0), span_of("x", 0)));
	assert_true(span_is(span_str("topic"), "topic"));
	assert_false(span_is(span_str("topic"), "topics"));
}

static void strings_without_their_nul(void **state)
{
	(void)state;
	assert_int_equal(span_str("abc").len, 3);
	assert_int_equal(span_str("").len, 0);
	assert_int_equal(span_str(NULL).len, 0);
}

static void prints_no_more_than_it_holds(void **state)
{
	char text[16];
	(void)state;
	snprintf(text, sizeof(text), "<%.*s>", SPAN_ARGS(span_of("abcdef", 3)));
	assert_string_equal(text, "<abc>");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_is_of_bytes_and_length),
		cmocka_unit_test(strings_without_their_nul),
		cmocka_unit_test(prints_no_more_than_it_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
