#include "gateway/ctl/sys.h"

#include "gateway/base/timer.h"
#include "gateway/base/util.h"
#include "gateway/core/session.h"
#include "gateway/ctl/sys_events.h"
#include "gateway/ctl/sys_publish.h"
#include "gateway/ctl/sys_store.h"
#include "gateway/ctl/sys_values.h"
#include "gateway/upstream/upstream.h"

#include <stdio.h>
#include <stdlib.h>

struct sys {
	struct sys_sources from;
	struct sys_values *values; /* owned */
	struct sys_events events;
	struct sys_store store;
	struct sessions_watcher watcher;
	int64_t interval_ms;
	struct timer timer;
	int upstream_up; /* as published; -1: not yet */
};

static void on_timer(struct timer *t)
{
	struct sys *s = container_of(t, struct sys, timer);

	sys_values_look(s->values);
	timer_arm(t, s->interval_ms);
}

static void on_session(struct sessions_watcher *w, const struct session *session, bool attached)
{
	struct sys *s = container_of(w, struct sys, watcher);

	sys_values_peak(s->values, sessions_count(s->from.sessions, true));
	sys_events_add(&s->events, session, attached);
}

/* As mosquitto's bridges do it: 1 connected, 0 not. */
static void publish_upstream(struct sys *s)
{
	char name[128];
	int up = upstream_is_up(s->from.upstream);

	if (up == s->upstream_up)
		return;
	s->upstream_up = up;
	snprintf(name, sizeof(name), "connection/%s/state", s->from.gateway_id);
	sys_publish_value(s->from.router, name, "%d", up);
}

void sys_turn(struct sys *s)
{
	if (s->from.upstream)
		publish_upstream(s);
	sys_store_look(&s->store, s->from.journal, s->from.router);
	sys_events_publish(&s->events, s->from.router);
}

void sys_set_interval(struct sys *s, int64_t interval_ms)
{
	s->interval_ms = interval_ms;
	if (interval_ms)
		timer_arm(&s->timer, interval_ms);
	else
		timer_disarm(&s->timer);
}

struct sys *sys_new(const struct sys_sources *sources, int64_t interval_ms)
{
	struct sys *s = must_calloc(1, sizeof(*s));

	s->from = *sources;
	s->values = sys_values_new(&s->from);
	s->upstream_up = s->store.state = -1;
	sys_events_init(&s->events);
	timer_init(&s->timer, on_timer);
	s->watcher.changed = on_session;
	sessions_watch(s->from.sessions, &s->watcher);
	sys_set_interval(s, interval_ms);
	if (interval_ms)
		sys_values_look(s->values);
	return s;
}

void sys_free(struct sys *s)
{
	timer_disarm(&s->timer);
	sessions_unwatch(&s->watcher);
	sys_events_clear(&s->events);
	sys_values_free(s->values);
	free(s);
}
