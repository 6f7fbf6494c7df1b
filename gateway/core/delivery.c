#include "gateway/core/delivery.h"

#include "gateway/core/sub_ids.h"

#include <stddef.h>
#include <stdlib.h>

_Static_assert(offsetof(struct delivery_with_ids, delivery) == 0, "both are freed alike");

struct delivery *delivery_init(
	struct delivery_with_ids *d, struct message *m, const struct offer *o)
{
	d->delivery = (struct delivery){
		.msg = m,
		.queued_ticks = (uint32_t)(clock_ms() / DELIVERY_TICK_MS),
		.qos = o->qos & 3u,
		.state = DELIVERY_QUEUED,
		.retain = o->retain,
		.has_ids = true,
	};
	d->sub_ids = o->sub_ids;
	return &d->delivery;
}

struct delivery *delivery_new(struct message *m, const struct offer *o)
{
	struct delivery_with_ids all;
	size_t size = o->sub_ids ? sizeof(all) : sizeof(all.delivery);
	struct delivery *d = malloc(size);
	if (!d)
		return NULL;
	delivery_init(&all, message_ref(m), o)->has_ids = o->sub_ids != 0;
	sub_ids_ref(o->sub_ids);
	memcpy(d, &all, size);
	return d;
}

void delivery_free(struct delivery *d)
{
	message_unref(d->msg);
	sub_ids_unref(delivery_sub_ids(d));
	free(d);
}
