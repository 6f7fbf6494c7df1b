#ifndef TIDEGATE_CORE_INBOUND_H
#define TIDEGATE_CORE_INBOUND_H

#include "gateway/core/keeper.h"
#include "gateway/core/session.h"

#include <stdbool.h>
#include <stdint.h>

/* The QoS 1 and 2 messages a client publishes, from their PUBLISH until the exchange is over: at
 * QoS 1 with its answer, at QoS 2 with PUBREL. A repetition (same packet id, QoS and digest) is
 * recognised and never published again; it is answered when the first one is, or again. Made with
 * the first such message of a session; lives on while the client is away. */
struct inbound;

/* `limits` is borrowed. NULL: no memory. */
struct inbound *inbound_new(struct session *s, const struct sessions_conf *limits);
/* The session is over: no receipt fires any more. The memory stays until inbound_free(). */
void inbound_end(struct inbound *in);  /* NULL is fine */
void inbound_free(struct inbound *in); /* NULL is fine */
/* The process ends, the session lives on in the storage: its claims are left there. To be followed
 * by inbound_end(). */
void inbound_leave(struct inbound *in);
/* A CLAIM_EXCHANGE of the last run, whose PUBREC may have been seen. False: of no use. */
bool inbound_restore(struct inbound *in, struct kept *kept, const struct claim *c);
/* Nothing is under way or to be recognised: it can be freed and made again when it is needed. */
bool inbound_idle(const struct inbound *in);
/* A new connection. What it says under an old packet id counts as new when it differs: a client
 * that lost its memory may start its numbers afresh. */
void inbound_attached(struct inbound *in); /* NULL is fine */

/* session_publish() at QoS 1 and 2. R_PACKET_ID_IN_USE: a QoS 2 exchange of this connection is
 * open under the id, with another message (not for datagram sessions, whose device may have
 * rebooted unseen: there the new message takes the old one's place). */
enum reason inbound_publish(
	struct inbound *in, struct message *m, uint16_t packet_id, uint32_t cookie);
/* session_released(). */
bool inbound_released(struct inbound *in, uint16_t packet_id);

#endif
