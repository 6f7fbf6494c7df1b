#include "gateway/ctl/sys_values.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/json.h"
#include "gateway/base/traffic.h"
#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/core/router.h"
#include "gateway/core/session.h"
#include "gateway/core/session_store.h"
#include "gateway/ctl/sys_load.h"
#include "gateway/ctl/sys_publish.h"
#include "gateway/ctl/sys_store.h"
#include "gateway/store/journal.h"
#include "gateway/upstream/ledger.h"
#include "gateway/upstream/upstream.h"

#include "version.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define LOSSES_MAX 8192
#define LOSS_MAX   640 /* one of them: a client id of 256 octets, all of them quotes */

static const struct {
	const char *name;
	enum traffic_kind kind;
} totals[] = {
	{ "messages/received", TRAFFIC_PACKETS_IN },
	{ "messages/sent", TRAFFIC_PACKETS_OUT },
	{ "bytes/received", TRAFFIC_BYTES_IN },
	{ "bytes/sent", TRAFFIC_BYTES_OUT },
	{ "publish/messages/received", TRAFFIC_PUBLISH_IN },
	{ "publish/messages/sent", TRAFFIC_PUBLISH_OUT },
	{ "publish/bytes/received", TRAFFIC_PAYLOAD_IN },
	{ "publish/bytes/sent", TRAFFIC_PAYLOAD_OUT },
};

static uint64_t drops(void)
{
	uint64_t sum = 0;

	for (int d = 0; d < DROP_REASONS; d++)
		sum += drops_total((enum drop)d);
	return sum;
}

static uint64_t connections(void)
{
	return count_value("sessions.connects");
}

/* What there is a load average of. */
static const struct {
	const char *name;
	enum traffic_kind kind;
	uint64_t (*count)(void); /* NULL: of `kind` */
} loads[] = {
	{ "messages/received", TRAFFIC_PACKETS_IN, NULL },
	{ "messages/sent", TRAFFIC_PACKETS_OUT, NULL },
	{ "bytes/received", TRAFFIC_BYTES_IN, NULL },
	{ "bytes/sent", TRAFFIC_BYTES_OUT, NULL },
	{ "publish/received", TRAFFIC_PUBLISH_IN, NULL },
	{ "publish/sent", TRAFFIC_PUBLISH_OUT, NULL },
	{ "sockets", TRAFFIC_SOCKETS, NULL },
	{ "publish/dropped", 0, drops },
	{ "connections", 0, connections },
};

struct sys_values {
	const struct sys_sources *from; /* borrowed */
	int64_t started_ms, looked_ms;
	size_t peak;     /* of connected clients */
	size_t heap_max; /* bytes */
	struct sys_load loads[ARRAY_SIZE(loads)];
};

static void look_at_clients(struct sys_values *v)
{
	struct router *r = v->from->router;
	size_t total = sessions_count(v->from->sessions, false);
	size_t connected = sessions_count(v->from->sessions, true);

	sys_values_peak(v, connected);
	sys_publish_number(r, "clients/total", total);
	sys_publish_number(r, "clients/connected", connected);
	sys_publish_number(r, "clients/active", connected);
	sys_publish_number(r, "clients/disconnected", total - connected);
	sys_publish_number(r, "clients/inactive", total - connected);
	sys_publish_number(r, "clients/maximum", v->peak);
	sys_publish_number(r, "clients/expired", count_value("sessions.expired"));
}

static void look_at_traffic(struct sys_values *v)
{
	for (size_t i = 0; i < ARRAY_SIZE(totals); i++)
		sys_publish_number(v->from->router, totals[i].name, traffic_total(totals[i].kind));
	sys_publish_number(v->from->router, "publish/messages/dropped", drops());
}

static void look_at_hub(struct sys_values *v)
{
	struct router *r = v->from->router;
	size_t stored = messages_count(), bytes = messages_payload_bytes();
	struct router_stats s;

	router_stats(r, &s);
	sys_publish_number(r, "subscriptions/count", s.subscriptions);
	sys_publish_number(r, "shared_subscriptions/count", s.shared);
	sys_publish_number(r, "retained messages/count", s.tree.retained);
	sys_publish_number(r, "messages/stored", stored);
	sys_publish_number(r, "store/messages/count", stored);
	sys_publish_number(r, "store/messages/bytes", bytes);
}

/* Only glibc tells what is allocated, and not under a sanitizer. */
static void look_at_heap(struct sys_values *v)
{
	size_t now = 0;

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
	struct mallinfo2 info = mallinfo2();
	now = info.uordblks + info.hblkhd;
#endif
	if (!now)
		return;
	v->heap_max = MAX(v->heap_max, now);
	sys_publish_number(v->from->router, "heap/current", now);
	sys_publish_number(v->from->router, "heap/maximum", v->heap_max);
}

