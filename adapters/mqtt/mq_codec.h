#ifndef TIDEGATE_MQTT_MQ_CODEC_H
#define TIDEGATE_MQTT_MQ_CODEC_H

#include "gateway/base/reason.h"
#include "gateway/base/span.h"
#include "gateway/base/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* MQTT control packets, both directions: bytes in, a struct of values and views out, and back.
 * Pure: no allocation, no logging, no session. Coded are 3.1 ("MQIsdp", level 3), 3.1.1 (level 4)
 * and 5.0 (level 5). Section numbers are of MQTT 3.1.1 (OASIS), where nothing else is said. */
enum mq_version { MQ_V31 = 3, MQ_V311 = 4, MQ_V5 = 5 };

enum mq_type { /* 2.2.1 */
	MQ_CONNECT = 1,
	MQ_CONNACK,
	MQ_PUBLISH,
	MQ_PUBACK,
	MQ_PUBREC,
	MQ_PUBREL,
	MQ_PUBCOMP,
	MQ_SUBSCRIBE,
	MQ_SUBACK,
	MQ_UNSUBSCRIBE,
	MQ_UNSUBACK,
	MQ_PINGREQ,
	MQ_PINGRESP,
	MQ_DISCONNECT,
	MQ_AUTH, /* MQTT 5 */
};
#define MQ_TYPES 16

/* Who sent the bytes that are decoded; a packet from the wrong side is a protocol error. */
enum mq_side { MQ_FROM_CLIENT = 1, MQ_FROM_SERVER = 2 };

/* CONNACK return codes of 3.1.1, table 3.1. */
enum mq_connack {
	MQ_ACCEPTED,
	MQ_BAD_VERSION,
	MQ_BAD_CLIENT_ID,
	MQ_UNAVAILABLE,
	MQ_BAD_LOGIN,
	MQ_NOT_AUTHORIZED,
};
#define MQ_SUBACK_FAILURE 0x80

#define MQ_HEADER_MAX 5
#define MQ_FILTERS_MAX                                                                             \
	1024 /* in one SUBSCRIBE or UNSUBSCRIBE, so that one packet is bounded work */

struct mq_header {
	uint8_t type, flags;
	uint8_t size; /* of the fixed header itself, 2..5 */
	uint32_t body;
	bool padded; /* the length has more octets than it needs: 3.1.1 does not mind, 5.0 does */
};

struct mq_connect {
	uint8_t level; /* as sent; valid also when decoding fails with R_VERSION */
	bool clean_start, has_will, has_username, has_password, will_retain;
	uint8_t will_qos;
	uint16_t keepalive_s;
	struct span client_id, will_topic, will_payload, username, password;
	struct span will_props; /* MQTT 5 */
};

struct mq_publish {
	bool dup, retain;
	uint8_t qos;
	struct span topic, payload;
};

struct mq_packet {
	enum mq_type type;
	uint8_t version;      /* enum mq_version: how it is coded; 0 is 3.1.1. CONNECT: its level */
	uint8_t from;         /* enum mq_side; of a decoded packet */
	uint16_t packet_id;   /* never 0 where the type has one */
	uint8_t code;         /* CONNACK return code; MQTT 5: reason code of those that have one */
	bool session_present; /* CONNACK */
	struct span props;    /* MQTT 5, see mq_props.h: a decoded packet's are checked */
	union {
		struct mq_connect connect;
		struct mq_publish publish;
		struct span filters; /* SUBSCRIBE, UNSUBSCRIBE: checked whole, for mq_next_filter()
				      */
		struct span codes;   /* SUBACK, MQTT 5 UNSUBACK: one octet per filter */
	};
};

struct mq_filter {
	struct span filter;
	uint8_t options; /* SUBSCRIBE: MQ_SUB_... */
};

/* Subscription options: MQTT 5.0, 3.8.3.1; before, the QoS alone. */
enum {
	MQ_SUB_QOS = 0x03,
	MQ_SUB_NO_LOCAL = 0x04,
	MQ_SUB_RETAIN_AS_PUBLISHED = 0x08,
	MQ_SUB_RETAIN_HANDLING_SHIFT = 4,
	MQ_SUB_RESERVED = 0xc0,
};

const char *mq_type_name(uint8_t type); /* "PUBLISH", "reserved 0"; never NULL */

/* The fixed header at the start of `in` (2.2). 0, -EAGAIN when it is not all there, -EBADMSG. */
int mq_header_read(struct span in, struct mq_header *h);

/* `body` has h->body octets; views point into it. `version` is what CONNECT agreed on (any value
 * while CONNECT itself is decoded). An empty topic with an alias is the caller's to look up.
 * R_SUCCESS, or why the connection must end: R_MALFORMED,
 * R_PROTOCOL_ERROR, R_VERSION (CONNECT of a protocol level that is not coded), R_QUOTA (more than
 * MQ_FILTERS_MAX). Strings are well-formed UTF-8 (utf8_valid); filters and topic names obey 4.7 but
 * for the limits of the gateway. */
enum reason mq_decode(const struct mq_header *h, struct span body, enum mq_side from,
	enum mq_version version, struct mq_packet *p);

/* Steps through p->filters of a decoded packet of that type; false at the end. */
bool mq_next_filter(struct reader *r, enum mq_type type, struct mq_filter *f);
/* Builds p->filters of a packet to be encoded. */
void mq_put_filter(struct writer *w, enum mq_type type, const struct mq_filter *f);

/* Appends the whole packet. Needs up to MQ_HEADER_MAX octets of room beyond the packet's size;
 * w->bad when it does not fit. Content is the caller's: nothing is checked. */
void mq_encode(struct writer *w, const struct mq_packet *p);

/* The fixed header of a PUBLISH whose topic (with its length in front, message_topic_wire()),
 * packet id (at QoS 1 and 2), properties (with their length in front) and payload the caller lets
 * follow: `rest` is all of them but the packet id. Returns its size. */
size_t mq_publish_header(uint8_t out[MQ_HEADER_MAX], const struct mq_publish *pub, size_t rest);

/* MQTT 5.0: whether that side may give this reason in such a packet. */
bool mq_code_valid(enum mq_type type, enum mq_side from, uint8_t code);

/* What a PUBLISH has in its body beside the payload, at most. */
#define MQ_BODY_OVERHEAD (2u + UINT16_MAX + 2u)
#define MQ_PAYLOAD_MAX   ((1u << 28) - 1 - MQ_BODY_OVERHEAD)

#endif
