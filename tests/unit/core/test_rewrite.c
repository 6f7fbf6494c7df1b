#include "gateway/core/rewrite.h"

#include "gateway/core/topic_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct conf_section *const sections[] = { &rewrite_conf_section, NULL };
static const struct identity who = { .client_id = "dev" };
static struct rewrite rules;
static uint8_t buf[TOPIC_TEMPLATE_TEXT_MAX];

static void load(const char *text)
{
	struct conf_error err;
	struct conf *conf;

	assert_int_equal(conf_parse(sections, "test", text, strlen(text), &conf, &err), 0);
	assert_int_equal(rewrite_load(&rules, conf), 0);
	conf_free(conf); /* nothing of it is needed */
}

/* NULL: it stays. */
static void becomes(enum rewrite_side side, const char *topic, const char *other)
{
	struct span out;
	enum rewritten r = rewrite_topic(&rules, side, &who, span_str(topic), buf, &out);

	assert_int_equal(r, other ? REWRITE_DONE : REWRITE_NONE);
	if (other)
		assert_true(span_is(out, other));
}

static void a_rule_is_for_a_side(void **state)
{
	(void)state;
	load("[rewrite.a]\ndirection = publish\ntopic = p/#\nregex = ^p/(.*)$\ndestination = "
	     "q/$1\n"
	     "[rewrite.b]\ndirection = subscribe\ntopic = s\nregex = s\ndestination = t/%c\n"
	     "[rewrite.c]\ntopic = both\nregex = both\ndestination = each\n");
	becomes(REWRITE_PUBLISH, "p/x", "q/x");
	becomes(REWRITE_SUBSCRIBE, "p/x", NULL);
	becomes(REWRITE_PUBLISH, "s", NULL);
	becomes(REWRITE_SUBSCRIBE, "s", "t/dev");
	becomes(REWRITE_PUBLISH, "both", "each");
	becomes(REWRITE_SUBSCRIBE, "both", "each");
}

/* The example of EMQX's manual, where the last of several rules counts, found or not. */
static void the_last_rule_that_selects_counts(void **state)
{
	(void)state;
	load("[rewrite.a]\ntopic = y/+/z/#\nregex = ^y/(.+)/z/(.+)$\ndestination = y/z/$2\n"
	     "[rewrite.b]\ntopic = x/#\nregex = ^x/y/(.+)$\ndestination = z/y/x/$1\n"
	     "[rewrite.c]\ntopic = x/y/+\nregex = ^x/y/([0-9]+)$\ndestination = z/y/$1\n");
	becomes(REWRITE_PUBLISH, "y/a/z/b", "y/z/b");
	becomes(REWRITE_PUBLISH, "y/def", NULL);
	becomes(REWRITE_PUBLISH, "x/1/2", NULL);
	becomes(REWRITE_PUBLISH, "x/y/2", "z/y/2");
	becomes(REWRITE_PUBLISH, "x/y/z", NULL);
	becomes(REWRITE_PUBLISH, "x/y/z/1", "z/y/x/z/1");
}

static void filters_are_selected_when_they_are_covered(void **state)
{
	(void)state;
	load("[rewrite.a]\ntopic = a/#\nregex = ^a/(.*)$\ndestination = b/$1\n");
	becomes(REWRITE_SUBSCRIBE, "a/#", "b/#");
	becomes(REWRITE_SUBSCRIBE, "a/+/c", "b/+/c");
	becomes(REWRITE_SUBSCRIBE, "#", NULL);
	becomes(REWRITE_SUBSCRIBE, "+/c", NULL);
}

static void groups_that_were_not_needed_are_empty(void **state)
{
	(void)state;
	load("[rewrite.a]\ntopic = #\nregex = ^(a)|(b)$\ndestination = x$1y$2z\n");
	becomes(REWRITE_PUBLISH, "b", "xybz");
}

static void what_cannot_be_done_is_invalid(void **state)
{
	char longest[REWRITE_TOPIC_MAX + 2];
	struct span out;
	(void)state;

	load("[rewrite.a]\ntopic = #\nregex = x\ndestination = u/%u\n");
	assert_int_equal(rewrite_topic(&rules, REWRITE_PUBLISH, &who, span_str("x"), buf, &out),
		REWRITE_INVALID);
	memset(longest, 'y', sizeof(longest));
	assert_int_equal(rewrite_topic(&rules, REWRITE_PUBLISH, &who,
				 span_of(longest, REWRITE_TOPIC_MAX), buf, &out),
		REWRITE_NONE);
	assert_int_equal(rewrite_topic(&rules, REWRITE_PUBLISH, &who,
				 span_of(longest, REWRITE_TOPIC_MAX + 1), buf, &out),
		REWRITE_INVALID);
}

static void a_load_replaces_all(void **state)
{
	(void)state;
	load("[rewrite.a]\ntopic = a\nregex = a\ndestination = b\n");
	load("");
	assert_int_equal(rules.n, 0);
	becomes(REWRITE_PUBLISH, "a", NULL);
}

static int clear(void **state)
{
	(void)state;
	rewrite_clear(&rules);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_rule_is_for_a_side, clear),
		cmocka_unit_test_teardown(the_last_rule_that_selects_counts, clear),
		cmocka_unit_test_teardown(filters_are_selected_when_they_are_covered, clear),
		cmocka_unit_test_teardown(groups_that_were_not_needed_are_empty, clear),
		cmocka_unit_test_teardown(what_cannot_be_done_is_invalid, clear),
		cmocka_unit_test_teardown(a_load_replaces_all, clear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
