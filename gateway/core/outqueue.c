#include "gateway/core/outqueue.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert(sizeof(struct delivery) <= 32, "one for each message of each session");

struct outqueue *outqueue_new(struct session *s, const struct sessions_conf *conf)
{
	struct outqueue *q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->session = s;
	q->conf = conf;
	list_init(&q->queue);
	list_init(&q->in_flight);
	q->resume = &q->in_flight;
	outqueue_set_window(q, 0);
	return q;
}

void outqueue_set_window(struct outqueue *q, uint16_t window)
{
	uint16_t most = MAX(q->conf->window, 1);
	q->window = window ? MIN(window, most) : most;
}

/* Sent on this link and not acknowledged. */
static uint32_t outstanding(const struct outqueue *q)
{
	return q->n_in_flight - q->n_due;
}

static struct delivery delivery_of(struct message *m, const struct offer *o)
{
	return (struct delivery){
		.msg = m,
		.sub_id = o->sub_id,
		.qos = o->qos,
		.state = DELIVERY_QUEUED,
		.retain = o->retain,
	};
}

static void delivery_free(struct outqueue *q, struct delivery *d)
{
	q->bytes -= message_size(d->msg);
	message_unref(d->msg);
	free(d);
}

static void unqueue(struct outqueue *q, struct delivery *d)
{
	list_remove(&d->node);
	q->n_queued--;
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

static void make_due(struct outqueue *q, struct delivery *d)
{
	set_due(q, d, true);
	q->resume = q->in_flight.next;
}

static void land(struct outqueue *q, struct delivery *d)
{
	set_due(q, d, false);
	idmap_take(&q->by_id, d->packet_id);
	if (q->resume == &d->node)
		q->resume = d->node.next;
	list_remove(&d->node);
	q->n_in_flight--;
	delivery_free(q, d);
}

/* Round robin through 1..65535, past those in use. The window leaves some free. */
static uint16_t free_id(const struct outqueue *q)
{
	uint16_t id = q->last_id;
	do {
		id++;
	} while (id == 0 || idmap_get(&q->by_id, id));
	return id;
}

static enum drop drop_for(int err)
{
	switch (err) {
	case -EMSGSIZE:
		return DROP_TOO_LARGE;
	case -ENOMEM:
		return DROP_NO_MEMORY;
	default:
		return DROP_REFUSED;
	}
}

/* One call of the link. The flag keeps a link that answers at once from starting a second pump. */
static int hand_over(struct outqueue *q, struct delivery *d)
{
	struct link *link = q->session->link;
	bool release = d->state == DELIVERY_RELEASED;
	q->pumping = true;
	int err = release ? link->ops->release(link, d) : link->ops->deliver(link, d);
	q->pumping = false;
	return err;
}

/* Sends the head of the queue. 0, or -EAGAIN, or why it can never be sent. */
static int send_queued(struct outqueue *q, struct delivery *d)
{
	if (d->qos) {
		if (idmap_reserve(&q->by_id) != 0)
			return -ENOMEM;
		d->packet_id = free_id(q);
	}
	int err = hand_over(q, d);
	if (err) {
		d->packet_id = 0;
		return err;
	}
	q->session->sent++;
	return 0;
}

static void take_off(struct outqueue *q, struct delivery *d)
{
	unqueue(q, d);
	if (!d->qos) {
		delivery_free(q, d);
		return;
	}
	q->last_id = d->packet_id;
	d->state = DELIVERY_SENT;
	list_append(&q->in_flight, &d->node);
	q->n_in_flight++;
	idmap_put(&q->by_id, d->packet_id, d);
}

static void drop_queued(struct outqueue *q, struct delivery *d, enum drop why)
{
	unqueue(q, d);
	delivery_free(q, d);
	session_drop(q->session, why);
}

/* True when the head has gone, one way or another. */
static bool pump_head(struct outqueue *q)
{
	if (list_empty(&q->queue))
		return false;
	struct delivery *d = list_first(&q->queue, struct delivery, node);
	if (message_expired(d->msg)) {
		drop_queued(q, d, DROP_EXPIRED);
		return true;
	}
	if (d->qos && outstanding(q) >= q->window)
		return false;
	int err = send_queued(q, d);
	if (err == -EAGAIN)
		return false;
	if (err)
		drop_queued(q, d, drop_for(err));
	else
		take_off(q, d);
	return true;
}

/* Sends one entry in flight again. False: not now. */
static bool send_again(struct outqueue *q, struct delivery *d)
{
	if (outstanding(q) >= q->window)
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
		struct delivery *d = list_entry(q->resume, struct delivery, node);
		q->resume = q->resume->next;
		if (d->due && !send_again(q, d)) {
			q->resume = &d->node;
			return false;
		}
	}
	return q->n_due == 0;
}

