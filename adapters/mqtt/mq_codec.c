#include "adapters/mqtt/mq_codec.h"

#include "adapters/mqtt/mq_props.h"
#include "gateway/base/util.h"
#include "gateway/core/topic.h"

#include <errno.h>
#include <string.h>

enum {
	CONNECT_RESERVED = 0x01,
	CONNECT_CLEAN = 0x02,
	CONNECT_WILL = 0x04,
	CONNECT_WILL_QOS_SHIFT = 3,
	CONNECT_WILL_RETAIN = 0x20,
	CONNECT_PASSWORD = 0x40,
	CONNECT_USERNAME = 0x80,
};

enum { FLAG_RETAIN = 0x01, FLAG_QOS_SHIFT = 1, FLAG_QOS = 0x03, FLAG_DUP = 0x08 };

/* A row of the packet table: how one type is read and written. */
struct packet_type {
	const char *name;
	uint8_t from;  /* enum mq_side: who may send it */
	uint8_t flags; /* table 2.2; PUBLISH has its own */
	enum reason (*decode)(struct reader *, const struct mq_header *, struct mq_packet *);
	void (*encode)(struct writer *, const struct mq_packet *);
};

#define CODES(...)                                                                                 \
	{                                                                                          \
		(const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })         \
	}

/* MQTT 5.0: tables 3-1, 3-4 to 3-10; DISCONNECT (3-10) as a server sends it. */
static const struct span code_sets[MQ_TYPES] = {
	[MQ_CONNACK] = CODES(0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a,
		0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f),
	[MQ_PUBACK] = CODES(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99),
	[MQ_PUBREC] = CODES(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99),
	[MQ_PUBREL] = CODES(0x00, 0x92),
	[MQ_PUBCOMP] = CODES(0x00, 0x92),
	[MQ_SUBACK] = CODES(0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2),
	[MQ_UNSUBACK] = CODES(0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91),
	[MQ_DISCONNECT] = CODES(0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f,
		0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f,
		0xa0, 0xa1, 0xa2),
	[MQ_AUTH] = CODES(0x00, 0x18, 0x19),
};
static const struct span client_disconnect_codes =
	CODES(0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99);

bool mq_code_valid(enum mq_type type, enum mq_side from, uint8_t code)
{
	struct span set = code_sets[type];

	if (type == MQ_DISCONNECT && from == MQ_FROM_CLIENT)
		set = client_disconnect_codes;
	return set.len && memchr(set.p, code, set.len);
}

int mq_header_read(struct span in, struct mq_header *h)
{
	uint32_t body = 0;

	for (size_t i = 1; i < MIN(in.len, (size_t)MQ_HEADER_MAX); i++) {
		body |= (uint32_t)(in.p[i] & 0x7f) << 7 * (i - 1);
		if (in.p[i] & 0x80)
			continue;
		*h = (struct mq_header){
			.type = in.p[0] >> 4,
			.flags = in.p[0] & 0x0f,
			.size = (uint8_t)(i + 1),
			.body = body,
			.padded = i > 1 && in.p[i] == 0,
		};
		return 0;
	}
	/* A fifth octet is not allowed (2.2.3). */
	return in.len < MQ_HEADER_MAX ? -EAGAIN : -EBADMSG;
}

/* A string of 1.5.3: well-formed UTF-8, or the packet is malformed. */
static struct span rd_string(struct reader *r)
{
	struct span s = rd_span16(r);
	if (!r->bad && !utf8_valid(s))
		r->bad = true;
	return s;
}

/* 2.3.1: never zero. */
static uint16_t rd_packet_id(struct reader *r)
{
	uint16_t id = rd_u16(r);
	if (id == 0)
		r->bad = true;
	return id;
}

static enum reason verdict(const struct reader *r)
{
	return r->bad || r->left ? R_MALFORMED : R_SUCCESS;
}

/* ... of a packet with a reason code. */
static enum reason verdict_of_code(const struct reader *r, const struct mq_packet *p)
{
	if (verdict(r) != R_SUCCESS || p->version < MQ_V5)
		return verdict(r);
	return mq_code_valid(p->type, p->from, p->code) ? R_SUCCESS : R_PROTOCOL_ERROR;
}

static bool is_v5(const struct mq_packet *p)
{
	return p->version >= MQ_V5;
}

/* MQTT 5.0, 2.2.2: the length, then the properties; before, nothing. */
static enum reason rd_props(
	struct reader *r, unsigned where, const struct mq_packet *p, struct span *props)
{
	if (!is_v5(p))
		return R_SUCCESS;
	*props = rd_span(r, rd_varint(r));
	return r->bad ? R_MALFORMED : mq_props_check(*props, where, p->from);
}

