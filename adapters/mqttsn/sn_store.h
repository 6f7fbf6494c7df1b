#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_STORE_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_STORE_H

#include "gateway/core/session_store.h"

struct sn_gateway;

/* What of MQTT-SN lies on stable storage with a session. A device notices nothing of a restart: it
 * goes on from its address, with its topic ids, asleep if it was. Numbers are for ever. */
enum sn_item {
	SN_ITEM_PEER = SESSION_ADAPTER, /* where the device is, and whether it sleeps */
	SN_ITEM_TOPIC,                  /* sn_topics.c: an id and its name */
	SN_ITEM_RESERVED, /* the same: ids up to this one may be known to the device */
};

/* link_ops.save of a peer. */
void sn_peer_save(const struct link *l, struct session_items *items);
/* After the listeners were opened: peers for the restored sessions. One whose listener is not
 * configured any more stays detached, until it expires or its device connects. */
void sn_revive_peers(struct sn_gateway *gw);

#endif
