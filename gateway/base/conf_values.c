#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX       65536 /* octets of a value with all its continuation lines */
#define LIST_ITEMS_MAX 1000

struct blob {
	struct list node; /* conf.blobs */
	max_align_t data[];
};

/* Where a value comes from, for messages, and where it goes. */
struct target {
	struct conf *c;
	struct conf_part *part;
	const struct conf_row *row;
	struct conf_pos at;
	struct conf_error *err;
};

int conf_part_init(struct conf *c, struct conf_part *part, const struct conf_section *section)
{
	part->name = section->name;
	part->section = section;
	part->keys = conf_alloc(c, section->n_rows * sizeof(*part->keys));
	part->data = conf_alloc(c, section->size);
	list_init(&part->named);
	list_init(&part->node);
	return part->keys && part->data ? 0 : -ENOMEM;
}

struct conf *conf_new(const struct conf_section *const *sections)
{
	struct conf *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	list_init(&c->blobs);
	size_t n = 0;
	while (sections[n])
		n++;
	c->parts = calloc(n ? n : 1, sizeof(*c->parts));
	if (!c->parts)
		goto no_memory;
	for (; c->n_parts < n; c->n_parts++) {
		if (conf_part_init(c, &c->parts[c->n_parts], sections[c->n_parts]) < 0)
			goto no_memory;
	}
	return c;

no_memory:
	conf_free(c);
	return NULL;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	while (!list_empty(&c->blobs)) {
		struct blob *b = list_first(&c->blobs, struct blob, node);
		list_remove(&b->node);
		free(b);
	}
	free(c->parts);
	free(c);
}

void *conf_alloc(struct conf *c, size_t size)
{
	struct blob *b = calloc(1, sizeof(*b) + size);
	if (!b)
		return NULL;
	list_append(&c->blobs, &b->node);
	return b->data;
}

char *conf_strdup(struct conf *c, const char *s)
{
	char *copy = conf_alloc(c, strlen(s) + 1);
	return copy ? strcpy(copy, s) : NULL;
}

struct conf_part *conf_find_part(const struct conf *c, const char *name)
{
	struct conf_part *part = NULL;
	while ((part = conf_next_part(c, part))) {
		if (strcmp(part->name, name) == 0)
			break;
	}
	return part;
}

const struct conf_row *conf_find_row(const struct conf_part *part, const char *key)
{
	for (size_t i = 0; i < part->section->n_rows; i++) {
		if (strcmp(part->section->rows[i].key, key) == 0)
			return &part->section->rows[i];
	}
	return NULL;
}

const void *conf_section(const struct conf *c, const char *name)
{
	const struct conf_part *part = conf_find_part(c, name);
	return part && (part->present || !part->section->optional) ? part->data : NULL;
}

bool conf_is_set(const struct conf *c, const char *section, const char *key)
{
	const struct conf_part *part = conf_find_part(c, section);
	const struct conf_row *row = part ? conf_find_row(part, key) : NULL;
	return row && conf_key_pos(part, row)->file;
}

static int bad_value(const struct target *t, const char *value, const char *why)
{
	return conf_error_at(t->err, t->at, t->part->name, t->row->key, "\"%.80s%s\" %s", value,
		strlen(value) > 80 ? "..." : "", why);
}

static int check_range(const struct target *t, const char *value, int64_t v)
{
	const struct conf_row *row = t->row;
	char min[32], max[32], why[128];
	if ((row->min == 0 && row->max == 0) || (v >= row->min && v <= row->max))
		return 0;
	conf_format_number(row->type, row->min, min);
	conf_format_number(row->type, row->max, max);
	if (row->max == INT64_MAX)
		snprintf(why, sizeof(why), "is out of range; the least is %s", min);
	else
		snprintf(why, sizeof(why), "is out of range; allowed is %s to %s", min, max);
	return bad_value(t, value, why);
}

static int set_number(const struct target *t, const char *value, void *to)
{
	char why[128];
	int64_t v;
	int rc;
	if (t->row->type == CONF_SIZE)
		rc = conf_parse_size(value, &v, why, sizeof(why));
	else if (t->row->type == CONF_TIME)
		rc = conf_parse_time(value, &v, why, sizeof(why));
	else
		rc = conf_parse_int(value, &v, why, sizeof(why));
	if (rc < 0)
		return bad_value(t, value, why);
	rc = check_range(t, value, v);
	if (rc == 0)
		*(int64_t *)to = v;
	return rc;
}

static int set_bool(const struct target *t, const char *value, void *to)
{
	char why[128];
	if (conf_parse_bool(value, to, why, sizeof(why)) < 0)
		return bad_value(t, value, why);
	return 0;
}

static int set_enum(const struct target *t, const char *value, void *to)
{
	char why[256] = "is none of";
	for (int i = 0; t->row->choices[i]; i++) {
		if (strcmp(value, t->row->choices[i]) == 0) {
			*(int *)to = i;
			return 0;
		}
		size_t len = strlen(why);
		snprintf(why + len, sizeof(why) - len, "%s %s", i ? "," : "", t->row->choices[i]);
	}
	return bad_value(t, value, why);
}

