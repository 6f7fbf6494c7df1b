#include "adapters/mqtt/mq_props.h"

#include "adapters/mqtt/mq_codec.h"
#include "gateway/core/topic.h"

enum prop_type { /* 2.2.2.2; 0: there is no such identifier */
	TYPE_BYTE = 1,
	TYPE_TWO,
	TYPE_FOUR,
	TYPE_VARINT,
	TYPE_STRING,
	TYPE_BINARY,
	TYPE_PAIR,
};

/* A row of table 2.4. */
struct prop_row {
	uint8_t type;
	bool travels;         /* with the message, to its subscribers */
	uint32_t client;      /* packets of a client in which it may stand: bits by mq_type */
	uint32_t server;      /* ... of a server */
	uint32_t least, most; /* of a number; most 0: no limit */
	uint32_t repeats;     /* packets in which it may stand more than once */
};

#define IN(type) (1u << (type))

enum {
	IN_WILL = IN(MQ_PROPS_OF_WILL),
	IN_MESSAGE = IN_WILL | IN(MQ_PUBLISH),
	IN_ACKS = IN(MQ_PUBACK) | IN(MQ_PUBREC) | IN(MQ_PUBREL) | IN(MQ_PUBCOMP),
	IN_CLIENTS = IN_MESSAGE | IN_ACKS | IN(MQ_CONNECT) | IN(MQ_SUBSCRIBE) | IN(MQ_UNSUBSCRIBE) |
		     IN(MQ_DISCONNECT) | IN(MQ_AUTH),
	IN_SERVERS = IN(MQ_PUBLISH) | IN_ACKS | IN(MQ_CONNACK) | IN(MQ_SUBACK) | IN(MQ_UNSUBACK) |
		     IN(MQ_DISCONNECT) | IN(MQ_AUTH),
};

#define VARINT_MAX 268435455u

