#include "gateway/base/reason.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void names_of_known_codes(void **state)
{
	(void)state;
	assert_string_equal(reason_name(R_SUCCESS), "success");
	assert_string_equal(reason_name(R_QUOTA), "quota exceeded");
	assert_string_equal(
		reason_name(R_WILDCARD_UNSUPPORTED), "wildcard subscriptions not supported");
}

static void any_octet_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(reason_name((enum reason)0xc3), "reason 0xc3");
	assert_string_equal(reason_name((enum reason)0x03), "reason 0x03");
	for (int code = 0; code < 256; code++)
		assert_true(reason_name((enum reason)code)[0] >= 'a');
}

static void failures_begin_at_0x80(void **state)
{
	(void)state;
	assert_false(reason_failed(R_SUCCESS));
	assert_false(reason_failed(R_NO_MATCHING_SUBSCRIBERS));
	assert_false(reason_failed((enum reason)0x7f));
	assert_true(reason_failed(R_UNSPECIFIED));
	assert_true(reason_failed(R_WILDCARD_UNSUPPORTED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_known_codes),
		cmocka_unit_test(any_octet_has_a_name),
		cmocka_unit_test(failures_begin_at_0x80),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
