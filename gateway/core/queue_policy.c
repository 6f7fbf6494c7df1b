#include "gateway/core/queue_policy.h"

#include "gateway/base/util.h"
#include "gateway/core/delivery.h"

#include <errno.h>
#include <stdlib.h>

/* The oldest message of each topic met so far, in open addressing. */
struct slot {
	struct delivery **link; /* borrowed; NULL: free */
	uint32_t hash;
	uint32_t place; /* in the queue */
};

struct topics {
	struct slot *slots; /* owned */
	size_t n_slots;     /* a power of two, twice as many as can come */
};

static int topics_init(struct topics *t, size_t n)
{
	t->n_slots = 4;
	while (t->n_slots < n * 2)
		t->n_slots *= 2;
	t->slots = calloc(t->n_slots, sizeof(*t->slots));
	return t->slots ? 0 : -ENOMEM;
}

/* The slot of the topic, or the free one where it would go. */
static struct slot *find(const struct topics *t, struct span topic, uint32_t hash)
{
	size_t i = hash & (t->n_slots - 1);
	struct slot *slot;
	for (; (slot = &t->slots[i])->link; i = (i + 1) & (t->n_slots - 1)) {
		if (slot->hash == hash && span_equal(message_topic((*slot->link)->msg), topic))
			break;
	}
	slot->hash = hash;
	return slot;
}

static struct slot *slot_of(const struct topics *t, const struct message *m)
{
	struct span topic = message_topic(m);
	return find(t, topic, (uint32_t)hash_bytes(topic.p, topic.len));
}

static size_t length(const struct delivery_list *queue)
{
	size_t n = 0;
	for (const struct delivery *d = queue->first; d; d = d->next)
		n++;
	return n;
}

/* The topic has a newer message: its oldest is outdated, and of all such the first in the queue is
 * wanted. */
static void outdate(struct slot *slot, struct slot *found)
{
	if (slot->link && (!found->link || slot->place < found->place))
		*found = *slot;
}

/* NULL as well when there is no memory to tell: then the oldest of all goes. */
static struct delivery **oldest_outdated(
	struct delivery_list *queue, const struct message *incoming)
{
	struct topics topics;
	struct slot found = { .link = NULL };
	uint32_t place = 0;
	if (topics_init(&topics, length(queue)) < 0)
		return NULL;
	for (struct delivery **link = &queue->first; *link; link = &(*link)->next, place++) {
		struct slot *slot = slot_of(&topics, (*link)->msg);
		outdate(slot, &found);
		if (!slot->link) {
			slot->link = link;
			slot->place = place;
		}
	}
	if (incoming)
		outdate(slot_of(&topics, incoming), &found);
	free(topics.slots);
	return found.link;
}

struct delivery **queue_policy_victim(const struct queue_policy *policy,
	struct delivery_list *queue, const struct message *incoming, bool *outdated)
{
	struct delivery **link = NULL;
	if (policy->full == QUEUE_LATEST_PER_TOPIC)
		link = oldest_outdated(queue, incoming);
	*outdated = link != NULL;
	if (!link && queue->first)
		link = &queue->first;
	return link;
}
