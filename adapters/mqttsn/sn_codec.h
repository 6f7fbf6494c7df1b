#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_CODEC_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_CODEC_H

#include "gateway/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* MQTT-SN 1.2, chapter 5: every message type, both directions. Pure: bytes in, values and views
 * out; no allocation, no session. Also used by the simulator and the fuzzers. */
enum sn_type { /* 5.2.2 */
	SN_ADVERTISE = 0x00,
	SN_SEARCHGW = 0x01,
	SN_GWINFO = 0x02,
	SN_CONNECT = 0x04,
	SN_CONNACK = 0x05,
	SN_WILLTOPICREQ = 0x06,
	SN_WILLTOPIC = 0x07,
	SN_WILLMSGREQ = 0x08,
	SN_WILLMSG = 0x09,
	SN_REGISTER = 0x0A,
	SN_REGACK = 0x0B,
	SN_PUBLISH = 0x0C,
	SN_PUBACK = 0x0D,
	SN_PUBCOMP = 0x0E,
	SN_PUBREC = 0x0F,
	SN_PUBREL = 0x10,
	SN_SUBSCRIBE = 0x12,
	SN_SUBACK = 0x13,
	SN_UNSUBSCRIBE = 0x14,
	SN_UNSUBACK = 0x15,
	SN_PINGREQ = 0x16,
	SN_PINGRESP = 0x17,
	SN_DISCONNECT = 0x18,
	SN_WILLTOPICUPD = 0x1A,
	SN_WILLTOPICRESP = 0x1B,
	SN_WILLMSGUPD = 0x1C,
	SN_WILLMSGRESP = 0x1D,
	SN_ENCAPSULATED = 0xFE,
};

enum sn_topic_type { /* 5.3.4, TopicIdType; 3 is reserved */
	SN_TOPIC_NORMAL = 0,
	SN_TOPIC_PREDEFINED = 1,
	SN_TOPIC_SHORT = 2,
};

enum sn_return_code { /* 5.3.10 */
	SN_ACCEPTED = 0x00,
	SN_CONGESTION = 0x01,
	SN_INVALID_TOPIC_ID = 0x02,
	SN_NOT_SUPPORTED = 0x03,
};

#define SN_PROTOCOL_ID  0x01  /* 5.3.8 */
#define SN_QOS_MINUS_1  3     /* 5.3.4: 0b11 */
#define SN_DATAGRAM_MAX 65507 /* what one UDP datagram over IPv4 carries */

/* One message. Which fields a type uses is a row of the table in sn_codec.c; the others are zero
 * after sn_decode() and not looked at by sn_encode(). */
struct sn_packet {
	uint8_t type; /* enum sn_type */
	/* Flags (5.3.4), taken apart. */
	uint8_t qos; /* 0..2, SN_QOS_MINUS_1 */
	uint8_t topic_type;
	bool dup, retain, will, clean;

	/* WILLTOPIC and WILLTOPICUPD: flags and topic are there (without them they delete the
	 * will). DISCONNECT: Duration is there. */
	bool present;
	uint8_t return_code, gw_id, radius, protocol_id;
	uint8_t ctrl; /* ENCAPSULATED: broadcast radius in the two low bits */
	uint16_t topic_id;
	uint16_t msg_id;
	uint16_t duration_s;
	/* The variable part at the end: client id, topic name or filter, will message, payload,
	 * gateway address, wireless node id. SUBSCRIBE and UNSUBSCRIBE have it with
	 * SN_TOPIC_NORMAL, else topic_id. */
	struct span data;
	struct span inner; /* ENCAPSULATED: the message inside; not decoded */
};

/* A short topic name (two octets) as it stands in place of a topic id. */
static inline uint16_t sn_short_id(struct span name)
{
	return (uint16_t)(name.p[0] << 8 | name.p[1]);
}

/* Decodes one datagram. 0, or -EOPNOTSUPP (a reserved message type), -EBADMSG (a length that does
 * not match, a truncated field, trailing octets, a reserved topic id type). The spans of *p point
 * into `datagram`. */
int sn_decode(struct sn_packet *p, struct span datagram);

/* Writes the message with the shortest length field that holds it. Returns its size, -EMSGSIZE
 * when it does not fit into `cap` or 65535 octets, -EINVAL when it is no message of MQTT-SN. */
int sn_encode(const struct sn_packet *p, void *buf, size_t cap);

/* "PUBLISH", or "reserved". Never NULL. */
const char *sn_type_name(uint8_t type);

/* A CONNECT of the MQTT-SN 2.0 draft (type 1, version 2), which is no message of 1.2. The answer
 * that version understands, CONNACK with 0x84 (unsupported protocol version), is put into
 * `answer`. */
#define SN_V2_CONNACK_LEN 6
bool sn_v2_connect(struct span datagram, uint8_t answer[SN_V2_CONNACK_LEN]);

#endif
