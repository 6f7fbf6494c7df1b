#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_GATEWAY_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_GATEWAY_H

#include "adapters/adapter.h"
#include "adapters/mqttsn/sn_codec.h"
#include "adapters/mqttsn/sn_conf.h"
#include "adapters/mqttsn/sn_predefined.h"
#include "adapters/mqttsn/sn_socket.h"
#include "gateway/base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The way a datagram came, and its answer goes back. */
struct sn_route {
	struct sn_socket *socket; /* borrowed */
	struct addr addr;
};

/* What is legal depends on it: the state table of sn_receive.c. */
enum sn_state {
	SN_STRANGER,   /* no session: an address we know nothing of, or a peer that has gone */
	SN_WILL_TOPIC, /* CONNECT came; waiting for WILLTOPIC */
	SN_WILL_MSG,   /* waiting for WILLMSG */
	SN_ACTIVE,
	SN_ASLEEP, /* MQTT-SN 1.2, 6.14: nothing is sent */
	SN_AWAKE,  /* asked for its mail with PINGREQ; PINGRESP is due when the queue is empty */
	SN_STATES
};

/* A few answers per second and address for those we have no session with. */
#define SN_STRANGER_SLOTS 1024
struct sn_stranger_slot {
	uint64_t who; /* hash of the route */
	int64_t since_ms;
	uint32_t answered;
};

/* The adapter: all that is shared by its peers. */
struct sn_gateway {
	struct env env;
	struct sn_conf conf;              /* without what is only needed at the start */
	struct sn_predefined *predefined; /* owned */
	struct sn_socket **sockets;       /* owned */
	size_t n_sockets;
	struct identity anonymous; /* publishes at QoS -1 */
	bool draining;

	struct list *buckets; /* owned; of sn_peer.chain, by route */
	size_t n_buckets;     /* a power of two */
	size_t n_peers, n_half_open;
	struct list half_open; /* of sn_peer.node: connecting, no session yet; oldest first */
	struct list clients;   /* of sn_peer.node: with a session */
	struct list blocked;   /* of sn_peer.blocked: waiting for room in their socket */

	struct sn_stranger_slot strangers[SN_STRANGER_SLOTS];
	uint8_t scratch[SN_DATAGRAM_MAX]; /* a message is encoded here */
};

/* `gw` is zeroed memory; it takes `predefined` over. Sockets are added by the caller. */
void sn_gateway_init(struct sn_gateway *gw, const struct env *env, const struct sn_conf *conf,
	struct sn_predefined *predefined);
/* A reload; the same for `predefined`. Nothing of `conf` is kept but its numbers. */
void sn_gateway_configure(
	struct sn_gateway *gw, const struct sn_conf *conf, struct sn_predefined *predefined);
/* Forgets all peers (without a word to anybody) and what it owns but its sockets. */
void sn_gateway_destroy(struct sn_gateway *gw);

/* Encodes and sends. 0; -EAGAIN: no room now; -EMSGSIZE: does not fit into a datagram. */
int sn_send(struct sn_gateway *gw, const struct sn_route *to, const struct sn_packet *p);

/* sn_receive.c: one datagram that came in. */
void sn_receive(struct sn_gateway *gw, const struct sn_route *from, struct span datagram);

#endif
