#include "gateway/core/topic_template.h"

#include "gateway/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint8_t buf[TOPIC_TEMPLATE_TEXT_MAX];
static const struct identity who = { .client_id = "dev", .username = "ann" };

static void filled(void **state)
{
	static const char *const cases[][2] = {
		{ "a/%c/%u", "a/dev/ann" },
		{ "%c%c", "devdev" },
		{ "$1/x/$2", "one/x/two" },
		{ "$SYS/%x/$0/%", "$SYS/%x/$0/%" },
		{ "", "" },
	};
	const struct span groups[] = { span_str("one"), span_str("two") };
	struct span out;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(topic_template_fill(cases[i][0], &who, groups, 2, buf, &out));
		assert_true(span_is(out, cases[i][1]));
	}
	assert_false(topic_template_fill("$3", &who, groups, 2, buf, &out));
}

static void names_that_would_widen(void **state)
{
	static const char *const names[] = { "", "+", "#", "a/b", "a+" };
	struct span out;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct identity bad = { .client_id = names[i] };
		assert_false(topic_template_fill("x/%c", &bad, NULL, 0, buf, &out));
		assert_false(topic_template_fill("x/%u", &bad, NULL, 0, buf, &out));
		assert_true(topic_template_fill("x", &bad, NULL, 0, buf, &out));
	}
}

static void too_long(void **state)
{
	static char text[TOPIC_TEMPLATE_TEXT_MAX + 2];
	struct span out;
	(void)state;

	memset(text, 'x', TOPIC_TEMPLATE_TEXT_MAX);
	assert_true(topic_template_fill(text, &who, NULL, 0, buf, &out));
	text[TOPIC_TEMPLATE_TEXT_MAX] = 'x';
	assert_false(topic_template_fill(text, &who, NULL, 0, buf, &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filled),
		cmocka_unit_test(names_that_would_widen),
		cmocka_unit_test(too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
