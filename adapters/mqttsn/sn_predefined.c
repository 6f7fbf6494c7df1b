#include "adapters/mqttsn/sn_predefined.h"

#include "gateway/base/conf.h"
#include "gateway/base/file.h"
#include "gateway/base/util.h"
#include "gateway/core/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_LEN_MAX 4096
#define EVERYBODY    "*"
#define PATTERNS_MAX 64 /* every one is tried for a publish by predefined id */

struct entry {
	const char *client; /* in the text; equal clients of one header share the pointer */
	const char *topic;  /* in the text */
	uint16_t topic_len;
	uint16_t id;
	uint32_t line;
};

struct sn_predefined {
	char *text;           /* owned: the file, cut into strings in place */
	struct entry *sorted; /* owned; by client, then id */
	size_t n, room;
	bool personal;                      /* there is a header other than [*] */
	const char *patterns[PATTERNS_MAX]; /* headers with wildcards but [*], as they came */
	size_t n_patterns;
};

/* Where we are, and where the complaint goes. */
struct parser {
	struct sn_predefined *p;
	const char *path;
	const char *client; /* of the last header; NULL: none yet */
	uint32_t line;
	char *why;
	size_t why_len;
};

static int complain(struct parser *ps, uint32_t line, const char *what)
{
	snprintf(ps->why, ps->why_len, "%s:%u: %s", ps->path, line, what);
	return -EINVAL;
}

static int by_client_and_id(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = x->client == y->client ? 0 : strcmp(x->client, y->client);
	return order ? order : (int)x->id - (int)y->id;
}

static char *trim(char *s)
{
	s += strspn(s, " \t\r");
	size_t len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		s[--len] = '\0';
	return s;
}

/* '*' stands for any octets, '?' for one. Goes back to the last '*' only, so it takes no more than
 * the product of both lengths. */
