#include "adapters/mqtt/mq_alias.h"

#include "gateway/base/util.h"

#include <stdlib.h>

struct mq_alias {
	size_t len;
	uint8_t topic[];
};

void mq_aliases_clear(struct mq_aliases *a)
{
	for (size_t i = 0; a->topics && i < a->max; i++)
		free(a->topics[i]);
	free(a->topics);
	*a = (struct mq_aliases){ 0 };
}

enum reason mq_aliases_set(struct mq_aliases *a, uint32_t alias, struct span topic)
{
	if (alias == 0 || alias > a->max)
		return R_TOPIC_ALIAS;
	if (!a->topics)
		a->topics = calloc(a->max, sizeof(struct mq_alias *));
	if (!a->topics)
		return R_QUOTA;
	struct mq_alias *t = malloc(sizeof(*t) + topic.len);
	if (!t)
		return R_QUOTA;
	t->len = topic.len;
	if (topic.len)
		memcpy(t->topic, topic.p, topic.len);
	free(a->topics[alias - 1]);
	a->topics[alias - 1] = t;
	return R_SUCCESS;
}

bool mq_aliases_get(const struct mq_aliases *a, uint32_t alias, struct span *topic)
{
	if (alias == 0 || alias > a->max || !a->topics || !a->topics[alias - 1])
		return false;
	*topic = span_of(a->topics[alias - 1]->topic, a->topics[alias - 1]->len);
	return true;
}

uint16_t mq_aliases_for(const struct mq_aliases *a, struct span topic, bool *known)
{
	struct span held;

	*known = false;
	if (!a->max)
		return 0;
	uint16_t alias = (uint16_t)(1 + hash_bytes(topic.p, topic.len) % a->max);
	*known = mq_aliases_get(a, alias, &held) && span_equal(held, topic);
	return alias;
}
