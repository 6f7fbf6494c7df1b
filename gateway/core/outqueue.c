#include "gateway/core/outqueue.h"

#include "gateway/core/mail.h"
#include "gateway/core/outqueue_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct outqueue *outqueue_new(struct session *s, const struct sessions_conf *conf)
{
	struct outqueue *q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->session = s;
	q->conf = conf;
	delivery_list_init(&q->queue);
	delivery_list_init(&q->in_flight);
	return q;
}

/* Sent on this link and not acknowledged. */
static uint32_t outstanding(const struct outqueue *q)
{
	return q->n_in_flight - q->n_due;
}

void outqueue_let_go(struct outqueue *q, struct delivery *d, enum reason reason)
{
	q->bytes -= delivery_size(d);
	mail_end(q, d, reason);
	delivery_free(d);
}

static void set_due(struct outqueue *q, struct delivery *d, bool due)
{
	if (d->due == due)
		return;
	d->due = due;
	if (due)
		q->n_due++;
	else
		q->n_due--;
}

void outqueue_make_due(struct outqueue *q, struct delivery *d)
{
	set_due(q, d, true);
	q->resume = q->in_flight.first;
}

static void land(struct outqueue *q, struct delivery *d)
{
	struct delivery **link = idmap_take(&q->by_id, d->packet_id);
	set_due(q, d, false);
	if (q->resume == d)
		q->resume = d->next;
	delivery_take(&q->in_flight, link);
	if (*link)
		idmap_put(&q->by_id, (*link)->packet_id, link);
	q->n_in_flight--;
	outqueue_let_go(q, d, R_SUCCESS);
}

/* Round robin through 1..65535. */
uint16_t outqueue_free_id(const struct outqueue *q)
{
	const struct mail *mail = q->mail;
	uint16_t id = q->session->last_id;
	if (q->by_id.n + (mail ? mail_ids(mail) : 0) >= UINT16_MAX)
		return 0;
	do {
		id++;
	} while (id == 0 || idmap_get(&q->by_id, id) || (mail && mail_has_id(mail, id)));
	return id;
}

static enum drop drop_for(int err)
{
	switch (err) {
	case -EMSGSIZE:
		return DROP_TOO_LARGE;
	case -ENOMEM:
		return DROP_NO_MEMORY;
	case -ENOENT:
	case -EBADMSG:
		return DROP_UNREADABLE;
	default:
		return DROP_REFUSED;
	}
}

/* One call of the link. The flag keeps a link that answers at once from starting a second pump. */
static int hand_over(struct outqueue *q, struct delivery *d)
{
	struct link *link = q->session->link;
	bool release = d->state == DELIVERY_RELEASED;
	int err = release ? 0 : delivery_load(d);
	if (err == -EAGAIN)
		mail_retry(q);
	if (err)
		return err;
	q->pumping = true;
	err = release ? link->ops->release(link, d) : link->ops->deliver(link, d);
	q->pumping = false;
	return err;
}

/* Sends the head of the queue. 0, or -EAGAIN, or why it can never be sent. */
static int send_queued(struct outqueue *q, struct delivery *d)
{
	if (d->qos) {
		if (idmap_reserve(&q->by_id) != 0)
			return -ENOMEM;
		if (!d->claimed && !(d->packet_id = outqueue_free_id(q)))
			return -EAGAIN;
	}
	int err = hand_over(q, d);
	if (err && !d->claimed)
		d->packet_id = 0;
	if (!err)
		q->session->sent++;
	return err;
}

struct delivery *outqueue_unqueue(struct outqueue *q, struct delivery **link)
{
	q->n_queued--;
	if ((*link)->claimed)
		mail_id_free(q, (*link)->packet_id);
	return delivery_take(&q->queue, link);
}

/* The head was sent. */
static void take_off(struct outqueue *q)
{
	struct delivery *d = outqueue_unqueue(q, &q->queue.first);
	if (!d->qos) {
		outqueue_let_go(q, d, R_SUCCESS);
		return;
	}
	if (!d->claimed)
		q->session->last_id = d->packet_id;
	d->state = DELIVERY_SENT;
	idmap_put(&q->by_id, d->packet_id, delivery_append(&q->in_flight, d));
	q->n_in_flight++;
}

