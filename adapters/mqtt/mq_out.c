#include "adapters/mqtt/mq_out.h"

#include "adapters/mqtt/mq_stream.h"
#include "gateway/core/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mq_part {
	struct list node;
	struct message *msg; /* counted; NULL: the bytes are in `data` */
	const uint8_t *p;    /* unsent */
	size_t len;
	uint8_t data[];
};

#define CHUNK_ROOM (MQ_CHUNK_BYTES - sizeof(struct mq_part))

void mq_out_init(struct mq_out *o, struct mq_pool *chunks)
{
	*o = (struct mq_out){ .pool = chunks };
	list_init(&o->parts);
}

static void part_free(struct mq_out *o, struct mq_part *part)
{
	list_remove(&part->node);
	if (part->msg) {
		message_unref(part->msg);
		free(part);
	} else {
		mq_pool_put(o->pool, part);
	}
}

void mq_out_clear(struct mq_out *o)
{
	while (!list_empty(&o->parts))
		part_free(o, list_first(&o->parts, struct mq_part, node));
	o->bytes = o->copied = 0;
}

static struct mq_part *part_append(struct mq_out *o, struct mq_part *part)
{
	if (!part) {
		o->failed = true;
		return NULL;
	}
	part->msg = NULL;
	part->p = part->data;
	part->len = 0;
	list_append(&o->parts, &part->node);
	return part;
}

static size_t part_room(const struct mq_part *part)
{
	return part->msg ? 0 : CHUNK_ROOM - (size_t)(part->p - part->data) - part->len;
}

/* The last part with room, or a new one. */
static struct mq_part *out_tail(struct mq_out *o)
{
	if (!list_empty(&o->parts)) {
		struct mq_part *last = list_last(&o->parts, struct mq_part, node);
		if (part_room(last))
			return last;
	}
	return part_append(o, mq_pool_get(o->pool));
}

void mq_out_put(struct mq_out *o, struct span bytes)
{
	while (bytes.len && !o->failed) {
		struct mq_part *part = out_tail(o);
		if (!part)
			return;
		size_t n = MIN(bytes.len, part_room(part));
		size_t at = (size_t)(part->p - part->data) + part->len;
		memcpy(part->data + at, bytes.p, n);
		part->len += n;
		o->bytes += n;
		o->copied += n;
		bytes = span_of(bytes.p + n, bytes.len - n);
	}
}

void mq_out_share(struct mq_out *o, struct message *m, struct span payload)
{
	if (payload.len < MQ_SHARED_BYTES) {
		mq_out_put(o, payload);
		return;
	}
	struct mq_part *part = o->failed ? NULL : part_append(o, malloc(sizeof(*part)));
	if (!part)
		return;
	part->msg = message_ref(m);
	part->p = payload.p;
	part->len = payload.len;
	o->bytes += payload.len;
}

static void out_sent(struct mq_out *o, size_t n)
{
	o->bytes -= n;
	while (n) {
		struct mq_part *part = list_first(&o->parts, struct mq_part, node);
		size_t taken = MIN(n, part->len);
		part->p += taken;
		part->len -= taken;
		n -= taken;
		if (!part->msg)
			o->copied -= taken;
		if (part->len == 0)
			part_free(o, part);
	}
}

int mq_out_send(struct mq_out *o, struct mq_stream *to)
{
	struct iovec iov[MQ_PARTS_PER_SEND];
	struct list *pos;
	size_t parts = 0;

	list_for_each(pos, &o->parts) {
		struct mq_part *part = list_entry(pos, struct mq_part, node);
		if (parts == MQ_PARTS_PER_SEND)
			break;
		iov[parts++] = (struct iovec){ (void *)(uintptr_t)part->p, part->len };
	}
	if (parts == 0)
		return 0;
	ssize_t n = mq_stream_write(to, iov, parts);
	if (n < 0)
		return (int)n;
	out_sent(o, (size_t)n);
	return o->bytes ? -EAGAIN : 0;
}
