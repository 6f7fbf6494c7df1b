#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_GATEWAY_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_GATEWAY_H

#include "adapters/adapter.h"
#include "adapters/mqttsn/sn_codec.h"
#include "adapters/mqttsn/sn_discovery.h"
#include "adapters/mqttsn/sn_forward.h"
#include "adapters/mqttsn/sn_group.h"
#include "adapters/mqttsn/sn_predefined.h"
#include "adapters/mqttsn/sn_socket.h"
#include "gateway/base/list.h"
#include "gateway/base/traffic.h"
#include "gateway/core/ptrtable.h"
#include "gateway/core/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The way a datagram came, and its answer goes back. */
struct sn_route {
	struct sn_socket *socket; /* borrowed: the listener */
	struct addr addr;         /* of the device or its forwarder; family 0: not known any more */
	struct sn_node *node;     /* behind a forwarder, else NULL; a peer owns its own */
};

/* What the section of the listener says. */
static inline const struct sn_conf *sn_route_conf(const struct sn_route *route)
{
	return route->socket->group->conf;
}

/* Between the topics of a device there and those of the hub. */
struct scope sn_route_scope(const struct sn_route *route, const struct identity *who);

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
	struct sn_conf conf;  /* of [mqttsn]; holds for the whole gateway */
	struct sn_group base; /* [mqttsn] as the section of its listeners */
	struct list groups;   /* of sn_group.node, owned: [mqttsn.NAME] */
	struct sn_discovery discovery;
	struct sn_predefined *predefined; /* owned */
	struct sn_socket **sockets;       /* owned */
	size_t n_sockets;
	struct list ears;          /* owned: see sn_multicast.h */
	struct identity anonymous; /* publishes at QoS -1 */
	bool draining;

	struct ptrtable by_route; /* of peers; without those that have been displaced */
	size_t n_peers, n_half_open;
	struct list half_open; /* of sn_peer.node: connecting, no session yet; oldest first */
	struct list clients;   /* of sn_peer.node: with a session */
	struct list blocked;   /* of sn_peer.blocked: waiting for room in their socket */
	struct ptrtable holds_by_peer; /* sn_hold.c: answers that wait for stable storage */
	struct list holds_new, holds;  /* of sn_hold.node */

	struct sn_stranger_slot strangers[SN_STRANGER_SLOTS];
	/* A message is encoded here, and the encapsulation put in front of it. */
	uint8_t scratch[SN_FORWARD_MAX + SN_DATAGRAM_MAX];
};

extern struct traffic sn_traffic;

/* `gw` is zeroed memory; it takes `predefined` over. Sockets are added by the caller. */
void sn_gateway_init(struct sn_gateway *gw, const struct env *env, const struct sn_conf *conf,
	struct sn_predefined *predefined);
/* A reload; the same for `predefined`. Nothing of the file's struct conf is kept. */
void sn_gateway_configure(
	struct sn_gateway *gw, const struct sn_conf *conf, struct sn_predefined *predefined);
/* Forgets all peers (without a word to anybody) and what it owns but its sockets. */
void sn_gateway_destroy(struct sn_gateway *gw);

/* Encodes and sends. 0; -EAGAIN: no room now; -EMSGSIZE: does not fit into a datagram. */
int sn_send(struct sn_gateway *gw, const struct sn_route *to, const struct sn_packet *p);
/* The same for a message that is encoded already. */
int sn_send_bytes(struct sn_gateway *gw, const struct sn_route *to, struct span message);

/* sn_receive.c: one datagram that came in. */
void sn_receive(struct sn_gateway *gw, const struct sn_route *from, struct span datagram);
/* The same for one that came to a group of gateways, not to us. */
void sn_hear(struct sn_gateway *gw, const struct sn_route *from, struct span datagram);

#endif