static void wr_props(struct writer *w, const struct mq_packet *p, struct span props)
{
	if (!is_v5(p))
		return;
	wr_varint(w, (uint32_t)props.len);
	wr_span(w, props);
}

/* 4.7.3: at least one character; 3.3.2.1: no wildcard in a name. */
static bool topic_well_formed(struct span t)
{
	return t.len > 0 && !topic_has_wildcard(t);
}

/* 4.7.1: '+' and '#' are whole levels, '#' the last. What is merely too long or too deep for this
 * gateway is well-formed and left to topic_valid_filter(). */
static bool filter_well_formed(struct span f)
{
	for (size_t i = 0; i < f.len; i++) {
		if (f.p[i] != '+' && f.p[i] != '#')
			continue;
		bool starts = i == 0 || f.p[i - 1] == '/';
		bool ends = i + 1 == f.len || (f.p[i] == '+' && f.p[i + 1] == '/');
		if (!starts || !ends)
			return false;
	}
	return f.len > 0;
}

/* 3.1.2.3-3.1.2.9: what the flags promise must fit together. */
static bool connect_flags_valid(uint8_t level, uint8_t flags)
{
	uint8_t will_qos = flags >> CONNECT_WILL_QOS_SHIFT & FLAG_QOS;

	if (level != MQ_V31 && (flags & CONNECT_RESERVED))
		return false;
	if (will_qos == 3 || (!(flags & CONNECT_WILL) && (will_qos || flags & CONNECT_WILL_RETAIN)))
		return false;
	return level >= MQ_V5 || flags & CONNECT_USERNAME || !(flags & CONNECT_PASSWORD);
}

static enum reason read_protocol(struct reader *r, struct mq_connect *c)
{
	struct span name = rd_span16(r);

	c->level = rd_u8(r);
	if (r->bad)
		return R_MALFORMED;
	if (span_is(name, "MQTT"))
		return c->level == MQ_V311 || c->level == MQ_V5 ? R_SUCCESS : R_VERSION;
	if (span_is(name, "MQIsdp"))
		return c->level == MQ_V31 ? R_SUCCESS : R_VERSION;
	return R_PROTOCOL_ERROR; /* [MQTT-3.1.2-1]: no CONNACK for another protocol */
}

static void read_connect_flags(struct mq_connect *c, uint8_t flags)
{
	c->clean_start = flags & CONNECT_CLEAN;
	c->has_will = flags & CONNECT_WILL;
	c->will_qos = flags >> CONNECT_WILL_QOS_SHIFT & FLAG_QOS;
	c->will_retain = flags & CONNECT_WILL_RETAIN;
	c->has_username = flags & CONNECT_USERNAME;
	c->has_password = flags & CONNECT_PASSWORD;
}

static enum reason read_will(struct reader *r, struct mq_packet *p)
{
	struct mq_connect *c = &p->connect;

	if (!c->has_will)
		return R_SUCCESS;
	enum reason why = rd_props(r, MQ_PROPS_OF_WILL, p, &c->will_props);
	c->will_topic = rd_string(r);
	c->will_payload = rd_span16(r);
	if (!topic_well_formed(c->will_topic))
		r->bad = true;
	return why;
}

static enum reason decode_connect(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	struct mq_connect *c = &p->connect;
	(void)h;

	enum reason why = read_protocol(r, c);
	if (reason_failed(why))
		return why;
	p->version = c->level;
	uint8_t flags = rd_u8(r);
	if (!connect_flags_valid(c->level, flags))
		return R_MALFORMED;
	read_connect_flags(c, flags);
	c->keepalive_s = rd_u16(r);
	why = rd_props(r, MQ_CONNECT, p, &p->props);
	if (reason_failed(why))
		return why;
	c->client_id = rd_string(r);
	why = read_will(r, p);
	if (reason_failed(why))
		return why;
	if (c->has_username)
		c->username = rd_string(r);
	if (c->has_password)
		c->password = rd_span16(r);
	return verdict(r);
}

