#ifndef TIDEGATE_MQTT_MQ_POOL_H
#define TIDEGATE_MQTT_MQ_POOL_H

#include <stddef.h>

/* Blocks of one size that change hands every turn: a connection holds buffers only while bytes wait
 * in them. At most `keep` free ones are kept for the next user. */
struct mq_pool {
	size_t block, keep, n;
	struct mq_pool_free *free; /* owned */
};

void mq_pool_init(struct mq_pool *p, size_t block, size_t keep);
void *mq_pool_get(struct mq_pool *p); /* NULL: no memory */
void mq_pool_put(struct mq_pool *p, void *block);
void mq_pool_close(struct mq_pool *p); /* frees what is kept */

#endif
