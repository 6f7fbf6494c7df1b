#include "gateway/core/mail.h"

#include "gateway/core/outqueue_parts.h"
#include "gateway/core/session_claims.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_MS 1000 /* after a body could not be read */

struct mail {
	struct claimant claimant;
	struct outqueue *queue; /* borrowed; has this */
	struct timer wake;
	uint64_t owner;   /* session_claims_owner() */
	struct idmap ids; /* of the claimed entries of the queue: struct delivery, borrowed */
	bool failing;     /* the storage has refused a claim for long */
};

static void on_wake(struct timer *t)
{
	struct mail *mail = container_of(t, struct mail, wake);
	bool failing = mail->failing;
	mail->failing = false;
	if (failing)
		outqueue_give_up(mail->queue);
	outqueue_pump(mail->queue);
}

static void on_safe(struct claimant *who, struct kept *kept, const struct claim *c)
{
	struct mail *mail = container_of(who, struct mail, claimant);
	(void)kept;
	if (c->qos < 2)
		return;
	if (c->released)
		outqueue_release(mail->queue, c->packet_id);
	timer_arm(&mail->wake, 0);
}

static void on_failing(struct claimant *who, struct kept *kept, const struct claim *c)
{
	struct mail *mail = container_of(who, struct mail, claimant);
	(void)kept;
	(void)c;
	mail->failing = true;
	timer_arm(&mail->wake, 0);
}

static const struct claimant_ops claimant_ops = { .safe = on_safe, .failing = on_failing };

static struct mail *mail_of(struct outqueue *q)
{
	struct mail *mail = q->mail;
	if (mail || !(mail = calloc(1, sizeof(*mail))))
		return mail;
	mail->claimant.ops = &claimant_ops;
	mail->queue = q;
	mail->owner = session_claims_owner(q->session);
	timer_init(&mail->wake, on_wake);
	return q->mail = mail;
}

void mail_free(struct mail *mail)
{
	if (!mail)
		return;
	timer_disarm(&mail->wake);
	idmap_destroy(&mail->ids);
	free(mail);
}

static struct claim claim_of(const struct outqueue *q, const struct delivery *d)
{
	return (struct claim){
		.kind = CLAIM_MAIL,
		.packet_id = d->packet_id,
		.qos = d->qos,
		.retain = d->retain,
		.released = d->state == DELIVERY_RELEASED,
		.sub_ids = delivery_sub_ids(d),
		.owner = q->mail->owner,
	};
}

static struct keeper *keeper_of(const struct outqueue *q)
{
	return router_keeper(sessions_router(q->session->all));
}

bool mail_is_kept(const struct outqueue *q)
{
	return session_claims_owner(q->session) != 0 && keeper_of(q);
}

/* A client that is there mostly acknowledges soon, and its publisher can wait for that; the
 * upstream cannot, when it waits at all. */
static enum claim_when due(
	const struct outqueue *q, const struct offer *o, const struct receipt *receipt)
{
	const struct session *s = q->session;
	if (o->qos == 2 || !s->link || s->queue_policy)
		return CLAIM_NOW;
	return receipt && o->from->protocol == PROTO_UPSTREAM ? CLAIM_NOW : CLAIM_LATER;
}

int mail_claim(struct outqueue *q, struct delivery *d, const struct offer *o,
	const struct receipt *receipt)
{
	int err;
	if (mail_restore(q) < 0)
		return -ENOMEM;
	d->packet_id = outqueue_free_id(q);
	if (!d->packet_id)
		return -ENOSPC;
	const struct claim c = claim_of(q, d);
	if (!keeper_claim(keeper_of(q), d->msg, &c, &q->mail->claimant, due(q, o, receipt), &err)) {
		d->packet_id = 0;
		return err == -ENOTSUP ? 0 : err;
	}
	d->claimed = true;
	q->session->last_id = d->packet_id;
	mail_restored(q, d);
	return 0;
}

int mail_restore(struct outqueue *q)
{
	struct mail *mail = mail_of(q);
	return mail ? idmap_reserve(&mail->ids) : -ENOMEM;
}

void mail_restored(struct outqueue *q, struct delivery *d)
{
	idmap_put(&q->mail->ids, d->packet_id, d);
}

bool mail_has_id(const struct mail *mail, uint16_t packet_id)
{
	return idmap_get(&mail->ids, packet_id) != NULL;
}

uint32_t mail_ids(const struct mail *mail)
{
	return mail->ids.n;
}

void mail_id_free(struct outqueue *q, uint16_t packet_id)
{
	idmap_take(&q->mail->ids, packet_id);
}

/* It is without the claim, and without a body that is not in memory. */
static struct kept *unclaim(struct delivery *d)
{
	struct kept *kept = delivery_kept(d);
	d->claimed = false;
	if (d->on_disk) {
		d->on_disk = false;
		d->msg = NULL;
	}
	return kept;
}

void mail_end_claim(struct outqueue *q, struct delivery *d, enum reason reason)
{
	const struct claim c = claim_of(q, d);
	kept_end(unclaim(d), &c, reason);
}

void mail_leave(struct outqueue *q, struct delivery *d)
{
	if (!d->claimed)
		return;
	const struct claim c = claim_of(q, d);
	kept_leave(unclaim(d), &c);
}

void mail_released(struct outqueue *q, struct delivery *d)
{
	if (!d->claimed)
		return;
	struct claim c = claim_of(q, d);
	c.released = true;
	kept_change(delivery_kept(d), &c, &q->mail->claimant);
}

bool mail_is_safe(const struct outqueue *q, const struct delivery *d)
{
	const struct claim c = claim_of(q, d);
	return kept_safe(delivery_kept(d), &c);
}

/* One who publishes at QoS 2 waits on: what others have got already would come to them again. */
bool mail_failing(const struct delivery *d)
{
	const struct kept *kept = d->claimed ? delivery_kept(d) : NULL;
	const struct message *m = kept && kept_failing(kept) ? kept_loaded(kept) : NULL;
	return m && m->qos == 1;
}

void mail_retry(struct outqueue *q)
{
	timer_arm(&q->mail->wake, RETRY_MS);
}
