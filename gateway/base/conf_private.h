#ifndef TIDEGATE_BASE_CONF_PRIVATE_H
#define TIDEGATE_BASE_CONF_PRIVATE_H

#include "gateway/base/conf.h"
#include "gateway/base/list.h"

#include <stdarg.h>

/* What the files conf*.c share. */
#define CONF_LINE_MAX 4096 /* octets of a line; also of a value as conf_dump() would write it */

struct conf_pos {
	const char *file; /* borrowed from the conf; NULL: not in a file */
	int line;         /* 0: the file as a whole */
};

struct conf_part {
	const char *name;                   /* "mqttsn", or owned by the conf: "mqttsn.field" */
	const struct conf_section *section; /* borrowed */
	struct conf_part *base; /* borrowed: what a named section inherits from, else NULL */
	struct list named;      /* of conf_part.node, in the order of the files */
	struct list node;
	bool present;
	struct conf_pos at;    /* of the section's header */
	struct conf_pos *keys; /* owned, by row; file NULL: default */
	void *data;            /* owned, the section's struct */
};

struct conf {
	const char *file;        /* the first one read */
	struct conf_part *parts; /* owned; one for each of conf_section */
	size_t n_parts;
	struct list blobs; /* owned: every string and list the parts point to */
};

/* conf_values.c */
struct conf *conf_new(const struct conf_section *const *sections);
/* Memory that lives as long as the conf, or NULL. */
void *conf_alloc(struct conf *c, size_t size);
char *conf_strdup(struct conf *c, const char *s);
/* 0 or -ENOMEM. */
int conf_part_init(struct conf *c, struct conf_part *part, const struct conf_section *section);
struct conf_part *conf_find_part(const struct conf *c, const char *name);
const struct conf_row *conf_find_row(const struct conf_part *part, const char *key);
static inline struct conf_pos *conf_key_pos(
	const struct conf_part *part, const struct conf_row *row)
{
	return &part->keys[row - part->section->rows];
}
static inline void *conf_value(const struct conf_part *part, const struct conf_row *row)
{
	return (char *)part->data + row->offset;
}
/* Fills `row` from `text`, in which '\n' joins continuation lines. 0, -EINVAL or -ENOMEM with *err.
 */
int conf_set(struct conf *c, struct conf_part *part, const struct conf_row *row, const char *text,
	struct conf_pos at, struct conf_error *err);
int conf_set_defaults(struct conf *c, struct conf_error *err);

/* conf_named.c */
/* Goes through all parts, named ones behind their base; begins with NULL and ends with it. */
struct conf_part *conf_next_part(const struct conf *c, const struct conf_part *part);
/* The part that a header opens; a named one is made. NULL with *err filled and *rc set. */
struct conf_part *conf_open_part(
	struct conf *c, const char *name, struct conf_pos at, struct conf_error *err, int *rc);
/* When all files are read: keys not set in named sections get their values. 0 or -EINVAL. */
int conf_inherit(struct conf *c, struct conf_error *err);

/* conf_error.c. `section` and `key` may be NULL. They return -EINVAL (conf_no_memory: -ENOMEM). */
int conf_error_at(struct conf_error *err, struct conf_pos at, const char *section, const char *key,
	const char *fmt, ...) PRINTF_LIKE(5, 6);
int conf_unknown_section(
	struct conf_error *err, const struct conf *c, struct conf_pos at, const char *name);
int conf_unknown_key(struct conf_error *err, const struct conf *c, struct conf_pos at,
	const struct conf_part *part, const char *key);
int conf_no_memory(struct conf_error *err);
/* What of `words` (n of them, `stride` bytes apart) resembles `word`, or NULL. */
const char *conf_suggest(const char *word, const char *const *words, size_t n, size_t stride);

/* conf_types.c */
/* An INT, SIZE or TIME as it stands in a file; `buf` has at least 32 bytes. */
const char *conf_format_number(enum conf_type type, int64_t v, char *buf);
size_t conf_quoted_len(const char *value);
void conf_put_quoted(const char *value, FILE *out);
/* Takes the next value from *text: bare or "quoted"; bare ones end at a character of `ends`.
 * Written to `out`, which is as large as *text. Returns NULL, or what is wrong. */
const char *conf_take_value(const char **text, const char *ends, char *out);
/* Length of a line's value without its comment and without trailing white space. */
size_t conf_value_len(const char *text);

#endif
