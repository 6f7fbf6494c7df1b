#ifndef TIDEGATE_MQTT_MQTT_H
#define TIDEGATE_MQTT_MQTT_H

#include "adapters/adapter.h"
#include "adapters/mqtt/mq_codec.h"
#include "adapters/mqtt/mq_pool.h"
#include "gateway/base/list.h"
#include "gateway/base/timer.h"
#include "gateway/base/traffic.h"

/* The adapter's own state; what listeners and connections share. */
struct mqtt {
	struct env env;
	struct list groups;        /* of struct mq_group, owned */
	struct list listeners;     /* of struct mq_listener, owned */
	struct list conns;         /* of struct mq_conn, owned */
	struct list turn;          /* connections to look at when the turn ends */
	struct list waiting;       /* the same, when their marks are reached; in that order */
	struct timer accept_again; /* armed while listeners rest for want of descriptors */
	struct mq_pool inputs;     /* read buffers */
	struct mq_pool outputs;    /* chunks of struct mq_out */
	size_t n_conns, max_conns; /* max: the configured number, or what descriptors allow */
	size_t grown_bytes;        /* read buffers beyond a pool's block, all connections */
	size_t max_grown_bytes;    /* 0: none */
	uint32_t max_payload_bytes;
	size_t handshakes, max_handshakes; /* of TLS, under way */
	/* For clients of MQTT 5, told in CONNACK. */
	uint16_t receive_max;
	uint32_t max_expiry_s; /* 0: none */
};

extern struct traffic mq_traffic;

/* The longest packet that is taken, all of its octets. */
static inline uint32_t mqtt_max_packet(const struct mqtt *m)
{
	return MQ_HEADER_MAX + MQ_BODY_OVERHEAD + m->max_payload_bytes;
}

#endif
