#include "gateway/ctl/sys_events.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/json.h"
#include "gateway/base/wire.h"
#include "gateway/core/session.h"
#include "gateway/ctl/sys_publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 1000 /* until the turn ends; past it they are counted and dropped */
#define TOPIC_MAX  1100

static struct count dropped = COUNT("sys.events_dropped");

struct sys_event {
	struct list node;
	bool attached;
	enum protocol protocol;
	struct addr peer;
	int64_t at_ms;
	char client_id[];
};

void sys_events_init(struct sys_events *all)
{
	list_init(&all->waiting);
	all->n = 0;
}

static void event_free(struct sys_events *all, struct sys_event *e)
{
	list_remove(&e->node);
	all->n--;
	free(e);
}

static struct sys_event *first(const struct sys_events *all)
{
	return list_first(&all->waiting, struct sys_event, node);
}

void sys_events_clear(struct sys_events *all)
{
	while (!list_empty(&all->waiting))
		event_free(all, first(all));
}

void sys_events_add(struct sys_events *all, const struct session *s, bool attached)
{
	size_t len = strlen(s->who.client_id) + 1;
	struct sys_event *e = all->n < EVENTS_MAX ? malloc(sizeof(*e) + len) : NULL;

	if (!e) {
		count_one(&dropped);
		return;
	}
	e->attached = attached;
	e->protocol = s->who.protocol;
	e->peer = s->who.peer;
	e->at_ms = clock_wall_ms();
	memcpy(e->client_id, s->who.client_id, len);
	list_append(&all->waiting, &e->node);
	all->n++;
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

static void publish(struct router *r, const struct sys_event *e)
{
	uint8_t topic[TOPIC_MAX], payload[TOPIC_MAX];
	struct writer t = writer_of(topic, sizeof(topic)), p = writer_of(payload, sizeof(payload));
	char rest[160], address[ADDR_TEXT_MAX];

	wr_span(&t, span_str(SYS_PREFIX "clients/"));
	wr_level(&t, e->client_id);
	wr_span(&t, span_str(e->attached ? "/connected" : "/disconnected"));
	wr_span(&p, span_str("{\"clientid\":\""));
	wr_json(&p, e->client_id);
	snprintf(rest, sizeof(rest), "\",\"protocol\":\"%s\",\"address\":\"%s\",\"ts\":%lld}",
		protocol_name(e->protocol), addr_text(&e->peer, address), (long long)e->at_ms);
	wr_span(&p, span_str(rest));
	if (!t.bad && !p.bad)
		sys_publish(r, span_of(topic, t.len), span_of(payload, p.len), false);
}

void sys_events_publish(struct sys_events *all, struct router *r)
{
	while (!list_empty(&all->waiting)) {
		publish(r, first(all));
		event_free(all, first(all));
	}
}
