#include "gateway/core/queue_policy.h"

#include "gateway/base/util.h"
#include "gateway/core/session.h"

#include <errno.h>
#include <stdlib.h>

/* The topics met so far, in open addressing. */
struct seen {
	const struct message **slots; /* owned; borrowed messages, NULL: free */
	uint32_t *hashes;             /* behind them */
	size_t n_slots;               /* a power of two, twice as many as can come */
};

static int seen_init(struct seen *seen, size_t n)
{
	seen->n_slots = 4;
	while (seen->n_slots < n * 2)
		seen->n_slots *= 2;
	seen->slots = calloc(seen->n_slots, sizeof(*seen->slots) + sizeof(*seen->hashes));
	if (!seen->slots)
		return -ENOMEM;
	seen->hashes = (uint32_t *)(void *)(seen->slots + seen->n_slots);
	return 0;
}

static uint32_t topic_hash(const struct message *m)
{
	struct span topic = message_topic(m);
	return (uint32_t)hash_bytes(topic.p, topic.len) | 1; /* 0 is for "not known" */
}

/* Whether a newer one of its topic was met; notes it otherwise. */
static bool meet(struct seen *seen, const struct message *m, uint32_t hash)
{
	size_t i = (hash >> 1) & (seen->n_slots - 1);
	for (; seen->slots[i]; i = (i + 1) & (seen->n_slots - 1)) {
		if (seen->hashes[i] == hash &&
			span_equal(message_topic(seen->slots[i]), message_topic(m)))
			return true;
	}
	seen->slots[i] = m;
	seen->hashes[i] = hash;
	return false;
}

static size_t length(const struct list *queue)
{
	size_t n = 0;
	for (const struct list *pos = queue->next; pos != queue; pos = pos->next)
		n++;
	return n;
}

/* From the newest to the oldest: the last one whose topic was met before. NULL as well when there
 * is no memory to tell: then the oldest of all goes. */
static struct delivery *oldest_outdated(const struct list *queue, const struct message *incoming)
{
	struct seen seen;
	struct delivery *found = NULL;
	if (seen_init(&seen, length(queue) + 1) < 0)
		return NULL;
	if (incoming)
		meet(&seen, incoming, topic_hash(incoming));
	for (struct list *pos = queue->prev; pos != queue; pos = pos->prev) {
		struct delivery *d = list_entry(pos, struct delivery, node);
		if (!d->topic_hash)
			d->topic_hash = topic_hash(d->msg);
		if (meet(&seen, d->msg, d->topic_hash))
			found = d;
	}
	free(seen.slots);
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
