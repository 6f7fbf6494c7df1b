#include "gateway/core/topic.h"

#include "gateway/base/util.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool name(const char *s)
{
	return topic_valid_name(span_str(s));
}

static bool filter(const char *s)
{
	return topic_valid_filter(span_str(s));
}

static bool matches(const char *f, const char *t)
{
	return topic_matches(span_str(f), span_str(t));
}

static bool covers(const char *wide, const char *narrow)
{
	return topic_covers(span_str(wide), span_str(narrow));
}

/* Asked both ways round: the answer must be the same. */
static bool overlaps(const char *a, const char *b)
{
	bool yes = topic_overlaps(span_str(a), span_str(b));

	assert_int_equal(yes, topic_overlaps(span_str(b), span_str(a)));
	return yes;
}

static bool utf8(const char *s)
{
	return utf8_valid(span_str(s));
}

static void utf8_accepts_every_length(void **state)
{
	(void)state;
	assert_true(utf8(""));
	assert_true(utf8("plain ~"));
	assert_true(utf8("\xc2\xa0")); /* U+00A0, just past the controls */
	assert_true(utf8("K\xc3\xbc"
			 "che"));
	assert_true(utf8("\xe6\xb8\xa9\xe5\xba\xa6"));
	assert_true(utf8("\xed\x9f\xbf"));     /* U+D7FF, just below the surrogates */
	assert_true(utf8("\xee\x80\x80"));     /* U+E000, just above */
	assert_true(utf8("\xef\xbf\xbd"));     /* U+FFFD */
	assert_true(utf8("\xf0\x9f\x94\xa5")); /* U+1F525 */
	assert_true(utf8("\xf4\x8f\xbf\xbd")); /* U+10FFFD */
}

