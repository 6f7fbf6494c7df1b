#include "adapters/mqttsn/sn_codec.h"

#include "gateway/base/wire.h"

#include <errno.h>
#include <string.h>

/* What a message is made of, behind length and type (5.4). Decoder and encoder walk the same row,
 * so they cannot disagree. */
enum field {
	F_END, /* nothing more */
	F_FLAGS,
	F_FLAGS_OPTIONAL, /* the message may end here, and then `present` is false */
	F_DURATION,
	F_DURATION_OPTIONAL,
	F_GW_ID,
	F_RADIUS,
	F_PROTOCOL_ID,
	F_TOPIC_ID,
	F_MSG_ID,
	F_RETURN_CODE,
	F_CTRL,
	F_DATA,          /* all that is left, may be empty */
	F_TOPIC_OR_NAME, /* a name, or exactly two octets of topic id, as the flags say */
};

#define FIELDS_MAX 4

struct layout {
	const char *name; /* NULL: reserved */
	uint8_t fields[FIELDS_MAX];
};

static const struct layout layouts[256] = {
	[SN_ADVERTISE] = { "ADVERTISE", { F_GW_ID, F_DURATION } },
	[SN_SEARCHGW] = { "SEARCHGW", { F_RADIUS } },
	[SN_GWINFO] = { "GWINFO", { F_GW_ID, F_DATA } },
	[SN_CONNECT] = { "CONNECT", { F_FLAGS, F_PROTOCOL_ID, F_DURATION, F_DATA } },
	[SN_CONNACK] = { "CONNACK", { F_RETURN_CODE } },
	[SN_WILLTOPICREQ] = { "WILLTOPICREQ", { F_END } },
	[SN_WILLTOPIC] = { "WILLTOPIC", { F_FLAGS_OPTIONAL, F_DATA } },
	[SN_WILLMSGREQ] = { "WILLMSGREQ", { F_END } },
	[SN_WILLMSG] = { "WILLMSG", { F_DATA } },
	[SN_REGISTER] = { "REGISTER", { F_TOPIC_ID, F_MSG_ID, F_DATA } },
	[SN_REGACK] = { "REGACK", { F_TOPIC_ID, F_MSG_ID, F_RETURN_CODE } },
	[SN_PUBLISH] = { "PUBLISH", { F_FLAGS, F_TOPIC_ID, F_MSG_ID, F_DATA } },
	[SN_PUBACK] = { "PUBACK", { F_TOPIC_ID, F_MSG_ID, F_RETURN_CODE } },
	[SN_PUBCOMP] = { "PUBCOMP", { F_MSG_ID } },
	[SN_PUBREC] = { "PUBREC", { F_MSG_ID } },
	[SN_PUBREL] = { "PUBREL", { F_MSG_ID } },
	[SN_SUBSCRIBE] = { "SUBSCRIBE", { F_FLAGS, F_MSG_ID, F_TOPIC_OR_NAME } },
	[SN_SUBACK] = { "SUBACK", { F_FLAGS, F_TOPIC_ID, F_MSG_ID, F_RETURN_CODE } },
	[SN_UNSUBSCRIBE] = { "UNSUBSCRIBE", { F_FLAGS, F_MSG_ID, F_TOPIC_OR_NAME } },
	[SN_UNSUBACK] = { "UNSUBACK", { F_MSG_ID } },
	[SN_PINGREQ] = { "PINGREQ", { F_DATA } },
	[SN_PINGRESP] = { "PINGRESP", { F_END } },
	[SN_DISCONNECT] = { "DISCONNECT", { F_DURATION_OPTIONAL } },
	[SN_WILLTOPICUPD] = { "WILLTOPICUPD", { F_FLAGS_OPTIONAL, F_DATA } },
	[SN_WILLTOPICRESP] = { "WILLTOPICRESP", { F_RETURN_CODE } },
	[SN_WILLMSGUPD] = { "WILLMSGUPD", { F_DATA } },
	[SN_WILLMSGRESP] = { "WILLMSGRESP", { F_RETURN_CODE } },
	[SN_ENCAPSULATED] = { "ENCAPSULATED", { F_CTRL, F_DATA } },
};

