#ifndef TIDEGATE_ADAPTERS_MQTTSN_SN_HOLD_H
#define TIDEGATE_ADAPTERS_MQTTSN_SN_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sn_gateway;
struct sn_packet;
struct sn_peer;

/* An answer that promises something of a stored session (CONNACK, REGACK, SUBACK, ...) leaves when
 * that is on stable storage. What goes to the same device meanwhile stays behind it; messages of
 * its queue stay in the queue. Nobody else waits, and nobody at all without storage or while it
 * fails. As sn_peer_send(); 0 also when it is lost: too much waits already, or no memory. */
int sn_promise(struct sn_peer *p, const struct sn_packet *packet);
/* Anything else to a peer with p->holding. */
void sn_hold_behind(struct sn_peer *p, const struct sn_packet *packet);
/* Nothing of it leaves; harmless when nothing waits. */
void sn_hold_drop(struct sn_peer *p);

/* The end of a turn, before the sockets are flushed: what may leave goes there. */
void sn_holds_flush(struct sn_gateway *gw);
bool sn_holds_pending(const struct sn_gateway *gw);

void sn_holds_init(struct sn_gateway *gw);
/* There are no peers any more. */
void sn_holds_destroy(struct sn_gateway *gw);

#endif
