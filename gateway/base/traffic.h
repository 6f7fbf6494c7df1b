#ifndef TIDEGATE_BASE_TRAFFIC_H
#define TIDEGATE_BASE_TRAFFIC_H

#include "gateway/base/count.h"

/* What an adapter's clients and we have said to each other. Counted where packets are decoded and
 * encoded, whatever their protocol, so that the sum over all adapters means what mosquitto's
 * totals mean. Loop thread only. */
enum traffic_kind {
	TRAFFIC_SOCKETS,     /* connections accepted; datagrams have none */
	TRAFFIC_PACKETS_IN,  /* of any type, the malformed ones too */
	TRAFFIC_PACKETS_OUT, /* of any type */
	TRAFFIC_BYTES_IN,    /* of packets, without TLS and WebSocket around them */
	TRAFFIC_BYTES_OUT,   /* likewise */
	TRAFFIC_PUBLISH_IN,  /* packets that publish */
	TRAFFIC_PUBLISH_OUT, /* deliveries, repetitions too */
	TRAFFIC_PAYLOAD_IN,  /* bytes of what TRAFFIC_PUBLISH_IN counts */
	TRAFFIC_PAYLOAD_OUT, /* bytes of what TRAFFIC_PUBLISH_OUT counts */
	TRAFFIC_KINDS
};

/* Static in the adapter. Each kind is a counter with the adapter's name in front. */
struct traffic {
	struct count of[TRAFFIC_KINDS];
	struct list node; /* zeroed: not among those of traffic_total() yet */
};
#define TRAFFIC(adapter)                                                                           \
	{                                                                                          \
		.of = {                                                                            \
			[TRAFFIC_SOCKETS] = COUNT(adapter ".sockets"),                             \
			[TRAFFIC_PACKETS_IN] = COUNT(adapter ".packets_received"),                 \
			[TRAFFIC_PACKETS_OUT] = COUNT(adapter ".packets_sent"),                    \
			[TRAFFIC_BYTES_IN] = COUNT(adapter ".bytes_received"),                     \
			[TRAFFIC_BYTES_OUT] = COUNT(adapter ".bytes_sent"),                        \
			[TRAFFIC_PUBLISH_IN] = COUNT(adapter ".publish_received"),                 \
			[TRAFFIC_PUBLISH_OUT] = COUNT(adapter ".publish_sent"),                    \
			[TRAFFIC_PAYLOAD_IN] = COUNT(adapter ".payload_received"),                 \
			[TRAFFIC_PAYLOAD_OUT] = COUNT(adapter ".payload_sent"),                    \
		},                                                                                 \
	}

/* At the adapter's start; harmless when it was done already. */
void traffic_register(struct traffic *t);
/* Of all that are registered. */
uint64_t traffic_total(enum traffic_kind kind);

static inline void traffic_one(struct traffic *t, enum traffic_kind kind)
{
	count_one(&t->of[kind]);
}

static inline void traffic_add(struct traffic *t, enum traffic_kind kind, uint64_t n)
{
	count_add(&t->of[kind], n);
}

#endif