static void encode_connect(struct writer *w, const struct mq_packet *p)
{
	const struct mq_connect *c = &p->connect;
	unsigned flags = 0;

	flags |= c->clean_start ? CONNECT_CLEAN : 0;
	flags |= c->has_username ? CONNECT_USERNAME : 0;
	flags |= c->has_password ? CONNECT_PASSWORD : 0;
	if (c->has_will) {
		flags |= CONNECT_WILL | (unsigned)c->will_qos << CONNECT_WILL_QOS_SHIFT;
		flags |= c->will_retain ? CONNECT_WILL_RETAIN : 0;
	}
	wr_span16(w, span_str(c->level == MQ_V31 ? "MQIsdp" : "MQTT"));
	wr_u8(w, c->level);
	wr_u8(w, (uint8_t)flags);
	wr_u16(w, c->keepalive_s);
	wr_props(w, p, p->props);
	wr_span16(w, c->client_id);
	if (c->has_will) {
		wr_props(w, p, c->will_props);
		wr_span16(w, c->will_topic);
		wr_span16(w, c->will_payload);
	}
	if (c->has_username)
		wr_span16(w, c->username);
	if (c->has_password)
		wr_span16(w, c->password);
}

static enum reason decode_connack(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	(void)h;
	uint8_t flags = rd_u8(r);
	p->code = rd_u8(r);
	p->session_present = flags & 1;
	if (flags > 1 || (!is_v5(p) && p->code > MQ_NOT_AUTHORIZED))
		r->bad = true;
	enum reason why = rd_props(r, MQ_CONNACK, p, &p->props);
	return reason_failed(why) ? why : verdict_of_code(r, p);
}

static void encode_connack(struct writer *w, const struct mq_packet *p)
{
	wr_u8(w, p->session_present);
	wr_u8(w, p->code);
	wr_props(w, p, p->props);
}

static enum reason decode_publish(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	struct mq_publish *pub = &p->publish;

	pub->dup = h->flags & FLAG_DUP;
	pub->qos = h->flags >> FLAG_QOS_SHIFT & FLAG_QOS;
	pub->retain = h->flags & FLAG_RETAIN;
	if (pub->qos == 3 || (pub->dup && pub->qos == 0)) /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
		return R_MALFORMED;

	pub->topic = rd_string(r);
	if (!topic_well_formed(pub->topic) && (pub->topic.len || !is_v5(p)))
		r->bad = true;
	if (pub->qos)
		p->packet_id = rd_packet_id(r);
	enum reason why = rd_props(r, MQ_PUBLISH, p, &p->props);
	if (reason_failed(why))
		return why;
	struct mq_prop alias;
	/* MQTT 5.0, 3.3.2.1 */
	if (!r->bad && !pub->topic.len && !mq_props_find(p->props, MQ_PROP_TOPIC_ALIAS, &alias))
		return R_PROTOCOL_ERROR;
	pub->payload = rd_rest(r);
	return verdict(r);
}

static void encode_publish(struct writer *w, const struct mq_packet *p)
{
	wr_span16(w, p->publish.topic);
	if (p->publish.qos)
		wr_u16(w, p->packet_id);
	wr_props(w, p, p->props);
	wr_span(w, p->publish.payload);
}

static uint8_t publish_flags(const struct mq_publish *pub)
{
	return (uint8_t)((pub->dup ? FLAG_DUP : 0) | pub->qos << FLAG_QOS_SHIFT |
			 (pub->retain ? FLAG_RETAIN : 0));
}

/* MQTT 5.0, 3.4.2.1: a reason code that is left out is 0, and so are properties then. */
static enum reason read_reason(struct reader *r, struct mq_packet *p)
{
	if (!is_v5(p) || r->bad || r->left == 0)
		return verdict(r);
	p->code = rd_u8(r);
	enum reason why = r->left ? rd_props(r, p->type, p, &p->props) : R_SUCCESS;
	return reason_failed(why) ? why : verdict_of_code(r, p);
}

