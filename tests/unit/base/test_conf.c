#include "gateway/base/conf.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/base/conf_table.h"

static void assert_id(const char *text, const char *id)
{
	struct conf *c = read_good(text);
	assert_string_equal(sn_of(c)->id, id);
	conf_free(c);
}

static void comments_and_blanks(void **state)
{
	(void)state;
	assert_id("; a\n# b\n\n   \n[mqttsn] ; c\n\n  ; indented\nid=a;b#c\n", "a;b#c");
	assert_id("[mqttsn]\nid = name ; comment\n", "name");
	assert_id("[mqttsn]\nid = name\t# comment\n", "name");
}

static void a_value_may_be_quoted(void **state)
{
	(void)state;
	assert_id("[mqttsn]\nid = \"a ; b # c\" ; comment\n", "a ; b # c");
	assert_id("[mqttsn]\nid = \"  say \\\"hi\\\" \\\\ \\n \"\n", "  say \"hi\" \\ \\n ");
	assert_id("[mqttsn]\nid = 5\" pipe\n", "5\" pipe");
	assert_id("[mqttsn]\nid = \"\"\n", "");
	assert_refused("[mqttsn]\nid = \"open\n", "t.conf:2: [mqttsn] id: \"\"open\" has a quote "
						  "that is not closed; write \\\" for a quote "
						  "inside quotes");
	assert_refused("[mqttsn]\nid = \"a\"b\n",
		"t.conf:2: [mqttsn] id: \"\"a\"b\" goes on after its closing quote");
}

/* '#' is a topic filter where an item begins, and a comment behind one. */
static void the_filter_for_everything(void **state)
{
	(void)state;
	struct conf *c = read_good("[upstream]\nuri = u://h\nexport = #\nexport = a/+, # # all\n"
				   "export = b/# ; c\n  \"#\"\n");
	const struct conf_list *l = &up_of(c)->export;
	assert_int_equal(l->n, 5);
	assert_string_equal(l->items[0], "#");
	assert_string_equal(l->items[1], "a/+");
	assert_string_equal(l->items[2], "#");
	assert_string_equal(l->items[3], "b/#");
	assert_string_equal(l->items[4], "#");
	conf_free(c);
	assert_refused("[upstream]\nexport = a,\n  #\n",
		"t.conf:3: [upstream]: write \"#\" with quotes for the filter, or ; for a comment");
}

static void continuation_lines(void **state)
{
	(void)state;
	assert_id("[mqttsn]\nid = one ; first\n  two\n\tthree\n", "one two three");
	assert_id("[mqttsn]\nid =\n  value\n", "value");
	assert_id("[mqttsn]\nid = one\n; between\n  two\n", "one two");
	assert_refused("[mqttsn]\n  id = x\n",
		"t.conf:2: [mqttsn]: line begins with white space, but there is no value to go on");
	assert_refused("[mqttsn]\nid = x\n\n  y\n",
		"t.conf:4: [mqttsn]: line begins with white space, but there is no value to go on");
	assert_refused("[mqttsn]\nid = x\n  retry_count = 5\n",
		"t.conf:3: [mqttsn]: line begins with white space, which makes it part of the "
		"value "
		"above");
}

/* inih would cut such lines at 200 octets in silence. */
static void line_limit(void **state)
{
	char text[5000] = "[mqttsn]\nid=";
	char id[4097];
	(void)state;
	memset(id, 'x', sizeof(id));
	id[4091] = '\0'; /* with the blanks around '=' that a dump writes, 4096 */
	strcat(text, id);
	assert_id(text, id);
	memset(text + strlen(text), 'x', 3);
	assert_refused(text,
		"t.conf:2: [mqttsn]: line is longer than 4096 octets; go on in a line that "
		"begins with a blank");
}

static void bytes_that_are_no_text(void **state)
{
	static const char nul[] = "[mqttsn]\nid = a\0b\n";
	struct conf *c = NULL;
	(void)state;
	assert_int_equal(
		conf_parse(test_sections, "t.conf", nul, sizeof(nul) - 1, &c, &test_err), -EINVAL);
	assert_string_equal(test_err.text, "t.conf:2: [mqttsn]: line holds a NUL octet");
	assert_refused(
		"[mqttsn]\nid = a\x1b[31m\n", "t.conf:2: [mqttsn]: line holds a control character");
	assert_refused("\x01\n", "t.conf:1: line holds a control character");
}

static void files_of_other_editors(void **state)
{
	(void)state;
	assert_id("\xef\xbb\xbf[mqttsn]\r\nid = a\r\n", "a");
	assert_id("[mqttsn]\nid = no newline at the end", "no newline at the end");
	assert_id("", "cellar");
}

static void lines_that_are_no_settings(void **state)
{
	static const char *const lines[] = { "id", "id name", "= x", "id name = x",
		"listen: udp://h", "[open = 1" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char text[100], message[100];
		snprintf(text, sizeof(text), "[mqttsn]\n%s\n", lines[i]);
		snprintf(message, sizeof(message), "t.conf:2: [mqttsn]: line is not a %s",
			lines[i][0] == '[' ? "section header; write [name]"
					   : "setting; write key = value");
		assert_refused(text, message);
	}
	assert_refused("id = x\n", "t.conf:1: line stands before the first [section]");
	assert_refused("[a b]\n", "t.conf:1: line is not a section header; write [name]");
	assert_refused("[mqttsn] x\n", "t.conf:1: line is not a section header; write [name]");
}

