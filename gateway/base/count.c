#include "gateway/base/count.h"

#include <string.h>

static struct list registered = LIST_INIT(registered); /* by name */

void count_register(struct count *c)
{
	struct list *at;
	list_for_each(at, &registered) {
		if (strcmp(list_entry(at, struct count, node)->name, c->name) > 0)
			break;
	}
	list_insert_before(at, &c->node);
}

void counts_each(void (*each)(const struct count *, void *), void *arg)
{
	struct list *at;
	list_for_each(at, &registered)
		each(list_entry(at, struct count, node), arg);
}

uint64_t count_value(const char *name)
{
	/* Two files may count the same thing, each with a struct of its own. */
	uint64_t sum = 0;
	struct list *at;
	list_for_each(at, &registered) {
		const struct count *c = list_entry(at, struct count, node);
		if (strcmp(c->name, name) == 0)
			sum += c->n;
	}
	return sum;
}
