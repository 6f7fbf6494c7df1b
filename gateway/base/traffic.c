#include "gateway/base/traffic.h"

static struct list registered = LIST_INIT(registered);

void traffic_register(struct traffic *t)
{
	if (!t->node.next)
		list_append(&registered, &t->node);
}

uint64_t traffic_total(enum traffic_kind kind)
{
	uint64_t sum = 0;
	struct list *at;

	list_for_each(at, &registered)
		sum += list_entry(at, struct traffic, node)->of[kind].n;
	return sum;
}