static void unknown_names(void **state)
{
	(void)state;
	assert_refused("[mqttsn]\nretry_intervall = 1s\n",
		"t.conf:2: [mqttsn] retry_intervall: unknown "
		"key; did you mean \"retry_interval\"?");
	assert_refused("[mqttsn]\nexport = #\n",
		"t.conf:2: [mqttsn] export: unknown key; it belongs into section [upstream]");
	assert_refused("\n[mqtsn]\n", "t.conf:2: [mqtsn]: unknown section; did you mean [mqttsn]?");
}

static void repetition_in_one_file(void **state)
{
	(void)state;
	struct conf *c =
		read_good("[mqttsn]\nlisten = udp://a, udp://b,\nid = x\n[upstream]\nuri = u://\n"
			  "[mqttsn]\nid = y\nlisten = udp://c\n");
	assert_int_equal(sn_of(c)->listen.n, 3);
	assert_string_equal(sn_of(c)->listen.items[2], "udp://c");
	assert_string_equal(sn_of(c)->id, "y");
	conf_free(c);
}

static char dir[64];

static void put(const char *name, const char *text)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_dir(void **state)
{
	char sub[100];
	(void)state;
	strcpy(dir, "/tmp/tidegate-test-conf-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	return mkdir(sub, 0700);
}

static int remove_dir(void **state)
{
	char command[100];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static int load(struct conf **c)
{
	char path[100];
	snprintf(path, sizeof(path), "%s/tidegate.conf", dir);
	*c = NULL;
	return conf_load(test_sections, path, c, &test_err);
}

static void later_files_win(void **state)
{
	struct conf *c;
	(void)state;
	put("tidegate.conf", "[mqttsn]\nid = main\nretry_count = 5\nlisten = udp://m\n");
	put("conf.d/20-b.conf", "[mqttsn]\nid = twenty\nlisten = udp://y\nlisten = udp://z\n");
	put("conf.d/10-a.conf", "[mqttsn]\nid = ten\nlisten = udp://x\n");
	put("conf.d/30-ignored.conf~", "[mqttsn]\nid = backup\n");
	put("conf.d/.hidden.conf", "[mqttsn]\nid = hidden\n");
	assert_int_equal(load(&c), 0);
	assert_string_equal(sn_of(c)->id, "twenty");
	assert_int_equal(sn_of(c)->retry_count, 5);
	assert_int_equal(sn_of(c)->listen.n, 2);
	assert_string_equal(sn_of(c)->listen.items[0], "udp://y");
	conf_free(c);
}

static void messages_name_the_file_at_fault(void **state)
{
	char message[200];
	struct conf *c;
	(void)state;
	put("tidegate.conf", "[mqttsn]\nid = main\n");
	put("conf.d/10-a.conf", "\n[mqttsn]\nretry_interval = 10\n");
	assert_int_equal(load(&c), -EINVAL);
	snprintf(message, sizeof(message),
		"%s/conf.d/10-a.conf:3: [mqttsn] retry_interval: \"10\" has no unit; write 10s, "
		"500ms or 2m",
		dir);
	assert_string_equal(test_err.text, message);
}

static void files_that_cannot_be_read(void **state)
{
	char message[200], path[100];
	struct conf *c;
	(void)state;
	assert_int_equal(load(&c), -ENOENT);
	snprintf(message, sizeof(message), "%s/tidegate.conf: No such file or directory", dir);
	assert_string_equal(test_err.text, message);
	assert_int_equal(conf_load(test_sections, dir, &c, &test_err), -EINVAL);
	put("tidegate.conf", "");
	snprintf(path, sizeof(path), "%s/tidegate.conf", dir);
	assert_int_equal(truncate(path, (1 << 20) + 1), 0);
	assert_int_equal(load(&c), -EINVAL);
	assert_non_null(strstr(test_err.text, "is larger than 1 MB"));
	if (geteuid() == 0)
		return;
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(load(&c), -EACCES);
}

static void conf_d_need_not_be_there(void **state)
{
	char sub[100];
	struct conf *c;
	(void)state;
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	assert_int_equal(rmdir(sub), 0);
	put("tidegate.conf", "[mqttsn]\nid = main\n");
	assert_int_equal(load(&c), 0);
	conf_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comments_and_blanks),
		cmocka_unit_test(a_value_may_be_quoted),
		cmocka_unit_test(the_filter_for_everything),
		cmocka_unit_test(continuation_lines),
		cmocka_unit_test(line_limit),
		cmocka_unit_test(bytes_that_are_no_text),
		cmocka_unit_test(files_of_other_editors),
		cmocka_unit_test(lines_that_are_no_settings),
		cmocka_unit_test(unknown_names),
		cmocka_unit_test(repetition_in_one_file),
		cmocka_unit_test_setup_teardown(later_files_win, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			messages_name_the_file_at_fault, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(files_that_cannot_be_read, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(conf_d_need_not_be_there, make_dir, remove_dir),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
