#include "gateway/core/subfilter.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void good_ones(void **state)
{
	static const struct {
		const char *text, *filter;
		enum subfilter_kind kind;
	} good[] = {
		{ "a/+/#", "a/+/#", SUBFILTER_OWN },
		{ "$share", "$share", SUBFILTER_OWN },
		{ "$SYS/#", "$SYS/#", SUBFILTER_OWN },
		{ "$share/g/a", "a", SUBFILTER_SHARED },
		{ "$share/g//a", "/a", SUBFILTER_SHARED },
		{ "$share/g/#", "#", SUBFILTER_SHARED },
		{ "$share/$exclusive/a", "a", SUBFILTER_SHARED },
		{ "$exclusive/a/+", "a/+", SUBFILTER_EXCLUSIVE },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct subfilter f;
		assert_true(subfilter_parse(span_str(good[i].text), &f));
		assert_int_equal(f.kind, good[i].kind);
		assert_true(span_is(f.filter, good[i].filter));
	}
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "", "a#", "$share/", "$share//a", "$share/g",
		"$share/g/", "$share/+/a", "$share/#", "$share/g/a#", "$exclusive/",
		"$share/g/$share/h/a", "$share/g/$exclusive/a", "$exclusive/$share/g/a",
		"$exclusive/$exclusive/a" };
	struct subfilter f;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(subfilter_parse(span_str(bad[i]), &f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(bad_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
