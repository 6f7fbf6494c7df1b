#include "adapters/mqtt/mq_pool.h"

#include <assert.h>
#include <stdlib.h>

struct mq_pool_free {
	struct mq_pool_free *next;
};

void mq_pool_init(struct mq_pool *p, size_t block, size_t keep)
{
	assert(block >= sizeof(struct mq_pool_free));
	*p = (struct mq_pool){ .block = block, .keep = keep };
}

void *mq_pool_get(struct mq_pool *p)
{
	struct mq_pool_free *f = p->free;

	if (!f)
		return malloc(p->block);
	p->free = f->next;
	p->n--;
	return f;
}

void mq_pool_put(struct mq_pool *p, void *block)
{
	struct mq_pool_free *f = block;

	if (p->n >= p->keep) {
		free(block);
		return;
	}
	f->next = p->free;
	p->free = f;
	p->n++;
}

void mq_pool_close(struct mq_pool *p)
{
	while (p->free) {
		struct mq_pool_free *f = p->free;
		p->free = f->next;
		free(f);
	}
	p->n = 0;
}
