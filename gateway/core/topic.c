#include "gateway/core/topic.h"

#include "gateway/base/util.h"

#include <stdint.h>

/* [limits] topic_bytes and topic_levels. */
static size_t max_bytes = TOPIC_BYTES_MAX;
static unsigned max_levels = TOPIC_LEVELS_MAX;

void topic_set_limits(size_t bytes, unsigned levels)
{
	max_bytes = MIN(bytes, (size_t)TOPIC_BYTES_MAX * 8);
	max_levels = MIN(levels, TOPIC_LEVELS_MAX * 8u);
}

/* Unicode 15, 23.7: the last two code points of every plane, and U+FDD0..U+FDEF. */
static bool codepoint_allowed(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c <= 0x9f))
		return false;
	if (c >= 0xd800 && c <= 0xdfff)
		return false;
	if (c >= 0xfdd0 && c <= 0xfdef)
		return false;
	return (c & 0xfffe) != 0xfffe;
}

/* Decodes one sequence of at most `left` octets; returns its length, 0 when it is ill-formed
 * (RFC 3629: truncated, overlong, above U+10FFFF). */
static size_t utf8_decode(const uint8_t *p, size_t left, uint32_t *codepoint)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (len == 0 || len > left || p[0] > 0xf4)
		return 0;
	uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	*codepoint = c;
	return c >= least[len] && c <= 0x10ffff ? len : 0;
}

bool utf8_well_formed(struct span s)
{
	for (size_t i = 0; i < s.len;) {
		uint32_t c;
		size_t len = utf8_decode(s.p + i, s.len - i, &c);

		if (len == 0 || (c >= 0xd800 && c <= 0xdfff))
			return false;
		i += len;
	}
	return true;
}

bool utf8_valid(struct span s)
{
	for (size_t i = 0; i < s.len;) {
		uint32_t c;
		size_t len = utf8_decode(s.p + i, s.len - i, &c);

		if (len == 0 || !codepoint_allowed(c))
			return false;
		i += len;
	}
	return true;
}

bool topic_next_level(struct span *rest, bool *done, struct span *level)
{
	if (*done)
		return false;
	const uint8_t *slash = rest->len ? memchr(rest->p, '/', rest->len) : NULL;
	if (!slash) {
		*level = *rest;
		*done = true;
		return true;
	}
	*level = span_of(rest->p, (size_t)(slash - rest->p));
	*rest = span_of(slash + 1, rest->len - level->len - 1);
	return true;
}

static bool is_plus(struct span level)
{
	return level.len == 1 && level.p[0] == '+';
}

static bool is_hash(struct span level)
{
	return level.len == 1 && level.p[0] == '#';
}

static bool has_char(struct span s, char c)
{
	return s.len && memchr(s.p, c, s.len);
}

bool topic_has_wildcard(struct span filter)
{
	return has_char(filter, '+') || has_char(filter, '#');
}

static bool size_valid(struct span s)
{
	if (s.len == 0 || s.len > max_bytes)
		return false;
	unsigned levels = 1;
	for (size_t i = 0; i < s.len; i++)
		levels += s.p[i] == '/';
	return levels <= max_levels;
}

bool topic_valid_name(struct span topic)
{
	return size_valid(topic) && !topic_has_wildcard(topic) && utf8_valid(topic);
}

bool topic_valid_filter(struct span filter)
{
	struct span rest = filter, level;
	bool done = false;

	if (!size_valid(filter) || !utf8_valid(filter))
		return false;
	while (topic_next_level(&rest, &done, &level)) {
		if (is_hash(level))
			return done;
		if (!is_plus(level) && topic_has_wildcard(level))
			return false;
	}
	return true;
}

const char *topic_check_filter(const char *filter)
{
	return topic_valid_filter(span_str(filter)) ? NULL
						    : "a topic filter such as plant/+/temp/#";
}

const char *topic_check_name(const char *topic)
{
	return topic_valid_name(span_str(topic)) ? NULL
						 : "a topic without wildcards such as plant/7";
}

/* MQTT 5.0, 4.7.2: a wildcard in the first level stands for no level that begins with '$'. */
static bool is_hidden(struct span level)
{
	return level.len && level.p[0] == '$';
}

/* Two topics or filters, level by level from the left. */
struct walk {
	struct span rest, level;
	bool done, more; /* `more`: `level` is valid */
};

static void walk_start(struct walk *w, struct span s)
{
	*w = (struct walk){ .rest = s };
	w->more = topic_next_level(&w->rest, &w->done, &w->level);
}

static void walk_on(struct walk *w)
{
	w->more = topic_next_level(&w->rest, &w->done, &w->level);
}

bool topic_matches(struct span filter, struct span topic)
{
	struct walk f, t;

	walk_start(&f, filter);
	walk_start(&t, topic);
	if (is_hidden(t.level) && (is_plus(f.level) || is_hash(f.level)))
		return false;
	for (; f.more; walk_on(&f), walk_on(&t)) {
		if (is_hash(f.level))
			return true; /* also with no level left: 'a/#' matches 'a' */
		if (!t.more || !(is_plus(f.level) || span_equal(f.level, t.level)))
			return false;
	}
	return !t.more;
}

bool topic_covers(struct span wide, struct span narrow)
{
	struct walk w, n;

	/* '#' alone has no parent level, so this one pair is equal without looking equal. */
	if (span_is(narrow, "#") && span_is(wide, "+/#"))
		return true;
	walk_start(&w, wide);
	walk_start(&n, narrow);
	if (is_hidden(n.level) && (is_plus(w.level) || is_hash(w.level)))
		return false;
	for (; w.more; walk_on(&w), walk_on(&n)) {
		if (is_hash(w.level))
			return true;
		if (!n.more || is_hash(n.level))
			return false;
		if (!is_plus(w.level) && !span_equal(w.level, n.level))
			return false;
	}
	return !n.more;
}

bool topic_overlaps(struct span a, struct span b)
{
	struct walk x, y;

	walk_start(&x, a);
	walk_start(&y, b);
	if (is_hidden(x.level) && (is_plus(y.level) || is_hash(y.level)))
		return false;
	if (is_hidden(y.level) && (is_plus(x.level) || is_hash(x.level)))
		return false;
	for (; x.more && y.more; walk_on(&x), walk_on(&y)) {
		if (is_hash(x.level) || is_hash(y.level))
			return true;
		if (!is_plus(x.level) && !is_plus(y.level) && !span_equal(x.level, y.level))
			return false;
	}
	if (x.more)
		return is_hash(x.level);
	return !y.more || is_hash(y.level);
}