/* The limits and the row's own check of a STRING or of an item of a LIST. */
static int check_text(const struct target *t, const char *value)
{
	char why[256];
	size_t len = strlen(value);
	if (t->row->max > 0 && len > (size_t)t->row->max) {
		snprintf(
			why, sizeof(why), "has %zu octets; allowed are %" PRId64, len, t->row->max);
		return bad_value(t, value, why);
	}
	if (strlen(t->row->key) + 3 + conf_quoted_len(value) > CONF_LINE_MAX)
		return bad_value(t, value, "is too long for a line of 4096 octets");
	const char *right = t->row->check ? t->row->check(value) : NULL;
	if (!right)
		return 0;
	snprintf(why, sizeof(why), "is not good; write %s", right);
	return bad_value(t, value, why);
}

static int set_string(const struct target *t, const char *value, void *to)
{
	int rc = check_text(t, value);
	if (rc < 0)
		return rc;
	char *copy = conf_strdup(t->c, value);
	if (!copy)
		return conf_no_memory(t->err);
	*(const char **)to = copy;
	return 0;
}

/* 0 or a negative errno. A FIFO must not make us wait. */
static int check_readable(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = fstat(fd, &st) < 0 ? -errno : 0;
	close(fd);
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	return rc;
}

static int set_file(const struct target *t, const char *value, void *to)
{
	char why[128];
	int rc = t->at.file ? check_readable(value) : 0; /* a default need not be there */
	if (rc == 0)
		return set_string(t, value, to);
	if (rc == -EINVAL)
		return bad_value(t, value, "is not a regular file");
	snprintf(why, sizeof(why), "cannot be read: %s", strerror(-rc));
	return bad_value(t, value, why);
}

struct items {
	const char *v[LIST_ITEMS_MAX]; /* owned by the conf */
	size_t n;
};

static int add_item(const struct target *t, struct items *items, const char *value)
{
	if (items->n == LIST_ITEMS_MAX)
		return bad_value(t, value, "is one item too many; a list may have 1000");
	int rc = set_string(t, value, &items->v[items->n]);
	if (rc == 0)
		items->n++;
	return rc;
}

static int take_items(const struct target *t, const char *text, char *item, struct items *items)
{
	while (*text) {
		text += strspn(text, " \t");
		bool quoted = *text == '"';
		const char *why = conf_take_value(&text, ",\n", item);
		if (why)
			return bad_value(t, text, why);
		/* A comma at the end of a line, or twice, adds nothing. */
		int rc = *item || quoted ? add_item(t, items, item) : 0;
		if (rc < 0)
			return rc;
		if (*text)
			text++;
	}
	return 0;
}

/* Keys repeated in one file add up; a later file, or the first file after the default, starts anew.
 */
static int set_list(const struct target *t, const char *text, char *item, void *to)
{
	struct conf_list *list = to;
	struct items items = { 0 };
	const char *before = conf_key_pos(t->part, t->row)->file;
	size_t kept = before && t->at.file == before ? list->n : 0;
	if (kept)
		memcpy(items.v, list->items, kept * sizeof(*items.v));
	items.n = kept;
	int rc = take_items(t, text, item, &items);
	if (rc < 0)
		return rc;
	const char **v = conf_alloc(t->c, items.n * sizeof(*v));
	if (!v)
		return conf_no_memory(t->err);
	memcpy(v, items.v, items.n * sizeof(*v));
	*list = (struct conf_list){ items.n, v };
	return 0;
}

static int set_scalar(const struct target *t, const char *text, char *value, void *to)
{
	const char *why = conf_take_value(&text, "", value);
	if (why)
		return bad_value(t, text, why);
	switch (t->row->type) {
	case CONF_BOOL:
		return set_bool(t, value, to);
	case CONF_ENUM:
		return set_enum(t, value, to);
	case CONF_STRING:
		return set_string(t, value, to);
	case CONF_FILE:
		return set_file(t, value, to);
	default:
		return set_number(t, value, to);
	}
}

static bool is_textual(const struct conf_row *row)
{
	return row->type == CONF_STRING || row->type == CONF_FILE;
}

/* `text` is ours to change; `value` has room for all of it. */
static int set_any(const struct target *t, char *text, char *value)
{
	void *to = conf_value(t->part, t->row);
	if (t->row->type == CONF_LIST)
		return set_list(t, text, value, to);
	for (char *nl = text; (nl = strchr(nl, '\n'));)
		*nl = ' ';
	if (!*text && is_textual(t->row)) {
		*(const char **)to = NULL; /* "key =" undoes a default or an earlier file */
		return 0;
	}
	return set_scalar(t, text, value, to);
}

int conf_set(struct conf *c, struct conf_part *part, const struct conf_row *row, const char *text,
	struct conf_pos at, struct conf_error *err)
{
	struct target t = { c, part, row, at, err };
	size_t size = strlen(text) + 1;
	if (size > TEXT_MAX)
		return bad_value(&t, text, "has more than 64 KB; put it into a file");
	char *copy = malloc(2 * size);
	if (!copy)
		return conf_no_memory(err);
	memcpy(copy, text, size);
	int rc = set_any(&t, copy, copy + size);
	free(copy);
	if (rc == 0)
		*conf_key_pos(part, row) = at;
	return rc;
}

int conf_set_defaults(struct conf *c, struct conf_error *err)
{
	static const struct conf_pos nowhere = { NULL, 0 };
	for (size_t i = 0; i < c->n_parts; i++) {
		const struct conf_section *s = c->parts[i].section;
		for (size_t k = 0; k < s->n_rows; k++) {
			if (!s->rows[k].def)
				continue;
			int rc = conf_set(
				c, &c->parts[i], &s->rows[k], s->rows[k].def, nowhere, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}
