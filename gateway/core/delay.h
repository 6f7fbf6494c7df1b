#ifndef TIDEGATE_CORE_DELAY_H
#define TIDEGATE_CORE_DELAY_H

#include "gateway/core/router.h"

/* Delayed messages: a client publishes to $delayed/{seconds}/{topic}, and the message is published
 * to {topic} so many seconds later, as if its publisher did it then: right, topic and limits are
 * checked at once, expiry counts from the later publication.
 *
 * With storage they are kept there, at QoS 1 and 2 before the publisher is answered, and come back
 * after a restart; the publisher is not known any more then, so that No Local does not hold for it.
 * A message is given up there when it is safe wherever it was published to: a crash in that moment
 * publishes it again. Without storage they are in memory only: at QoS 1 and 2 the acknowledgement
 * says that the message has been taken, as with every message for local clients; one whose topic
 * the upstream would get cannot be promised to survive until then, and is refused with
 * R_IMPLEMENTATION. */

/* Has the topic of a delayed message, right or wrong. */
bool delay_is_asked(struct span topic);
/* Octets of "$delayed/{seconds}/" in front of the topic proper; 0: it has none. All of the topic
 * where it ends before that. */
size_t delay_prefix(struct span topic);
/* R_SUCCESS: taken. R_TOPIC_INVALID: no such number of seconds, or topic; or none are allowed.
 * R_NOT_AUTHORIZED. R_QUOTA: too many, no memory, or the storage takes nothing. */
enum reason delay_accept(struct router *r, const struct identity *from, const struct message *m,
	struct receipt *receipt, struct own_claim *own);
/* There is a keeper: asks for what it has. */
void delays_restore(struct router *r);
void delays_init(struct router *r);
void delays_close(struct router *r); /* what is only in memory is dropped */

#endif