static void utf8_refuses_ill_formed(void **state)
{
	static const char *const bad[] = {
		"\x80",             /* continuation alone */
		"\xc3",             /* cut short */
		"\xc3(",            /* no continuation */
		"\xe2\x82",         /* cut short */
		"\xf0\x9f\x94",     /* cut short */
		"\xc0\xaf",         /* overlong '/' */
		"\xc1\xbf",         /* overlong */
		"\xe0\x80\xaf",     /* overlong */
		"\xe0\x9f\xbf",     /* overlong: U+07FF in three */
		"\xf0\x8f\xbf\xbf", /* overlong: U+FFFF in four */
		"\xed\xa0\x80",     /* U+D800 */
		"\xed\xbf\xbf",     /* U+DFFF */
		"\xf4\x90\x80\x80", /* U+110000 */
		"\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xff",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(utf8(bad[i]));
}

static void utf8_refuses_controls_and_non_characters(void **state)
{
	static const char *const bad[] = {
		"\x01",
		"\x1f",
		"a\nb",
		"\x7f",
		"\xc2\x80",
		"\xc2\x9f",
		"\xef\xb7\x90",
		"\xef\xb7\xaf",
		"\xef\xbf\xbe",
		"\xef\xbf\xbf",
		"\xf0\x9f\xbf\xbe",
		"\xf4\x8f\xbf\xbf",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(utf8(bad[i]));
	assert_false(utf8_valid(span_of("a\0b", 3)));
}

static void names(void **state)
{
	(void)state;
	assert_true(name("a"));
	assert_true(name("/"));
	assert_true(name("a//b/"));
	assert_true(name("$SYS/x"));
	assert_true(name("with space/K\xc3\xbc"
			 "che"));
	assert_false(name(""));
	assert_false(name("a/+"));
	assert_false(name("a#"));
	assert_false(name("a/\xff"));
	assert_false(topic_valid_name(span_of("a\0b", 3)));
}

static void filters(void **state)
{
	static const char *const good[] = { "#", "+", "a", "/", "a/+/b", "a/#", "+/+", "/+", "+/",
		"/#", "$SYS/#", "a b/+", "$share/g/a/+" };
	static const char *const bad[] = { "", "a#", "#/a", "a/#/b", "a+", "+a", "a/b+/c", "##",
		"++", "a/+#", "a/\x01" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(filter(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(filter(bad[i]));
}

static void wildcards_are_seen(void **state)
{
	(void)state;
	assert_false(topic_has_wildcard(span_str("a/b")));
	assert_true(topic_has_wildcard(span_str("a/+")));
	assert_true(topic_has_wildcard(span_str("#")));
	assert_false(topic_has_wildcard(span_of(NULL, 0)));
}

static void configuration_is_told_what_would_be_right(void **state)
{
	(void)state;
	assert_null(topic_check_filter("a/+/#"));
	assert_non_null(strstr(topic_check_filter("a/#/b"), "filter"));
	assert_null(topic_check_name("a/b"));
	assert_non_null(strstr(topic_check_name("a/+"), "topic"));
}

static void matching(void **state)
{
	(void)state;
	assert_true(matches("a/b", "a/b"));
	assert_false(matches("a/b", "a/B"));
	assert_false(matches("a/b", "a"));
	assert_false(matches("a", "a/b"));
	assert_false(matches("a", "a/"));
	assert_true(matches("+", "a"));
	assert_false(matches("+", "/a"));
	assert_true(matches("+/+", "/a"));
	assert_true(matches("/+", "/a"));
	assert_true(matches("a/+", "a/"));
	assert_false(matches("a/+", "a"));
	assert_true(matches("a/+/c", "a/b/c"));
	assert_false(matches("a/+/c", "a/b/b/c"));
}

static void hash_matches_its_parent(void **state)
{
	(void)state;
	assert_true(matches("#", "a"));
	assert_true(matches("#", "/"));
	assert_true(matches("a/#", "a"));
	assert_true(matches("a/#", "a/b/c"));
	assert_true(matches("a/+/#", "a/b"));
	assert_false(matches("a/+/#", "a"));
	assert_false(matches("a/#", "ab"));
	assert_true(matches("+/#", "a"));
}

static void wildcards_leave_dollar_topics_out(void **state)
{
	(void)state;
	assert_false(matches("#", "$SYS/x"));
	assert_false(matches("+/x", "$SYS/x"));
	assert_false(matches("+", "$SYS"));
	assert_true(matches("$SYS/#", "$SYS/x"));
	assert_true(matches("$SYS/#", "$SYS"));
	assert_true(matches("$SYS/+", "$SYS/$x"));
	assert_true(matches("a/+", "a/$x"));
	assert_true(matches("a/#", "a/$x"));
}

static void covering(void **state)
{
	(void)state;
	assert_true(covers("a/b", "a/b"));
	assert_true(covers("#", "a/+"));
	assert_true(covers("#", "+/#"));
	assert_true(covers("+/#", "#"));
	assert_true(covers("+/#", "a"));
	assert_true(covers("a/#", "a"));
	assert_true(covers("a/#", "a/+/#"));
	assert_true(covers("a/+", "a/b"));
	assert_false(covers("a/b", "a/+"));
	assert_false(covers("a/+", "a/#"));
	assert_false(covers("a/+/#", "a/#"));
	assert_false(covers("+", "#"));
	assert_false(covers("a", "a/b"));
	assert_false(covers("a/b", "a"));
	assert_false(covers("#", "$SYS/#"));
	assert_false(covers("+/x", "$SYS/x"));
	assert_true(covers("$SYS/#", "$SYS/x"));
}

static void overlapping(void **state)
{
	(void)state;
	assert_true(overlaps("a/+", "+/b"));
	assert_true(overlaps("a/#", "+/b/c"));
	assert_true(overlaps("a/#", "a"));
	assert_true(overlaps("#", "+"));
	assert_true(overlaps("a/b", "a/b"));
	assert_false(overlaps("a", "b"));
	assert_false(overlaps("a/+", "a"));
	assert_false(overlaps("a/b/#", "a/c/#"));
	assert_false(overlaps("+/+", "a/b/c"));
	assert_false(overlaps("#", "$SYS/x"));
	assert_false(overlaps("+/x", "$SYS/x"));
	assert_true(overlaps("$SYS/+", "$SYS/x"));
}

/* Every filter and topic of up to three levels over a small alphabet: covers and overlaps must say
 * what matching says. 'z' and deeper topics stand for what no filter names. */
static const char *const words[] = { "a", "b", "$s", "+", "#" };
static char all_filters[200][16];
static char all_topics[400][16];
static size_t n_filters, n_topics;

static void make_filters(char *text, size_t len, unsigned depth)
{
	for (size_t w = 0; w < ARRAY_SIZE(words); w++) {
		int n = snprintf(text + len, 16 - len, "%s%s", depth ? "/" : "", words[w]);
		strcpy(all_filters[n_filters++], text);
		if (depth < 2 && words[w][0] != '#')
			make_filters(text, len + (size_t)n, depth + 1);
	}
	text[len] = '\0';
}

static void make_topics(char *text, size_t len, unsigned depth)
{
	static const char *const parts[] = { "a", "b", "$s", "z" };
	for (size_t w = 0; w < ARRAY_SIZE(parts); w++) {
		int n = snprintf(text + len, 16 - len, "%s%s", depth ? "/" : "", parts[w]);
		strcpy(all_topics[n_topics++], text);
		if (depth < 3)
			make_topics(text, len + (size_t)n, depth + 1);
	}
	text[len] = '\0';
}

static void covering_and_overlapping_agree_with_matching(void **state)
{
	char text[16] = "";
	(void)state;

	n_filters = n_topics = 0;
	make_filters(text, 0, 0);
	make_topics(text, 0, 0);
	assert_in_range(n_filters, 100, ARRAY_SIZE(all_filters));
	assert_in_range(n_topics, 300, ARRAY_SIZE(all_topics));
	for (size_t i = 0; i < n_filters; i++) {
		for (size_t j = 0; j < n_filters; j++) {
			const char *f = all_filters[i], *g = all_filters[j];
			bool all = true, any = false;

			for (size_t k = 0; k < n_topics; k++) {
				bool by_f = matches(f, all_topics[k]);
				bool by_g = matches(g, all_topics[k]);

				all = all && (by_f || !by_g);
				any = any || (by_f && by_g);
			}
			if (covers(f, g) != all || overlaps(f, g) != any)
				fail_msg("%s and %s: covers %d, expected %d; overlaps %d, expected "
					 "%d",
					f, g, covers(f, g), all, overlaps(f, g), any);
		}
	}
}

static void levels_come_one_by_one(void **state)
{
	static const char *const expected[] = { "", "a", "", "bc", "" };
	struct span rest = span_str("/a//bc/"), level;
	bool done = false;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_true(topic_next_level(&rest, &done, &level));
		assert_true(span_is(level, expected[i]));
	}
	assert_false(topic_next_level(&rest, &done, &level));
	assert_false(topic_next_level(&rest, &done, &level));
}

static void limits_hold(void **state)
{
	static char text[TOPIC_BYTES_MAX * 8 + 2];
	(void)state;

	memset(text, 'x', sizeof(text));
	assert_true(topic_valid_name(span_of(text, TOPIC_BYTES_MAX)));
	assert_false(topic_valid_name(span_of(text, TOPIC_BYTES_MAX + 1)));
	memset(text, '/', sizeof(text));
	assert_true(topic_valid_filter(span_of(text, TOPIC_LEVELS_MAX - 1)));
	assert_false(topic_valid_filter(span_of(text, TOPIC_LEVELS_MAX)));

	topic_set_limits(4, 2);
	assert_true(name("ab/d"));
	assert_false(name("ab/de"));
	assert_false(name("a/b/"));
	topic_set_limits(SIZE_MAX, UINT32_MAX); /* never above eight times the default */
	memset(text, 'x', sizeof(text));
	assert_true(topic_valid_name(span_of(text, TOPIC_BYTES_MAX * 8)));
	assert_false(topic_valid_name(span_of(text, TOPIC_BYTES_MAX * 8 + 1)));
	memset(text, '/', sizeof(text));
	assert_true(topic_valid_name(span_of(text, TOPIC_LEVELS_MAX * 8 - 1)));
	assert_false(topic_valid_name(span_of(text, TOPIC_LEVELS_MAX * 8)));
	topic_set_limits(TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_accepts_every_length),
		cmocka_unit_test(utf8_refuses_ill_formed),
		cmocka_unit_test(utf8_refuses_controls_and_non_characters),
		cmocka_unit_test(names),
		cmocka_unit_test(filters),
		cmocka_unit_test(wildcards_are_seen),
		cmocka_unit_test(configuration_is_told_what_would_be_right),
		cmocka_unit_test(matching),
		cmocka_unit_test(hash_matches_its_parent),
		cmocka_unit_test(wildcards_leave_dollar_topics_out),
		cmocka_unit_test(covering),
		cmocka_unit_test(overlapping),
		cmocka_unit_test(covering_and_overlapping_agree_with_matching),
		cmocka_unit_test(levels_come_one_by_one),
		cmocka_unit_test(limits_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
