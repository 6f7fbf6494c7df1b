#include "gateway/base/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/base/conf_table.h"

static void defaults_fill_what_is_not_set(void **state)
{
	(void)state;
	struct conf *c = read_good("[mqttsn]\nretry_count = 4\n");
	const struct sn_values *v = sn_of(c);
	assert_true(v->enabled);
	assert_int_equal(v->retry_count, 4);
	assert_int_equal(v->max_bytes, 65536);
	assert_int_equal(v->retry_interval, 10000);
	assert_int_equal(v->version, 0);
	assert_string_equal(v->id, "cellar");
	assert_string_equal(v->topics, "/nowhere/topics.conf"); /* a default need not exist */
	assert_int_equal(v->listen.n, 2);
	assert_string_equal(v->listen.items[1], "udp://[::]:1884");
	assert_true(conf_is_set(c, "mqttsn", "retry_count"));
	assert_false(conf_is_set(c, "mqttsn", "id"));
	assert_false(conf_is_set(c, "mqttsn", "no_such_key"));
	assert_false(conf_is_set(c, "no_such_section", "id"));
	conf_free(c);
}

static void optional_sections(void **state)
{
	(void)state;
	struct conf *c = read_good("");
	assert_null(up_of(c));
	assert_null(conf_section(c, "no_such_section"));
	conf_free(c);
	c = read_good("[upstream]\nuri = mqtt://h\n");
	assert_string_equal(up_of(c)->uri, "mqtt://h");
	assert_null(up_of(c)->user);
	assert_string_equal(up_of(c)->export.items[0], "#");
	conf_free(c);
}

static void every_type(void **state)
{
	(void)state;
	struct conf *c = read_good(
		"[mqttsn]\nenabled = Off\nretry_count = -2\nmax_bytes = 2MB\n"
		"retry_interval = 2m\nversion = 3.1.1\nid = a b\ntopics = /proc/self/status\n"
		"listen = \"udp://a,b\", udp://c\n");
	const struct sn_values *v = sn_of(c);
	assert_false(v->enabled);
	assert_int_equal(v->retry_count, -2);
	assert_int_equal(v->max_bytes, 2 << 20);
	assert_int_equal(v->retry_interval, 120000);
	assert_int_equal(v->version, 2);
	assert_string_equal(v->id, "a b");
	assert_string_equal(v->topics, "/proc/self/status");
	assert_int_equal(v->listen.n, 2);
	assert_string_equal(v->listen.items[0], "udp://a,b");
	conf_free(c);
}

static void an_empty_value_undoes_the_default(void **state)
{
	(void)state;
	struct conf *c = read_good("[mqttsn]\nid =\ntopics = ; none\nlisten =\n");
	assert_null(sn_of(c)->id);
	assert_null(sn_of(c)->topics);
	assert_int_equal(sn_of(c)->listen.n, 0);
	assert_true(conf_is_set(c, "mqttsn", "id"));
	conf_free(c);
}

