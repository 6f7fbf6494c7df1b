#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit size_units[] = {
	{ "B", 1 },
	{ "KB", INT64_C(1) << 10 },
	{ "MB", INT64_C(1) << 20 },
	{ "GB", INT64_C(1) << 30 },
	{ "TB", INT64_C(1) << 40 },
};

static const struct unit time_units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 60 * 60 * 1000 },
	{ "d", 24 * 60 * 60 * 1000 },
};

static int wrong(char *why, size_t why_len, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int wrong(char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* Digits, with what follows them in *rest. Not strtoll(): it takes signs, blanks and, by locale,
 * more. */
static int parse_digits(const char *text, int64_t *v, const char **rest)
{
	int64_t n = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return -ERANGE;
	}
	*v = n;
	*rest = p;
	return p == text ? -EINVAL : 0;
}

static int parse_unit(const char *text, const struct unit *units, int64_t *v, const char *examples,
	int (*compare)(const char *, const char *), char *why, size_t why_len)
{
	const char *rest;
	int rc = parse_digits(text, v, &rest);
	if (rc == -ERANGE)
		return wrong(why, why_len, "is too large");
	if (rc < 0)
		return wrong(why, why_len, "is not a number with a unit; write %s", examples);
	rest += strspn(rest, " \t");
	if (!*rest && *v == 0)
		return 0;
	if (!*rest)
		return wrong(why, why_len, "has no unit; write %" PRId64 "%s, %s", *v,
			units[1].name, examples);
	for (int i = 0; i < 5; i++) {
		if (compare(rest, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(*v, units[i].factor, v))
			return wrong(why, why_len, "is too large");
		return 0;
	}
	return wrong(why, why_len, "has an unknown unit; write %s", examples);
}

int conf_parse_size(const char *text, int64_t *bytes, char *why, size_t why_len)
{
	_Static_assert(ARRAY_SIZE(size_units) == 5 && ARRAY_SIZE(time_units) == 5, "parse_unit()");
	return parse_unit(text, size_units, bytes, "512B or 2MB", strcasecmp, why, why_len);
}

int conf_parse_time(const char *text, int64_t *ms, char *why, size_t why_len)
{
	return parse_unit(text, time_units, ms, "500ms or 2m", strcmp, why, why_len);
}

int conf_parse_int(const char *text, int64_t *v, char *why, size_t why_len)
{
	const char *rest;
	bool negative = *text == '-';
	int rc = parse_digits(text + negative, v, &rest);
	if (rc == -ERANGE)
		return wrong(why, why_len, "is too large");
	if (rc < 0 || *rest)
		return wrong(why, why_len, "is not a whole number; write digits, without a unit");
	if (negative)
		*v = -*v;
	return 0;
}

int conf_parse_bool(const char *text, bool *v, char *why, size_t why_len)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*v = i % 2;
			return 0;
		}
	}
	return wrong(why, why_len, "is neither yes nor no; write one of them");
}

static const char *format_unit(int64_t v, const struct unit *units, char *buf)
{
	int i = 4;
	while (i > 0 && v % units[i].factor != 0)
		i--;
	if (v == 0)
		snprintf(buf, 32, "0");
	else
		snprintf(buf, 32, "%" PRId64 "%s", v / units[i].factor, units[i].name);
	return buf;
}

const char *conf_format_size(int64_t bytes, char *buf)
{
	return format_unit(bytes, size_units, buf);
}

const char *conf_format_time(int64_t ms, char *buf)
{
	return format_unit(ms, time_units, buf);
}

const char *conf_format_number(enum conf_type type, int64_t v, char *buf)
{
	if (type == CONF_SIZE)
		return conf_format_size(v, buf);
	if (type == CONF_TIME)
		return conf_format_time(v, buf);
	snprintf(buf, 32, "%" PRId64, v);
	return buf;
}

/* A bare value is safe where the reader sees neither a comment, a separator nor a quote in it. */
static bool needs_quotes(const char *value)
{
	return !*value || value[strcspn(value, " \t;,\"")];
}

size_t conf_quoted_len(const char *value)
{
	if (!needs_quotes(value))
		return strlen(value);
	size_t len = 2;
	for (; *value; value++)
		len += *value == '"' || *value == '\\' ? 2 : 1;
	return len;
}

void conf_put_quoted(const char *value, FILE *out)
{
	if (!needs_quotes(value)) {
		fputs(value, out);
		return;
	}
	fputc('"', out);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
	fputc('"', out);
}

/* Past the closing quote of a "..." that begins at `p`, or NULL. A quote never spans lines. */
static const char *skip_quoted(const char *p)
{
	for (p++; *p && *p != '\n'; p++) {
		if (*p == '"')
			return p + 1;
		if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
			p++;
	}
	return NULL;
}

static const char *take_quoted(const char **text, const char *ends, char *out)
{
	const char *end = skip_quoted(*text);
	if (!end)
		return "has a quote that is not closed; write \\\" for a quote inside quotes";
	for (const char *p = *text + 1; p < end - 1; p++) {
		if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
			p++;
		*out++ = *p;
	}
	*out = '\0';
	end += strspn(end, " \t");
	if (*end && !strchr(ends, *end))
		return "goes on after its closing quote";
	*text = end;
	return NULL;
}

const char *conf_take_value(const char **text, const char *ends, char *out)
{
	*text += strspn(*text, " \t");
	if (**text == '"')
		return take_quoted(text, ends, out);
	size_t len = strcspn(*text, ends);
	size_t kept = len;
	while (kept && strchr(" \t", (*text)[kept - 1]))
		kept--;
	memcpy(out, *text, kept);
	out[kept] = '\0';
	*text += len;
	return NULL;
}

size_t conf_value_len(const char *text)
{
	size_t len = 0;          /* up to the last octet that is not white space */
	bool blank = true;       /* the octet before was white space */
	bool item_begins = true; /* nothing but white space since the beginning or a comma */
	for (const char *p = text; *p; p++) {
		/* "export = #" and "a/+, #" are topic filters; '#' behind a whole item is a
		 * comment. */
		if (blank && (*p == ';' || (*p == '#' && !item_begins)))
			break;
		if (*p == '"' && item_begins) {
			const char *end = skip_quoted(p);
			p = end ? end - 1 : p + strlen(p) - 1;
		}
		blank = *p == ' ' || *p == '\t';
		if (blank)
			continue;
		item_begins = *p == ',';
		len = (size_t)(p - text) + 1;
	}
	return len;
}