void outqueue_drop(struct outqueue *q, struct delivery **link, enum drop why)
{
	outqueue_let_go(q, outqueue_unqueue(q, link), R_SUCCESS);
	session_drop(q->session, why);
}

static bool too_old(const struct outqueue *q, const struct delivery *d)
{
	const struct queue_policy *policy = q->session->queue_policy;
	return policy && policy->age_ms && delivery_age_ms(d) >= policy->age_ms;
}

/* The head may have become useless while it waited. */
bool outqueue_drop_stale(struct outqueue *q)
{
	const struct delivery *d = q->queue.first;
	if (!d)
		return false;
	if (delivery_expired(d))
		outqueue_drop(q, &q->queue.first, DROP_EXPIRED);
	else if (too_old(q, d))
		outqueue_drop(q, &q->queue.first, DROP_TOO_OLD);
	else
		return false;
	return true;
}

/* True when the head has gone, one way or another. */
static bool pump_head(struct outqueue *q)
{
	if (outqueue_drop_stale(q))
		return true;
	struct delivery *d = q->queue.first;
	if (!d || (d->qos && outstanding(q) >= q->session->window) || !mail_ready(q, d))
		return false;
	int err = send_queued(q, d);
	if (err == -EAGAIN)
		return false;
	if (err)
		outqueue_drop(q, &q->queue.first, drop_for(err));
	else
		take_off(q);
	return true;
}

/* Sends one entry in flight again. False: not now. */
static bool send_again(struct outqueue *q, struct delivery *d)
{
	if (!mail_ready(q, d)) { /* outqueue_release() follows */
		set_due(q, d, false);
		return true;
	}
	if (outstanding(q) >= q->session->window)
		return false;
	int err = hand_over(q, d);
	if (err == -EAGAIN)
		return false;
	if (err && d->state != DELIVERY_RELEASED) {
		land(q, d);
		session_drop(q->session, drop_for(err));
		return true;
	}
	if (d->state == DELIVERY_QUEUED)
		d->state = DELIVERY_SENT;
	set_due(q, d, false);
	return true;
}

/* True when nothing is due any more, so that the queue may go on. */
static bool pump_due(struct outqueue *q)
{
	while (q->n_due && q->session->link) {
		struct delivery *d = q->resume;
		q->resume = d->next;
		if (d->due && !send_again(q, d)) {
			q->resume = d;
			return false;
		}
	}
	return q->n_due == 0;
}

static void drop_qos0(struct outqueue *q)
{
	struct delivery **link = &q->queue.first;
	while (*link) {
		if ((*link)->qos)
			link = &(*link)->next;
		else
			outqueue_drop(q, link, DROP_OFFLINE);
	}
}

void outqueue_pump(struct outqueue *q)
{
	if (q->pumping || !q->session->link || !pump_due(q))
		return;
	while (q->session->link && pump_head(q))
		;
	/* The link went away in the middle: see outqueue_detached(). */
	if (!q->session->link)
		drop_qos0(q);
}

void outqueue_detached(struct outqueue *q)
{
	if (!q->pumping)
		drop_qos0(q);
}

void outqueue_attached(struct outqueue *q)
{
	for (struct delivery *d = q->in_flight.first; d; d = d->next) {
		if (d->state == DELIVERY_SENT) {
			d->state = DELIVERY_QUEUED;
			d->dup = true;
		}
		set_due(q, d, true);
	}
	q->resume = q->in_flight.first;
}

void outqueue_append(struct outqueue *q, struct delivery *d)
{
	delivery_append(&q->queue, d);
	q->n_queued++;
	q->bytes += delivery_size(d);
}

