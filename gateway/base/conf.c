#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"
#include "gateway/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1 << 20)
/* inih keeps 50 octets of a section's name, and 200 of a line in the builds of most distributions.
 */
#define NAME_MAX_BYTES 48

/* Reading goes in two steps. inih sees "[section]" and "key=-" only and says which key is meant;
 * the values, which it would cut at its line limit and at " ;", stay in our hands, with their
 * comments taken off by rules that know quotes. Then all entries of the file are set in order. */
struct entry {
	struct list node;
	struct conf_part *part;
	const struct conf_row *row;
	struct conf_pos at;
	size_t len;
	char *text; /* owned; '\n' between continuation lines */
};

struct source {
	struct conf *conf;
	struct conf_error *err;
	const char *file; /* owned by the conf */
	int line;
	const char *next, *end;       /* of the text not read yet */
	char text[CONF_LINE_MAX + 1]; /* the line being read */
	const char *value;            /* in `text`: what belongs to the key that inih is told of */
	const char *section;          /* NULL before the first header */
	struct list entries;
	struct entry *open; /* the last entry while a continuation line may follow */
	int rc;
};

static struct conf_pos source_pos(const struct source *s)
{
	return (struct conf_pos){ s->file, s->line };
}

static int source_fail(struct source *s, const char *what)
{
	s->rc = conf_error_at(s->err, source_pos(s), s->section, NULL, "%s", what);
	return s->rc;
}

static const char *line_fault(const char *line, size_t len)
{
	if (len > CONF_LINE_MAX)
		return "line is longer than 4096 octets; go on in a line that begins with a blank";
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return c ? "line holds a control character" : "line holds a NUL octet";
	}
	return NULL;
}

/* The next line, without its end, into s->text. False at the end of the text or with s->rc set. */
static bool next_line(struct source *s)
{
	if (s->next == s->end)
		return false;
	size_t left = (size_t)(s->end - s->next);
	const char *newline = memchr(s->next, '\n', left);
	const char *line = s->next;
	size_t len = newline ? (size_t)(newline - line) : left;
	s->next = newline ? newline + 1 : s->end;
	s->line++;
	if (s->line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
		line += 3;
		len -= 3;
	}
	if (len && line[len - 1] == '\r')
		len--;
	const char *fault = line_fault(line, len);
	if (fault) {
		source_fail(s, fault);
		return false;
	}
	memcpy(s->text, line, len);
	s->text[len] = '\0';
	return true;
}

static int entry_append(struct entry *e, const char *text, size_t len)
{
	char *bigger = realloc(e->text, e->len + len + 2);
	if (!bigger)
		return -ENOMEM;
	e->text = bigger;
	if (e->len)
		e->text[e->len++] = '\n';
	memcpy(e->text + e->len, text, len);
	e->len += len;
	e->text[e->len] = '\0';
	return 0;
}

/* "known_key = ..." indented by somebody who likes indented keys. */
static bool is_setting(const struct conf_part *part, const char *text)
{
	char key[NAME_MAX_BYTES + 1];
	size_t len = strcspn(text, "= \t");
	if (len >= sizeof(key) || text[len + strspn(text + len, " \t")] != '=')
		return false;
	memcpy(key, text, len);
	key[len] = '\0';
	return conf_find_row(part, key);
}

/* What is wrong with an indented line, or NULL. */
static const char *continuation_fault(const struct entry *open, const char *text)
{
	if (!open)
		return "line begins with white space, but there is no value to go on";
	/* Is it the filter or a comment? A guess would drop one of them in silence. */
	if (*text == '#')
		return "write \"#\" with quotes for the filter, or ; for a comment";
	if (is_setting(open->part, text))
		return "line begins with white space, which makes it part of the value above";
	return NULL;
}

static int read_continuation(struct source *s, const char *text)
{
	bool lone_hash = s->open && text[0] == '#' && (!text[1] || text[1] == ',');
	if ((*text == ';' || *text == '#') && !lone_hash)
		return 0;
	const char *fault = continuation_fault(s->open, text);
	if (fault)
		return source_fail(s, fault);
	if (entry_append(s->open, text, conf_value_len(text)) < 0)
		s->rc = conf_no_memory(s->err);
	return s->rc;
}

static bool is_name(const char *name, size_t len)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	return len && len <= NAME_MAX_BYTES && strspn(name, allowed) >= len;
}

static int read_header(struct source *s, char *str, size_t size)
{
	const char *name = s->text + 1;
	size_t len = strcspn(name, "]");
	const char *rest = name + len + (name[len] == ']');
	s->open = NULL;
	if (name[len] != ']' || !is_name(name, len) || conf_value_len(rest))
		return source_fail(s, "line is not a section header; write [name]");
	s->text[1 + len] = '\0';
	struct conf_part *part = conf_open_part(s->conf, name, source_pos(s), s->err, &s->rc);
	if (!part)
		return s->rc;
	if (!part->present)
		part->at = source_pos(s);
	part->present = true;
	s->section = part->name;
	snprintf(str, size, "[%s]\n", name);
	return 0;
}

static int read_key(struct source *s, char *str, size_t size)
{
	char *equals = strchr(s->text, '=');
	size_t len = strcspn(s->text, "= \t");
	s->open = NULL;
	if (!s->section)
		return source_fail(s, "line stands before the first [section]");
	if (!equals || !is_name(s->text, len) ||
		s->text + len + strspn(s->text + len, " \t") != equals)
		return source_fail(s, "line is not a setting; write key = value");
	s->text[len] = '\0';
	s->value = equals + 1;
	s->value += strspn(s->value, " \t");
	snprintf(str, size, "%s=-\n", s->text);
	return 0;
}

