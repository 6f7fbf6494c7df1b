#ifndef TIDEGATE_MQTT_MQ_OUT_H
#define TIDEGATE_MQTT_MQ_OUT_H

#include "adapters/mqtt/mq_pool.h"
#include "gateway/base/list.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct message;
struct mq_stream;

/* What waits to be written to one socket. Small things are copied into chunks of a pool; a large
 * payload is held by a reference to its message, so that a thousand subscribers share one copy. */
#define MQ_CHUNK_BYTES  2048 /* a pool's block for this */
#define MQ_SHARED_BYTES 1024 /* payloads from this size on are not copied */

struct mq_out {
	struct mq_pool *pool; /* borrowed */
	struct list parts;    /* of struct mq_part, owned */
	size_t bytes;         /* unsent */
	size_t copied;        /* of these, in chunks */
	bool failed;          /* out of memory in the middle: the stream is broken for good */
};

void mq_out_init(struct mq_out *o, struct mq_pool *chunks);
void mq_out_clear(struct mq_out *o);
void mq_out_put(struct mq_out *o, struct span bytes);
/* `payload` lies in `m`; takes a reference when it is large. */
void mq_out_share(struct mq_out *o, struct message *m, struct span payload);
/* One write of at most so many parts. 0: all is sent; -EAGAIN: some is left; else the stream's
 * error.
 */
#define MQ_PARTS_PER_SEND 64
int mq_out_send(struct mq_out *o, struct mq_stream *to);

#endif
