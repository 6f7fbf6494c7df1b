#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 48

/* One line whatever the file holds. */
static void make_printable(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
	}
}

static size_t put_position(
	char *text, size_t size, struct conf_pos at, const char *section, const char *key)
{
	char line[16] = "";
	if (at.line)
		snprintf(line, sizeof(line), "%d:", at.line);
	int n = snprintf(text, size, "%.200s:%s%s%s%s%s%s%s", at.file ? at.file : "(default)", line,
		section ? " [" : "", section ? section : "", section ? "]" : "", key ? " " : "",
		key ? key : "", section || key ? ": " : " ");
	return MIN((size_t)n, size - 1);
}

static int verror(struct conf_error *err, struct conf_pos at, const char *section, const char *key,
	const char *fmt, va_list ap)
{
	size_t len = put_position(err->text, sizeof(err->text), at, section, key);
	vsnprintf(err->text + len, sizeof(err->text) - len, fmt, ap);
	make_printable(err->text);
	return -EINVAL;
}

int conf_error_at(struct conf_error *err, struct conf_pos at, const char *section, const char *key,
	const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int rc = verror(err, at, section, key, fmt, ap);
	va_end(ap);
	return rc;
}

int conf_fail(struct conf_error *err, const struct conf *c, const char *section, const char *key,
	const char *fmt, ...)
{
	struct conf_pos at = { c->file, 0 };
	const struct conf_part *part = conf_find_part(c, section);
	const struct conf_row *row = part && key ? conf_find_row(part, key) : NULL;
	if (row && conf_key_pos(part, row)->file)
		at = *conf_key_pos(part, row);
	else if (part && part->at.file)
		at = part->at;
	va_list ap;
	va_start(ap, fmt);
	int rc = verror(err, at, section, key, fmt, ap);
	va_end(ap);
	return rc;
}

int conf_no_memory(struct conf_error *err)
{
	snprintf(err->text, sizeof(err->text), "out of memory while reading the configuration");
	return -ENOMEM;
}

/* Levenshtein distance; both words have at most WORD_MAX characters. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1];
	size_t len_b = strlen(b);
	for (unsigned j = 0; j <= len_b; j++)
		row[j] = j;
	for (unsigned i = 1; *a; a++, i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			unsigned replaced = diagonal + (*a != b[j - 1]);
			diagonal = row[j];
			row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[len_b];
}

const char *conf_suggest(const char *word, const char *const *words, size_t n, size_t stride)
{
	size_t len = strlen(word);
	if (len > WORD_MAX)
		return NULL;
	const char *best = NULL;
	unsigned least =
		2 + (unsigned)len / 5; /* exclusive: about one slip in five letters, at least one */
	for (size_t i = 0; i < n; i++) {
		const char *other = *(const char *const *)((const char *)words + i * stride);
		if (strlen(other) > WORD_MAX)
			continue;
		unsigned d = distance(word, other);
		/* Two slips of two letters make any word. */
		if (d < least && d < len) {
			least = d;
			best = other;
		}
	}
	return best;
}

/* The section whose name resembles `name`, or NULL. */
static const char *like_section(const struct conf *c, const char *name)
{
	const char *like = NULL;
	for (size_t i = 0; i < c->n_parts && !like; i++)
		like = conf_suggest(name, &c->parts[i].name, 1, 0);
	return like;
}

static int unknown_named_section(
	struct conf_error *err, struct conf_pos at, const char *name, const struct conf_part *like)
{
	if (like->section->named)
		return conf_error_at(err, at, name, NULL,
			"unknown section; did you mean [%s.NAME]?", like->name);
	return conf_error_at(
		err, at, name, NULL, "unknown section; [%s] has no named sections", like->name);
}

int conf_unknown_section(
	struct conf_error *err, const struct conf *c, struct conf_pos at, const char *name)
{
	char base[WORD_MAX + 1] = "";
	const char *dot = strchr(name, '.');
	if (dot && dot - name <= WORD_MAX)
		memcpy(base, name, (size_t)(dot - name));
	const char *like = like_section(c, base);
	if (like)
		return unknown_named_section(err, at, name, conf_find_part(c, like));
	like = like_section(c, name);
	if (like)
		return conf_error_at(
			err, at, name, NULL, "unknown section; did you mean [%s]?", like);
	return conf_error_at(err, at, name, NULL, "unknown section; see tidegate.conf(5)");
}

int conf_unknown_key(struct conf_error *err, const struct conf *c, struct conf_pos at,
	const struct conf_part *part, const char *key)
{
	const struct conf_section *s = part->section;
	const char *like =
		s->n_rows ? conf_suggest(key, &s->rows[0].key, s->n_rows, sizeof(s->rows[0]))
			  : NULL;
	if (like)
		return conf_error_at(
			err, at, part->name, key, "unknown key; did you mean \"%s\"?", like);
	for (size_t i = 0; i < c->n_parts; i++) {
		if (conf_find_row(&c->parts[i], key))
			return conf_error_at(err, at, part->name, key,
				"unknown key; it belongs into section [%s]", c->parts[i].name);
	}
	return conf_error_at(err, at, part->name, key, "unknown key; see tidegate.conf(5)");
}