static const struct prop_row prop_rows[MQ_PROPS] = {
	[MQ_PROP_PAYLOAD_FORMAT] = { TYPE_BYTE, true, IN_MESSAGE, IN(MQ_PUBLISH), 0, 1, 0 },
	[MQ_PROP_MESSAGE_EXPIRY] = { TYPE_FOUR, false, IN_MESSAGE, IN(MQ_PUBLISH), 0, 0, 0 },
	[MQ_PROP_CONTENT_TYPE] = { TYPE_STRING, true, IN_MESSAGE, IN(MQ_PUBLISH), 0, 0, 0 },
	[MQ_PROP_RESPONSE_TOPIC] = { TYPE_STRING, true, IN_MESSAGE, IN(MQ_PUBLISH), 0, 0, 0 },
	[MQ_PROP_CORRELATION_DATA] = { TYPE_BINARY, true, IN_MESSAGE, IN(MQ_PUBLISH), 0, 0, 0 },
	/* In a client's PUBLISH it is no malformed packet but a protocol error [MQTT-3.3.4-6]. */
	[MQ_PROP_SUBSCRIPTION_ID] = { TYPE_VARINT, false, IN(MQ_SUBSCRIBE) | IN(MQ_PUBLISH),
		IN(MQ_PUBLISH), 1, VARINT_MAX, IN(MQ_PUBLISH) },
	[MQ_PROP_SESSION_EXPIRY] = { TYPE_FOUR, false, IN(MQ_CONNECT) | IN(MQ_DISCONNECT),
		IN(MQ_CONNACK) | IN(MQ_DISCONNECT), 0, 0, 0 },
	[MQ_PROP_ASSIGNED_CLIENT_ID] = { TYPE_STRING, false, 0, IN(MQ_CONNACK), 0, 0, 0 },
	[MQ_PROP_SERVER_KEEP_ALIVE] = { TYPE_TWO, false, 0, IN(MQ_CONNACK), 0, 0, 0 },
	[MQ_PROP_AUTH_METHOD] = { TYPE_STRING, false, IN(MQ_CONNECT) | IN(MQ_AUTH),
		IN(MQ_CONNACK) | IN(MQ_AUTH), 0, 0, 0 },
	[MQ_PROP_AUTH_DATA] = { TYPE_BINARY, false, IN(MQ_CONNECT) | IN(MQ_AUTH),
		IN(MQ_CONNACK) | IN(MQ_AUTH), 0, 0, 0 },
	[MQ_PROP_REQUEST_PROBLEM] = { TYPE_BYTE, false, IN(MQ_CONNECT), 0, 0, 1, 0 },
	[MQ_PROP_WILL_DELAY] = { TYPE_FOUR, false, IN_WILL, 0, 0, 0, 0 },
	[MQ_PROP_REQUEST_RESPONSE] = { TYPE_BYTE, false, IN(MQ_CONNECT), 0, 0, 1, 0 },
	[MQ_PROP_RESPONSE_INFO] = { TYPE_STRING, false, 0, IN(MQ_CONNACK), 0, 0, 0 },
	[MQ_PROP_SERVER_REFERENCE] = { TYPE_STRING, false, 0, IN(MQ_CONNACK) | IN(MQ_DISCONNECT), 0,
		0, 0 },
	[MQ_PROP_REASON] = { TYPE_STRING, false, IN_ACKS | IN(MQ_DISCONNECT) | IN(MQ_AUTH),
		IN_SERVERS & ~IN(MQ_PUBLISH), 0, 0, 0 },
	[MQ_PROP_RECEIVE_MAXIMUM] = { TYPE_TWO, false, IN(MQ_CONNECT), IN(MQ_CONNACK), 1, 0, 0 },
	[MQ_PROP_TOPIC_ALIAS_MAXIMUM] = { TYPE_TWO, false, IN(MQ_CONNECT), IN(MQ_CONNACK), 0, 0,
		0 },
	[MQ_PROP_TOPIC_ALIAS] = { TYPE_TWO, false, IN(MQ_PUBLISH), IN(MQ_PUBLISH), 0, 0, 0 },
	[MQ_PROP_MAXIMUM_QOS] = { TYPE_BYTE, false, 0, IN(MQ_CONNACK), 0, 1, 0 },
	[MQ_PROP_RETAIN_AVAILABLE] = { TYPE_BYTE, false, 0, IN(MQ_CONNACK), 0, 1, 0 },
	[MQ_PROP_USER] = { TYPE_PAIR, true, IN_CLIENTS, IN_SERVERS, 0, 0, IN_CLIENTS | IN_SERVERS },
	[MQ_PROP_MAXIMUM_PACKET_SIZE] = { TYPE_FOUR, false, IN(MQ_CONNECT), IN(MQ_CONNACK), 1, 0,
		0 },
	[MQ_PROP_WILDCARD_AVAILABLE] = { TYPE_BYTE, false, 0, IN(MQ_CONNACK), 0, 1, 0 },
	[MQ_PROP_SUBSCRIPTION_ID_AVAILABLE] = { TYPE_BYTE, false, 0, IN(MQ_CONNACK), 0, 1, 0 },
	[MQ_PROP_SHARED_AVAILABLE] = { TYPE_BYTE, false, 0, IN(MQ_CONNACK), 0, 1, 0 },
};

static const struct prop_row *row_of(uint8_t id)
{
	return id < MQ_PROPS && prop_rows[id].type ? &prop_rows[id] : NULL;
}

bool mq_props_next(struct reader *r, struct mq_prop *p)
{
	if (r->bad || r->left == 0)
		return false;
	*p = (struct mq_prop){ .id = rd_u8(r) };
	const struct prop_row *row = row_of(p->id);
	switch (row ? row->type : 0) {
	case TYPE_BYTE:
		p->number = rd_u8(r);
		break;
	case TYPE_TWO:
		p->number = rd_u16(r);
		break;
	case TYPE_FOUR:
		p->number = rd_u32(r);
		break;
	case TYPE_VARINT:
		p->number = rd_varint(r);
		break;
	case TYPE_PAIR:
		p->name = rd_span16(r);
		p->value = rd_span16(r);
		break;
	case TYPE_STRING:
	case TYPE_BINARY:
		p->value = rd_span16(r);
		break;
	default:
		r->bad = true;
	}
	return !r->bad;
}

