#ifndef TIDEGATE_CORE_DELIVERY_H
#define TIDEGATE_CORE_DELIVERY_H

#include "gateway/base/clock.h"
#include "gateway/core/keeper.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"

#include <stdbool.h>
#include <stdint.h>

/* One message on its way to one session. */
enum delivery_state {
	DELIVERY_QUEUED,
	DELIVERY_SENT,
	DELIVERY_RELEASED /* PUBREC came, PUBREL is due */
};

/* There is one for each message of each session: with the eight octets that malloc() adds it takes
 * 32. */
struct delivery {
	struct delivery *next; /* the list's */
	union {
		struct message *msg; /* counted; what a link delivers always has it */
		struct kept *kept;   /* on_disk: borrowed */
	};
	uint32_t queued_ticks; /* DELIVERY_TICK_MS of the clock when it was taken */
	uint16_t packet_id;    /* 0 at QoS 0, and in the queue unless it is claimed */
	uint8_t qos : 2;
	uint8_t state : 2; /* enum delivery_state */
	bool dup : 1;
	bool retain : 1;
	bool due : 1;      /* the queue's: in flight, but still to be sent (again) on this link */
	bool has_more : 1; /* is a struct delivery_more */
	bool claimed : 1;  /* it has a CLAIM_MAIL on its message, see mail.h */
	bool on_disk : 1;  /* claimed, and the body may be there alone */
};
#define DELIVERY_TICK_MS 64
_Static_assert(sizeof(struct delivery) <= 24, "a further reference to a message takes 32 octets");

/* Few have subscription identifiers, or need not have their body in memory. */
struct delivery_more {
	struct delivery delivery;
	uint32_t sub_ids;    /* counted, see sub_ids.h */
	uint64_t topic_hash; /* on_disk: delivery_topic_hash() */
};

/* Of the content of an offer, but without a reference to the message or the identifiers: good
 * during the offer. Returns d->delivery. */
struct delivery *delivery_init(struct delivery_more *d, struct message *m, const struct offer *o);
/* Takes references. `unloads`: delivery_unload() may follow. NULL: no memory. */
struct delivery *delivery_new(struct message *m, const struct offer *o, bool unloads);
/* Its claim has ended. */
void delivery_free(struct delivery *d);

/* Lets go of the body of a claimed one. */
void delivery_unload(struct delivery *d);
/* Reads it back if it must be. 0; -EAGAIN: not now; another negative errno: it is lost. */
int delivery_load(struct delivery *d);

static inline struct kept *delivery_kept(const struct delivery *d)
{
	return d->on_disk ? d->kept : kept_of(d->msg);
}

static inline size_t delivery_size(const struct delivery *d)
{
	return d->on_disk ? kept_size(d->kept) : message_size(d->msg);
}

static inline bool delivery_expired(const struct delivery *d)
{
	return d->on_disk ? kept_expired(d->kept) : message_expired(d->msg);
}

uint64_t topic_hash(const struct message *m);
uint64_t delivery_topic_hash(const struct delivery *d);

static inline uint32_t delivery_sub_ids(const struct delivery *d)
{
	return d->has_more ? container_of(d, const struct delivery_more, delivery)->sub_ids : 0;
}

static inline int64_t delivery_age_ms(const struct delivery *d)
{
	return clock_ms() - d->queued_ticks * (int64_t)DELIVERY_TICK_MS;
}

/* Deliveries in order, linked one way: half of what a struct list would cost each of them. An entry
 * is named by the link that leads to it, which is in the entry before or in the head; so it can be
 * taken out of the middle at once. Appending, and taking out others than the entry itself and its
 * predecessor, leaves a link good. */
struct delivery_list {
	struct delivery *first; /* owned; NULL: empty */
	struct delivery **end;  /* the link at which the next one will hang */
};

static inline void delivery_list_init(struct delivery_list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

/* Returns its link. */
static inline struct delivery **delivery_append(struct delivery_list *l, struct delivery *d)
{
	struct delivery **link = l->end;
	d->next = NULL;
	*link = d;
	l->end = &d->next;
	return link;
}

/* Takes out *link and returns it; from then on the link leads to what came behind it, and of all
 * links only that one's has changed. */
static inline struct delivery *delivery_take(struct delivery_list *l, struct delivery **link)
{
	struct delivery *d = *link;
	*link = d->next;
	if (!d->next)
		l->end = link;
	return d;
}

#endif