static enum reason enqueue(
	struct outqueue *q, struct message *m, struct offer *o, const struct receipt *receipt)
{
	if (!outqueue_make_room(q, m)) {
		session_drop(q->session, DROP_QUEUE_FULL);
		return R_QUOTA;
	}
	bool wanted = mail_wanted(q, o), far = wanted && q->n_queued >= q->session->window;
	struct delivery *d = delivery_new(m, o, far);
	int err = d ? 0 : -ENOMEM;
	if (d && wanted)
		err = mail_claim(q, d, o, receipt);
	if (err) {
		o->unkept = d != NULL;
		session_drop(q->session, err == -ENOMEM ? DROP_NO_MEMORY : DROP_QUEUE_FULL);
		if (d)
			delivery_free(d);
		return R_QUOTA;
	}
	outqueue_append(q, d);
	if (far && d->claimed)
		delivery_unload(d);
	return R_SUCCESS;
}

static enum reason refuse(struct outqueue *q, enum drop why)
{
	session_drop(q->session, why);
	switch (why) {
	case DROP_TOO_LARGE:
		return R_TOO_LARGE;
	case DROP_REFUSED:
		return R_NOT_AUTHORIZED;
	default:
		return R_UNSPECIFIED;
	}
}

enum reason outqueue_offer(
	struct outqueue *q, struct message *m, struct offer *o, const struct receipt *receipt)
{
	if (!o->qos && !q->session->link)
		return refuse(q, DROP_OFFLINE);
	if (message_expired(m))
		return refuse(q, DROP_EXPIRED);
	/* QoS 0 to a client that keeps up costs no allocation. */
	if (!o->qos && !q->queue.first && !q->n_due && !q->pumping) {
		struct delivery_more d;
		int err = send_queued(q, delivery_init(&d, m, o));
		if (err != -EAGAIN)
			return err ? refuse(q, drop_for(err)) : R_SUCCESS;
	}
	enum reason r = enqueue(q, m, o, receipt);
	if (r == R_SUCCESS && o->qos)
		outqueue_pump(q);
	return r;
}

bool outqueue_acked(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (!d || d->qos != 1)
		return false;
	land(q, d);
	outqueue_pump(q);
	return true;
}

bool outqueue_received(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (!d || d->qos != 2)
		return false;
	if (d->state != DELIVERY_RELEASED)
		mail_released(q, d);
	d->state = DELIVERY_RELEASED;
	/* A repeated PUBREC asks for the PUBREL again. What was not sent on this link yet must not
	 * make the window overflow: its PUBREL waits for its turn. */
	bool now = !d->due && q->session->link && !q->pumping;
	if (mail_ready(q, d) && (!now || hand_over(q, d) != 0))
		outqueue_make_due(q, d);
	outqueue_pump(q);
	return true;
}

void outqueue_release(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (d && d->state == DELIVERY_RELEASED)
		outqueue_make_due(q, d);
}

bool outqueue_completed(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (!d || d->state != DELIVERY_RELEASED)
		return false;
	land(q, d);
	outqueue_pump(q);
	return true;
}

bool outqueue_refused(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (!d || d->state == DELIVERY_RELEASED)
		return false;
	land(q, d);
	session_drop(q->session, DROP_REFUSED);
	outqueue_pump(q);
	return true;
}

bool outqueue_requeue(struct outqueue *q, uint16_t packet_id)
{
	struct delivery *d = outqueue_in_flight(q, packet_id);
	if (!d)
		return false;
	/* After PUBREC the message is never sent again, only PUBREL (MQTT 3.1.1, 4.3.3). */
	if (d->state == DELIVERY_SENT) {
		d->state = DELIVERY_QUEUED;
		d->dup = true;
	}
	outqueue_make_due(q, d);
	return true;
}

static void free_list(struct delivery_list *l)
{
	while (l->first)
		delivery_free(delivery_take(l, &l->first));
}

void outqueue_free(struct outqueue *q)
{
	if (!q)
		return;
	free_list(&q->in_flight);
	free_list(&q->queue);
	idmap_destroy(&q->by_id);
	mail_free(q->mail);
	free(q);
}
