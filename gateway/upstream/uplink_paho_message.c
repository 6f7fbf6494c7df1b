#include "gateway/upstream/uplink_paho.h"

#include "gateway/core/props.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Messages that come. */

/* What the loop has not yet taken: past SHED, QoS 0 is dropped and counted; past SLOW, we keep Paho
 * from reading on for a moment, and with it the server from sending. */
#define INBOX_SHED    (4u << 20)
#define INBOX_SLOW    (8u << 20)
#define INBOX_WAIT_US 1000
#define INBOX_WAITS   50

#define PROPS_MAX 65536

/* The properties that travel, in wire form. Returns their length; what does not fit poisons `w`. */
static void write_props(struct writer *w, const MQTTProperties *props, uint32_t *expiry_s)
{
	for (int i = 0; i < props->count; i++) {
		const MQTTProperty *from = &props->array[i];
		struct prop to = { .id = (enum prop_id)from->identifier };
		MQTTLenString value = from->value.data;

		switch (from->identifier) {
		case MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL:
			*expiry_s = from->value.integer4 ? from->value.integer4 : 1;
			continue;
		case MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR:
			to.byte = from->value.byte;
			props_write(w, &to);
			continue;
		case MQTTPROPERTY_CODE_USER_PROPERTY:
			to.name = span_of(from->value.data.data, (size_t)from->value.data.len);
			value = from->value.value;
			break;
		case MQTTPROPERTY_CODE_CONTENT_TYPE:
		case MQTTPROPERTY_CODE_RESPONSE_TOPIC:
		case MQTTPROPERTY_CODE_CORRELATION_DATA:
			break;
		default: /* topic alias, subscription identifiers: of this connection only */
			continue;
		}
		to.value = span_of(value.data, (size_t)value.len);
		props_write(w, &to);
	}
}

static size_t props_room(const MQTTProperties *props)
{
	return props->length > 0 && props->length <= PROPS_MAX ? (size_t)props->length : 0;
}

/* Topic and payload copied, room for properties behind them. */
static struct inbound_letter *new_letter(struct span topic, struct span payload, size_t room)
{
	struct inbound_letter *in = malloc(sizeof(*in) + topic.len + payload.len + room);

	if (!in)
		return NULL;
	*in = (struct inbound_letter){ .letter.run = paho_run_message };
	in->size = sizeof(*in) + topic.len + payload.len + room;
	memcpy(in->bytes, topic.p, topic.len);
	if (payload.len)
		memcpy(in->bytes + topic.len, payload.p, payload.len);
	in->msg.topic = span_of(in->bytes, topic.len);
	in->msg.payload = span_of(in->bytes + topic.len, payload.len);
	return in;
}

static struct writer props_writer(struct inbound_letter *in, size_t room)
{
	return writer_of(in->bytes + in->msg.topic.len + in->msg.payload.len, room);
}

static void set_props(struct inbound_letter *in, const struct writer *w)
{
	in->msg.props = w->bad ? span_of(NULL, 0) : span_of(w->p, w->len);
}

static struct inbound_letter *copy_message(struct span topic, const MQTTAsync_message *m)
{
	struct span payload = span_of(m->payload, m->payloadlen > 0 ? (size_t)m->payloadlen : 0);
	size_t room = props_room(&m->properties);
	struct inbound_letter *in = new_letter(topic, payload, room);

	if (!in)
		return NULL;
	struct writer w = props_writer(in, room);
	if (room)
		write_props(&w, &m->properties, &in->msg.expiry_s);
	set_props(in, &w);
	in->msg.qos = (uint8_t)(m->qos & 3);
	in->msg.retain = m->retained;
	in->msg.dup = m->dup;
	return in;
}

/* The same from the wire (MQTT 5.0, 3.3.2.3). */
static void filter_props(struct reader *r, struct writer *w, uint32_t *expiry_s)
{
	while (r->left > 0 && !r->bad) {
		struct prop to = { .id = (enum prop_id)rd_varint(r) };
		switch ((int)to.id) {
		case MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL:
			*expiry_s = rd_u32(r);
			*expiry_s = *expiry_s ? *expiry_s : 1;
			continue;
		case MQTTPROPERTY_CODE_TOPIC_ALIAS:
			rd_u16(r);
			continue;
		case MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER:
			rd_varint(r);
			continue;
		case PROP_PAYLOAD_FORMAT:
			to.byte = rd_u8(r);
			break;
		case PROP_USER:
			to.name = rd_span16(r);
			to.value = rd_span16(r);
			break;
		case PROP_CONTENT_TYPE:
		case PROP_RESPONSE_TOPIC:
		case PROP_CORRELATION_DATA:
			to.value = rd_span16(r);
			break;
		default:
			r->bad = true;
		}
		if (!r->bad)
			props_write(w, &to);
	}
}

