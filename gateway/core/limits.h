#ifndef TIDEGATE_CORE_LIMITS_H
#define TIDEGATE_CORE_LIMITS_H

#include "gateway/base/conf.h"

/* Section [limits]: the caps of the hub (DESIGN: every table has one per client and one in all). */
struct limits_conf {
	int64_t sessions, subscriptions_per_client, subscriptions;
	int64_t topic_bytes, topic_levels;
	int64_t queue_messages, queue_bytes;
	int64_t inflight;         /* window towards a local MQTT client */
	int64_t inbound_messages; /* open QoS 1/2 exchanges of one MQTT client */
	int64_t inbound_qos2;     /* open QoS 2 exchanges of one device */
	int64_t retained_messages, retained_bytes, retained_message_bytes;
	int64_t delayed_messages, delayed_bytes;
	int64_t message_bytes;     /* payload, over TCP */
	int64_t memory;            /* budget of all queued bytes */
	int64_t session_expiry_ms; /* longest life of a detached session */
};
extern const struct conf_section limits_conf_section;

#endif
