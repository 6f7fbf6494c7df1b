#ifndef TIDEGATE_CTL_SYS_EVENTS_H
#define TIDEGATE_CTL_SYS_EVENTS_H

#include "gateway/base/list.h"

#include <stdbool.h>
#include <stddef.h>

struct router;
struct session;

/* Who came and went during a turn: nothing may be published while a session changes. */
struct sys_events {
	struct list waiting;
	size_t n;
};

void sys_events_init(struct sys_events *e);
void sys_events_clear(struct sys_events *e);
void sys_events_add(struct sys_events *e, const struct session *s, bool attached);
/* $SYS/broker/clients/{client id}/connected and disconnected, not retained. Empties the list. */
void sys_events_publish(struct sys_events *e, struct router *r);

#endif
