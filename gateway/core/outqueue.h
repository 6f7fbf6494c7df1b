#ifndef TIDEGATE_CORE_OUTQUEUE_H
#define TIDEGATE_CORE_OUTQUEUE_H

#include "gateway/core/idmap.h"
#include "gateway/core/session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What waits for one client and what is on its way to it.
 *
 *   offer -> queue (QUEUED) -> in flight (SENT, RELEASED) -> acknowledged
 *
 * Strictly first in, first out: a new message never passes a non-empty queue, at QoS 0 neither.
 * What is in flight keeps its place and packet id until it is acknowledged; entries that must go
 * out (again) on the present link are `due` and precede the queue. What was sent on this link and
 * is not acknowledged never exceeds the window, also after the window shrank (MQTT 5.0, 4.9). */
struct outqueue {
	struct session *session;          /* borrowed; has the window, the policy and the last id */
	const struct sessions_conf *conf; /* borrowed; the limits, read anew each time */
	struct delivery_list queue;       /* owned */
	struct delivery_list in_flight;   /* owned; in the order of first sending */
	struct delivery *resume; /* nothing before this entry of in_flight is due; NULL: nothing */
	struct idmap by_id;      /* of all in flight the link (struct delivery **) */
	struct mail *mail;       /* owned; NULL: nothing was ever claimed, see mail.h */
	size_t bytes;            /* message_size() of all held */
	uint32_t n_queued, n_in_flight, n_due;
	bool pumping; /* inside a call of the link */
};

/* NULL: no memory. */
struct outqueue *outqueue_new(struct session *s, const struct sessions_conf *conf);
/* Everything left is dropped and counted; the memory stays until outqueue_free(). */
void outqueue_end(struct outqueue *q);
/* The process ends, the session lives on in the storage: so does its mail. To be followed by
 * outqueue_free(). */
void outqueue_leave(struct outqueue *q);
void outqueue_free(struct outqueue *q); /* NULL is fine */

/* There is another policy: what it does not leave room for is dropped and counted. */
void outqueue_trim(struct outqueue *q);

/* For subscriber_ops.offer: keeps or sends the message. R_SUCCESS, or why not, counted: R_QUOTA
 * (full, no memory), R_TOO_LARGE or R_NOT_AUTHORIZED (the link cannot or may not have it),
 * R_UNSPECIFIED (QoS 0 for a client that is away, or stale). */
enum reason outqueue_offer(
	struct outqueue *q, struct message *m, struct offer *o, const struct receipt *receipt);
/* A CLAIM_MAIL of the last run, in the order in which they were stored. It is to be sent (again)
 * under its packet id, or its PUBREL is. False: of no use. */
bool outqueue_restore(
	struct outqueue *q, struct kept *kept, const struct claim *c, struct message *m);
/* Attached and less than half full. */
bool outqueue_room(const struct outqueue *q);
/* Attached, and nothing has to give way to the message. */
bool outqueue_ready(const struct outqueue *q, const struct message *m);

/* The session has a new link: all that is in flight is due again. Sends nothing yet. */
void outqueue_attached(struct outqueue *q);
/* The link has gone: QoS 0 messages that waited for it are dropped. */
void outqueue_detached(struct outqueue *q);
/* Sends what can be sent. Nothing while detached, or from inside a call of the link. */
void outqueue_pump(struct outqueue *q);

/* See session_acked() and the like. */
bool outqueue_acked(struct outqueue *q, uint16_t packet_id);
bool outqueue_received(struct outqueue *q, uint16_t packet_id);
bool outqueue_completed(struct outqueue *q, uint16_t packet_id);
bool outqueue_refused(struct outqueue *q, uint16_t packet_id);
bool outqueue_requeue(struct outqueue *q, uint16_t packet_id);

static inline struct delivery *outqueue_in_flight(const struct outqueue *q, uint16_t packet_id)
{
	struct delivery **link = idmap_get(&q->by_id, packet_id);
	return link ? *link : NULL;
}

static inline size_t outqueue_length(const struct outqueue *q)
{
	return (size_t)q->n_queued + q->n_in_flight;
}

#endif