static void drop_qos0(struct outqueue *q)
{
	struct list *pos, *tmp;
	list_for_each_safe(pos, tmp, &q->queue) {
		struct delivery *d = list_entry(pos, struct delivery, node);
		if (!d->qos)
			drop_queued(q, d, DROP_OFFLINE);
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
	struct list *pos;
	list_for_each(pos, &q->in_flight) {
		struct delivery *d = list_entry(pos, struct delivery, node);
		if (d->state == DELIVERY_SENT) {
			d->state = DELIVERY_QUEUED;
			d->dup = true;
		}
		set_due(q, d, true);
	}
	q->resume = q->in_flight.next;
}

static bool fits(const struct outqueue *q, size_t size, unsigned share)
{
	const struct sessions_conf *c = q->conf;
	if (c->queue_messages && outqueue_length(q) >= MAX(c->queue_messages / share, 1))
		return false;
	/* A single message is always taken, whatever its size. */
	return !c->queue_bytes || !q->bytes || q->bytes + size <= (size_t)c->queue_bytes / share;
}

bool outqueue_room(const struct outqueue *q)
{
	return q->session->link && fits(q, 0, 2);
}

static void drop_stale_head(struct outqueue *q)
{
	while (!list_empty(&q->queue)) {
		struct delivery *d = list_first(&q->queue, struct delivery, node);
		if (!message_expired(d->msg))
			return;
		drop_queued(q, d, DROP_EXPIRED);
	}
}

static enum reason enqueue(struct outqueue *q, struct message *m, const struct offer *o)
{
	size_t size = message_size(m);
	if (!fits(q, size, 1) && !q->pumping)
		drop_stale_head(q);
	if (!fits(q, size, 1)) {
		session_drop(q->session, DROP_QUEUE_FULL);
		return R_QUOTA;
	}
	struct delivery *d = malloc(sizeof(*d));
	if (!d) {
		session_drop(q->session, DROP_NO_MEMORY);
		return R_QUOTA;
	}
	*d = delivery_of(message_ref(m), o);
	list_append(&q->queue, &d->node);
	q->n_queued++;
	q->bytes += size;
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

enum reason outqueue_offer(struct outqueue *q, struct message *m, const struct offer *o)
{
	if (!o->qos && !q->session->link)
		return refuse(q, DROP_OFFLINE);
	if (message_expired(m))
		return refuse(q, DROP_EXPIRED);
	/* QoS 0 to a client that keeps up costs no allocation. */
	if (!o->qos && list_empty(&q->queue) && !q->n_due && !q->pumping) {
		struct delivery d = delivery_of(m, o);
		int err = send_queued(q, &d);
		if (err != -EAGAIN)
			return err ? refuse(q, drop_for(err)) : R_SUCCESS;
	}
	enum reason r = enqueue(q, m, o);
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
	d->state = DELIVERY_RELEASED;
	/* A repeated PUBREC asks for the PUBREL again. What was not sent on this link yet must not
	 * make the window overflow: its PUBREL waits for its turn. */
	bool now = !d->due && q->session->link && !q->pumping;
	if (!now || hand_over(q, d) != 0)
		make_due(q, d);
	outqueue_pump(q);
	return true;
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
	make_due(q, d);
	return true;
}

static void count_lost(struct outqueue *q, struct list *l)
{
	struct list *pos;
	list_for_each(pos, l) {
		if (list_entry(pos, struct delivery, node)->state != DELIVERY_RELEASED)
			session_drop(q->session, DROP_SESSION_END);
	}
}

void outqueue_end(struct outqueue *q)
{
	count_lost(q, &q->in_flight);
	count_lost(q, &q->queue);
}

static void free_list(struct outqueue *q, struct list *l)
{
	while (!list_empty(l)) {
		struct delivery *d = list_first(l, struct delivery, node);
		list_remove(&d->node);
		delivery_free(q, d);
	}
}

void outqueue_free(struct outqueue *q)
{
	if (!q)
		return;
	free_list(q, &q->in_flight);
	free_list(q, &q->queue);
	idmap_destroy(&q->by_id);
	free(q);
}
