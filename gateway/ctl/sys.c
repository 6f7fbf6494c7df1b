#include "gateway/ctl/sys.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/timer.h"
#include "gateway/base/wire.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"
#include "gateway/core/session.h"
#include "gateway/ctl/sys_load.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/upstream.h"

#include "version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX 1000 /* until the turn ends; past it they are counted and dropped */
#define TOPIC_MAX  1100

static struct count events_dropped = COUNT("sys.events_dropped");

struct sys_event {
	struct list node;
	bool attached;
	enum protocol protocol;
	struct addr peer;
	int64_t at_ms;
	char client_id[];
};

struct sys_snapshot {
	struct router_stats router;
	struct journal_status journal;
	uint64_t dropped;
	size_t total, attached, maximum;
	int64_t uptime_s;
};

struct sys {
	struct sys_sources from;
	int64_t interval_ms, started_ms, looked_ms;
	struct timer timer;
	struct sessions_watcher watcher;
	struct list events;
	size_t n_events, maximum;
	int upstream_up; /* as published; -1: not yet */
	struct sys_load received, sent, dropped, connections;
};

static const struct identity gateway_itself = {
	.client_id = "",
	.protocol = PROTO_GATEWAY,
	.origin = ORIGIN_GATEWAY,
};

static void publish(struct sys *s, struct span topic, struct span payload, bool retain)
{
	struct message_init init = {
		.topic = topic, .payload = payload, .retain = retain, .origin = ORIGIN_GATEWAY
	};
	struct message *m = message_new(&init);

	if (!m)
		return;
	router_publish(s->from.router, &gateway_itself, m, NULL);
	message_unref(m);
}

