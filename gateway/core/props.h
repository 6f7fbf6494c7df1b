#ifndef TIDEGATE_CORE_PROPS_H
#define TIDEGATE_CORE_PROPS_H

#include "gateway/base/span.h"
#include "gateway/base/wire.h"

/* The MQTT 5 properties that travel with a publication from its publisher to its subscribers
 * (MQTT 5.0, 3.3.2.3): kept in their wire form, one after the other, without the length in front.
 * Message Expiry is in struct message; topic alias and subscription identifiers belong to a
 * connection and are never here. */
enum prop_id {
	PROP_PAYLOAD_FORMAT = 0x01,
	PROP_CONTENT_TYPE = 0x03,
	PROP_RESPONSE_TOPIC = 0x08,
	PROP_CORRELATION_DATA = 0x09,
	PROP_USER = 0x26,
};

struct prop {
	enum prop_id id;
	uint8_t byte;            /* PAYLOAD_FORMAT */
	struct span value, name; /* name: USER only */
};

/* Steps through; false at the end or at bytes that are no such property (then r->bad). */
bool props_next(struct reader *r, struct prop *p);
/* The first property of that kind. */
bool props_find(struct span props, enum prop_id id, struct prop *out);
void props_write(struct writer *w, const struct prop *p);
/* All of it well-formed, strings valid UTF-8, nothing but USER more than once. */
bool props_valid(struct span props);

#endif
