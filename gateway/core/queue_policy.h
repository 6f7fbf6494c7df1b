#ifndef TIDEGATE_CORE_QUEUE_POLICY_H
#define TIDEGATE_CORE_QUEUE_POLICY_H

#include "gateway/core/message.h"

#include <stdbool.h>
#include <stdint.h>

/* What a queue may hold while its client does not collect (a sleeper's mail), and what gives way
 * when it is full. What is in flight never gives way. */
enum queue_full {
	QUEUE_OLDEST,           /* the oldest message makes room for the new one */
	QUEUE_NEWEST,           /* the new one is refused */
	QUEUE_LATEST_PER_TOPIC, /* the oldest that a newer one of its topic outdates; when all are
				   the latest of their topics, the oldest */
};

struct queue_policy {
	int64_t messages, bytes; /* below the limits of all sessions; 0: those alone */
	int64_t age_ms;          /* time in the queue after which a message is stale; 0: none */
	int full;                /* enum queue_full */
};

struct delivery_list;

/* The link of the delivery that gives way in `queue` (oldest first): for `incoming`, or for nothing
 * but the room when that is NULL. Not for QUEUE_NEWEST, where none of them does. *outdated: the
 * queue keeps a newer one of its topic, or will. NULL: the queue is empty. */
struct delivery **queue_policy_victim(const struct queue_policy *policy,
	struct delivery_list *queue, const struct message *incoming, bool *outdated);

#endif
