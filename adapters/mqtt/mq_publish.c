#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mqtt.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/topic.h"

#include <stdlib.h>

/* A PUBLISH that cannot be made safe now has no answer in MQTT 3.1.1: its PUBACK or PUBREC is
 * withheld, the message is held here and offered again, and the socket is not read meanwhile. With
 * one exception: when a QoS 2 message waits for the window, what makes room is a PUBREL that may
 * lie behind other PUBLISH packets, so reading goes on up to these bounds, the same as those of a
 * session's queue. Whatever is published after a held message waits behind it. */
#define HELD_MAX       1000
#define HELD_MAX_BYTES (256 * 1024)
#define RETRY_MS       500

struct held {
	struct list node;
	struct message *msg; /* counted */
	uint16_t packet_id;
};

static struct count received = COUNT("mqtt.publish_received");
static struct count withheld = COUNT("mqtt.publish_withheld");
static struct count dropped_qos0 = COUNT("mqtt.publish_qos0_dropped");
static struct count unauthorised = COUNT("mqtt.publish_unauthorised");
static struct count failed = COUNT("mqtt.publish_failed");

static struct held *held_first(const struct mq_conn *c)
{
	return list_first(&c->held, struct held, node);
}

static bool held_full(const struct mq_conn *c)
{
	return c->n_held >= HELD_MAX || c->held_bytes >= HELD_MAX_BYTES;
}

bool mq_publish_room(const struct mq_conn *c)
{
	return list_empty(&c->held) || (held_first(c)->msg->qos == 2 && !held_full(c));
}

static bool hold(struct mq_conn *c, struct message *m, uint16_t packet_id)
{
	struct held *h = malloc(sizeof(*h));

	if (!h)
		return false;
	h->msg = message_ref(m);
	h->packet_id = packet_id;
	list_append(&c->held, &h->node);
	c->n_held++;
	c->held_bytes += (uint32_t)message_size(m);
	return true;
}

static void unhold(struct mq_conn *c, struct held *h)
{
	c->n_held--;
	c->held_bytes -= (uint32_t)message_size(h->msg);
	list_remove(&h->node);
	message_unref(h->msg);
	free(h);
}

void mq_publish_clear(struct mq_conn *c)
{
	while (!list_empty(&c->held))
		unhold(c, held_first(c));
}

static void acknowledge(struct mq_conn *c, uint8_t qos, uint16_t packet_id)
{
	if (qos)
		mq_conn_send_ack(c, qos == 1 ? MQ_PUBACK : MQ_PUBREC, packet_id);
	c->unreleased += qos == 2;
}

/* QoS 0 has nothing to be withheld: refused means dropped, and counted. */
static enum reason refused_qos0(struct mq_conn *c, enum reason why)
{
	count_one(&dropped_qos0);
	if (why == R_QUOTA)
		session_drop(c->link.session, DROP_NO_MEMORY);
	return R_SUCCESS;
}

/* R_SUCCESS: over for the adapter; R_BUSY: to be offered again; else the connection ends. */
static enum reason offer(struct mq_conn *c, struct message *m, uint16_t packet_id)
{
	enum reason why = session_publish(c->link.session, m, packet_id, 0);

	if (!reason_failed(why))
		return R_SUCCESS;
	switch (why) {
	case R_NOT_AUTHORIZED:
	case R_TOPIC_INVALID: /* well-formed, it has been checked: not for clients, below '$' */
		/* 3.3.5.2 leaves "acknowledge" or "close"; a client that only lacks a right is
		 * acknowledged, as mosquitto does. */
		count_one(&unauthorised);
		acknowledge(c, m->qos, packet_id);
		return R_SUCCESS;
	case R_PACKET_ID_IN_USE: /* [MQTT-2.3.1-2] */
		return why;
	default:
		return m->qos ? R_BUSY : refused_qos0(c, why);
	}
}

static void log_withheld(const struct mq_conn *c)
{
	static struct log_limit limit = LOG_LIMIT(5, 60000);
	char name[MQ_NAME_MAX];

	log_limited(&limit, LOG_LEVEL_INFO, "%s mqtt: its messages cannot be taken now, not read",
		mq_conn_name(c, name));
}

static enum reason accept_message(struct mq_conn *c, struct message *m, uint16_t packet_id)
{
	bool first = list_empty(&c->held);
	enum reason why = first ? offer(c, m, packet_id) : R_BUSY;

	if (why != R_BUSY)
		return why;
	if (!hold(c, m, packet_id))
		return R_BUSY;
	/* Without reading on, its PUBRELs could never come: it has sent too much unasked. */
	if (!mq_publish_room(c) && held_full(c) && c->unreleased)
		return R_RECEIVE_MAXIMUM;
	if (first) {
		count_one(&withheld);
		log_withheld(c);
		timer_arm(&c->timer, RETRY_MS);
	}
	return R_SUCCESS;
}

enum reason mq_publish_receive(struct mq_conn *c, const struct mq_packet *p)
{
	const struct mq_publish *pub = &p->publish;

	if (!topic_valid_name(pub->topic))
		return R_TOPIC_INVALID;
	if (pub->payload.len > c->mqtt->max_payload_bytes)
		return R_TOO_LARGE;
	struct message *m = message_new(&(struct message_init){
		.topic = pub->topic,
		.payload = pub->payload,
		.qos = pub->qos,
		.retain = pub->retain,
		.origin = c->link.session->who.origin,
	});
	if (!m && pub->qos == 0)
		return refused_qos0(c, R_QUOTA);

	enum reason why = m ? accept_message(c, m, p->packet_id) : R_BUSY;
	message_unref(m);
	if (why == R_BUSY)
		timer_arm(&c->timer, RETRY_MS);
	else
		count_one(&received);
	return why;
}

enum reason mq_publish_released(struct mq_conn *c, const struct mq_packet *p)
{
	session_released(c->link.session, p->packet_id);
	mq_conn_send_ack(c, MQ_PUBCOMP, p->packet_id);
	if (c->unreleased)
		c->unreleased--;
	mq_publish_retry(c);
	return R_SUCCESS;
}

void mq_publish_retry(struct mq_conn *c)
{
	while (!list_empty(&c->held)) {
		struct held *h = held_first(c);
		enum reason why = offer(c, h->msg, h->packet_id);
		if (why == R_BUSY) {
			timer_arm(&c->timer, RETRY_MS);
			return;
		}
		unhold(c, h);
		if (reason_failed(why)) {
			mq_conn_close(c, DETACH_LOST, why);
			return;
		}
	}
}

void mq_publish_done(
	struct link *l, uint16_t packet_id, uint32_t cookie, uint8_t qos, enum reason reason)
{
	struct mq_conn *c = container_of(l, struct mq_conn, link);
	(void)cookie;

	if (!reason_failed(reason) || reason == R_NOT_AUTHORIZED) {
		acknowledge(c, qos, packet_id);
	} else {
		/* The promise could not be kept and 3.1.1 cannot say so. A client that is closed
		 * sends it again; one left waiting would wait for ever. */
		count_one(&failed);
		c->doom = (uint8_t)reason;
		mq_conn_mark(c);
	}
	/* An exchange is over: there may be room for the next. */
	if (!list_empty(&c->held))
		timer_arm(&c->timer, 0);
}
