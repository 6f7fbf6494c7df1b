#include "gateway/core/delivery.h"

#include "gateway/core/sub_ids.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

_Static_assert(offsetof(struct delivery_more, delivery) == 0, "both are freed alike");

static struct delivery_more *more_of(struct delivery *d)
{
	return container_of(d, struct delivery_more, delivery);
}

static struct delivery content(struct message *m, const struct offer *o, bool more)
{
	return (struct delivery){
		.msg = m,
		.queued_ticks = (uint32_t)(clock_ms() / DELIVERY_TICK_MS),
		.qos = o->qos & 3u,
		.state = DELIVERY_QUEUED,
		.retain = o->retain,
		.has_more = more,
	};
}

struct delivery *delivery_init(struct delivery_more *d, struct message *m, const struct offer *o)
{
	d->delivery = content(m, o, true);
	d->sub_ids = o->sub_ids;
	return &d->delivery;
}

struct delivery *delivery_new(struct message *m, const struct offer *o, bool unloads)
{
	bool more = unloads || o->sub_ids;
	struct delivery *d = malloc(more ? sizeof(struct delivery_more) : sizeof(*d));
	if (!d)
		return NULL;
	*d = content(message_ref(m), o, more);
	if (more)
		more_of(d)->sub_ids = sub_ids_ref(o->sub_ids);
	return d;
}

void delivery_free(struct delivery *d)
{
	if (!d->on_disk)
		message_unref(d->msg);
	sub_ids_unref(delivery_sub_ids(d));
	free(d);
}

void delivery_unload(struct delivery *d)
{
	struct message *m = d->msg;
	assert(d->claimed && d->has_more && !d->on_disk);
	more_of(d)->topic_hash = topic_hash(m);
	d->kept = kept_of(m);
	d->on_disk = true;
	message_unref(m);
}

int delivery_load(struct delivery *d)
{
	int err;
	if (!d->on_disk)
		return 0;
	struct message *m = kept_message(d->kept, &err);
	if (!m)
		return err;
	d->msg = m;
	d->on_disk = false;
	return 0;
}

uint64_t topic_hash(const struct message *m)
{
	struct span topic = message_topic(m);
	return hash_bytes(topic.p, topic.len);
}

uint64_t delivery_topic_hash(const struct delivery *d)
{
	return d->on_disk ? more_of((struct delivery *)d)->topic_hash : topic_hash(d->msg);
}
