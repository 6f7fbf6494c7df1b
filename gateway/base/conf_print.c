#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <string.h>

#define WIDTH 98

static bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool lists_equal(const struct conf_list *a, const struct conf_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	}
	return true;
}

static bool values_equal(const struct conf_row *row, const void *a, const void *b)
{
	switch (row->type) {
	case CONF_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONF_ENUM:
		return *(const int *)a == *(const int *)b;
	case CONF_STRING:
	case CONF_FILE:
		return text_equal(*(const char *const *)a, *(const char *const *)b);
	case CONF_LIST:
		return lists_equal(a, b);
	default:
		return *(const int64_t *)a == *(const int64_t *)b;
	}
}

static bool part_in_force(const struct conf_part *p)
{
	return p->present || !p->section->optional;
}

/* A section that came or went differs in every key that is set where it is. What a named one only
 * inherits is a matter of its base. Either may be NULL: not in that configuration. */
static bool row_differs(
	const struct conf_part *a, const struct conf_part *b, const struct conf_row *row)
{
	bool in_a = a && part_in_force(a), in_b = b && part_in_force(b);
	if (in_a != in_b)
		return conf_key_pos(in_a ? a : b, row)->file;
	if (!in_a || values_equal(row, conf_value(a, row), conf_value(b, row)))
		return false;
	return !a->base || conf_key_pos(a, row)->file || conf_key_pos(b, row)->file;
}

struct diff {
	void (*each)(const char *section, const struct conf_row *row, void *arg);
	void *arg;
};

static void diff_parts(
	const struct conf_part *a, const struct conf_part *b, const struct diff *diff)
{
	const struct conf_part *any = a ? a : b;
	for (size_t i = 0; i < any->section->n_rows; i++) {
		if (row_differs(a, b, &any->section->rows[i]))
			diff->each(any->name, &any->section->rows[i], diff->arg);
	}
}

void conf_diff(const struct conf *a, const struct conf *b,
	void (*each)(const char *section, const struct conf_row *row, void *arg), void *arg)
{
	struct diff diff = { each, arg };
	const struct conf_part *part = NULL;
	while ((part = conf_next_part(a, part)))
		diff_parts(part, conf_find_part(b, part->name), &diff);
	while ((part = conf_next_part(b, part))) {
		if (!conf_find_part(a, part->name))
			diff_parts(NULL, part, &diff);
	}
}

static void dump_list(const struct conf_row *row, const struct conf_list *list, FILE *out)
{
	if (list->n == 0)
		fprintf(out, "%s =\n", row->key);
	/* An item a line: the lines stay short enough to be read again. */
	for (size_t i = 0; i < list->n; i++) {
		fprintf(out, "%s = ", row->key);
		conf_put_quoted(list->items[i], out);
		fputc('\n', out);
	}
}

static void dump_text(const struct conf_row *row, const char *text, FILE *out)
{
	fprintf(out, "%s =", row->key);
	if (text) {
		fputc(' ', out);
		conf_put_quoted(text, out);
	}
	fputc('\n', out);
}

static void dump_row(const struct conf_part *part, const struct conf_row *row, FILE *out)
{
	const void *v = conf_value(part, row);
	char buf[32];
	switch (row->type) {
	case CONF_BOOL:
		fprintf(out, "%s = %s\n", row->key, *(const bool *)v ? "yes" : "no");
		break;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_TIME:
		fprintf(out, "%s = %s\n", row->key,
			conf_format_number(row->type, *(const int64_t *)v, buf));
		break;
	case CONF_ENUM:
		dump_text(row, row->choices[*(const int *)v], out);
		break;
	case CONF_LIST:
		dump_list(row, v, out);
		break;
	case CONF_FILE:
		/* A default file need not be there, a configured one must: it would not read again.
		 */
		if (!conf_key_pos(part, row)->file)
			fputc(';', out);
		/* fall through */
	case CONF_STRING:
		dump_text(row, *(const char *const *)v, out);
		break;
	}
}

void conf_dump(const struct conf *c, FILE *out)
{
	const struct conf_part *part = NULL;
	while ((part = conf_next_part(c, part))) {
		if (!part_in_force(part))
			continue;
		fprintf(out, "[%s]\n", part->name);
		for (size_t k = 0; k < part->section->n_rows; k++) {
			if (!part->base || !part->section->rows[k].base_only)
				dump_row(part, &part->section->rows[k], out);
		}
		fputc('\n', out);
	}
}

static void describe_choices(const struct conf_row *row, char *buf, size_t size)
{
	size_t len = 0;
	for (int i = 0; row->choices[i] && len < size; i++)
		len += (size_t)snprintf(
			buf + len, size - len, "%s%s", i ? " | " : "", row->choices[i]);
}