/* Nobody is told what has not changed. */
static void publish_value(struct sys *s, const char *topic, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void publish_value(struct sys *s, const char *topic, const char *fmt, ...)
{
	char value[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	struct message *old = router_retained(s->from.router, span_str(topic));
	if (!old || !span_equal(message_payload(old), span_str(value)))
		publish(s, span_str(topic), span_str(value), true);
}

static void publish_number(struct sys *s, const char *topic, uint64_t n)
{
	publish_value(s, topic, "%llu", (unsigned long long)n);
}

static void publish_load(
	struct sys *s, const char *what, struct sys_load *l, uint64_t now, int64_t elapsed_ms)
{
	char topic[96];

	sys_load_update(l, now, elapsed_ms);
	for (size_t i = 0; i < ARRAY_SIZE(sys_load_names); i++) {
		snprintf(topic, sizeof(topic), "$SYS/broker/load/%s/%s", what, sys_load_names[i]);
		publish_value(s, topic, "%.2f", l->average[i]);
	}
}

static void publish_counter(const struct count *c, void *arg)
{
	char topic[128];
	int n = snprintf(topic, sizeof(topic), "$SYS/broker/counters/%s", c->name);

	for (int i = 0; i < n && i < (int)sizeof(topic); i++)
		if (topic[i] == '.')
			topic[i] = '/';
	publish_number(arg, topic, c->n);
}

static void take_snapshot(struct sys *s, struct sys_snapshot *t)
{
	*t = (struct sys_snapshot){ .uptime_s = (clock_ms() - s->started_ms) / 1000 };
	router_stats(s->from.router, &t->router);
	if (s->from.journal)
		journal_status(s->from.journal, &t->journal);
	for (int d = 0; d < DROP_REASONS; d++)
		t->dropped += drops_total((enum drop)d);
	t->total = sessions_count(s->from.sessions, false);
	t->attached = sessions_count(s->from.sessions, true);
	s->maximum = MAX(s->maximum, t->attached);
	t->maximum = s->maximum;
}

static void publish_clients(struct sys *s, const struct sys_snapshot *t)
{
	publish_number(s, "$SYS/broker/clients/total", t->total);
	publish_number(s, "$SYS/broker/clients/connected", t->attached);
	publish_number(s, "$SYS/broker/clients/active", t->attached);
	publish_number(s, "$SYS/broker/clients/disconnected", t->total - t->attached);
	publish_number(s, "$SYS/broker/clients/inactive", t->total - t->attached);
	publish_number(s, "$SYS/broker/clients/maximum", t->maximum);
}

static void publish_messages(struct sys *s, const struct sys_snapshot *t)
{
	publish_number(s, "$SYS/broker/publish/messages/received", t->router.published);
	publish_number(s, "$SYS/broker/publish/messages/sent", t->router.delivered);
	publish_number(s, "$SYS/broker/publish/messages/dropped", t->dropped);
	publish_number(s, "$SYS/broker/subscriptions/count", t->router.tree.leaves);
	publish_number(s, "$SYS/broker/retained messages/count", t->router.tree.retained);
	publish_number(s, "$SYS/broker/store/messages/bytes", messages_bytes());
}

static void publish_store(struct sys *s, const struct sys_snapshot *t)
{
	if (!s->from.journal)
		return;
	publish_number(s, "$SYS/broker/journal/records", t->journal.live_records);
	publish_number(s, "$SYS/broker/journal/bytes", t->journal.disk_bytes);
	publish_number(s, "$SYS/broker/journal/written", t->journal.written_bytes);
	publish_value(s, "$SYS/broker/journal/state", "%s",
		t->journal.error  ? "failing"
		: t->journal.full ? "full"
				  : "ok");
}

static void look(struct sys *s)
{
	struct sys_snapshot t;
	int64_t elapsed_ms = clock_ms() - s->looked_ms;

	s->looked_ms = clock_ms();
	take_snapshot(s, &t);
	publish_value(s, "$SYS/broker/version", "tidegate version %s", TIDEGATE_VERSION);
	publish_value(s, "$SYS/broker/uptime", "%lld seconds", (long long)t.uptime_s);
	publish_clients(s, &t);
	publish_messages(s, &t);
	publish_store(s, &t);
	counts_each(publish_counter, s);
	if (elapsed_ms <= 0)
		return;
	publish_load(s, "publish/received", &s->received, t.router.published, elapsed_ms);
	publish_load(s, "publish/sent", &s->sent, t.router.delivered, elapsed_ms);
	publish_load(s, "publish/dropped", &s->dropped, t.dropped, elapsed_ms);
	publish_load(
		s, "connections", &s->connections, count_value("sessions.connects"), elapsed_ms);
}

static void on_timer(struct timer *t)
{
	struct sys *s = container_of(t, struct sys, timer);

	look(s);
	timer_arm(t, s->interval_ms);
}

static void on_session(struct sessions_watcher *w, const struct session *session, bool attached)
{
	struct sys *s = container_of(w, struct sys, watcher);
	size_t len = strlen(session->who.client_id) + 1;
	struct sys_event *e = s->n_events < EVENTS_MAX ? malloc(sizeof(*e) + len) : NULL;

	s->maximum = MAX(s->maximum, sessions_count(s->from.sessions, true));
	if (!e) {
		count_one(&events_dropped);
		return;
	}
	e->attached = attached;
	e->protocol = session->who.protocol;
	e->peer = session->who.peer;
	e->at_ms = clock_wall_ms();
	memcpy(e->client_id, session->who.client_id, len);
	list_append(&s->events, &e->node);
	s->n_events++;
}

/* One topic level of any client id: what means something in a topic is percent-encoded. */
static void wr_level(struct writer *w, const char *id)
{
	char encoded[4];

	for (; *id; id++) {
		if (!strchr("/+#%", *id)) {
			wr_u8(w, (uint8_t)*id);
			continue;
		}
		snprintf(encoded, sizeof(encoded), "%%%02X", (unsigned)(uint8_t)*id);
		wr_bytes(w, encoded, 3);
	}
}

static void wr_json(struct writer *w, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			wr_u8(w, '\\');
		wr_u8(w, (uint8_t)*text);
	}
}

static void publish_event(struct sys *s, const struct sys_event *e)
{
	uint8_t topic[TOPIC_MAX], payload[TOPIC_MAX];
	struct writer t = writer_of(topic, sizeof(topic)), p = writer_of(payload, sizeof(payload));
	char rest[160], address[ADDR_TEXT_MAX];

	wr_span(&t, span_str("$SYS/broker/clients/"));
	wr_level(&t, e->client_id);
	wr_span(&t, span_str(e->attached ? "/connected" : "/disconnected"));
	wr_span(&p, span_str("{\"clientid\":\""));
	wr_json(&p, e->client_id);
	snprintf(rest, sizeof(rest), "\",\"protocol\":\"%s\",\"address\":\"%s\",\"ts\":%lld}",
		protocol_name(e->protocol), addr_text(&e->peer, address), (long long)e->at_ms);
	wr_span(&p, span_str(rest));
	if (!t.bad && !p.bad)
		publish(s, span_of(topic, t.len), span_of(payload, p.len), false);
}

static void publish_events(struct sys *s)
{
	while (!list_empty(&s->events)) {
		struct sys_event *e = list_first(&s->events, struct sys_event, node);
		list_remove(&e->node);
		s->n_events--;
		publish_event(s, e);
		free(e);
	}
}

/* As mosquitto's bridges do it: 1 connected, 0 not. */
static void publish_upstream(struct sys *s)
{
	char topic[128];
	int up = upstream_is_up(s->from.upstream);

	if (up == s->upstream_up)
		return;
	s->upstream_up = up;
	snprintf(topic, sizeof(topic), "$SYS/broker/connection/%s/state", s->from.gateway_id);
	publish_value(s, topic, "%d", up);
}

void sys_turn(struct sys *s)
{
	if (s->from.upstream)
		publish_upstream(s);
	publish_events(s);
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
	s->upstream_up = -1;
	s->started_ms = s->looked_ms = clock_ms();
	list_init(&s->events);
	timer_init(&s->timer, on_timer);
	s->watcher.changed = on_session;
	sessions_watch(s->from.sessions, &s->watcher);
	sys_set_interval(s, interval_ms);
	if (interval_ms)
		look(s);
	return s;
}

void sys_free(struct sys *s)
{
	timer_disarm(&s->timer);
	sessions_unwatch(&s->watcher);
	while (!list_empty(&s->events)) {
		struct sys_event *e = list_first(&s->events, struct sys_event, node);
		list_remove(&e->node);
		free(e);
	}
	free(s);
}
