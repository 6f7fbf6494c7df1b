#ifndef TIDEGATE_MQTT_MQ_ALIAS_H
#define TIDEGATE_MQTT_MQ_ALIAS_H

#include "gateway/base/reason.h"
#include "gateway/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* The topic aliases of one direction of one connection (MQTT 5.0, 3.3.2.3.4). Costs memory from the
 * first alias on. */
struct mq_aliases {
	uint16_t max;             /* aliases are 1..max; 0: none */
	struct mq_alias **topics; /* owned, by alias - 1; NULL: none yet */
};

static inline void mq_aliases_init(struct mq_aliases *a, uint16_t max)
{
	*a = (struct mq_aliases){ .max = max };
}
void mq_aliases_clear(struct mq_aliases *a);

/* R_SUCCESS, R_TOPIC_ALIAS (not within 1..max) or R_QUOTA (no memory). */
enum reason mq_aliases_set(struct mq_aliases *a, uint32_t alias, struct span topic);
/* False: nothing is known under it. */
bool mq_aliases_get(const struct mq_aliases *a, uint32_t alias, struct span *topic);
/* For the sender: the alias this topic has or may get, 0 when there are none. *known: the receiver
 * has it. A topic has one place only, so that no order need be kept: a newer one displaces it. */
uint16_t mq_aliases_for(const struct mq_aliases *a, struct span topic, bool *known);

#endif
