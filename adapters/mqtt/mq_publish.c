#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mq_props.h"
#include "adapters/mqtt/mqtt.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/topic.h"

#include <stdlib.h>

/* MQTT 5 can refuse: every QoS 1/2 PUBLISH is answered at once or when it is safe.
 *
 * A PUBLISH that cannot be made safe now has no answer in MQTT 3.1.1: its PUBACK or PUBREC is
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

static struct count withheld = COUNT("mqtt.publish_withheld");
static struct count dropped_qos0 = COUNT("mqtt.publish_qos0_dropped");
static struct count unauthorised = COUNT("mqtt.publish_unauthorised");
static struct count failed = COUNT("mqtt.publish_failed");
static struct count answered = COUNT("mqtt.publish_refused");

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

/* One of the client's exchanges is over: it may start another. */
static void exchange_over(struct mq_conn *c)
{
	if (c->v5 && c->v5->in_flight > -c->v5->receive_max)
		c->v5->in_flight--;
}

/* `why` is for MQTT 5; before, it has been decided that the client is told nothing of it. */
static void acknowledge(struct mq_conn *c, uint8_t qos, uint16_t packet_id, enum reason why)
{
	if (!qos)
		return;
	mq_conn_send_reason(c, qos == 1 ? MQ_PUBACK : MQ_PUBREC, packet_id, why);
	if (qos == 1 || (c->v5 && reason_failed(why)))
		exchange_over(c);
	else
		c->unreleased++;
}

/* QoS 0 has nothing to be withheld: refused means dropped, and counted. */
static enum reason refused_qos0(struct mq_conn *c, enum reason why)
{
	count_one(&dropped_qos0);
	if (why == R_QUOTA)
		session_drop(c->link.session, DROP_NO_MEMORY);
	return R_SUCCESS;
}

/* MQTT 5 has an answer for what is wrong with one message of QoS 1 or 2; else it is the result. */
static enum reason refuse(struct mq_conn *c, uint8_t qos, uint16_t packet_id, enum reason why)
{
	if (!c->v5 || !qos)
		return why;
	count_one(&answered);
	acknowledge(c, qos, packet_id, why);
	return R_SUCCESS;
}

/* 3.3.5.2 leaves "acknowledge" or "close"; a client that only lacks a right is acknowledged, as
 * mosquitto does. */
static enum reason turn_down(struct mq_conn *c, uint8_t qos, uint16_t packet_id, enum reason why)
{
	count_one(&unauthorised);
	acknowledge(c, qos, packet_id, why);
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
		return turn_down(c, m->qos, packet_id, why);
	case R_TOO_LARGE: /* to be retained */
		return refuse(c, m->qos, packet_id, c->v5 ? R_QUOTA : why);
	case R_PACKET_ID_IN_USE: /* [MQTT-2.3.1-2] */
	case R_IMPLEMENTATION:   /* it can never be taken: to offer it again would be of no use */
		return refuse(c, m->qos, packet_id, why);
	default:
		if (m->qos == 0)
			return refused_qos0(c, why);
		return refuse(c, m->qos, packet_id, c->v5 ? why : R_BUSY);
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

bool mq_payload_well_formed(struct span payload, struct span props)
{
	return mq_props_number(props, MQ_PROP_PAYLOAD_FORMAT, 0) == 0 || utf8_well_formed(payload);
}

struct message *mq_message_new(const struct mq_publish *pub, struct span props, uint64_t origin)
{
	struct mq_prop life;
	uint8_t *copy = NULL;
	struct message_init init = {
		.topic = pub->topic,
		.payload = pub->payload,
		.props = props,
		.qos = pub->qos,
		.retain = pub->retain,
		.dup = pub->dup,
		.origin = origin,
	};

	if (mq_props_find(props, MQ_PROP_MESSAGE_EXPIRY, &life))
		init.expires_ms = clock_ms() + (int64_t)life.number * 1000;
	if (!mq_props_all_travel(props)) {
		if (!(copy = malloc(props.len)))
			return NULL;
		struct writer w = writer_of(copy, props.len);
		mq_props_travelling(props, &w);
		init.props = span_of(copy, w.len);
	}
	struct message *m = message_new(&init);
	free(copy);
	return m;
}

/* MQTT 5.0, 3.3.2.3.4. The topic comes from its alias, or gets one. */
static enum reason resolve_alias(struct mq_conn *c, const struct mq_packet *p, struct span *topic)
{
	struct mq_prop alias;

