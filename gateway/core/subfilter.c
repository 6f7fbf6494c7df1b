#include "gateway/core/subfilter.h"

#include "gateway/core/topic.h"

static bool take_prefix(struct span *s, const char *prefix)
{
	struct span p = span_str(prefix);

	if (s->len < p.len || !span_equal(span_of(s->p, p.len), p))
		return false;
	*s = span_of(s->p + p.len, s->len - p.len);
	return true;
}

/* MQTT 5.0: [MQTT-4.8.2-1], [MQTT-4.8.2-2]. A '+' or '#' in the name passed as a whole level. */
static bool take_group(struct span *s)
{
	struct span group;
	bool done = false;

	return topic_next_level(s, &done, &group) && !done && group.len > 0 &&
	       !topic_has_wildcard(group);
}

bool subfilter_parse(struct span text, struct subfilter *out)
{
	struct span nested;

	out->kind = SUBFILTER_OWN;
	out->filter = text;
	if (!topic_valid_filter(text))
		return false;
	if (take_prefix(&out->filter, "$share/")) {
		out->kind = SUBFILTER_SHARED;
		if (!take_group(&out->filter))
			return false;
	} else if (take_prefix(&out->filter, SUBFILTER_EXCLUSIVE_PREFIX)) {
		out->kind = SUBFILTER_EXCLUSIVE;
	} else {
		return true;
	}
	nested = out->filter;
	return topic_valid_filter(out->filter) && !take_prefix(&nested, "$share/") &&
	       !take_prefix(&nested, SUBFILTER_EXCLUSIVE_PREFIX);
}