const char *sn_type_name(uint8_t type)
{
	return layouts[type].name ? layouts[type].name : "reserved";
}

/* 5.3.4: DUP | QoS | QoS | Retain | Will | CleanSession | TopicIdType | TopicIdType */
static void unpack_flags(struct sn_packet *p, uint8_t flags)
{
	p->dup = flags & 0x80;
	p->qos = flags >> 5 & 3;
	p->retain = flags & 0x10;
	p->will = flags & 0x08;
	p->clean = flags & 0x04;
	p->topic_type = flags & 3;
}

static uint8_t pack_flags(const struct sn_packet *p)
{
	return (uint8_t)((unsigned)p->dup << 7 | (p->qos & 3u) << 5 | (unsigned)p->retain << 4 |
			 (unsigned)p->will << 3 | (unsigned)p->clean << 2 | (p->topic_type & 3u));
}

/* The flags that tell apart kinds of topics must not hold the reserved value 0b11. */
static bool topic_type_matters(uint8_t type)
{
	return type == SN_PUBLISH || type == SN_SUBSCRIBE || type == SN_UNSUBSCRIBE;
}

/* Returns false when the message ends here. */
static bool decode_field(struct sn_packet *p, struct reader *r, enum field field)
{
	switch (field) {
	case F_END:
		return false;
	case F_FLAGS_OPTIONAL:
		p->present = r->left > 0;
		if (!p->present)
			return false;
		/* fall through */
	case F_FLAGS:
		unpack_flags(p, rd_u8(r));
		if (topic_type_matters(p->type) && p->topic_type > SN_TOPIC_SHORT)
			r->bad = true;
		break;
	case F_DURATION_OPTIONAL:
		p->present = r->left > 0;
		if (!p->present)
			return false;
		/* fall through */
	case F_DURATION:
		p->duration_s = rd_u16(r);
		break;
	case F_GW_ID:
		p->gw_id = rd_u8(r);
		break;
	case F_RADIUS:
		p->radius = rd_u8(r);
		break;
	case F_PROTOCOL_ID:
		p->protocol_id = rd_u8(r);
		break;
	case F_TOPIC_ID:
		p->topic_id = rd_u16(r);
		break;
	case F_MSG_ID:
		p->msg_id = rd_u16(r);
		break;
	case F_RETURN_CODE:
		p->return_code = rd_u8(r);
		break;
	case F_CTRL:
		p->ctrl = rd_u8(r);
		break;
	case F_TOPIC_OR_NAME:
		if (p->topic_type != SN_TOPIC_NORMAL) {
			p->topic_id = rd_u16(r);
			break;
		}
		/* fall through */
	case F_DATA:
		p->data = rd_rest(r);
		break;
	}
	return true;
}

static void encode_name(const struct sn_packet *p, struct writer *w)
{
	if (p->topic_type == SN_TOPIC_NORMAL)
		wr_span(w, p->data);
	else
		wr_u16(w, p->topic_id);
}

/* Returns false when the message ends here. */
static bool encode_field(const struct sn_packet *p, struct writer *w, enum field field)
{
	switch (field) {
	case F_END:
		return false;
	case F_FLAGS_OPTIONAL:
		if (!p->present)
			return false;
		/* fall through */
	case F_FLAGS:
		wr_u8(w, pack_flags(p));
		break;
	case F_DURATION_OPTIONAL:
		if (!p->present)
			return false;
		/* fall through */
	case F_DURATION:
		wr_u16(w, p->duration_s);
		break;
	case F_GW_ID:
		wr_u8(w, p->gw_id);
		break;
	case F_RADIUS:
		wr_u8(w, p->radius);
		break;
	case F_PROTOCOL_ID:
		wr_u8(w, p->protocol_id);
		break;
	case F_TOPIC_ID:
		wr_u16(w, p->topic_id);
		break;
	case F_MSG_ID:
		wr_u16(w, p->msg_id);
		break;
	case F_RETURN_CODE:
		wr_u8(w, p->return_code);
		break;
	case F_CTRL:
		wr_u8(w, p->ctrl);
		break;
	case F_TOPIC_OR_NAME:
		encode_name(p, w);
		break;
	case F_DATA:
		wr_span(w, p->data);
		break;
	}
	return true;
}

