#include "gateway/core/scope.h"

#include "gateway/base/count.h"
#include "gateway/core/delay.h"
#include "gateway/core/subfilter.h"
#include "gateway/core/topic.h"

#include <string.h>

static struct count rewritten = COUNT("scope.rewritten");
static struct count refused = COUNT("scope.refused");
static struct count hidden = COUNT("scope.hidden");

static enum reason refuse(enum rewrite_side side)
{
	count_one(&refused);
	return side == REWRITE_PUBLISH ? R_TOPIC_INVALID : R_FILTER_INVALID;
}

static bool is_valid(enum rewrite_side side, struct span text)
{
	struct subfilter f;

	return side == REWRITE_PUBLISH ? topic_valid_name(text) : subfilter_parse(text, &f);
}

/* Splits off what stands in front of the topic proper. False: not valid. */
static bool split(enum rewrite_side side, struct span text, struct span *prefix, struct span *inner)
{
	struct subfilter f;
	size_t len;

	if (side == REWRITE_PUBLISH) {
		len = delay_prefix(text);
		if (!topic_valid_name(text) || len == text.len)
			return false;
	} else {
		if (!subfilter_parse(text, &f))
			return false;
		len = text.len - f.filter.len;
	}
	*prefix = span_of(text.p, len);
	*inner = span_of(text.p + len, text.len - len);
	return true;
}

/* Puts a, b and c together. False: not valid. */
static bool join(enum rewrite_side side, const struct span parts[3], uint8_t *buf, struct span *out)
{
	size_t len = 0;

	for (size_t i = 0; i < 3; i++) {
		if (parts[i].len > SCOPE_TEXT_MAX - len)
			return false;
		if (parts[i].len)
			memcpy(buf + len, parts[i].p, parts[i].len);
		len += parts[i].len;
	}
	*out = span_of(buf, len);
	return is_valid(side, *out);
}

enum reason scope_rewrite(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out)
{
	uint8_t fresh[SCOPE_TEXT_MAX];
	struct span parts[3] = { 0 };

	*out = text;
	if (!scope_has_rules(s))
		return R_SUCCESS;
	if (!split(side, text, &parts[0], &parts[1]))
		return refuse(side);
	switch (rewrite_topic(s->rewrite, side, s->who, parts[1], fresh, &parts[1])) {
	case REWRITE_NONE:
		return R_SUCCESS;
	case REWRITE_NO_MEMORY:
		count_one(&refused);
		return R_QUOTA;
	case REWRITE_DONE:
		if (!join(side, parts, buf, out))
			break;
		count_one(&rewritten);
		return R_SUCCESS;
	case REWRITE_INVALID:
		break;
	}
	return refuse(side);
}

/* Behind a mountpoint a leading '$' would be nothing special any more, and be matched by the
 * wildcards of those behind it (MQTT 5.0, 4.7.2). */
static bool may_mount(enum rewrite_side side, struct span topic)
{
	return side == REWRITE_SUBSCRIBE || topic.p[0] != '$';
}

enum reason scope_mount(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out)
{
	uint8_t mount[SCOPE_TEXT_MAX];
	struct span parts[3];

	*out = text;
	if (!s->mountpoint)
		return R_SUCCESS;
	if (!split(side, text, &parts[0], &parts[2]) || !may_mount(side, parts[2]))
		return refuse(side);
	if (!topic_template_fill(s->mountpoint, s->who, NULL, 0, mount, &parts[1])) {
		count_one(&refused);
		return R_NOT_AUTHORIZED;
	}
	return join(side, parts, buf, out) ? R_SUCCESS : refuse(side);
}

enum reason scope_enter(const struct scope *s, enum rewrite_side side, struct span text,
	uint8_t *buf, struct span *out)
{
	uint8_t between[SCOPE_TEXT_MAX];

	*out = text;
	if (scope_is_plain(s))
		return R_SUCCESS;
	if (!s->mountpoint)
		return scope_rewrite(s, side, text, buf, out);
	enum reason reason = scope_rewrite(s, side, text, between, &text);
	return reason_failed(reason) ? reason : scope_mount(s, side, text, buf, out);
}

bool scope_leave(const struct scope *s, struct span topic, struct span *out)
{
	uint8_t buf[SCOPE_TEXT_MAX];
	struct span mount;

	*out = topic;
	if (!s->mountpoint)
		return true;
	if (!topic_template_fill(s->mountpoint, s->who, NULL, 0, buf, &mount) ||
		topic.len <= mount.len || memcmp(topic.p, mount.p, mount.len) != 0) {
		count_one(&hidden);
		return false;
	}
	*out = span_of(topic.p + mount.len, topic.len - mount.len);
	return true;
}

bool scope_fits(const struct scope *s)
{
	uint8_t buf[SCOPE_TEXT_MAX];
	struct span mount;

	return !s->mountpoint || topic_template_fill(s->mountpoint, s->who, NULL, 0, buf, &mount);
}

const char *scope_check_mountpoint(const char *value)
{
	const struct identity who = { .client_id = "c", .username = "u" };
	uint8_t buf[SCOPE_TEXT_MAX];
	struct span mount;

	bool good = topic_template_fill(value, &who, NULL, 0, buf, &mount) &&
		    topic_valid_name(mount) && mount.p[0] != '$' && mount.p[mount.len - 1] == '/';
	return good ? NULL : "a topic without wildcards that ends with /, such as site/%c/";
}
