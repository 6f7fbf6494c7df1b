#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_FORWARD_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_FORWARD_H

#include "adapters/mqttsn/sn_codec.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* Forwarder encapsulation (MQTT-SN 1.2, 5.5): devices without IP that talk through a forwarder.
 * A node is a device like any other, whose address is that of its forwarder and the id it has
 * there. */
#define SN_NODE_ID_MAX 252                  /* the length field in front of it has one octet */
#define SN_FORWARD_MAX (3 + SN_NODE_ID_MAX) /* octets in front of the message */

struct sn_route;

struct sn_node {
	struct span id; /* as it came: borrowed; sn_node_copy(): behind the struct */
	uint8_t ctrl;   /* of its last message; the answer has the same */
};

/* Freed with free(); NULL: no memory. */
struct sn_node *sn_node_copy(const struct sn_node *node);
/* Either may be NULL: not behind a forwarder. */
bool sn_node_equal(const struct sn_node *a, const struct sn_node *b);
/* Writes what goes in front of a message to the node; returns its size. */
size_t sn_node_header(const struct sn_node *node, uint8_t out[SN_FORWARD_MAX]);

/* Who spoke in an encapsulation, or false: there is no node id, or it is too long, or we take none
 * from that address. It is counted and logged. `node` borrows from `p`. */
bool sn_forward_open(const struct sn_route *from, const struct sn_packet *p, struct sn_node *node);

#endif
