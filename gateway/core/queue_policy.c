#include "gateway/core/queue_policy.h"

#include "gateway/base/util.h"
#include "gateway/core/ptrtable.h"
#include "gateway/core/session.h"

static uint32_t topic_hash(const void *entry)
{
	struct span topic = message_topic(entry);
	return (uint32_t)hash_bytes(topic.p, topic.len);
}

static bool same_topic(const void *entry, const void *key)
{
	return span_equal(message_topic(entry), message_topic(key));
}

/* Whether a newer one of its topic was seen; notes it otherwise. */
static bool seen_before(struct ptrtable *seen, struct message *m)
{
	if (ptrtable_find(seen, topic_hash(m), same_topic, m))
		return true;
	/* Without memory less is known to be outdated, and the oldest goes instead. */
	(void)ptrtable_add(seen, m);
	return false;
}

/* From the newest to the oldest: the last one whose topic was met before. */
static struct delivery *oldest_outdated(const struct list *queue, const struct message *incoming)
{
	struct ptrtable seen;
	struct delivery *found = NULL;
	ptrtable_init(&seen, topic_hash);
	if (incoming)
		(void)ptrtable_add(&seen, (struct message *)incoming);
	for (const struct list *pos = queue->prev; pos != queue; pos = pos->prev) {
		struct delivery *d = list_entry((struct list *)pos, struct delivery, node);
		if (seen_before(&seen, d->msg))
			found = d;
	}
	ptrtable_clear(&seen);
	return found;
}

struct delivery *queue_policy_victim(const struct queue_policy *policy, const struct list *queue,
	const struct message *incoming, bool *outdated)
{
	struct delivery *d = NULL;
	*outdated = false;
	if (list_empty(queue))
		return NULL;
	if (policy->full == QUEUE_LATEST_PER_TOPIC)
		d = oldest_outdated(queue, incoming);
	if (d)
		*outdated = true;
	else if (policy->full == QUEUE_NEWEST)
		d = list_last(queue, struct delivery, node);
	else
		d = list_first(queue, struct delivery, node);
	return d;
}