/* PUBLISH without its fixed header, which Paho has found well-formed. */
static struct inbound_letter *parse_publish(bool v5, uint8_t header, struct span rest)
{
	struct reader r = reader_of(rest);
	struct span topic = rd_span16(&r);
	uint16_t id = rd_u16(&r);
	struct reader props = reader_of(v5 ? rd_span(&r, rd_varint(&r)) : span_of(NULL, 0));
	size_t room = props.left;
	struct span payload = rd_rest(&r);

	if (r.bad)
		topic = payload = span_of(NULL, 0); /* refused as a bad topic */
	struct inbound_letter *in = new_letter(topic, payload, room);
	if (!in)
		return NULL;
	struct writer w = props_writer(in, room);
	filter_props(&props, &w, &in->msg.expiry_s);
	set_props(in, &w);
	in->msg.packet_id = id;
	in->msg.qos = 2;
	in->msg.retain = header & 0x01;
	in->msg.dup = header & 0x08;
	return in;
}

static size_t inbox_bytes(const void *context)
{
	pthread_mutex_lock(&paho_door);
	struct paho *p = paho_find(context);
	size_t n = p ? p->inbox_bytes : 0;
	pthread_mutex_unlock(&paho_door);
	return n;
}

static void wait_for_room(const void *context)
{
	for (int i = 0; i < INBOX_WAITS && inbox_bytes(context) > INBOX_SLOW; i++)
		usleep(INBOX_WAIT_US);
}

/* Door held. The handle in use, if that is whose it is. */
static struct paho *active_of(const void *context)
{
	struct paho *p = paho_find(context);

	return p && p->active_gen == context_gen(context) &&
			       p->active_handle == (int)context_index(context)
		       ? p
		       : NULL;
}

/* Door held. True: what this message needs here is done, it may be acknowledged. */
static bool wait_for_answer(const void *context)
{
	struct paho *p;

	while ((p = active_of(context)) && p->answer == ANSWER_DUE && !p->stopping)
		pthread_cond_wait(&paho_news, &paho_door);
	return p && p->answer == ANSWER_KEPT;
}

static bool shed(struct paho *p, const struct inbound_letter *in)
{
	if (in->msg.qos > 0 || p->inbox_bytes <= INBOX_SHED)
		return false;
	p->overrun++;
	return true;
}

/* When this returns, Paho acknowledges. */
static void hand_over(const void *context, struct inbound_letter *in)
{
	pthread_mutex_lock(&paho_door);
	struct paho *p = active_of(context);
	bool ask = p && p->ask && in->msg.qos > 0;
	uint16_t port = ask ? p->port : 0;
	bool mine = p && !(ask && p->stopping) && !shed(p, in);
	bool kept = !ask;
	if (mine) {
		if (ask) {
			p->ticket += p->ticket == UINT32_MAX ? 2 : 1;
			p->answer = ANSWER_DUE;
			in->msg.ticket = p->ticket;
		}
		p->inbox_bytes += in->size;
		mailbox_post(p->inbox, &in->letter.mail);
		kept = !ask || wait_for_answer(context);
	}
	pthread_mutex_unlock(&paho_door);
	if (!kept)
		paho_shut(port);
	if (!mine)
		free(in);
}

int paho_on_message(void *context, char *topic, int topic_len, MQTTAsync_message *m)
{
	struct span name = span_of(topic, topic_len > 0 ? (size_t)topic_len : strlen(topic));

	if (m->qos < 2) { /* QoS 2 was told when it came */
		wait_for_room(context);
		struct inbound_letter *in = copy_message(name, m);
		if (!in)
			return 0; /* no memory: Paho keeps it and asks again */
		hand_over(context, in);
	}
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);
	return 1;
}

void paho_on_publish2(void *context, bool v5, uint8_t header, struct span rest)
{
	struct inbound_letter *in;

	wait_for_room(context);
	while (!(in = parse_publish(v5, header, rest)))
		usleep(INBOX_WAIT_US);
	hand_over(context, in);
}

void paho_run_message(struct paho *p, struct letter *l)
{
	struct inbound_letter *in = container_of(l, struct inbound_letter, letter);

	pthread_mutex_lock(&paho_door);
	p->inbox_bytes -= in->size;
	uint64_t overrun = p->overrun;
	p->overrun = 0;
	pthread_mutex_unlock(&paho_door);
	if (overrun && p->events)
		p->events->overrun(p->arg, overrun);
	if (p->events)
		p->events->message(p->arg, &in->msg);
	free(in);
}

static void run_released(struct paho *p, struct letter *l)
{
	struct inbound_letter *in = container_of(l, struct inbound_letter, letter);

	if (p->events)
		p->events->released(p->arg, in->msg.packet_id);
	free(in);
}

void paho_on_pubrel(void *context, uint16_t packet_id)
{
	struct inbound_letter *in = calloc(1, sizeof(*in));

	if (!in)
		return; /* the id stays known; the digest tells what comes under it next */
	in->letter.run = run_released;
	in->msg.packet_id = packet_id;
	pthread_mutex_lock(&paho_door);
	struct paho *p = active_of(context);
	if (p)
		mailbox_post(p->inbox, &in->letter.mail);
	pthread_mutex_unlock(&paho_door);
	if (!p)
		free(in);
}
