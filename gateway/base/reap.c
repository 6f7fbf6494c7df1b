#include "gateway/base/reap.h"

#include <assert.h>

static struct list ended = LIST_INIT(ended);

void reap_later(struct reap *r, void (*free)(struct reap *))
{
	assert(!r->node.next);
	r->free = free;
	list_append(&ended, &r->node);
}

void reap(void)
{
	while (!list_empty(&ended)) {
		struct reap *r = list_first(&ended, struct reap, node);
		list_remove(&r->node);
		r->node.next = r->node.prev = NULL; /* memory that is kept may be handed in again */
		r->free(r);
	}
}