static void describe_limits(const struct conf_row *row, char *buf, size_t size)
{
	char min[32], max[32];
	if (row->min == 0 && row->max == 0)
		return;
	conf_format_number(row->type, row->min, min);
	conf_format_number(row->type, row->max, max);
	if (row->max == INT64_MAX)
		snprintf(buf, size, ", at least %s", min);
	else
		snprintf(buf, size, ", %s to %s", min, max);
}

/* "time, 1s to 1h", "auto | 5 | 3.1.1", "list, comma-separated". */
static const char *describe_type(const struct conf_row *row, char *buf, size_t size)
{
	static const char *const types[] = {
		[CONF_BOOL] = "yes | no",
		[CONF_INT] = "number",
		[CONF_SIZE] = "size with unit (B, KB, MB, GB)",
		[CONF_TIME] = "time with unit (ms, s, m, h, d)",
		[CONF_STRING] = "text",
		[CONF_FILE] = "file",
		[CONF_LIST] = "list, comma-separated or repeated",
	};
	if (row->type == CONF_ENUM) {
		describe_choices(row, buf, size);
		return buf;
	}
	int len = snprintf(buf, size, "%s", types[row->type]);
	if (row->type == CONF_INT || row->type == CONF_SIZE || row->type == CONF_TIME)
		describe_limits(row, buf + len, size - (size_t)len);
	return buf;
}

/* `text` as comment lines, broken at blanks. */
static void put_comment(const char *text, FILE *out)
{
	while (*text) {
		size_t len = strlen(text);
		if (len > WIDTH) {
			len = WIDTH;
			while (len && text[len] != ' ')
				len--;
			if (!len)
				len = strcspn(text, " ");
		}
		fprintf(out, "# %.*s\n", (int)len, text);
		text += len;
		text += strspn(text, " ");
	}
}

static void sample_row(const struct conf_row *row, FILE *out)
{
	char type[256];
	const char *value = row->sample ? row->sample : row->def;
	put_comment(row->help, out);
	fprintf(out, "# (%s; %s%s%s)\n", describe_type(row, type, sizeof(type)),
		row->def ? "default " : "no default", row->def ? row->def : "",
		row->reload ? "" : "; needs a restart");
	fprintf(out, ";%s =%s%s\n\n", row->key, value ? " " : "", value ? value : "");
}

static void sample_named(const struct conf_section *s, FILE *out)
{
	put_comment(s->named, out);
	fprintf(out, ";[%s.NAME]\n\n", s->name);
}

void conf_sample(const struct conf_section *const *sections, FILE *out)
{
	put_comment(
		"Configuration of tidegate; see tidegate.conf(5). Every line below is the default "
		"or an "
		"example: take off the ; in front of it to change it. Files conf.d/*.conf beside "
		"this one are read after it.",
		out);
	for (; *sections; sections++) {
		const struct conf_section *s = *sections;
		fputc('\n', out);
		put_comment(s->help, out);
		/* The header alone would bring an optional section to life. */
		fprintf(out, "%s[%s]\n\n", s->optional && !s->in_sample ? ";" : "", s->name);
		for (size_t k = 0; k < s->n_rows; k++)
			sample_row(&s->rows[k], out);
		if (s->named)
			sample_named(s, out);
	}
}

/* Text for roff: no request at the beginning of a line, no escapes, real minus signs. */
static void put_roff(const char *text, FILE *out)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

static void manual_row(const struct conf_row *row, FILE *out)
{
	char type[256];
	fprintf(out, ".TP\n.B ");
	put_roff(row->key, out);
	fputc('\n', out);
	put_roff(row->help, out);
	fputs("\n.br\n(", out);
	put_roff(describe_type(row, type, sizeof(type)), out);
	fputs(row->def ? "; default " : "; no default", out);
	put_roff(row->def ? row->def : "", out);
	fputs(row->reload ? "; applied by a reload)\n" : "; needs a restart)\n", out);
}

static void manual_named(const struct conf_section *s, FILE *out)
{
	fputs(".SS [", out);
	put_roff(s->name, out);
	fputs(".NAME]\n", out);
	put_roff(s->named, out);
	fputs("\n", out);
	const char *before = "It may not hold ";
	for (size_t k = 0; k < s->n_rows; k++) {
		if (!s->rows[k].base_only)
			continue;
		fputs(before, out);
		put_roff(s->rows[k].key, out);
		before = ", ";
	}
	fputs(*before == ',' ? ".\n" : "", out);
}

void conf_manual(const struct conf_section *const *sections, FILE *out)
{
	for (; *sections; sections++) {
		const struct conf_section *s = *sections;
		fputs(".SS [", out);
		put_roff(s->name, out);
		fputs("]\n", out);
		put_roff(s->help, out);
		fputc('\n', out);
		for (size_t k = 0; k < s->n_rows; k++)
			manual_row(&s->rows[k], out);
		if (s->named)
			manual_named(s, out);
	}
}