static void wrong_values(void **state)
{
	static const struct {
		const char *line, *message;
	} rows[] = {
		{ "enabled = maybe",
			"enabled: \"maybe\" is neither yes nor no; write one of them" },
		{ "enabled =", "enabled: \"\" is neither yes nor no; write one of them" },
		{ "retry_count = 3s",
			"retry_count: \"3s\" is not a whole number; write digits, without a unit" },
		{ "retry_count = 101",
			"retry_count: \"101\" is out of range; allowed is -2 to 100" },
		{ "retry_count = -3", "retry_count: \"-3\" is out of range; allowed is -2 to 100" },
		{ "max_bytes = 10B", "max_bytes: \"10B\" is out of range; the least is 1KB" },
		{ "max_bytes = 64", "max_bytes: \"64\" has no unit; write 64KB, 512B or 2MB" },
		{ "retry_interval = 2h",
			"retry_interval: \"2h\" is out of range; allowed is 1s to 1h" },
		{ "retry_interval = 1y",
			"retry_interval: \"1y\" has an unknown unit; write 500ms or 2m" },
		{ "version = 4", "version: \"4\" is none of auto, 5, 3.1.1" },
		{ "id = a/b", "id: \"a/b\" is not good; write a name without /" },
		{ "topics = /nowhere/x",
			"topics: \"/nowhere/x\" cannot be read: No such file or directory" },
		{ "topics = /tmp", "topics: \"/tmp\" cannot be read: Is a directory" },
		{ "topics = /dev/null", "topics: \"/dev/null\" is not a regular file" },
		{ "listen = udp://a, b",
			"listen: \"b\" is not good; write a URI such as udp://0.0.0.0:1884" },
		{ "listen = udp://01234567890123456789012345678901234567890",
			"listen: \"udp://01234567890123456789012345678901234567890\" has 47 "
			"octets; "
			"allowed are 40" },
		{ "listen = udp://a, \"udp://b\nid = x",
			"listen: \"\"udp://b\" has a quote that is not closed; write \\\" for a "
			"quote inside "
			"quotes" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[200], message[300];
		snprintf(text, sizeof(text), "[mqttsn]\n%s\n", rows[i].line);
		snprintf(message, sizeof(message), "t.conf:2: [mqttsn] %s", rows[i].message);
		assert_refused(text, message);
	}
}

/* The line at fault is that of the repetition, not the first of its key. */
static void each_line_of_a_list_is_checked_by_itself(void **state)
{
	(void)state;
	assert_refused("[mqttsn]\nlisten = udp://a\nlisten = b\n",
		"t.conf:3: [mqttsn] listen: \"b\" is not good; write a URI such as "
		"udp://0.0.0.0:1884");
}

static void lists_have_a_limit(void **state)
{
	char text[20000] = "[upstream]\nuri = u://h\nexport = ";
	(void)state;
	for (int i = 0; i < 1000; i++)
		strcat(text, i % 100 ? "a," : "\n  a,");
	struct conf *c = read_good(text);
	assert_int_equal(up_of(c)->export.n, 1000);
	conf_free(c);
	strcat(text, "b");
	assert_refused(text,
		"t.conf:3: [upstream] export: \"b\" is one item too many; a list may have 1000");
}

static void values_have_a_limit(void **state)
{
	static char text[70000] = "[mqttsn]\nid = x\n";
	size_t len = strlen(text);
	(void)state;
	for (int i = 0; i < 17; i++) {
		text[len++] = ' ';
		memset(text + len, 'y', 4000);
		len += 4000;
		text[len++] = '\n';
	}
	struct conf *c;
	assert_int_equal(conf_parse(test_sections, "t.conf", text, len, &c, &test_err), -EINVAL);
	assert_non_null(strstr(test_err.text, "has more than 64 KB; put it into a file"));
	/* Two lines that fit, but not together in the line that a dump would write. */
	len = strlen("[mqttsn]\nid = x\n") + 2 * 4002;
	assert_int_equal(conf_parse(test_sections, "t.conf", text, len, &c, &test_err), -EINVAL);
	assert_non_null(strstr(test_err.text, "...\" has 8003 octets; allowed are 4096"));
}

static void checks_across_keys_name_the_line(void **state)
{
	(void)state;
	assert_refused("\n[upstream]\n", "t.conf:2: [upstream] uri: is missing");
	assert_refused("[upstream]\nuri = u://h\nuser = me\n",
		"t.conf:3: [upstream] user: needs [mqttsn] id");
	struct conf *c = read_good("[upstream]\nuri = u://h\nuser = me\n[mqttsn]\nid = x\n");
	conf_free(c);
}

static void a_bad_default_is_found_at_once(void **state)
{
	static const struct conf_row rows[] = {
		{ .key = "t", .type = CONF_TIME, .def = "10", .help = "T." },
	};
	static const struct conf_section section = {
		.name = "s",
		.help = "S.",
		.size = sizeof(int64_t),
		.rows = rows,
		.n_rows = 1,
	};
	const struct conf_section *const sections[] = { &section, NULL };
	struct conf *c;
	(void)state;
	assert_int_equal(conf_parse(sections, "t.conf", "", 0, &c, &test_err), -EINVAL);
	assert_string_equal(
		test_err.text, "(default): [s] t: \"10\" has no unit; write 10s, 500ms or 2m");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_fill_what_is_not_set),
		cmocka_unit_test(optional_sections),
		cmocka_unit_test(every_type),
		cmocka_unit_test(an_empty_value_undoes_the_default),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(each_line_of_a_list_is_checked_by_itself),
		cmocka_unit_test(lists_have_a_limit),
		cmocka_unit_test(values_have_a_limit),
		cmocka_unit_test(checks_across_keys_name_the_line),
		cmocka_unit_test(a_bad_default_is_found_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
