/* The INI reader over any bytes: a file is accepted or refused with a message of one line, and what
 * is accepted can be dumped and read again to the same values. */
#include "gateway/base/conf.h"

#include <stdlib.h>
#include <string.h>

struct values {
	bool flag;
	int64_t number, size, time, total;
	int choice;
	const char *text;
	struct conf_list list;
};

#define ROW(member, kind)                                                                          \
	.key = #member, .type = kind, .offset = offsetof(struct values, member), .help = "Help."

static const char *const choices[] = { "one", "two", NULL };

static const struct conf_row rows[] = {
	{ ROW(flag, CONF_BOOL), .def = "yes" },
	{ ROW(number, CONF_INT), .min = -5, .max = 100, .def = "1" },
	{ ROW(size, CONF_SIZE), .def = "64KB" },
	{ ROW(time, CONF_TIME), .min = 1, .max = INT64_MAX, .def = "10s" },
	{ ROW(choice, CONF_ENUM), .choices = choices, .def = "one" },
	{ ROW(text, CONF_STRING), .def = "hello" },
	{ ROW(list, CONF_LIST), .max = 100, .def = "#" },
	{ ROW(total, CONF_INT), .def = "1", .base_only = true },
};

#define SECTION                                                                                    \
	.help = "Help.", .size = sizeof(struct values), .rows = rows, .n_rows = ARRAY_SIZE(rows)
static const struct conf_section plain = { .name = "plain", SECTION };
static const struct conf_section optional = {
	.name = "optional", SECTION, .optional = true, .named = "Help."
};
static const struct conf_section *const sections[] = { &plain, &optional, NULL };

static void differs(const char *section, const struct conf_row *row, void *arg)
{
	(void)section;
	(void)row;
	(void)arg;
	abort();
}

static void check_round_trip(const struct conf *conf)
{
	struct conf_error err;
	struct conf *again;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return;
	conf_dump(conf, out);
	fclose(out);
	if (conf_parse(sections, "dump", text, len, &again, &err) < 0)
		abort();
	conf_diff(conf, again, differs, NULL);
	conf_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf_error err = { "" };
	struct conf *conf;
	if (conf_parse(sections, "fuzz", (const char *)data, len, &conf, &err) < 0) {
		if (!err.text[0] || strchr(err.text, '\n'))
			abort();
		return 0;
	}
	check_round_trip(conf);
	conf_free(conf);
	return 0;
}
