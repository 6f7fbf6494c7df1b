#include "gateway/core/queue_policy.h"

#include "gateway/base/util.h"
#include "gateway/core/delivery.h"

#include <errno.h>
#include <stdlib.h>

/* The oldest message of each topic met so far, in open addressing. */
struct slot {
	struct delivery **link; /* borrowed; NULL: free */
	uint64_t hash;
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

/* Bodies on disk are not read for this: there, 64 bits of a seeded hash are the topic. */
static bool same_topic(const struct delivery *d, const struct message *m)
{
	return d->on_disk || !m || span_equal(message_topic(d->msg), message_topic(m));
}

/* The slot of the topic, or the free one where it would go. `m`: a message of it; NULL: on disk. */
static struct slot *find(const struct topics *t, const struct message *m, uint64_t hash)
{
	size_t i = hash & (t->n_slots - 1);
	struct slot *slot;
	for (; (slot = &t->slots[i])->link; i = (i + 1) & (t->n_slots - 1)) {
		if (slot->hash == hash && same_topic(*slot->link, m))
			break;
	}
	slot->hash = hash;
	return slot;
}

static struct slot *slot_of(const struct topics *t, const struct delivery *d)
{
	return find(t, d->on_disk ? NULL : d->msg, delivery_topic_hash(d));
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
		struct slot *slot = slot_of(&topics, *link);
		outdate(slot, &found);
		if (!slot->link) {
			slot->link = link;
			slot->place = place;
		}
	}
	if (incoming)
		outdate(find(&topics, incoming, topic_hash(incoming)), &found);
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
