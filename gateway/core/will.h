#ifndef TIDEGATE_CORE_WILL_H
#define TIDEGATE_CORE_WILL_H

#include "gateway/core/session_rare.h"

/* The last will of a session: what is published when its client is lost (MQTT 5.0, 3.1.2.5 and
 * 3.1.3.2.2). The message is in struct session; its terms, which few wills have, in session_rare.
 */

/* Takes a reference; NULL: none. Without memory for its terms a will comes at once and stays. */
void will_set(struct session *s, struct message *m, uint32_t delay_s);
/* As it was before a restart; `life_ms` as in struct will_terms. */
void will_restore(struct session *s, struct message *m, uint32_t delay_s, int64_t life_ms);
/* It is the one the session has. */
bool will_same(const struct session *s, const struct message *m, uint32_t delay_s);
void will_free(struct session *s);
/* The client is lost: publishes now, or when the delay is over. */
void will_lost(struct session *s, struct router *r);
/* The same after `delay_ms`. */
void will_wait(struct session *s, int64_t delay_ms);
int64_t will_delay_ms(const struct session *s); /* of its terms */
/* The delay has begun and is not over. */
static inline bool will_waiting(const struct session *s)
{
	return s->rare && timer_armed(&s->rare->will.delay);
}
/* It will be delayed, should the client be lost. */
static inline bool will_has_delay(const struct session *s)
{
	return s->will && s->rare && s->rare->will.delay_s;
}
/* The client is back, or the session is over: a waiting will does not fire any more. */
void will_cancel(struct session *s);
/* Publishes the will as the client's own message; nothing without a will. Keeps it. */
void will_publish(struct session *s, struct router *r);

#endif
