#ifndef TIDEGATE_ADAPTERS_COAP_CAP_MAP_H
#define TIDEGATE_ADAPTERS_COAP_CAP_MAP_H

#include "gateway/base/reason.h"
#include "gateway/base/span.h"
#include "gateway/base/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* Between the words of CoAP and those of MQTT. Pure: no session, no allocation, no log. */

/* A datagram is at most 1400 octets, so no path is longer. */
#define CAP_PATH_MAX 1400

enum cap_target {
	CAP_NOWHERE,    /* nothing of ours: 4.04 */
	CAP_WELL_KNOWN, /* /.well-known/core */
	CAP_ROOT,       /* /ps */
	CAP_TOPIC       /* /ps/{topic}, also when the topic is a filter */
};

/* Collects Uri-Path options in order. Each segment behind "ps" is one topic level as it stands. */
struct cap_path {
	enum cap_target target;
	unsigned segments;
	bool bad;        /* a '/' inside a segment, or too long */
	bool well_known; /* the first segment was .well-known */
	uint16_t len;
	uint8_t topic[CAP_PATH_MAX];
};
void cap_path_init(struct cap_path *p);
void cap_path_add(struct cap_path *p, struct span segment);
static inline struct span cap_path_topic(const struct cap_path *p)
{
	return span_of(p->topic, p->len);
}

/* What the Uri-Query options ask for; absent numbers are -1, absent strings have p == NULL. */
struct cap_query {
	int qos;
	int retain;
	int no_local;
	int64_t expiry_s;
	struct span client_id, username, password;
	struct span rt, href; /* filters of RFC 6690, 4.1 */
};
void cap_query_init(struct cap_query *q);
/* One "name=value". Unknown names are ignored; -EINVAL for a value that makes no sense. */
int cap_query_add(struct cap_query *q, struct span item);

/* The CoAP code for an outcome; `success` for everything that did not fail. */
uint8_t cap_code_of(enum reason reason, uint8_t success);
/* Seconds after which a peer that was refused with this code may come again, 0: not said. */
uint32_t cap_retry_after(uint8_t code);

/* Content-Format (RFC 7252, 12.3) from the properties of a message: -1 when it has none. */
#define CAP_FORMAT_LINK 40
#define CAP_FORMAT_NONE (-1)
int cap_format_of(struct span props);
/* The properties that say `format` to MQTT subscribers; writes nothing for CAP_FORMAT_NONE. */
void cap_format_write(struct writer *w, int format, struct span payload);

/* One link of RFC 6690 for a topic that has a value. `format` may be CAP_FORMAT_NONE. */
void cap_link_write(struct writer *w, struct span topic, int format, size_t size);

#endif