static void write_reason(struct writer *w, const struct mq_packet *p)
{
	if (!is_v5(p) || (!p->code && !p->props.len))
		return;
	wr_u8(w, p->code);
	if (p->props.len)
		wr_props(w, p, p->props);
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP: a packet id, and in MQTT 5 a reason. */
static enum reason decode_ack(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	(void)h;
	p->packet_id = rd_packet_id(r);
	return read_reason(r, p);
}

static void encode_ack(struct writer *w, const struct mq_packet *p)
{
	wr_u16(w, p->packet_id);
	write_reason(w, p);
}

static bool read_filter(struct reader *r, enum mq_type type, struct mq_filter *f)
{
	f->filter = rd_string(r);
	f->options = type == MQ_SUBSCRIBE ? rd_u8(r) : 0;
	return !r->bad;
}

/* Bits that are reserved, or a value that is. */
static enum reason check_options(const struct mq_filter *f, const struct mq_packet *p)
{
	if (!is_v5(p)) /* [MQTT-3-8.3-4] */
		return f->options > 2 ? R_MALFORMED : R_SUCCESS;
	if (f->options & MQ_SUB_RESERVED) /* MQTT 5.0: [MQTT-3.8.3-5] */
		return R_MALFORMED;
	bool shared = f->filter.len >= 7 && span_is(span_of(f->filter.p, 7), "$share/");
	if ((f->options & MQ_SUB_QOS) == 3 || f->options >> MQ_SUB_RETAIN_HANDLING_SHIFT == 3 ||
		(shared && f->options & MQ_SUB_NO_LOCAL)) /* [MQTT-3.8.3-4] */
		return R_PROTOCOL_ERROR;
	return R_SUCCESS;
}

/* The list is checked whole, so that a bad packet has no half effect. */
static enum reason decode_filters(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	unsigned n = 0;

	p->packet_id = rd_packet_id(r);
	enum reason why = rd_props(r, h->type, p, &p->props);
	if (reason_failed(why))
		return why;
	if (r->bad || r->left == 0) /* [MQTT-3.8.3-3], [MQTT-3.10.3-2]: at least one */
		return is_v5(p) && !r->bad ? R_PROTOCOL_ERROR : R_MALFORMED;
	p->filters = span_of(r->p, r->left);
	while (r->left) {
		struct mq_filter f;
		if (!read_filter(r, h->type, &f) || !filter_well_formed(f.filter))
			return R_MALFORMED;
		why = check_options(&f, p);
		if (reason_failed(why))
			return why;
		if (++n > MQ_FILTERS_MAX)
			return R_QUOTA;
	}
	return verdict(r);
}

static void encode_filters(struct writer *w, const struct mq_packet *p)
{
	wr_u16(w, p->packet_id);
	wr_props(w, p, p->props);
	wr_span(w, p->filters);
}

static bool suback_code_valid(const struct mq_packet *p, uint8_t code)
{
	if (is_v5(p))
		return mq_code_valid(p->type, MQ_FROM_SERVER, code);
	return code <= 2 || code == MQ_SUBACK_FAILURE;
}

static enum reason decode_suback(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	(void)h;
	p->packet_id = rd_packet_id(r);
	enum reason why = rd_props(r, p->type, p, &p->props);
	if (reason_failed(why))
		return why;
	p->codes = rd_rest(r);
	if (p->codes.len == 0)
		return R_MALFORMED;
	for (size_t i = 0; i < p->codes.len; i++)
		if (!suback_code_valid(p, p->codes.p[i]))
			return R_MALFORMED;
	return verdict(r);
}

static void encode_suback(struct writer *w, const struct mq_packet *p)
{
	wr_u16(w, p->packet_id);
	wr_props(w, p, p->props);
	wr_span(w, p->codes);
}

/* Has codes since MQTT 5; before, a packet id and no more. */
static enum reason decode_unsuback(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	if (is_v5(p))
		return decode_suback(r, h, p);
	p->packet_id = rd_packet_id(r);
	return verdict(r);
}

static void encode_unsuback(struct writer *w, const struct mq_packet *p)
{
	if (is_v5(p))
		encode_suback(w, p);
	else
		wr_u16(w, p->packet_id);
}

/* DISCONNECT, AUTH. */
static enum reason decode_reason(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	(void)h;
	return read_reason(r, p);
}

/* PINGREQ, PINGRESP. */
static enum reason decode_empty(struct reader *r, const struct mq_header *h, struct mq_packet *p)
{
	(void)h;
	(void)p;
	return verdict(r);
}

static void encode_empty(struct writer *w, const struct mq_packet *p)
{
	(void)w;
	(void)p;
}

#define CLIENT MQ_FROM_CLIENT
#define SERVER MQ_FROM_SERVER
#define BOTH   (MQ_FROM_CLIENT | MQ_FROM_SERVER)

/* 0 is reserved, and so is 15 before MQTT 5: nobody may send them. */
static const struct packet_type packet_types[MQ_TYPES] = {
	[0] = { "reserved 0", 0, 0, NULL, NULL },
	[MQ_CONNECT] = { "CONNECT", CLIENT, 0, decode_connect, encode_connect },
	[MQ_CONNACK] = { "CONNACK", SERVER, 0, decode_connack, encode_connack },
	[MQ_PUBLISH] = { "PUBLISH", BOTH, 0, decode_publish, encode_publish },
	[MQ_PUBACK] = { "PUBACK", BOTH, 0, decode_ack, encode_ack },
	[MQ_PUBREC] = { "PUBREC", BOTH, 0, decode_ack, encode_ack },
	[MQ_PUBREL] = { "PUBREL", BOTH, 2, decode_ack, encode_ack },
	[MQ_PUBCOMP] = { "PUBCOMP", BOTH, 0, decode_ack, encode_ack },
	[MQ_SUBSCRIBE] = { "SUBSCRIBE", CLIENT, 2, decode_filters, encode_filters },
	[MQ_SUBACK] = { "SUBACK", SERVER, 0, decode_suback, encode_suback },
	[MQ_UNSUBSCRIBE] = { "UNSUBSCRIBE", CLIENT, 2, decode_filters, encode_filters },
	[MQ_UNSUBACK] = { "UNSUBACK", SERVER, 0, decode_unsuback, encode_unsuback },
	[MQ_PINGREQ] = { "PINGREQ", CLIENT, 0, decode_empty, encode_empty },
	[MQ_PINGRESP] = { "PINGRESP", SERVER, 0, decode_empty, encode_empty },
	[MQ_DISCONNECT] = { "DISCONNECT", BOTH, 0, decode_reason, write_reason },
	[MQ_AUTH] = { "AUTH", BOTH, 0, decode_reason, write_reason },
};

const char *mq_type_name(uint8_t type)
{
	return type < MQ_TYPES ? packet_types[type].name : "no packet";
}

/* [MQTT-2.2.2-2]. MQTT 3.1 lets PUBREL, SUBSCRIBE and UNSUBSCRIBE carry DUP. */
static bool header_flags_valid(const struct mq_header *h, enum mq_version version)
{
	uint8_t expected = packet_types[h->type].flags;

	if (h->type == MQ_PUBLISH || h->flags == expected)
		return true;
	return version == MQ_V31 && expected && h->flags == (expected | FLAG_DUP);
}

enum reason mq_decode(const struct mq_header *h, struct span body, enum mq_side from,
	enum mq_version version, struct mq_packet *p)
{
	const struct packet_type *t = &packet_types[h->type & 0x0f];
	struct reader r = reader_of(body);

	memset(p, 0, sizeof(*p));
	if (h->type == MQ_AUTH && version != MQ_V5)
		return R_MALFORMED;
	if (!(t->from & (unsigned)from))
		return t->from ? R_PROTOCOL_ERROR : R_MALFORMED;
	if (h->type == MQ_DISCONNECT && from == MQ_FROM_SERVER && version != MQ_V5)
		return R_PROTOCOL_ERROR;
	if (!header_flags_valid(h, version))
		return R_MALFORMED;
	p->type = h->type;
	p->version = (uint8_t)version;
	p->from = (uint8_t)from;
	enum reason reason = t->decode(&r, h, p);
	if (h->type == MQ_CONNECT)
		version = (enum mq_version)p->connect.level;
	/* MQTT 5.0, 1.5.5: the fewest octets. */
	return reason == R_SUCCESS && h->padded && version == MQ_V5 ? R_MALFORMED : reason;
}

bool mq_next_filter(struct reader *r, enum mq_type type, struct mq_filter *f)
{
	if (r->left == 0)
		return false;
	f->filter = rd_span16(r);
	f->options = type == MQ_SUBSCRIBE ? rd_u8(r) : 0;
	return !r->bad;
}

void mq_put_filter(struct writer *w, enum mq_type type, const struct mq_filter *f)
{
	wr_span16(w, f->filter);
	if (type == MQ_SUBSCRIBE)
		wr_u8(w, f->options);
}

void mq_encode(struct writer *w, const struct mq_packet *p)
{
	const struct packet_type *t = &packet_types[p->type];
	uint8_t flags = p->type == MQ_PUBLISH ? publish_flags(&p->publish) : t->flags;
	size_t start = w->len;

	if (w->bad || w->cap - w->len < MQ_HEADER_MAX) {
		w->bad = true;
		return;
	}
	/* The body first, behind room for the longest header; its length is known afterwards. */
	w->len += MQ_HEADER_MAX;
	t->encode(w, p);
	if (w->bad)
		return;

	size_t body = w->len - start - MQ_HEADER_MAX;
	struct writer head = writer_of(w->p + start, MQ_HEADER_MAX);
	wr_u8(&head, (uint8_t)(p->type << 4 | flags));
	wr_varint(&head, (uint32_t)body);
	memmove(w->p + start + head.len, w->p + start + MQ_HEADER_MAX, body);
	w->len = start + head.len + body;
	w->bad = head.bad;
}

size_t mq_publish_header(uint8_t out[MQ_HEADER_MAX], const struct mq_publish *pub, size_t rest)
{
	struct writer w = writer_of(out, MQ_HEADER_MAX);

	wr_u8(&w, (uint8_t)(MQ_PUBLISH << 4 | publish_flags(pub)));
	wr_varint(&w, (uint32_t)(rest + (pub->qos ? 2u : 0u)));
	return w.len;
}
