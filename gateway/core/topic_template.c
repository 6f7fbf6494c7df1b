#include "gateway/core/topic_template.h"

#include <string.h>

struct filling {
	uint8_t *buf;
	size_t len;
};

static bool put(struct filling *f, const void *p, size_t len)
{
	if (len > TOPIC_TEMPLATE_TEXT_MAX - f->len)
		return false;
	memcpy(f->buf + f->len, p, len);
	f->len += len;
	return true;
}

static bool put_name(struct filling *f, const char *name)
{
	return name && *name && !strpbrk(name, "+#/") && put(f, name, strlen(name));
}

bool topic_template_fill(const char *text, const struct identity *who, const struct span *groups,
	size_t n_groups, uint8_t *buf, struct span *out)
{
	struct filling f = { .buf = buf };
	bool ok = true;

	for (const char *p = text; ok && *p; p++) {
		size_t group = p[0] == '$' && p[1] >= '1' && p[1] <= '9' ? (size_t)(p[1] - '0') : 0;

		if (group)
			ok = group <= n_groups &&
			     put(&f, groups[group - 1].p, groups[group - 1].len);
		else if (p[0] == '%' && p[1] == 'c')
			ok = put_name(&f, who->client_id);
		else if (p[0] == '%' && p[1] == 'u')
			ok = put_name(&f, who->username);
		else {
			ok = put(&f, p, 1);
			continue;
		}
		p++;
	}
	*out = span_of(buf, f.len);
	return ok;
}