static enum reason check_value(const struct mq_prop *p, const struct prop_row *row)
{
	if (row->type == TYPE_PAIR && !utf8_valid(p->name))
		return R_MALFORMED;
	if ((row->type == TYPE_PAIR || row->type == TYPE_STRING) && !utf8_valid(p->value))
		return R_MALFORMED;
	/* [MQTT-3.3.2-14]: a name to publish to */
	if (p->id == MQ_PROP_RESPONSE_TOPIC && (!p->value.len || topic_has_wildcard(p->value)))
		return R_PROTOCOL_ERROR;
	if (p->number < row->least || (row->most && p->number > row->most))
		return R_PROTOCOL_ERROR;
	return R_SUCCESS;
}

enum reason mq_props_check(struct span props, unsigned where, unsigned side)
{
	struct reader r = reader_of(props);
	struct mq_prop p;
	uint64_t seen = 0; /* bits by identifier; all are below 64 */

	while (mq_props_next(&r, &p)) {
		const struct prop_row *row = &prop_rows[p.id];
		uint64_t bit = (uint64_t)1 << p.id;
		if (!((side == MQ_FROM_CLIENT ? row->client : row->server) & IN(where)))
			return R_MALFORMED;
		enum reason why = check_value(&p, row);
		if (reason_failed(why))
			return why;
		if ((seen & bit) && !(row->repeats & IN(where)))
			return R_PROTOCOL_ERROR;
		seen |= bit;
	}
	if (r.bad)
		return R_MALFORMED;
	if (where == MQ_PUBLISH && side == MQ_FROM_CLIENT &&
		seen & (uint64_t)1 << MQ_PROP_SUBSCRIPTION_ID)
		return R_PROTOCOL_ERROR;
	/* 3.1.2.11.10: no data without a method */
	if (seen & (uint64_t)1 << MQ_PROP_AUTH_DATA && !(seen & (uint64_t)1 << MQ_PROP_AUTH_METHOD))
		return R_PROTOCOL_ERROR;
	return R_SUCCESS;
}

bool mq_props_find(struct span props, enum mq_prop_id id, struct mq_prop *out)
{
	struct reader r = reader_of(props);

	while (mq_props_next(&r, out))
		if (out->id == id)
			return true;
	return false;
}

uint32_t mq_props_number(struct span props, enum mq_prop_id id, uint32_t absent)
{
	struct mq_prop p;

	return mq_props_find(props, id, &p) ? p.number : absent;
}

struct span mq_props_string(struct span props, enum mq_prop_id id)
{
	struct mq_prop p;

	return mq_props_find(props, id, &p) ? p.value : span_of(NULL, 0);
}

void mq_put_number(struct writer *w, enum mq_prop_id id, uint32_t value)
{
	wr_u8(w, (uint8_t)id);
	switch (prop_rows[id].type) {
	case TYPE_BYTE:
		wr_u8(w, (uint8_t)value);
		break;
	case TYPE_TWO:
		wr_u16(w, (uint16_t)value);
		break;
	case TYPE_FOUR:
		wr_u32(w, value);
		break;
	default:
		wr_varint(w, value);
	}
}

void mq_put_string(struct writer *w, enum mq_prop_id id, struct span value)
{
	wr_u8(w, (uint8_t)id);
	wr_span16(w, value);
}

void mq_put_user(struct writer *w, struct span name, struct span value)
{
	wr_u8(w, MQ_PROP_USER);
	wr_span16(w, name);
	wr_span16(w, value);
}

bool mq_props_all_travel(struct span props)
{
	struct reader r = reader_of(props);
	struct mq_prop p;

	while (mq_props_next(&r, &p))
		if (!prop_rows[p.id].travels)
			return false;
	return true;
}

void mq_props_travelling(struct span props, struct writer *w)
{
	struct reader r = reader_of(props);
	struct mq_prop p;

	for (const uint8_t *from = r.p; mq_props_next(&r, &p); from = r.p)
		if (prop_rows[p.id].travels)
			wr_bytes(w, from, (size_t)(r.p - from));
}