	if (!mq_props_find(p->props, MQ_PROP_TOPIC_ALIAS, &alias))
		return R_SUCCESS;
	if (alias.number == 0 || alias.number > c->v5->in.max)
		return R_TOPIC_ALIAS;
	if (topic->len)
		return mq_aliases_set(&c->v5->in, alias.number, *topic);
	return mq_aliases_get(&c->v5->in, alias.number, topic) ? R_SUCCESS : R_PROTOCOL_ERROR;
}

/* What CONNACK told: MQTT 5.0, 3.3.4 and 4.9. */
static enum reason enter_v5(struct mq_conn *c, const struct mq_packet *p, struct mq_publish *pub)
{
	if (!c->v5)
		return R_SUCCESS;
	if (pub->qos && c->v5->in_flight >= c->v5->receive_max)
		return R_RECEIVE_MAXIMUM;
	c->v5->in_flight += pub->qos > 0;
	return resolve_alias(c, p, &pub->topic);
}

/* What is wrong with the message itself. */
static enum reason check_message(
	const struct mq_conn *c, const struct mq_publish *pub, struct span props)
{
	if (!topic_valid_name(pub->topic))
		return R_TOPIC_INVALID;
	/* MQTT 5: the packet is within what was told, so there is no other word for it. */
	if (pub->payload.len > c->mqtt->max_payload_bytes)
		return c->v5 && pub->qos ? R_QUOTA : R_TOO_LARGE;
	return mq_payload_well_formed(pub->payload, props) ? R_SUCCESS : R_PAYLOAD_FORMAT;
}

/* R_TOPIC_INVALID or R_NOT_AUTHORIZED: not with the rules or the mountpoint; R_QUOTA: no memory. */
static enum reason make_message(
	const struct mq_conn *c, struct mq_publish *pub, struct span props, struct message **m)
{
	const struct scope scope = mq_conn_scope(c);
	uint8_t buf[SCOPE_TEXT_MAX];

	*m = NULL;
	enum reason why = scope_enter(&scope, REWRITE_PUBLISH, pub->topic, buf, &pub->topic);
	if (reason_failed(why))
		return why;
	*m = mq_message_new(pub, props, c->link.session->who.origin);
	return *m ? R_SUCCESS : R_QUOTA;
}

static enum reason receive(struct mq_conn *c, const struct mq_packet *p)
{
	struct mq_publish pub = p->publish;
	struct message *m;

	enum reason why = enter_v5(c, p, &pub);
	if (reason_failed(why))
		return why;
	why = check_message(c, &pub, p->props);
	if (reason_failed(why))
		return refuse(c, pub.qos, p->packet_id, why);
	why = make_message(c, &pub, p->props, &m);
	if (reason_failed(why) && why != R_QUOTA)
		why = turn_down(c, pub.qos, p->packet_id, why);
	else if (!m)
		why = pub.qos ? refuse(c, pub.qos, p->packet_id, c->v5 ? R_QUOTA : R_BUSY)
			      : refused_qos0(c, R_QUOTA);
	else
		why = accept_message(c, m, p->packet_id);
	message_unref(m);
	if (why == R_BUSY)
		timer_arm(&c->timer, RETRY_MS);
	return why;
}

enum reason mq_publish_receive(struct mq_conn *c, const struct mq_packet *p)
{
	enum reason why = receive(c, p);

	if (why != R_BUSY) { /* else it comes here again */
		traffic_one(&mq_traffic, TRAFFIC_PUBLISH_IN);
		traffic_add(&mq_traffic, TRAFFIC_PAYLOAD_IN, p->publish.payload.len);
	}
	return why;
}

enum reason mq_publish_released(struct mq_conn *c, const struct mq_packet *p)
{
	bool known = session_released(c->link.session, p->packet_id);

	mq_conn_send_reason(c, MQ_PUBCOMP, p->packet_id, known ? R_SUCCESS : R_PACKET_ID_UNKNOWN);
	exchange_over(c);
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

	if (!reason_failed(reason) || reason == R_NOT_AUTHORIZED || c->v5) {
		acknowledge(c, qos, packet_id, reason);
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