/* 5.2.1: one octet, or 0x01 and two octets. The value counts the length field itself. Leaves the
 * reader behind it, bounded to the message; *beyond are the octets after it. */
static void read_length(struct reader *r, struct span *beyond)
{
	size_t total = r->left, length = rd_u8(r);
	if (length == 0x01)
		length = rd_u16(r);
	size_t header = total - r->left;
	if (r->bad || length < header || length > total) {
		r->bad = true;
		return;
	}
	r->left = length - header;
	*beyond = span_of(r->p + r->left, total - length);
}

int sn_decode(struct sn_packet *p, struct span datagram)
{
	struct reader r = reader_of(datagram);
	struct span beyond = { NULL, 0 };
	*p = (struct sn_packet){ 0 };
	read_length(&r, &beyond);
	p->type = rd_u8(&r);
	if (r.bad)
		return -EBADMSG;
	const struct layout *layout = &layouts[p->type];
	if (!layout->name)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < FIELDS_MAX; i++)
		if (!decode_field(p, &r, layout->fields[i]))
			break;
	/* 5.5: the length of an encapsulation does not count the message it carries. */
	if (p->type == SN_ENCAPSULATED)
		p->inner = beyond;
	else if (beyond.len)
		return -EBADMSG;
	return r.bad || r.left ? -EBADMSG : 0;
}

/* Fills in the length in front of what was written behind one octet left free for it. */
static void set_length(struct writer *w)
{
	if (w->len <= UINT8_MAX) {
		w->p[0] = (uint8_t)w->len;
		return;
	}
	if (w->len > UINT16_MAX - 2 || w->cap - w->len < 2) {
		w->bad = true;
		return;
	}
	memmove(w->p + 3, w->p + 1, w->len - 1);
	w->len += 2;
	w->p[0] = 0x01;
	w->p[1] = (uint8_t)(w->len >> 8);
	w->p[2] = (uint8_t)w->len;
}

int sn_encode(const struct sn_packet *p, void *buf, size_t cap)
{
	const struct layout *layout = &layouts[p->type];
	struct writer w = writer_of(buf, cap);
	if (!layout->name)
		return -EINVAL;
	wr_u8(&w, 0);
	wr_u8(&w, p->type);
	for (size_t i = 0; i < FIELDS_MAX; i++)
		if (!encode_field(p, &w, layout->fields[i]))
			break;
	if (!w.bad)
		set_length(&w);
	if (p->type == SN_ENCAPSULATED)
		wr_span(&w, p->inner);
	return w.bad ? -EMSGSIZE : (int)w.len;
}

/* Draft of MQTT-SN 2.0, 3.1 and 3.2: CONNECT is flags, packet identifier, protocol version...;
 * CONNACK is flags, packet identifier, reason code. */
bool sn_v2_connect(struct span datagram, uint8_t answer[SN_V2_CONNACK_LEN])
{
	struct reader r = reader_of(datagram);
	struct span beyond = { NULL, 0 };
	read_length(&r, &beyond);
	uint8_t type = rd_u8(&r);
	rd_u8(&r);
	uint16_t packet_id = rd_u16(&r);
	uint8_t version = rd_u8(&r);
	if (r.bad || beyond.len || type != 0x01 || version != 0x02)
		return false;
	struct writer w = writer_of(answer, SN_V2_CONNACK_LEN);
	wr_u8(&w, SN_V2_CONNACK_LEN);
	wr_u8(&w, 0x02);
	wr_u8(&w, 0);
	wr_u16(&w, packet_id);
	wr_u8(&w, 0x84);
	return true;
}
