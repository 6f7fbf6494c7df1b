#ifndef TIDEGATE_CORE_MAIL_H
#define TIDEGATE_CORE_MAIL_H

#include "gateway/core/delivery.h"
#include "gateway/core/outqueue.h"

/* The mail of a session that is stored: what its queue must not lose over a restart.
 *
 * Each QoS 1 and 2 delivery is a CLAIM_MAIL on its message (keeper.h) under the packet id it is
 * going to have, so that a restart sends it under the same one. It is on stable storage at once,
 * and before the publisher is answered, unless the client is there and mostly acknowledges before
 * that is due. At QoS 2 nothing is sent that a crash would make be sent as something new: PUBLISH
 * waits for the claim, PUBREL for the note that PUBREC came. Beyond the window bodies are left to
 * the keeper and read back when their turn comes.
 *
 * For outqueue.c, to which it belongs. */
struct mail;

/* Whether what is offered is claimed, if there is room for it. Most sessions are not stored, and
 * that is seen without a call. */
bool mail_is_kept(const struct outqueue *q);
static inline bool mail_wanted(const struct outqueue *q, const struct offer *o)
{
	const struct session *s = q->session;
	return o->qos > 0 && (s->number || s->expiry_s || s->stored) && mail_is_kept(q);
}
/* Claims `d`, which joins the queue now and is wanted. 0, or why it cannot be kept: -ENOSPC (the
 * storage or the packet ids), -EIO, -EMSGSIZE, -ENOMEM. */
int mail_claim(struct outqueue *q, struct delivery *d, const struct offer *o,
	const struct receipt *receipt);
/* The same for one that is claimed already: room for its packet id (0 or -ENOMEM), then it. */
int mail_restore(struct outqueue *q);
void mail_restored(struct outqueue *q, struct delivery *d);

/* Packet ids of claimed entries of the queue. */
bool mail_has_id(const struct mail *mail, uint16_t packet_id);
uint32_t mail_ids(const struct mail *mail);
void mail_id_free(struct outqueue *q, uint16_t packet_id); /* it leaves the queue */

/* The claim of `d` ends, if there is one; an entry whose body is on disk only is without any then.
 */
void mail_end_claim(struct outqueue *q, struct delivery *d, enum reason reason);
static inline void mail_end(struct outqueue *q, struct delivery *d, enum reason reason)
{
	if (d->claimed)
		mail_end_claim(q, d, reason);
}
/* It lives on in the storage alone. */
void mail_leave(struct outqueue *q, struct delivery *d);
/* PUBREC came for `d`. */
void mail_released(struct outqueue *q, struct delivery *d);
/* No crash could make it come twice; if not, the queue is pumped when that has changed. */
bool mail_is_safe(const struct outqueue *q, const struct delivery *d);
static inline bool mail_ready(const struct outqueue *q, const struct delivery *d)
{
	return !d->claimed || d->qos < 2 || mail_is_safe(q, d);
}
/* See outqueue_give_up(). */
bool mail_failing(const struct delivery *d);
/* Pumps again in a while. */
void mail_retry(struct outqueue *q);
void mail_free(struct mail *mail); /* NULL is fine; no claims are left */

#endif
