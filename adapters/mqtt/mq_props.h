#ifndef TIDEGATE_MQTT_MQ_PROPS_H
#define TIDEGATE_MQTT_MQ_PROPS_H

#include "gateway/base/reason.h"
#include "gateway/base/span.h"
#include "gateway/base/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* Properties of MQTT 5.0 (2.2.2). A packet's properties are a view of their wire form without the
 * length in front, checked whole when the packet is decoded; who wants a value looks for it. Pure,
 * like the rest of the codec. */
enum mq_prop_id { /* table 2.4 */
	MQ_PROP_PAYLOAD_FORMAT = 0x01,
	MQ_PROP_MESSAGE_EXPIRY = 0x02,
	MQ_PROP_CONTENT_TYPE = 0x03,
	MQ_PROP_RESPONSE_TOPIC = 0x08,
	MQ_PROP_CORRELATION_DATA = 0x09,
	MQ_PROP_SUBSCRIPTION_ID = 0x0b,
	MQ_PROP_SESSION_EXPIRY = 0x11,
	MQ_PROP_ASSIGNED_CLIENT_ID = 0x12,
	MQ_PROP_SERVER_KEEP_ALIVE = 0x13,
	MQ_PROP_AUTH_METHOD = 0x15,
	MQ_PROP_AUTH_DATA = 0x16,
	MQ_PROP_REQUEST_PROBLEM = 0x17,
	MQ_PROP_WILL_DELAY = 0x18,
	MQ_PROP_REQUEST_RESPONSE = 0x19,
	MQ_PROP_RESPONSE_INFO = 0x1a,
	MQ_PROP_SERVER_REFERENCE = 0x1c,
	MQ_PROP_REASON = 0x1f,
	MQ_PROP_RECEIVE_MAXIMUM = 0x21,
	MQ_PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
	MQ_PROP_TOPIC_ALIAS = 0x23,
	MQ_PROP_MAXIMUM_QOS = 0x24,
	MQ_PROP_RETAIN_AVAILABLE = 0x25,
	MQ_PROP_USER = 0x26,
	MQ_PROP_MAXIMUM_PACKET_SIZE = 0x27,
	MQ_PROP_WILDCARD_AVAILABLE = 0x28,
	MQ_PROP_SUBSCRIPTION_ID_AVAILABLE = 0x29,
	MQ_PROP_SHARED_AVAILABLE = 0x2a,
};
#define MQ_PROPS 0x2b

struct mq_prop {
	uint8_t id;
	uint32_t number;         /* of those that are a number */
	struct span value, name; /* of strings and binary data; name: USER only */
};

/* Where a set of properties stands: the type of its packet (MQ_CONNECT...), or here. */
#define MQ_PROPS_OF_WILL 0

/* `side` is an enum mq_side. R_SUCCESS; R_MALFORMED: cut short, an identifier that is unknown or
 * does not belong there, bad UTF-8; R_PROTOCOL_ERROR: one twice, or a value that is not allowed. A
 * Topic Alias of 0 passes: it has a reason code of its own. */
enum reason mq_props_check(struct span props, unsigned where, unsigned side);

/* Steps through; false at the end or at bytes that are no property (then r->bad). */
bool mq_props_next(struct reader *r, struct mq_prop *p);
/* The first of that kind. */
bool mq_props_find(struct span props, enum mq_prop_id id, struct mq_prop *out);
/* Its number, or `absent`. */
uint32_t mq_props_number(struct span props, enum mq_prop_id id, uint32_t absent);
/* Its string; empty when there is none. */
struct span mq_props_string(struct span props, enum mq_prop_id id);

void mq_put_number(struct writer *w, enum mq_prop_id id, uint32_t value);
void mq_put_string(struct writer *w, enum mq_prop_id id, struct span value);
void mq_put_user(struct writer *w, struct span name, struct span value);

/* Properties that travel with a message to its subscribers (gateway/core/props.h). */
bool mq_props_all_travel(struct span props);
/* Copies those that do, in their order. `w` has room for all. */
void mq_props_travelling(struct span props, struct writer *w);

/* Octets of a variable byte integer (1.5.5). */
static inline size_t mq_varint_size(uint32_t v)
{
	return v < 0x80 ? 1 : v < 0x4000 ? 2 : v < 0x200000 ? 3 : 4;
}

#endif
