#include "gateway/base/conf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
	int64_t n, total;
	const char *text;
	struct conf_list list;
	bool flag;
};

#define ROW(member) .key = #member, .offset = offsetof(struct values, member)
static const struct conf_row rows[] = {
	{ ROW(n), .type = CONF_INT, .def = "3", .reload = true, .help = "A number." },
	{ ROW(total), .type = CONF_INT, .def = "9", .base_only = true, .help = "Of all." },
	{ ROW(text), .type = CONF_STRING, .def = "t", .help = "A text." },
	{ ROW(list), .type = CONF_LIST, .help = "A list." },
	{ ROW(flag), .type = CONF_BOOL, .help = "A flag." },
};

static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct values *v = section;
	if (v->n == 13)
		return conf_fail(err, conf, conf_section_name(conf, section), "n", "is unlucky");
	return 0;
}

static const struct conf_section group = {
	.name = "group",
	.help = "Groups.",
	.size = sizeof(struct values),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.optional = true,
	.check = check,
	.named = "Another group.",
};
static const struct conf_section plain = {
	.name = "plain",
	.help = "No groups.",
	.size = sizeof(struct values),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
};
static const struct conf_section *const sections[] = { &group, &plain, NULL };

static struct conf *read_good(const char *text)
{
	struct conf_error err = { "" };
	struct conf *c = NULL;
	conf_parse(sections, "t", text, strlen(text), &c, &err);
	assert_string_equal(err.text, "");
	return c;
}

static void assert_refused(const char *text, const char *message)
{
	struct conf_error err = { "" };
	struct conf *c = NULL;
	assert_int_equal(conf_parse(sections, "t", text, strlen(text), &c, &err), -EINVAL);
	assert_string_equal(err.text, message);
}

static const struct values *named(const struct conf *c, size_t i, const char *name)
{
	const char *is = NULL;
	const struct values *v = conf_named_section(c, "group", i, &is);
	assert_non_null(v);
	assert_string_equal(is, name);
	return v;
}

static void inherits_what_is_not_set(void **state)
{
	(void)state;
	/* The base may come later, and in pieces. */
	struct conf *c = read_good("[group.b]\nn = 5\nlist = x\nlist = y\n[group]\nn = 4\n"
				   "flag = yes\nlist = z\n[group.a]\n[group.b]\ntext = own\n");
	const struct values *b = named(c, 0, "b"), *a = named(c, 1, "a");
	const char *name;
	assert_null(conf_named_section(c, "group", 2, &name));
	assert_null(conf_named_section(c, "plain", 0, &name));
	assert_null(conf_named_section(c, "nothing", 0, &name));
	assert_int_equal(b->n, 5);
	assert_string_equal(b->text, "own");
	assert_int_equal(b->list.n, 2); /* its own list replaces the base's */
	assert_string_equal(b->list.items[1], "y");
	assert_true(b->flag);
	assert_int_equal(a->n, 4);
	assert_int_equal(a->total, 9);
	assert_string_equal(a->text, "t"); /* the base's default */
	assert_string_equal(a->list.items[0], "z");
	assert_ptr_equal(conf_section(c, "group.b"), b);
	assert_true(conf_is_set(c, "group.b", "n"));
	assert_false(conf_is_set(c, "group.b", "flag"));
	assert_string_equal(conf_section_name(c, b), "group.b");
	assert_string_equal(conf_section_name(c, conf_section(c, "group")), "group");
	assert_null(conf_section_name(c, c));
	conf_free(c);
}

static void undoes_an_inherited_value(void **state)
{
	(void)state;
	struct conf *c = read_good("[group]\ntext = x\nlist = z\n[group.a]\ntext =\nlist =\n");
	const struct values *a = named(c, 0, "a");
	assert_null(a->text);
	assert_int_equal(a->list.n, 0);
	conf_free(c);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	assert_refused(
		"[group.a]\n", "t:1: [group.a]: there is no section [group] that it could add to");
	assert_refused("[group]\n[group.]\n",
		"t:2: [group.]: is no name; write [group.NAME] with letters, digits, _ and -");
	assert_refused("[group]\n[group.a.b]\n",
		"t:2: [group.a.b]: is no name; write [group.NAME] with letters, digits, _ and -");
	assert_refused("[grup.a]\n", "t:1: [grup.a]: unknown section; did you mean [group.NAME]?");
	assert_refused(
		"[plain.a]\n", "t:1: [plain.a]: unknown section; [plain] has no named sections");
	assert_refused("[x.a]\n", "t:1: [x.a]: unknown section; see tidegate.conf(5)");
	assert_refused("[group]\n[group.a]\ntxt = 1\n",
		"t:3: [group.a] txt: unknown key; did you mean \"text\"?");
	assert_refused("[group]\n[group.a]\nn = x\n",
		"t:3: [group.a] n: \"x\" is not a whole number; write digits, without a unit");
	assert_refused("[group]\n[group.a]\ntotal = 1\n",
		"t:3: [group.a] total: holds for all; it belongs into section [group]");
	assert_refused("[group]\n[group.a]\n\nn = 13\n", "t:4: [group.a] n: is unlucky");
}

static void there_is_a_limit(void **state)
{
	char text[2048] = "[group]\n";
	(void)state;
	for (int i = 0; i < 64; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "[group.n%d]\n", i);
	conf_free(read_good(text));
	strcat(text, "[group.n64]\n");
	assert_refused(text, "t:66: [group.n64]: is one section too many; [group.NAME] may be "
			     "there 64 times");
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

static void diff_knows_them(void **state)
{
	(void)state;
	struct conf *a = read_good("[group]\nn = 1\n[group.a]\ntext = x\n");
	struct conf *b = read_good("[group]\nn = 2\n[group.a]\ntext = y\n");
	struct conf *c = read_good("[group]\nn = 1\n[group.c]\ntext = x\n");
	assert_diff(a, a, "");
	assert_diff(a, b, "group.n group.a.text ");
	assert_diff(a, c, "group.a.text group.c.text ");
	conf_free(a);
	conf_free(b);
	conf_free(c);
}

static char *printed(
	const struct conf *c, void (*print)(const struct conf_section *const *, FILE *))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	if (c)
		conf_dump(c, out);
	else
		print(sections, out);
	fclose(out);
	return text;
}

static void dump_reads_back(void **state)
{
	(void)state;
	struct conf *c = read_good("[group]\nlist = a\ntotal = 2\n[group.a]\nn = 7\nlist =\n");
	char *text = printed(c, NULL);
	assert_non_null(strstr(text, "[group.a]\nn = 7\ntext = t\nlist =\nflag = no\n\n[plain]"));
	struct conf *again = read_good(text);
	assert_diff(c, again, "");
	conf_free(again);
	conf_free(c);
	free(text);
}

static void sample_and_manual_tell_of_them(void **state)
{
	(void)state;
	char *text = printed(NULL, conf_sample);
	assert_non_null(strstr(text, "# Another group.\n;[group.NAME]\n"));
	assert_null(strstr(text, "[plain.NAME]"));
	free(text);
	text = printed(NULL, conf_manual);
	assert_non_null(strstr(text, ".SS [group.NAME]\nAnother group.\nIt may not hold total.\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inherits_what_is_not_set),
		cmocka_unit_test(undoes_an_inherited_value),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(there_is_a_limit),
		cmocka_unit_test(diff_knows_them),
		cmocka_unit_test(dump_reads_back),
		cmocka_unit_test(sample_and_manual_tell_of_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
