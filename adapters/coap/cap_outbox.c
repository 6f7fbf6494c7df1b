#include "adapters/coap/cap_client.h"

#include "adapters/coap/cap_observe.h"
#include "gateway/base/clock.h"
#include "gateway/core/message.h"

#include <stdlib.h>

static void mark_ready(struct cap_client *c)
{
	if (list_empty(&c->ready) && !c->in_flight)
		list_append(&c->cap->ready, &c->ready);
}

static void note_free(struct cap_client *c, struct cap_note *n)
{
	list_remove(&n->node);
	if (n->observe)
		c->n_queue--;
	if (n->pdu)
		coap_delete_pdu(n->pdu);
	message_unref(n->message);
	free(n);
}

static void drop_oldest(struct cap_client *c)
{
	struct list *e;

	list_for_each(e, &c->queue) {
		struct cap_note *n = list_entry(e, struct cap_note, node);

		if (n->observe) {
			note_free(c, n);
			count_one(&cap_counts.dropped);
			return;
		}
	}
}

bool cap_outbox_notify(struct cap_client *c, struct cap_observe *o, struct message *m, uint8_t qos)
{
	struct cap_note *n = calloc(1, sizeof(*n));

	if (!n) {
		count_one(&cap_counts.dropped);
		return false;
	}
	if (c->n_queue >= c->cap->conf.notify_queue)
		drop_oldest(c);
	n->observe = o;
	n->message = message_ref(m);
	n->qos = qos;
	list_append(&c->queue, &n->node);
	c->n_queue++;
	mark_ready(c);
	return true;
}

bool cap_outbox_answer(struct cap_client *c, coap_pdu_t *pdu)
{
	struct cap_note *n = calloc(1, sizeof(*n));

	if (!n) {
		coap_delete_pdu(pdu);
		return false;
	}
	n->pdu = pdu;
	list_append(&c->queue, &n->node);
	mark_ready(c);
	return true;
}

void cap_outbox_forget(struct cap_client *c, const struct cap_observe *o)
{
	struct list *e, *next;

	if (c->in_flight_observe == o)
		c->in_flight_observe = NULL;
	list_for_each_safe(e, next, &c->queue) {
		struct cap_note *n = list_entry(e, struct cap_note, node);

		if (n->observe == o)
			note_free(c, n);
	}
}

void cap_outbox_clear(struct cap_client *c)
{
	while (!list_empty(&c->queue))
		note_free(c, list_first(&c->queue, struct cap_note, node));
}

/* ---- sending ---- */

static void in_flight(struct cap_client *c, struct cap_observe *o, uint16_t mid)
{
	c->in_flight = true;
	c->in_flight_mid = mid;
	c->in_flight_observe = o;
}

static void send_answer(struct cap_client *c, struct cap_note *n)
{
	uint16_t mid = (uint16_t)coap_pdu_get_mid(n->pdu);
	coap_pdu_t *pdu = n->pdu;

	n->pdu = NULL;
	if (cap_send(c->session, pdu))
		in_flight(c, NULL, mid);
}

/* RFC 7641, 4.5: who gets unconfirmable ones has to be asked now and then whether it still lives.
 */
static bool confirm_now(const struct cap_observe *o, uint8_t qos)
{
	return qos > 0 || o->run + 1 >= CAP_NOTE_CON_RUN ||
	       clock_ms() - o->confirmed_ms >= CAP_NOTE_CON_MS;
}

static void send_notification(struct cap_client *c, struct cap_note *n)
{
	struct cap_observe *o = n->observe;
	bool confirm = confirm_now(o, n->qos);
	uint16_t mid = coap_new_message_id(c->session);
	coap_pdu_t *pdu =
		cap_observe_pdu(o, n->message, confirm ? COAP_MESSAGE_CON : COAP_MESSAGE_NON, mid);

	if (!pdu || !cap_send(c->session, pdu)) {
		count_one(&cap_counts.dropped);
		return;
	}
	count_one(&cap_counts.notified);
	traffic_one(&cap_traffic, TRAFFIC_PUBLISH_OUT);
	traffic_add(&cap_traffic, TRAFFIC_PAYLOAD_OUT, n->message->payload_len);
	if (confirm) {
		o->run = 0;
		in_flight(c, o, mid);
	} else {
		o->run++;
		o->non_mid = mid;
	}
}

/* Returns how many datagrams left. */
static unsigned client_flush(struct cap_client *c, unsigned budget)
{
	unsigned sent = 0;

	while (!c->in_flight && !list_empty(&c->queue) && sent < budget) {
		struct cap_note *n = list_first(&c->queue, struct cap_note, node);

		if (n->pdu)
			send_answer(c, n);
		else if (message_expired(n->message))
			count_one(&cap_counts.dropped);
		else
			send_notification(c, n);
		note_free(c, n);
		sent++;
	}
	return sent;
}

void cap_outbox_flush(struct cap *cap)
{
	unsigned budget = CAP_NOTIFY_BATCH;

	while (!list_empty(&cap->ready) && budget) {
		struct cap_client *c = list_first(&cap->ready, struct cap_client, ready);

		/* One device with a long queue does not keep the others waiting. */
		list_remove(&c->ready);
		budget -= client_flush(c, MIN(budget, 8u));
		if (!list_empty(&c->queue))
			mark_ready(c);
	}
	if (!list_empty(&cap->ready))
		timer_arm(&cap->again, 0);
}

/* ---- what came of it ---- */

/* True when it was the one in flight; *of is the observation it belonged to, if that still is. */
static bool landed(struct cap_client *c, uint16_t mid, struct cap_observe **of)
{
	*of = NULL;
	if (!c->in_flight || c->in_flight_mid != mid)
		return false;
	*of = c->in_flight_observe;
	c->in_flight = false;
	c->in_flight_observe = NULL;
	if (!list_empty(&c->queue))
		mark_ready(c);
	return true;
}

void cap_outbox_acknowledged(struct cap_client *c, uint16_t mid)
{
	struct cap_observe *o;

	if (!landed(c, mid, &o))
		return;
	cap_client_heard(c);
	if (o)
		o->confirmed_ms = clock_ms();
}

void cap_outbox_reset(struct cap_client *c, uint16_t mid)
{
	struct cap_observe *o;

	if (!landed(c, mid, &o))
		o = cap_observe_by_mid(c, mid);
	if (o)
		cap_observe_end(o);
}

void cap_outbox_lost(struct cap_client *c, uint16_t mid)
{
	struct cap_observe *o;

	if (!landed(c, mid, &o))
		return;
	count_one(&cap_counts.lost);
	/* RFC 7641, 4.5: it is taken as gone; the client's other observations are not. */
	if (o)
		cap_observe_end(o);
}
