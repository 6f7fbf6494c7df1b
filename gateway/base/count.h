#ifndef TIDEGATE_BASE_COUNT_H
#define TIDEGATE_BASE_COUNT_H

#include "gateway/base/list.h"

#include <stdint.h>

/* Named counters. Static in the file that counts; registered on first use, listed by the state
 * dump, $SYS and metrics. Names are lower case with dots ("mqttsn.malformed"). Loop thread only. */
struct count {
	const char *name;
	uint64_t n;
	struct list node; /* zeroed: not registered yet */
};
#define COUNT(name)                                                                                \
	{                                                                                          \
		(name), 0,                                                                         \
		{                                                                                  \
			NULL, NULL                                                                 \
		}                                                                                  \
	}

/* What count_add() does at the first use. */
void count_register(struct count *c);

static inline void count_add(struct count *c, uint64_t n)
{
	if (!c->node.next)
		count_register(c);
	c->n += n;
}

static inline void count_one(struct count *c)
{
	count_add(c, 1);
}

/* In name order. */
void counts_each(void (*each)(const struct count *, void *), void *arg);
/* The value of a registered counter by name, 0 when there is none. */
uint64_t count_value(const char *name);

#endif
