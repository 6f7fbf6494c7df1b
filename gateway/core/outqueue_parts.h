#ifndef TIDEGATE_CORE_OUTQUEUE_PARTS_H
#define TIDEGATE_CORE_OUTQUEUE_PARTS_H

/* The inside of a session's queue, for outqueue.c (the way of a message), outqueue_room.c (what
 * fits), outqueue_end.c (ends and restarts) and mail.c (claims) alone. */
#include "gateway/core/delivery.h"
#include "gateway/core/outqueue.h"

/* outqueue.c */

/* At the end of the queue, and out of it. */
void outqueue_append(struct outqueue *q, struct delivery *d);
struct delivery *outqueue_unqueue(struct outqueue *q, struct delivery **link);
/* Nothing of it is left; `reason` goes to its publisher if that still waits for this one. */
void outqueue_let_go(struct outqueue *q, struct delivery *d, enum reason reason);
/* Out of the queue, and counted. */
void outqueue_drop(struct outqueue *q, struct delivery **link, enum drop why);
/* The head may have become useless while it waited: true when it was dropped. */
bool outqueue_drop_stale(struct outqueue *q);
/* In flight, it is to be sent (again). Sends nothing yet. */
void outqueue_make_due(struct outqueue *q, struct delivery *d);
/* The next packet id that is not in use; 0: all are. */
uint16_t outqueue_free_id(const struct outqueue *q);
/* PUBREL may leave now. Sends nothing yet. */
void outqueue_release(struct outqueue *q, uint16_t packet_id);

/* outqueue_room.c */

/* What is stale goes first, then what the policy gives up. False: it does not fit. */
bool outqueue_make_room(struct outqueue *q, const struct message *m);

/* outqueue_end.c */

/* The storage has refused for long what waits here: it is dropped and counted, and publishers that
 * wait for nothing else are told. */
void outqueue_give_up(struct outqueue *q);

#endif