static void look_at_journal(struct sys_values *v)
{
	struct router *r = v->from->router;
	struct journal_status s;
	struct session_store_status sessions;

	if (!v->from->journal)
		return;
	journal_status(v->from->journal, &s);
	sys_publish_number(r, "journal/records", s.live_records);
	sys_publish_number(r, "journal/bytes", s.disk_bytes);
	sys_publish_number(r, "journal/written", s.written_bytes);
	sys_publish_number(r, "journal/written_today", s.written_last_day);
	sys_publish_number(r, "journal/written_per_day", s.written_per_day);
	sys_publish_value(
		r, "journal/state", "%s", store_state_name(store_state(v->from->journal)));
	session_store_status(v->from->session_store, &sessions);
	sys_publish_number(r, "store/sessions", sessions.sessions);
	sys_publish_number(r, "store/sessions/restored", sessions.restored);
}

struct losses {
	struct writer w;
	char sep;
};

static bool wr_loss(const struct ledger_line *line, void *arg)
{
	struct losses *l = arg;
	char rest[96];

	if (line->total == 0 || l->w.cap - l->w.len < LOSS_MAX)
		return false;
	wr_u8(&l->w, (uint8_t)l->sep);
	l->sep = ',';
	wr_span(&l->w, span_str("{\"client\":\""));
	wr_json(&l->w, line->client_id);
	snprintf(rest, sizeof(rest), "\",\"reason\":\"%s\",\"count\":%llu}", loss_name(line->why),
		(unsigned long long)line->total);
	wr_span(&l->w, span_str(rest));
	return false;
}

/* Whose messages did not get there, and why: a JSON array, as much of it as fits. */
static void publish_losses(struct sys_values *v)
{
	uint8_t *buf = malloc(LOSSES_MAX);
	struct losses l = { writer_of(buf, LOSSES_MAX), '[' };

	if (!buf)
		return;
	ledger_each(upstream_ledger(v->from->upstream), wr_loss, &l);
	if (l.sep == ',')
		wr_u8(&l.w, ']');
	else
		wr_span(&l.w, span_str("[]"));
	sys_publish_text(v->from->router, "upstream/dropped", span_of(buf, l.w.len));
	free(buf);
}

static void look_at_upstream(struct sys_values *v)
{
	struct upstream_status s;

	if (!v->from->upstream)
		return;
	upstream_status(v->from->upstream, &s);
	sys_publish_number(v->from->router, "upstream/queued", s.queued);
	sys_publish_number(v->from->router, "upstream/in_flight", s.in_flight);
	publish_losses(v);
}

static void publish_counter(const struct count *c, void *arg)
{
	char name[128];
	int n = snprintf(name, sizeof(name), "counters/%s", c->name);

	for (int i = 0; i < n && i < (int)sizeof(name); i++)
		if (name[i] == '.')
			name[i] = '/';
	sys_publish_number(arg, name, c->n);
}

static void look_at_loads(struct sys_values *v, int64_t elapsed_ms)
{
	char name[96];

	for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
		uint64_t now = loads[i].count ? loads[i].count() : traffic_total(loads[i].kind);
		sys_load_update(&v->loads[i], now, elapsed_ms);
		for (size_t j = 0; j < ARRAY_SIZE(sys_load_names); j++) {
			snprintf(
				name, sizeof(name), "load/%s/%s", loads[i].name, sys_load_names[j]);
			sys_publish_value(v->from->router, name, "%.2f", v->loads[i].average[j]);
		}
	}
}

void sys_values_look(struct sys_values *v)
{
	struct router *r = v->from->router;
	int64_t elapsed_ms = clock_ms() - v->looked_ms;

	v->looked_ms = clock_ms();
	sys_publish_value(r, "version", "tidegate version %s", TIDEGATE_VERSION);
	sys_publish_value(
		r, "uptime", "%lld seconds", (long long)((clock_ms() - v->started_ms) / 1000));
	look_at_clients(v);
	look_at_traffic(v);
	look_at_hub(v);
	look_at_heap(v);
	look_at_journal(v);
	look_at_upstream(v);
	counts_each(publish_counter, r);
	if (elapsed_ms > 0)
		look_at_loads(v, elapsed_ms);
}

void sys_values_peak(struct sys_values *v, size_t connected)
{
	v->peak = MAX(v->peak, connected);
}

struct sys_values *sys_values_new(const struct sys_sources *from)
{
	struct sys_values *v = must_calloc(1, sizeof(*v));

	v->from = from;
	v->started_ms = v->looked_ms = clock_ms();
	return v;
}

void sys_values_free(struct sys_values *v)
{
	free(v);
}
