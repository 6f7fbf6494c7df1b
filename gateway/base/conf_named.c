#include "gateway/base/conf.h"

#include "gateway/base/conf_private.h"

#include <errno.h>
#include <string.h>

/* Sections [base.NAME] beside a section [base], see conf_section.named. */

#define NAMED_MAX 64 /* of one base */

struct conf_part *conf_next_part(const struct conf *c, const struct conf_part *part)
{
	if (!part)
		return c->n_parts ? &c->parts[0] : NULL;
	const struct conf_part *base = part->base ? part->base : part;
	const struct list *next = part->base ? part->node.next : part->named.next;
	if (next != &base->named)
		return list_entry(next, struct conf_part, node);
	size_t i = (size_t)(base - c->parts) + 1;
	return i < c->n_parts ? &c->parts[i] : NULL;
}

static struct conf_part *named_new(struct conf *c, struct conf_part *base, const char *name)
{
	struct conf_part *part = conf_alloc(c, sizeof(*part));
	if (!part || conf_part_init(c, part, base->section) < 0)
		return NULL;
	part->name = conf_strdup(c, name);
	if (!part->name)
		return NULL;
	part->base = base;
	list_append(&base->named, &part->node);
	return part;
}

/* What "base.NAME" is named after, or NULL. */
static struct conf_part *base_of(const struct conf *c, const char *name)
{
	const char *dot = strchr(name, '.');
	for (size_t i = 0; dot && i < c->n_parts; i++) {
		const struct conf_part *part = &c->parts[i];
		size_t len = strlen(part->name);
		if (part->section->named && len == (size_t)(dot - name) &&
			memcmp(part->name, name, len) == 0)
			return &c->parts[i];
	}
	return NULL;
}

static bool has_room(const struct conf_part *base)
{
	size_t n = 0;
	const struct list *pos;
	list_for_each(pos, &base->named)
		n++;
	return n < NAMED_MAX;
}

struct conf_part *conf_open_part(
	struct conf *c, const char *name, struct conf_pos at, struct conf_error *err, int *rc)
{
	struct conf_part *part = conf_find_part(c, name);
	if (part)
		return part;
	struct conf_part *base = base_of(c, name);
	const char *own = base ? name + strlen(base->name) + 1 : "";
	if (!base)
		*rc = conf_unknown_section(err, c, at, name);
	else if (!*own || strchr(own, '.'))
		*rc = conf_error_at(err, at, name, NULL,
			"is no name; write [%s.NAME] with letters, digits, _ and -", base->name);
	else if (!has_room(base))
		*rc = conf_error_at(err, at, name, NULL,
			"is one section too many; [%s.NAME] may be there %d times", base->name,
			NAMED_MAX);
	else if (!(part = named_new(c, base, name)))
		*rc = conf_no_memory(err);
	return part;
}

static size_t size_of(enum conf_type type)
{
	static const size_t sizes[] = {
		[CONF_BOOL] = sizeof(bool),
		[CONF_INT] = sizeof(int64_t),
		[CONF_SIZE] = sizeof(int64_t),
		[CONF_TIME] = sizeof(int64_t),
		[CONF_ENUM] = sizeof(int),
		[CONF_STRING] = sizeof(const char *),
		[CONF_FILE] = sizeof(const char *),
		[CONF_LIST] = sizeof(struct conf_list),
	};
	return sizes[type];
}

/* Strings and lists are shared: all belong to the conf. */
static void inherit(struct conf_part *part)
{
	for (size_t i = 0; i < part->section->n_rows; i++) {
		const struct conf_row *row = &part->section->rows[i];
		if (!conf_key_pos(part, row)->file)
			memcpy(conf_value(part, row), conf_value(part->base, row),
				size_of(row->type));
	}
}

int conf_inherit(struct conf *c, struct conf_error *err)
{
	struct conf_part *part = NULL;
	while ((part = conf_next_part(c, part))) {
		if (!part->base)
			continue;
		if (part->section->optional && !part->base->present)
			return conf_error_at(err, part->at, part->name, NULL,
				"there is no section [%s] that it could add to", part->base->name);
		inherit(part);
	}
	return 0;
}

const void *conf_named_section(
	const struct conf *c, const char *section, size_t i, const char **name)
{
	const struct conf_part *base = conf_find_part(c, section);
	const struct list *pos;
	if (!base)
		return NULL;
	list_for_each(pos, &base->named) {
		const struct conf_part *part = list_entry(pos, const struct conf_part, node);
		if (i-- > 0)
			continue;
		*name = part->name + strlen(base->name) + 1;
		return part->data;
	}
	return NULL;
}

const char *conf_section_name(const struct conf *c, const void *data)
{
	const struct conf_part *part = NULL;
	while ((part = conf_next_part(c, part))) {
		if (part->data == data)
			return part->name;
	}
	return NULL;
}
