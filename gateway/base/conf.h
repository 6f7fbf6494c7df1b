#ifndef TIDEGATE_BASE_CONF_H
#define TIDEGATE_BASE_CONF_H

#include "gateway/base/util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Configuration as tables. A module describes its section in rows; the parser, --print-config, the
 * sample file and the manual come from the same rows. A file is read whole into a new struct conf
 * and checked whole before anything uses it. */
enum conf_type {
	CONF_BOOL,   /* bool: yes/no, true/false, on/off, 1/0 */
	CONF_INT,    /* int64_t, no unit */
	CONF_SIZE,   /* int64_t bytes; "64KB", "1MB", "300B": the unit is required (1024-based) but
			for 0 */
	CONF_TIME,   /* int64_t ms; "250ms", "10s", "5m", "2h", "1d": the unit is required but for 0
		      */
	CONF_ENUM,   /* int: index into `choices` */
	CONF_STRING, /* const char *, NULL when absent and without a default */
	CONF_FILE,   /* const char *: a path; must be a readable regular file when set */
	CONF_LIST,   /* struct conf_list: comma-separated, and the key may be repeated (repetitions
			add up) */
};

struct conf_list {
	size_t n;
	const char **items; /* owned by the struct conf */
};

struct conf_row {
	const char *key;
	enum conf_type type;
	size_t offset;    /* into the section's struct */
	int64_t min, max; /* INT, SIZE, TIME: inclusive; both 0: no limits. STRING/LIST: longest
			     item is `max` bytes when > 0 */
	const char *def;  /* as it would stand in the file; NULL: absent */
	const char *const *choices; /* ENUM: NULL-terminated */
	/* STRING and LIST, each item: NULL when good, else what would be right ("a topic
	 * filter..."). */
	const char *(*check)(const char *value);
	bool reload;        /* SIGHUP applies a change; else a changed value is reported as "needs a
			       restart" */
	const char *sample; /* value in the sample file where `def` would not show the form; may be
			       NULL */
	bool base_only;     /* not in named sections, see conf_section.named */
	const char *help;   /* the sentence the user reads, ends with a full stop */
};

struct conf;
struct conf_error;

struct conf_section {
	const char *name;
	const char *help; /* one or two sentences for the sample file and the manual */
	size_t size;      /* of the section's struct */
	const struct conf_row *rows;
	size_t n_rows;
	bool optional;  /* absent: conf_section() is NULL; else defaults fill it */
	bool in_sample; /* optional, but the sample file has it */
	/* What a section [name.NAME] is for, a sentence or two for the sample file and the manual;
	 * NULL: there are none. It stands beside [name], and keys that are not set in it have the
	 * value of [name]. */
	const char *named;
	/* Checks across keys, after all sections are filled; called for each named one as well.
	 * Returns 0, or -EINVAL after conf_fail(). */
	int (*check)(const struct conf *conf, void *section, struct conf_error *err);
};

/* "FILE:LINE: [section] key: what is wrong; what would be right", one line, no newline at the end.
 */
struct conf_error {
	char text[512];
};

/* Reads `path`, then the *.conf files of `path`'s directory + "/conf.d" in sorted order (the last
 * value wins; a list in a later file replaces an earlier file's). A missing `path` is an error.
 * Lines over 4096 octets, NUL bytes, keys outside a section, unknown sections and keys (with a "did
 * you mean"), values out of range are errors. A value goes on in continuation lines that start with
 * white space. ';' or '#' begins a comment at the start of a line, and after white space inside one
 * unless the value is quoted with "..." (\" and \\ inside); a '#' where an item begins, as in
 * "export = #", is the item. So values are never cut in silence. "key =" alone makes a string
 * absent and a list empty. `sections` is NULL-terminated and outlives the conf. Returns 0 or
 * -EINVAL (or -ENOENT, -EACCES, -ENOMEM) with *err filled. */
int conf_load(const struct conf_section *const *sections, const char *path, struct conf **out,
	struct conf_error *err);
/* The same from memory, without conf.d; `name` stands for the file's name in messages. */
int conf_parse(const struct conf_section *const *sections, const char *name, const char *text,
	size_t len, struct conf **out, struct conf_error *err);
void conf_free(struct conf *c);

/* The filled struct of a section; NULL when it is optional and absent. Valid as long as the conf.
 */
const void *conf_section(const struct conf *c, const char *name);
/* The i-th section [section.NAME] in the order of the files, with what it inherits; NULL: there are
 * no more. *name is NAME. Both are valid as long as the conf. */
const void *conf_named_section(
	const struct conf *c, const char *section, size_t i, const char **name);
/* "mqttsn", "mqttsn.field": the section that a struct from above belongs to. */
const char *conf_section_name(const struct conf *c, const void *data);
/* Wherever a section's name is asked for, "mqttsn.field" is good, too. */
bool conf_is_set(
	const struct conf *c, const char *section, const char *key); /* in a file, not by default */

/* Fills *err with file and line of `key` (the section's own line when the key was not set, the file
 * alone when that is absent too) and returns -EINVAL. */
int conf_fail(struct conf_error *err, const struct conf *c, const char *section, const char *key,
	const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Calls `each` for every key whose value differs between two configurations. */
void conf_diff(const struct conf *a, const struct conf *b,
	void (*each)(const char *section, const struct conf_row *row, void *arg), void *arg);

void conf_dump(const struct conf *c, FILE *out); /* effective values, re-readable */
void conf_sample(const struct conf_section *const *sections, FILE *out); /* commented sample file */
void conf_manual(
	const struct conf_section *const *sections, FILE *out); /* roff for tidegate.conf(5) */

/* conf_types.c: one value at a time, also for use outside files. 0, or -EINVAL with the sentence of
 * what would be right in `why` (size `why_len`). */
int conf_parse_size(const char *text, int64_t *bytes, char *why, size_t why_len);
int conf_parse_time(const char *text, int64_t *ms, char *why, size_t why_len);
int conf_parse_bool(const char *text, bool *v, char *why, size_t why_len);
int conf_parse_int(const char *text, int64_t *v, char *why, size_t why_len);
/* "64MB", "250ms": the shortest exact form; `buf` has at least 32 bytes. */
const char *conf_format_size(int64_t bytes, char *buf);
const char *conf_format_time(int64_t ms, char *buf);

#endif
