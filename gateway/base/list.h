#ifndef TIDEGATE_BASE_LIST_H
#define TIDEGATE_BASE_LIST_H

#include "gateway/base/util.h"

#include <stdbool.h>

/* Intrusive, circular, doubly linked lists. The entry sits in the object; a head is an entry of its
 * own. An initialised entry that is on no list points at itself, so removing it again is harmless.
 */
struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_before(struct list *at, struct list *e)
{
	e->next = at;
	e->prev = at->prev;
	at->prev->next = e;
	at->prev = e;
}

static inline void list_append(struct list *head, struct list *e)
{
	list_insert_before(head, e);
}

static inline void list_prepend(struct list *head, struct list *e)
{
	list_insert_before(head->next, e);
}

static inline void list_remove(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

/* Moves all entries of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(ptr, type, member)  container_of(ptr, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
#define list_last(head, type, member)  list_entry((head)->prev, type, member)

#define list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
/* The body may remove `pos`, nothing else. */
#define list_for_each_safe(pos, tmp, head)                                                         \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head);                           \
		(pos) = (tmp), (tmp) = (pos)->next)

#endif
