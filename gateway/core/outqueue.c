#include "gateway/core/outqueue.h"

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

static void let_go(struct outqueue *q, struct delivery *d)
{
	q->bytes -= message_size(d->msg);
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

static void make_due(struct outqueue *q, struct delivery *d)
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
	let_go(q, d);
}

/* Round robin through 1..65535, past those in use. The window leaves some free. */
static uint16_t free_id(const struct outqueue *q)
{
	uint16_t id = q->session->last_id;
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

static struct delivery *unqueue(struct outqueue *q, struct delivery **link)
{
	q->n_queued--;
	return delivery_take(&q->queue, link);
}

/* The head was sent. */
static void take_off(struct outqueue *q)
{
	struct delivery *d = unqueue(q, &q->queue.first);
	if (!d->qos) {
		let_go(q, d);
		return;
	}
	q->session->last_id = d->packet_id;
	d->state = DELIVERY_SENT;
	idmap_put(&q->by_id, d->packet_id, delivery_append(&q->in_flight, d));
	q->n_in_flight++;
}

static void drop_queued(struct outqueue *q, struct delivery **link, enum drop why)
{
	let_go(q, unqueue(q, link));
	session_drop(q->session, why);
}

static bool too_old(const struct outqueue *q, const struct delivery *d)
{
	const struct queue_policy *policy = q->session->queue_policy;
	return policy && policy->age_ms && delivery_age_ms(d) >= policy->age_ms;
}

/* The head may have become useless while it waited. */
static bool drop_stale_head(struct outqueue *q)
{
	const struct delivery *d = q->queue.first;
	if (!d)
		return false;
	if (message_expired(d->msg))
		drop_queued(q, &q->queue.first, DROP_EXPIRED);
	else if (too_old(q, d))
		drop_queued(q, &q->queue.first, DROP_TOO_OLD);
	else
		return false;
	return true;
}

/* True when the head has gone, one way or another. */
static bool pump_head(struct outqueue *q)
{
	if (drop_stale_head(q))
		return true;
	struct delivery *d = q->queue.first;
	if (!d || (d->qos && outstanding(q) >= q->session->window))
		return false;
	int err = send_queued(q, d);
	if (err == -EAGAIN)
		return false;
	if (err)
		drop_queued(q, &q->queue.first, drop_for(err));
	else
		take_off(q);
	return true;
}

/* Sends one entry in flight again. False: not now. */
static bool send_again(struct outqueue *q, struct delivery *d)
{
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
			drop_queued(q, link, DROP_OFFLINE);
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

static int64_t lower(int64_t all, int64_t own)
{
	return own && (!all || own < all) ? own : all;
}

static int64_t max_messages(const struct outqueue *q)
{
	const struct queue_policy *own = q->session->queue_policy;
	return lower(q->conf->queue_messages, own ? own->messages : 0);
}

static int64_t max_bytes(const struct outqueue *q)
{
	const struct queue_policy *own = q->session->queue_policy;
	return lower(q->conf->queue_bytes, own ? own->bytes : 0);
}

/* Whether so much leaves the queue within `max` (0: no limit). */
static bool within(size_t much, int64_t max)
{
	return !max || much <= (size_t)max;
}

static bool fits(const struct outqueue *q, size_t size)
{
	if (!within(outqueue_length(q) + 1, max_messages(q)))
		return false;
	/* A single message is always taken, whatever its size. */
	return !q->bytes || within(q->bytes + size, max_bytes(q));
}

bool outqueue_room(const struct outqueue *q)
{
	return q->session->link && within(outqueue_length(q) * 2 + 1, max_messages(q)) &&
	       within(q->bytes * 2, max_bytes(q));
}

bool outqueue_ready(const struct outqueue *q, const struct message *m)
{
	return q->session->link && fits(q, message_size(m));
}

static void drop_stale(struct outqueue *q)
{
	while (drop_stale_head(q))
		;
}

static bool give_way(struct outqueue *q, const struct message *incoming)
{
	bool outdated;
	struct delivery **link =
		queue_policy_victim(q->session->queue_policy, &q->queue, incoming, &outdated);
	if (link)
		drop_queued(q, link, outdated ? DROP_OUTDATED : DROP_QUEUE_FULL);
	return link != NULL;
}

static size_t in_flight_bytes(const struct outqueue *q)
{
	size_t bytes = 0;
	for (const struct delivery *d = q->in_flight.first; d; d = d->next)
		bytes += message_size(d->msg);
	return bytes;
}

/* Whether the message would fit if all that can be dropped were; if not, nothing need be. */
static bool could_fit(const struct outqueue *q, size_t size)
{
	return within(q->n_in_flight + 1u, max_messages(q)) &&
	       within(in_flight_bytes(q) + size, max_bytes(q));
}

/* What is stale goes first, then what the policy gives up. */
static bool make_room(struct outqueue *q, const struct message *m)
{
	const struct queue_policy *policy = q->session->queue_policy;
	size_t size = message_size(m);
	if (q->pumping) /* the link holds the head */
		return fits(q, size);
	drop_stale(q);
	if (fits(q, size))
		return true;
	if (!policy || policy->full == QUEUE_NEWEST || !could_fit(q, size))
		return false;
	while (!fits(q, size))
		give_way(q, m);
	return true;
}

static bool within_limits(const struct outqueue *q)
{
	return within(outqueue_length(q), max_messages(q)) && within(q->bytes, max_bytes(q));
}

/* What QUEUE_NEWEST would not have taken: all from the first on that finds no room. */
static void drop_newest(struct outqueue *q)
{
	size_t n = q->n_in_flight, bytes = in_flight_bytes(q);
	struct delivery **link = &q->queue.first;
	for (; *link; link = &(*link)->next) {
		bytes += message_size((*link)->msg);
		if (++n > 1 && !(within(n, max_messages(q)) && within(bytes, max_bytes(q))))
			break;
	}
	while (*link)
		drop_queued(q, link, DROP_QUEUE_FULL);
}

void outqueue_trim(struct outqueue *q)
{
	const struct queue_policy *policy = q->session->queue_policy;
	if (!policy || q->pumping)
		return;
	drop_stale(q);
	if (policy->full == QUEUE_NEWEST)
		drop_newest(q);
	while (!within_limits(q) && outqueue_length(q) > 1 && give_way(q, NULL))
		;
}

static enum reason enqueue(struct outqueue *q, struct message *m, const struct offer *o)
{
	if (!make_room(q, m)) {
		session_drop(q->session, DROP_QUEUE_FULL);
		return R_QUOTA;
	}
	struct delivery *d = delivery_new(m, o);
	if (!d) {
		session_drop(q->session, DROP_NO_MEMORY);
		return R_QUOTA;
	}
	delivery_append(&q->queue, d);
	q->n_queued++;
	q->bytes += message_size(m);
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
	if (!o->qos && !q->queue.first && !q->n_due && !q->pumping) {
		struct delivery_with_ids d;
		int err = send_queued(q, delivery_init(&d, m, o));
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

static void count_lost(struct outqueue *q, const struct delivery_list *l)
{
	for (const struct delivery *d = l->first; d; d = d->next) {
		if (d->state != DELIVERY_RELEASED)
			session_drop(q->session, DROP_SESSION_END);
	}
}

void outqueue_end(struct outqueue *q)
{
	count_lost(q, &q->in_flight);
	count_lost(q, &q->queue);
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
	free(q);
}
