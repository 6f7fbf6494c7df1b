#include "adapters/mqtt/mq_conn.h"

#include "adapters/mqtt/mq_group.h"
#include "adapters/mqtt/mq_props.h"
#include "adapters/mqtt/mqtt.h"
#include "gateway/core/sub_ids.h"

#include <assert.h>
#include <errno.h>

/* Shorter topics gain nothing: an alias costs three octets itself. */
#define ALIAS_TOPIC_MIN 4

static size_t encode(const struct mq_packet *p, void *buf, size_t size)
{
	struct writer w = writer_of(buf, size);

	mq_encode(&w, p);
	assert(!w.bad);
	return w.len;
}

/* A client of MQTT 5 may take short packets only [MQTT-3.1.2-24]. An explanation can be left out;
 * when the packet itself is too long there is no way to go on. */
void mq_conn_send(struct mq_conn *c, const struct mq_packet *packet)
{
	uint8_t buf[MQ_HEADER_MAX + 2 + MQ_CONNACK_PROPS_MAX + MQ_FILTERS_MAX]; /* SUBACK */
	struct mq_packet p = *packet;

	p.version = c->version;
	size_t len = encode(&p, buf, sizeof(buf));
	if (c->v5 && len > c->v5->max_packet && p.type != MQ_CONNACK) {
		p.props = span_of(NULL, 0);
		len = encode(&p, buf, sizeof(buf));
	}
	c->promises |= p.type == MQ_CONNACK || p.type == MQ_SUBACK || p.type == MQ_UNSUBACK;
	mq_conn_mark(c);
	if (c->v5 && len > c->v5->max_packet) {
		c->doom = R_TOO_LARGE;
		return;
	}
	mq_out_put(&c->out, span_of(buf, len));
	traffic_one(&mq_traffic, TRAFFIC_PACKETS_OUT);
}

void mq_conn_send_ack(struct mq_conn *c, enum mq_type type, uint16_t packet_id)
{
	mq_conn_send(c, &(struct mq_packet){ .type = type, .packet_id = packet_id });
}

void mq_put_reason(const struct mq_conn *c, struct writer *w, enum reason why)
{
	if (reason_failed(why) && c->v5 && c->v5->problem_info)
		mq_put_string(w, MQ_PROP_REASON, span_str(reason_name(why)));
}

uint8_t mq_code(enum mq_type type, enum reason why)
{
	return mq_code_valid(type, MQ_FROM_SERVER, (uint8_t)why) ? (uint8_t)why : R_UNSPECIFIED;
}

void mq_conn_send_reason(struct mq_conn *c, enum mq_type type, uint16_t packet_id, enum reason why)
{
	uint8_t buf[MQ_CONNACK_PROPS_MAX];
	struct writer props = writer_of(buf, sizeof(buf));

	mq_put_reason(c, &props, why);
	mq_conn_send(c, &(struct mq_packet){ .type = type,
				.packet_id = packet_id,
				.code = mq_code(type, why),
				.props = span_of(buf, props.len) });
}

/* A PUBLISH as it is about to be written. */
struct outgoing {
	struct mq_publish pub;
	struct span topic; /* as the client sees it */
	bool mounted;      /* it is a part of the message's topic */
	struct span payload, props;
	uint16_t alias;       /* 0: none */
	uint32_t life_s;      /* with has_life */
	bool has_life, known; /* known: the alias stands for the topic */
	size_t own_props, size;
	uint8_t header[MQ_HEADER_MAX];
	size_t header_size;
};

static size_t ids_size(uint32_t ids)
{
	size_t size = 0, n = sub_ids_count(ids);

	for (size_t i = 0; i < n; i++)
		size += 1 + mq_varint_size(sub_ids_at(ids, i));
	return size;
}

static void put_ids(struct mq_out *out, uint32_t ids)
{
	size_t n = sub_ids_count(ids);

	for (size_t i = 0; i < n; i++) {
		uint8_t buf[1 + 4];
		struct writer w = writer_of(buf, sizeof(buf));
		mq_put_number(&w, MQ_PROP_SUBSCRIPTION_ID, sub_ids_at(ids, i));
		mq_out_put(out, span_of(buf, w.len));
	}
}

static void measure(struct outgoing *o, const struct delivery *d, bool v5)
{
	size_t rest = 2 + (o->known ? 0 : o->topic.len) + o->payload.len;

	if (v5) {
		o->own_props = (o->alias ? 3u : 0u) + (o->has_life ? 5u : 0u) +
			       ids_size(delivery_sub_ids(d));
		size_t props = o->own_props + o->props.len;
		rest += mq_varint_size((uint32_t)props) + props;
	}
	o->header_size = mq_publish_header(o->header, &o->pub, rest);
	o->size = o->header_size + (d->qos ? 2 : 0) + rest;
}

