#include "gateway/core/mail.h"
#include "gateway/core/outqueue_parts.h"

#include <assert.h>

/* What is left when the session or the process ends, and what comes back. */

static void count_lost(struct outqueue *q, const struct delivery_list *l)
{
	for (const struct delivery *d = l->first; d; d = d->next) {
		if (d->state != DELIVERY_RELEASED)
			session_drop(q->session, DROP_SESSION_END);
	}
}

static void end_claims(struct outqueue *q, struct delivery_list *l)
{
	for (struct delivery *d = l->first; d; d = d->next)
		mail_end(q, d, R_SUCCESS);
}

void outqueue_end(struct outqueue *q)
{
	count_lost(q, &q->in_flight);
	count_lost(q, &q->queue);
	end_claims(q, &q->in_flight);
	end_claims(q, &q->queue);
}

void outqueue_leave(struct outqueue *q)
{
	for (struct delivery *d = q->in_flight.first; d; d = d->next)
		mail_leave(q, d);
	for (struct delivery *d = q->queue.first; d; d = d->next)
		mail_leave(q, d);
}

void outqueue_give_up(struct outqueue *q)
{
	struct delivery **link = &q->queue.first;
	while (*link) {
		if (!mail_failing(*link)) {
			link = &(*link)->next;
			continue;
		}
		struct delivery *d = outqueue_unqueue(q, link);
		outqueue_let_go(q, d, R_QUOTA);
		session_drop(q->session, DROP_QUEUE_FULL);
	}
}

static struct delivery *restored(struct kept *kept, const struct claim *c, struct message *m)
{
	const struct offer o = { .qos = c->qos, .retain = c->retain, .sub_ids = c->sub_ids };
	struct delivery *d = delivery_new(m, &o, true);
	(void)kept; /* where nothing is asserted */
	if (!d)
		return NULL;
	assert(kept_of(m) == kept);
	d->claimed = true;
	d->packet_id = c->packet_id;
	/* It may have been sent, nobody noted that: a client can tell by the packet id. */
	d->dup = true;
	d->state = c->released ? DELIVERY_RELEASED : DELIVERY_QUEUED;
	return d;
}

static bool id_is_bad(const struct outqueue *q, uint16_t id)
{
	return id == 0 || idmap_get(&q->by_id, id) || (q->mail && mail_has_id(q->mail, id));
}

/* What may have been in flight is so again, and does not give way to anything; the rest of the
 * queue could not have been sent. */
bool outqueue_restore(
	struct outqueue *q, struct kept *kept, const struct claim *c, struct message *m)
{
	bool flies = c->released || (!q->queue.first && q->n_in_flight < q->session->window);
	if (c->qos == 0 || c->qos > 2 || id_is_bad(q, c->packet_id))
		return false;
	if (mail_restore(q) || idmap_reserve(&q->by_id))
		return false;
	struct delivery *d = restored(kept, c, m);
	if (!d)
		return false;
	if (flies) {
		idmap_put(&q->by_id, d->packet_id, delivery_append(&q->in_flight, d));
		q->n_in_flight++;
		q->bytes += delivery_size(d);
		outqueue_make_due(q, d);
	} else {
		outqueue_append(q, d);
		mail_restored(q, d);
	}
	q->session->last_id = d->packet_id;
	delivery_unload(d);
	return true;
}
