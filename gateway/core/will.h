#ifndef TIDEGATE_CORE_WILL_H
#define TIDEGATE_CORE_WILL_H

#include "gateway/core/session.h"

/* The last will of a session: what is published when its client is lost (MQTT 5.0, 3.1.2.5 and
 * 3.1.3.2.2). The message is in struct session; what few wills have, in here. */
struct will_terms {
	struct session *session; /* borrowed */
	struct timer timer;      /* armed while the will of a lost client waits for its delay */
	int64_t life_ms;         /* its expiry, counted from publication; 0: none */
	uint32_t delay_s;
};

/* Takes a reference; NULL: none. Without memory for its terms a will comes at once and stays. */
void will_set(struct session *s, struct message *m, uint32_t delay_s);
void will_free(struct session *s);
/* The client is lost: publishes now, or when the delay is over. */
void will_lost(struct session *s, struct router *r);
/* The delay has begun and is not over. */
static inline bool will_waiting(const struct session *s)
{
	return s->will_terms && timer_armed(&s->will_terms->timer);
}
/* It will be delayed, should the client be lost. */
static inline bool will_has_delay(const struct session *s)
{
	return s->will && s->will_terms && s->will_terms->delay_s;
}
/* The client is back, or the session is over: a waiting will does not fire any more. */
void will_cancel(struct session *s);
/* Publishes the will as the client's own message; nothing without a will. Keeps it. */
void will_publish(struct session *s, struct router *r);

#endif