/* An ini_reader: hands inih the next header or key. */
static char *source_read(char *str, int num, void *stream)
{
	struct source *s = stream;
	size_t size = num > 0 ? (size_t)num : 0;
	while (s->rc == 0 && next_line(s)) {
		const char *text = s->text + strspn(s->text, " \t");
		if (!*text) {
			s->open = NULL;
		} else if (text > s->text) {
			read_continuation(s, text);
		} else if (*text != ';' && *text != '#') {
			int rc = *text == '[' ? read_header(s, str, size) : read_key(s, str, size);
			return rc < 0 ? NULL : str;
		}
	}
	return NULL;
}

/* An ini_handler: the key of the line that source_read() has just given. */
static int source_key(void *user, const char *section, const char *key, const char *value)
{
	struct source *s = user;
	if (s->rc || !key || !value) /* some builds of inih report headers too */
		return 1;
	struct conf_part *part = conf_find_part(s->conf, section);
	const struct conf_row *row = part ? conf_find_row(part, key) : NULL;
	if (part && !row)
		s->rc = conf_unknown_key(s->err, s->conf, source_pos(s), part, key);
	else if (row && part->base && row->base_only)
		s->rc = conf_error_at(s->err, source_pos(s), part->name, key,
			"holds for all; it belongs into section [%s]", part->base->name);
	if (s->rc || !row)
		return 0;
	struct entry *e = calloc(1, sizeof(*e));
	if (!e || entry_append(e, s->value, conf_value_len(s->value)) < 0) {
		free(e);
		s->rc = conf_no_memory(s->err);
		return 0;
	}
	e->part = part;
	e->row = row;
	e->at = source_pos(s);
	list_append(&s->entries, &e->node);
	s->open = e;
	return 1;
}

/* Sets the entries in order, up to the first error, and frees them. */
static void source_apply(struct source *s)
{
	while (!list_empty(&s->entries)) {
		struct entry *e = list_first(&s->entries, struct entry, node);
		list_remove(&e->node);
		if (s->rc == 0)
			s->rc = conf_set(s->conf, e->part, e->row, e->text, e->at, s->err);
		free(e->text);
		free(e);
	}
}

static int conf_read(
	struct conf *c, const char *name, const char *text, size_t len, struct conf_error *err)
{
	struct source s = { .conf = c, .err = err, .next = text, .end = text + len };
	list_init(&s.entries);
	s.file = conf_strdup(c, name);
	if (!s.file)
		return conf_no_memory(err);
	if (!c->file)
		c->file = s.file;
	int rc = ini_parse_stream(source_read, &s, source_key, &s);
	if (rc != 0 && s.rc == 0)
		source_fail(&s, "line cannot be read");
	source_apply(&s);
	return s.rc;
}

static int conf_read_file(struct conf *c, const char *path, struct conf_error *err)
{
	char *text;
	size_t len;
	int rc = file_read(path, FILE_MAX_BYTES, &text, &len);
	if (rc < 0) {
		conf_error_at(err, (struct conf_pos){ path, 0 }, NULL, NULL, "%s",
			rc == -EFBIG ? "is larger than 1 MB" : strerror(-rc));
		return rc == -ENOENT || rc == -EACCES || rc == -ENOMEM ? rc : -EINVAL;
	}
	rc = conf_read(c, path, text, len, err);
	free(text);
	return rc;
}

static int is_conf_name(const struct dirent *d)
{
	size_t len = strlen(d->d_name);
	return d->d_name[0] != '.' && len > 5 && strcmp(d->d_name + len - 5, ".conf") == 0;
}

/* By octets: the order must not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int conf_read_in_dir(
	struct conf *c, const char *dir, const char *name, struct conf_error *err)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return conf_error_at(
			err, (struct conf_pos){ dir, 0 }, NULL, NULL, "%s", strerror(ENAMETOOLONG));
	return conf_read_file(c, path, err);
}

static int conf_read_dir(struct conf *c, const char *dir, struct conf_error *err)
{
	struct dirent **names;
	int n = scandir(dir, &names, is_conf_name, by_name);
	if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (n < 0)
		return conf_error_at(err, (struct conf_pos){ dir, 0 }, NULL, NULL, "%m");
	int rc = 0;
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = conf_read_in_dir(c, dir, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	return rc;
}

static int conf_check(const struct conf *c, struct conf_error *err)
{
	const struct conf_part *part = NULL;
	while ((part = conf_next_part(c, part))) {
		if (!part->section->check || (part->section->optional && !part->present))
			continue;
		int rc = part->section->check(c, part->data, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The last step of both ways in: hands the conf over, or frees it. */
static int conf_finish(struct conf *c, int rc, struct conf **out, struct conf_error *err)
{
	if (rc == 0)
		rc = conf_inherit(c, err);
	if (rc == 0)
		rc = conf_check(c, err);
	if (rc < 0) {
		conf_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int conf_parse(const struct conf_section *const *sections, const char *name, const char *text,
	size_t len, struct conf **out, struct conf_error *err)
{
	struct conf *c = conf_new(sections);
	if (!c)
		return conf_no_memory(err);
	int rc = conf_set_defaults(c, err);
	if (rc == 0)
		rc = conf_read(c, name, text, len, err);
	return conf_finish(c, rc, out, err);
}

int conf_load(const struct conf_section *const *sections, const char *path, struct conf **out,
	struct conf_error *err)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	struct conf *c = conf_new(sections);
	if (!c)
		return conf_no_memory(err);
	int rc = conf_set_defaults(c, err);
	if (rc == 0)
		rc = conf_read_file(c, path, err);
	snprintf(dir, sizeof(dir), "%.*sconf.d", dir_len, path);
	if (rc == 0)
		rc = conf_read_dir(c, dir, err);
	return conf_finish(c, rc, out, err);
}
