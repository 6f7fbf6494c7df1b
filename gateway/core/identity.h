#ifndef TIDEGATE_CORE_IDENTITY_H
#define TIDEGATE_CORE_IDENTITY_H

#include "gateway/base/addr.h"
#include "gateway/base/reason.h"
#include "gateway/base/span.h"

enum protocol { PROTO_GATEWAY, PROTO_UPSTREAM, PROTO_MQTT, PROTO_MQTTSN, PROTO_COAP };
const char *protocol_name(enum protocol p);

/* Who acts: a client with a session, a CoAP peer or QoS -1 sender without one, the upstream, the
 * gateway. */
struct identity {
	const char *client_id; /* owned by whoever embeds this; never NULL, "" when it has none */
	const char *username;  /* same; NULL: anonymous */
	enum protocol protocol;
	struct addr peer;
	uint64_t origin; /* identity_new_origin(), or ORIGIN_... */
};
uint64_t identity_new_origin(void);

enum access { ACCESS_PUBLISH, ACCESS_SUBSCRIBE, ACCESS_RECEIVE };

/* The one place that says yes or no; every publish, will, QoS -1, CoAP request, subscription and
 * retained delivery asks it. The default allows everything (listeners are on loopback unless the
 * operator said otherwise). */
struct policy {
	/* `password` is empty when none was sent. */
	enum reason (*connect)(struct policy *, const struct identity *, struct span password);
	/* `topic` is a filter for ACCESS_SUBSCRIBE. */
	bool (*allows)(struct policy *, const struct identity *, enum access, struct span topic);
};
extern struct policy policy_allow_all;

#endif
