#include "gateway/core/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &rewrite_conf_section, NULL };
static const struct identity dev = { .client_id = "dev" };
static struct rewrite rules;
static uint8_t buf[SCOPE_TEXT_MAX];

static const char text[] =
	"[rewrite.a]\ntopic = old/#\nregex = ^old/(.*)$\ndestination = new/$1\n"
	"[rewrite.b]\ntopic = late/+\nregex = ^late/(.+)$\ndestination = $delayed/5/$1\n"
	"[rewrite.c]\ntopic = bad/#\nregex = ^bad/(.*)$\ndestination = $1\n";

static int load(void **state)
{
	struct conf_error err;
	struct conf *conf;
	(void)state;

	if (conf_parse(sections, "test", text, strlen(text), &conf, &err) != 0 ||
		rewrite_load(&rules, conf) != 0)
		return -1;
	conf_free(conf);
	return 0;
}

static int clear(void **state)
{
	(void)state;
	rewrite_clear(&rules);
	return 0;
}

static void enters(const struct scope *s, enum rewrite_side side, const char *from, const char *to)
{
	struct span out;

	assert_int_equal(scope_enter(s, side, span_str(from), buf, &out), R_SUCCESS);
	assert_true(span_is(out, to));
}

static enum reason refused(const struct scope *s, enum rewrite_side side, const char *from)
{
	struct span out;

	return scope_enter(s, side, span_str(from), buf, &out);
}

static void a_plain_scope_changes_nothing(void **state)
{
	static const struct rewrite none;
	const struct scope s = { &none, NULL, &dev };
	struct span in = span_str("#/not/valid"), out;
	(void)state;

	assert_true(scope_is_plain(&s));
	assert_int_equal(scope_enter(&s, REWRITE_PUBLISH, in, buf, &out), R_SUCCESS);
	assert_ptr_equal(out.p, in.p);
	assert_true(scope_leave(&s, in, &out));
	assert_ptr_equal(out.p, in.p);
}

static void rules_see_the_inner_part(void **state)
{
	const struct scope s = { &rules, NULL, &dev };
	(void)state;

	enters(&s, REWRITE_PUBLISH, "old/x", "new/x");
	enters(&s, REWRITE_PUBLISH, "$delayed/7/old/x", "$delayed/7/new/x");
	enters(&s, REWRITE_PUBLISH, "late/x", "$delayed/5/x");
	enters(&s, REWRITE_SUBSCRIBE, "old/#", "new/#");
	enters(&s, REWRITE_SUBSCRIBE, "$share/old/old/+", "$share/old/new/+");
	enters(&s, REWRITE_SUBSCRIBE, "$exclusive/old/x", "$exclusive/new/x");
	enters(&s, REWRITE_SUBSCRIBE, "other", "other");
}

static void results_are_validated(void **state)
{
	const struct scope s = { &rules, NULL, &dev };
	(void)state;

	assert_int_equal(refused(&s, REWRITE_PUBLISH, "bad/"), R_TOPIC_INVALID);
	assert_int_equal(refused(&s, REWRITE_SUBSCRIBE, "bad/"), R_FILTER_INVALID);
	assert_int_equal(refused(&s, REWRITE_SUBSCRIBE, "bad/#/#"), R_FILTER_INVALID);
	assert_int_equal(refused(&s, REWRITE_PUBLISH, "old/+"), R_TOPIC_INVALID);
	assert_int_equal(refused(&s, REWRITE_PUBLISH, "$delayed/5"), R_TOPIC_INVALID);
	assert_int_equal(
		refused(&s, REWRITE_SUBSCRIBE, "$share/g/bad/$share/h/x"), R_FILTER_INVALID);
}

static void the_mountpoint_comes_last(void **state)
{
	const struct scope s = { &rules, "site/%c/", &dev };
	(void)state;

	enters(&s, REWRITE_PUBLISH, "old/x", "site/dev/new/x");
	enters(&s, REWRITE_PUBLISH, "late/x", "$delayed/5/site/dev/x");
	enters(&s, REWRITE_SUBSCRIBE, "#", "site/dev/#");
	enters(&s, REWRITE_SUBSCRIBE, "$share/g/old/#", "$share/g/site/dev/new/#");
	enters(&s, REWRITE_SUBSCRIBE, "$SYS/#", "site/dev/$SYS/#");
	assert_int_equal(refused(&s, REWRITE_PUBLISH, "$SYS/x"), R_TOPIC_INVALID);
	assert_int_equal(refused(&s, REWRITE_PUBLISH, "$delayed/5/$SYS/x"), R_TOPIC_INVALID);
}

static void lengths_count_with_the_mountpoint(void **state)
{
	const struct scope s = { &rules, "site/", &dev };
	char name[TOPIC_TEMPLATE_TEXT_MAX];
	char levels[64];
	struct span out;
	(void)state;

	memset(name, 'x', 1020);
	assert_int_equal(scope_enter(&s, REWRITE_PUBLISH, span_of(name, 1019), buf, &out), 0);
	assert_int_equal(
		scope_enter(&s, REWRITE_PUBLISH, span_of(name, 1020), buf, &out), R_TOPIC_INVALID);
	memset(levels, '/', sizeof(levels));
	assert_int_equal(scope_enter(&s, REWRITE_SUBSCRIBE, span_of(levels, 30), buf, &out), 0);
	assert_int_equal(scope_enter(&s, REWRITE_SUBSCRIBE, span_of(levels, 31), buf, &out),
		R_FILTER_INVALID);
}

static void what_a_client_sees(void **state)
{
	const struct scope s = { NULL, "site/%c/", &dev };
	struct span out;
	(void)state;

	assert_true(scope_leave(&s, span_str("site/dev/a/b"), &out));
	assert_true(span_is(out, "a/b"));
	assert_false(scope_leave(&s, span_str("site/dev/"), &out));
	assert_false(scope_leave(&s, span_str("site/device/a"), &out));
	assert_false(scope_leave(&s, span_str("$SYS/x"), &out));
}

static void a_name_that_would_leave(void **state)
{
	static const char *const names[] = { "", "+", "a/b", "#" };
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct identity who = { .client_id = names[i] };
		const struct scope s = { NULL, "site/%c/", &who };

		assert_false(scope_fits(&s));
		assert_int_equal(refused(&s, REWRITE_PUBLISH, "x"), R_NOT_AUTHORIZED);
	}
	assert_true(scope_fits(&(struct scope){ NULL, "site/%c/", &dev }));
	assert_false(scope_fits(&(struct scope){ NULL, "%u/", &dev }));
}

static void mountpoints_of_the_configuration(void **state)
{
	static const char *const bad[] = { "site", "a/+/", "#/", "$SYS/", "$1/", "/x" };
	(void)state;

	assert_null(scope_check_mountpoint("site/%c/%u/"));
	assert_null(scope_check_mountpoint("/"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_non_null(scope_check_mountpoint(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_scope_changes_nothing),
		cmocka_unit_test(rules_see_the_inner_part),
		cmocka_unit_test(results_are_validated),
		cmocka_unit_test(the_mountpoint_comes_last),
		cmocka_unit_test(lengths_count_with_the_mountpoint),
		cmocka_unit_test(what_a_client_sees),
		cmocka_unit_test(a_name_that_would_leave),
		cmocka_unit_test(mountpoints_of_the_configuration),
	};
	return cmocka_run_group_tests(tests, load, clear);
}
