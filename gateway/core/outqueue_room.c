#include "gateway/core/outqueue_parts.h"

/* What a queue has room for, and what gives way in it. */

static int64_t lower(int64_t all, int64_t own)
{
	return own && (!all || own < all) ? own : all;
}

static int64_t max_messages(const struct outqueue *q)
{
	const struct queue_policy *own = q->session->queue_policy;
	return lower(q->conf->queue_messages, own ? own->messages : 0);
}

static int64_t max_bytes(const struct outqueue *q)
{
	const struct queue_policy *own = q->session->queue_policy;
	return lower(q->conf->queue_bytes, own ? own->bytes : 0);
}

/* Whether so much leaves the queue within `max` (0: no limit). */
static bool within(size_t much, int64_t max)
{
	return !max || much <= (size_t)max;
}

static bool fits(const struct outqueue *q, size_t size)
{
	if (!within(outqueue_length(q) + 1, max_messages(q)))
		return false;
	/* A single message is always taken, whatever its size. */
	return !q->bytes || within(q->bytes + size, max_bytes(q));
}

bool outqueue_room(const struct outqueue *q)
{
	return q->session->link && within(outqueue_length(q) * 2 + 1, max_messages(q)) &&
	       within(q->bytes * 2, max_bytes(q));
}

bool outqueue_ready(const struct outqueue *q, const struct message *m)
{
	return q->session->link && fits(q, message_size(m));
}

static void drop_stale(struct outqueue *q)
{
	while (outqueue_drop_stale(q))
		;
}

static bool give_way(struct outqueue *q, const struct message *incoming)
{
	bool outdated;
	struct delivery **link =
		queue_policy_victim(q->session->queue_policy, &q->queue, incoming, &outdated);
	if (link)
		outqueue_drop(q, link, outdated ? DROP_OUTDATED : DROP_QUEUE_FULL);
	return link != NULL;
}

static size_t in_flight_bytes(const struct outqueue *q)
{
	size_t bytes = 0;
	for (const struct delivery *d = q->in_flight.first; d; d = d->next)
		bytes += delivery_size(d);
	return bytes;
}

/* Whether the message would fit if all that can be dropped were; if not, nothing need be. */
static bool could_fit(const struct outqueue *q, size_t size)
{
	return within(q->n_in_flight + 1u, max_messages(q)) &&
	       within(in_flight_bytes(q) + size, max_bytes(q));
}

/* What is stale goes first, then what the policy gives up. */
bool outqueue_make_room(struct outqueue *q, const struct message *m)
{
	const struct queue_policy *policy = q->session->queue_policy;
	size_t size = message_size(m);
	if (q->pumping) /* the link holds the head */
		return fits(q, size);
	drop_stale(q);
	if (fits(q, size))
		return true;
	if (!policy || policy->full == QUEUE_NEWEST || !could_fit(q, size))
		return false;
	while (!fits(q, size))
		give_way(q, m);
	return true;
}

static bool within_limits(const struct outqueue *q)
{
	return within(outqueue_length(q), max_messages(q)) && within(q->bytes, max_bytes(q));
}

/* What QUEUE_NEWEST would not have taken: all from the first on that finds no room. */
static void drop_newest(struct outqueue *q)
{
	size_t n = q->n_in_flight, bytes = in_flight_bytes(q);
	struct delivery **link = &q->queue.first;
	for (; *link; link = &(*link)->next) {
		bytes += delivery_size(*link);
		if (++n > 1 && !(within(n, max_messages(q)) && within(bytes, max_bytes(q))))
			break;
	}
	while (*link)
		outqueue_drop(q, link, DROP_QUEUE_FULL);
}

void outqueue_trim(struct outqueue *q)
{
	const struct queue_policy *policy = q->session->queue_policy;
	if (!policy || q->pumping)
		return;
	drop_stale(q);
	if (policy->full == QUEUE_NEWEST)
		drop_newest(q);
	while (!within_limits(q) && outqueue_length(q) > 1 && give_way(q, NULL))
		;
}