/* MQTT 5.0, 3.3.2.3: what only this client, now, is told with the message. */
static int prepare5(struct mq_conn *c, struct outgoing *o, const struct delivery *d)
{
	const struct message *m = d->msg;
	struct span topic = o->topic;

	o->props = message_props(m);
	o->has_life = m->expires_ms != 0;
	if (o->has_life)
		o->life_s = (uint32_t)MIN(
			MAX(m->expires_ms - clock_ms() + 999, 0) / 1000, (int64_t)UINT32_MAX);
	if (topic.len >= ALIAS_TOPIC_MIN)
		o->alias = mq_aliases_for(&c->v5->out, topic, &o->known);
	measure(o, d, true);
	if (o->size > c->v5->max_packet && o->alias && !o->known) {
		o->alias = 0;
		measure(o, d, true);
	}
	if (o->size > c->v5->max_packet)
		return -EMSGSIZE;
	/* From here on it is sent, so that both sides know the same. */
	if (o->alias && !o->known && mq_aliases_set(&c->v5->out, o->alias, topic) != R_SUCCESS) {
		o->alias = 0;
		measure(o, d, true);
	}
	return 0;
}

static void put_props(struct mq_out *out, const struct outgoing *o, const struct delivery *d)
{
	uint8_t buf[4 + 3 + 5];
	struct writer w = writer_of(buf, sizeof(buf));

	wr_varint(&w, (uint32_t)(o->own_props + o->props.len));
	if (o->alias)
		mq_put_number(&w, MQ_PROP_TOPIC_ALIAS, o->alias);
	if (o->has_life)
		mq_put_number(&w, MQ_PROP_MESSAGE_EXPIRY, o->life_s);
	mq_out_put(out, span_of(buf, w.len));
	put_ids(out, delivery_sub_ids(d));
	mq_out_put(out, o->props);
}

/* False: none of this client's business. */
static bool show_topic(const struct mq_conn *c, const struct message *m, struct span *topic)
{
	const struct scope scope = mq_conn_scope(c);

	return scope_leave(&scope, message_topic(m), topic);
}

/* In a message, the length of its topic stands in front of it. */
static void put_topic(struct mq_out *out, const struct outgoing *o)
{
	uint8_t length[2] = { (uint8_t)(o->topic.len >> 8), (uint8_t)o->topic.len };

	if (o->known) {
		mq_out_put(out, span_of("\0", 2));
	} else if (o->mounted) {
		mq_out_put(out, span_of(length, sizeof(length)));
		mq_out_put(out, o->topic);
	} else {
		mq_out_put(out, span_of(o->topic.p - 2, o->topic.len + 2));
	}
}

int mq_deliver(struct link *l, struct delivery *d)
{
	struct mq_conn *c = container_of(l, struct mq_conn, link);
	struct outgoing o = {
		.pub = { .dup = d->dup, .retain = d->retain, .qos = d->qos },
		.topic = message_topic(d->msg),
		.mounted = c->group->mountpoint,
		.payload = message_payload(d->msg),
	};

	if (c->out.bytes >= MQ_OUT_MAX_BYTES) {
		c->starved = true;
		return -EAGAIN;
	}
	if (o.mounted && !show_topic(c, d->msg, &o.topic))
		return -EPERM;
	if (!c->v5)
		measure(&o, d, false);
	else if (prepare5(c, &o, d) < 0)
		return -EMSGSIZE;
	mq_out_put(&c->out, span_of(o.header, o.header_size));
	put_topic(&c->out, &o);
	if (d->qos) {
		uint8_t id[2] = { (uint8_t)(d->packet_id >> 8), (uint8_t)d->packet_id };
		mq_out_put(&c->out, span_of(id, sizeof(id)));
	}
	if (c->v5)
		put_props(&c->out, &o, d);
	mq_out_share(&c->out, d->msg, o.payload);
	traffic_one(&mq_traffic, TRAFFIC_PACKETS_OUT);
	traffic_one(&mq_traffic, TRAFFIC_PUBLISH_OUT);
	traffic_add(&mq_traffic, TRAFFIC_PAYLOAD_OUT, o.payload.len);
	mq_conn_mark(c);
	return 0;
}

int mq_release(struct link *l, struct delivery *d)
{
	struct mq_conn *c = container_of(l, struct mq_conn, link);

	if (c->out.bytes >= MQ_OUT_STOP_BYTES) {
		c->starved = true;
		return -EAGAIN;
	}
	mq_conn_send_ack(c, MQ_PUBREL, d->packet_id);
	return 0;
}