static bool matches(const char *pattern, const char *id)
{
	const char *star = NULL, *again = NULL;

	while (*id) {
		if (*pattern == '*') {
			star = pattern++;
			again = id;
		} else if (*pattern == '?' || *pattern == *id) {
			pattern++;
			id++;
		} else if (star) {
			pattern = star + 1;
			id = ++again;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

static int note_pattern(struct parser *ps)
{
	struct sn_predefined *p = ps->p;

	if (strcmp(ps->client, EVERYBODY) == 0 || !strpbrk(ps->client, "*?"))
		return 0;
	for (size_t i = 0; i < p->n_patterns; i++)
		if (strcmp(p->patterns[i], ps->client) == 0)
			return 0;
	if (p->n_patterns == PATTERNS_MAX)
		return complain(ps, ps->line, "too many patterns; write at most 64");
	p->patterns[p->n_patterns++] = ps->client;
	return 0;
}

static int parse_header(struct parser *ps, char *line)
{
	size_t len = strlen(line);
	if (len < 3 || line[len - 1] != ']')
		return complain(ps, ps->line, "not a header; write [*], [client-id] or [pattern*]");
	line[len - 1] = '\0';
	ps->client = line + 1;
	if (!utf8_valid(span_str(ps->client)))
		return complain(ps, ps->line, "not a client id; write it in UTF-8");
	ps->p->personal |= strcmp(ps->client, EVERYBODY) != 0;
	return note_pattern(ps);
}

static struct entry *new_entry(struct sn_predefined *p)
{
	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 16;
		struct entry *sorted = realloc(p->sorted, room * sizeof(*sorted));
		if (!sorted)
			return NULL;
		p->sorted = sorted;
		p->room = room;
	}
	return &p->sorted[p->n++];
}

static int parse_entry(struct parser *ps, char *line)
{
	char why[64];
	int64_t id;
	char *equals = strchr(line, '=');
	if (!equals)
		return complain(ps, ps->line, "not an entry; write id = topic");
	if (!ps->client)
		return complain(ps, ps->line, "an entry before any header; write [*] above it");
	*equals = '\0';
	/* MQTT-SN 1.2, 5.3.11: 0x0000 and 0xFFFF are reserved. */
	if (conf_parse_int(trim(line), &id, why, sizeof(why)) < 0 || id < 1 || id > 0xFFFE)
		return complain(ps, ps->line, "not a topic id; write a number from 1 to 65534");
	const char *topic = trim(equals + 1);
	if (!topic_valid_name(span_str(topic)))
		return complain(ps, ps->line, "not a topic; write a name without wildcards");
	struct entry *e = new_entry(ps->p);
	if (!e)
		return -ENOMEM;
	*e = (struct entry){
		.client = ps->client,
		.topic = topic,
		.topic_len = (uint16_t)strlen(topic),
		.id = (uint16_t)id,
		.line = ps->line,
	};
	return 0;
}

static int parse_line(struct parser *ps, char *line)
{
	if (strlen(line) > LINE_LEN_MAX)
		return complain(ps, ps->line, "line too long; at most 4096 octets");
	line = trim(line);
	if (!*line || *line == '#' || *line == ';')
		return 0;
	return *line == '[' ? parse_header(ps, line) : parse_entry(ps, line);
}

static int parse_text(struct parser *ps)
{
	char *rest = ps->p->text, *line;
	while ((line = strsep(&rest, "\n"))) {
		ps->line++;
		int rc = parse_line(ps, line);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int sort_entries(struct parser *ps)
{
	struct sn_predefined *p = ps->p;
	if (p->n)
		qsort(p->sorted, p->n, sizeof(*p->sorted), by_client_and_id);
	for (size_t i = 1; i < p->n; i++) {
		const struct entry *a = &p->sorted[i - 1], *b = &p->sorted[i];
		if (by_client_and_id(a, b) == 0)
			return complain(ps, MAX(a->line, b->line),
				"this id has a topic already; give each id once");
	}
	return 0;
}

static int read_text(struct parser *ps)
{
	size_t len;
	int rc = file_read(ps->path, SN_PREDEFINED_FILE_MAX, &ps->p->text, &len);
	if (rc < 0) {
		snprintf(ps->why, ps->why_len, "%s: %s", ps->path, strerror(-rc));
		return rc;
	}
	if (strlen(ps->p->text) != len)
		return complain(ps, 1, "a NUL octet in the file; write plain text");
	return 0;
}

int sn_predefined_load(const char *path, struct sn_predefined **out, char *why, size_t why_len)
{
	struct sn_predefined *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	struct parser ps = { .p = p, .path = path, .why = why, .why_len = why_len };
	int rc = path ? read_text(&ps) : 0;
	if (rc == 0 && path)
		rc = parse_text(&ps);
	if (rc == 0)
		rc = sort_entries(&ps);
	if (rc < 0) {
		if (rc == -ENOMEM)
			snprintf(why, why_len, "%s: %s", path, strerror(ENOMEM));
		sn_predefined_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void sn_predefined_free(struct sn_predefined *p)
{
	if (!p)
		return;
	free(p->sorted);
	free(p->text);
	free(p);
}

size_t sn_predefined_count(const struct sn_predefined *p)
{
	return p->n;
}

static const struct entry *find(const struct sn_predefined *p, const char *client, uint16_t id)
{
	struct entry key = { .client = client, .id = id };
	return p->n ? bsearch(&key, p->sorted, p->n, sizeof(key), by_client_and_id) : NULL;
}

static const struct entry *find_own(const struct sn_predefined *p, const char *client, uint16_t id)
{
	const struct entry *e = find(p, client, id);

	for (size_t i = 0; !e && i < p->n_patterns; i++)
		if (matches(p->patterns[i], client))
			e = find(p, p->patterns[i], id);
	return e;
}

struct span sn_predefined_find(const struct sn_predefined *p, const char *client_id, uint16_t id)
{
	const struct entry *e = p->personal && client_id ? find_own(p, client_id, id) : NULL;

	if (!e)
		e = find(p, EVERYBODY, id);
	return e ? span_of(e->topic, e->topic_len) : span_of(NULL, 0);
}
