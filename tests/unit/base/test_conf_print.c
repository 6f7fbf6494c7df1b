#include "gateway/base/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/base/conf_table.h"

static char printed[16384];

/* A stream into `printed`; closing it ends the text. */
static FILE *print_begin(void)
{
	FILE *out = fmemopen(printed, sizeof(printed), "w");
	assert_non_null(out);
	return out;
}

static char *sample_of(const struct conf_section *const *sections)
{
	FILE *out = print_begin();
	conf_sample(sections, out);
	fclose(out);
	return printed;
}

static char *dumped(const struct conf *c)
{
	FILE *out = print_begin();
	conf_dump(c, out);
	fclose(out);
	return printed;
}

static void note_key(const char *section, const struct conf_row *row, void *arg)
{
	char *keys = arg;
	size_t len = strlen(keys);
	snprintf(keys + len, 200 - len, "%s.%s ", section, row->key);
}

static void assert_diff(const struct conf *a, const struct conf *b, const char *expected)
{
	char keys[200] = "";
	conf_diff(a, b, note_key, keys);
	assert_string_equal(keys, expected);
}

static void dump_shows_what_is_in_force(void **state)
{
	(void)state;
	struct conf *c = read_good("[mqttsn]\nid = a ; b\nretry_interval = 60s\n");
	const char *text = dumped(c);
	assert_string_equal(text, "[mqttsn]\n"
				  "enabled = yes\n"
				  "retry_count = 3\n"
				  "max_bytes = 64KB\n"
				  "retry_interval = 1m\n"
				  "version = auto\n"
				  "id = a\n"
				  ";topics = /nowhere/topics.conf\n"
				  "listen = udp://0.0.0.0:1884\n"
				  "listen = udp://[::]:1884\n"
				  "\n");
	conf_free(c);
}

static void dump_reads_back_to_the_same(void **state)
{
	static const char *const texts[] = {
		"",
		"[mqttsn]\nenabled = no\nretry_count = -2\nmax_bytes = 1500B\n",
		"[mqttsn]\nretry_interval = 1500ms\n",
		"[mqttsn]\nid = \"a ; b # c, \\\" \\\\ \"\ntopics = /proc/self/status\n",
		"[mqttsn]\nid =\ntopics =\nlisten =\n",
		"[mqttsn]\nid = \"\"\nlisten = \"udp://a,b\", \"udp:// c\"\n",
		"[upstream]\nuri = u://h\nexport = #, \"a ;b\", \"\", \"\\\\\"\n",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct conf *c = read_good(texts[i]);
		const char *text = dumped(c);
		struct conf *again = read_good(text);
		assert_diff(c, again, "");
		assert_true(!up_of(c) == !up_of(again));
		conf_free(again);
		conf_free(c);
	}
}

static void the_longest_value_reads_back(void **state)
{
	char text[5000] = "[mqttsn]\nid=";
	(void)state;
	memset(text + strlen(text), '\\', 4000); /* bare: a dump need not double them */
	struct conf *c = read_good(text);
	const char *dump = dumped(c);
	struct conf *again = read_good(dump);
	assert_diff(c, again, "");
	conf_free(again);
	conf_free(c);
	strcat(text, " ;\n  x"); /* with a blank in it, a dump must */
	assert_int_equal(
		conf_parse(test_sections, "t", text, strlen(text), &c, &test_err), -EINVAL);
	assert_non_null(strstr(test_err.text, "is too long for a line of 4096 octets"));
}

static void diff_names_what_changed(void **state)
{
	(void)state;
	struct conf *a = read_good("[mqttsn]\nid = x\nretry_count = 3\nlisten = udp://a\n");
	struct conf *b = read_good("[mqttsn]\nid = y\nlisten = udp://a\nlisten = udp://b\n");
	struct conf *c = read_good("[mqttsn]\nid =\nlisten = udp://b\nenabled = no\nversion = 5\n"
				   "[upstream]\nuri = u://h\n");
	assert_diff(a, a, "");
	assert_diff(a, b, "mqttsn.id mqttsn.listen "); /* 3 is the default of retry_count */
	assert_diff(a, c, "mqttsn.enabled mqttsn.version mqttsn.id mqttsn.listen upstream.uri ");
	assert_diff(c, a, "mqttsn.enabled mqttsn.version mqttsn.id mqttsn.listen upstream.uri ");
	conf_free(a);
	conf_free(b);
	conf_free(c);
}

static void sample_changes_nothing(void **state)
{
	(void)state;
	char *text = sample_of(test_sections);
	struct conf *sample = read_good(text), *nothing = read_good("");
	assert_diff(sample, nothing, "");
	assert_null(up_of(sample));
	conf_free(nothing);
	conf_free(sample);
}

/* Every line that begins with ';' is a setting, good as soon as the ';' is gone. */
static void sample_lines_are_good_settings(void **state)
{
	(void)state;
	char *text = sample_of(test_sections);
	char *user = strstr(text, ";user =");
	assert_non_null(user);
	for (char *p = text; (p = strstr(p, "\n;"));)
		memmove(p + 1, p + 2, strlen(p + 1));
	char *topics = strstr(text, "topics = /nowhere");
	assert_non_null(topics);
	*topics = ';'; /* not on this machine */
	struct conf *c = read_good(text);
	assert_string_equal(up_of(c)->uri, "mqtts://broker.example:8883");
	assert_int_equal(sn_of(c)->listen.n, 2);
	conf_free(c);
}

/* What every newcomer needs is there although it could be left out. */
static void sample_may_bring_an_optional_section(void **state)
{
	struct conf_section section = up_section;
	const struct conf_section *const sections[] = { &section, NULL };
	(void)state;
	section.in_sample = true;
	assert_non_null(strstr(sample_of(sections), "\n[upstream]\n"));
}

static void sample_explains_each_key(void **state)
{
	(void)state;
	char *text = sample_of(test_sections);
	assert_non_null(strstr(text, "\n# The MQTT-SN side.\n[mqttsn]\n"));
	assert_non_null(strstr(text, "\n# The broker.\n;[upstream]\n"));
	assert_non_null(strstr(text, "# How long to wait for an acknowledgement.\n"
				     "# (time with unit (ms, s, m, h, d), 1s to 1h; default "
				     "10s)\n;retry_interval = 10s\n"));
	assert_non_null(strstr(text, "# (auto | 5 | 3.1.1; default auto; needs a restart)\n"));
	assert_non_null(strstr(text, "at least 1KB"));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		assert_in_range(strlen(line), 1, 100);
}

static void manual_is_roff(void **state)
{
	(void)state;
	FILE *out = print_begin();
	conf_manual(test_sections, out);
	fclose(out);
	const char *text = printed;
	assert_non_null(strstr(text, ".SS [mqttsn]\nThe MQTT\\-SN side.\n"));
	assert_non_null(
		strstr(text, ".TP\n.B retry_count\nTries.\n.br\n(number, \\-2 to 100; default 3; "
			     "applied by a reload)\n"));
	assert_non_null(strstr(text, "\n\\&.Topics \\e file\\-name.\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dump_shows_what_is_in_force),
		cmocka_unit_test(dump_reads_back_to_the_same),
		cmocka_unit_test(the_longest_value_reads_back),
		cmocka_unit_test(diff_names_what_changed),
		cmocka_unit_test(sample_changes_nothing),
		cmocka_unit_test(sample_lines_are_good_settings),
		cmocka_unit_test(sample_may_bring_an_optional_section),
		cmocka_unit_test(sample_explains_each_key),
		cmocka_unit_test(manual_is_roff),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
