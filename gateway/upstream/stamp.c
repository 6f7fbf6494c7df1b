#include "gateway/upstream/stamp.h"

#include "gateway/base/clock.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"

#include <stdlib.h>

#define STAMP_MAX 96 /* octets of both properties */

static void wr_user(struct writer *w, const char *name, const char *value)
{
	props_write(w, &(struct prop){
			       .id = PROP_USER, .name = span_str(name), .value = span_str(value) });
}

struct message *stamp(const struct message *m)
{
	struct span props = message_props(m);
	uint8_t *buf = malloc(props.len + STAMP_MAX);
	struct writer w = writer_of(buf, props.len + STAMP_MAX);
	char when[CLOCK_TEXT_MAX];

	if (!buf)
		return NULL;
	wr_span(&w, props);
	wr_user(&w, "captured-at", clock_text(m->received_wall_ms, when));
	wr_user(&w, "clock", m->synced ? "synced" : "unsynced");
	struct message *copy = message_new(&(struct message_init){
		.topic = message_topic(m),
		.payload = message_payload(m),
		.props = span_of(buf, w.len),
		.qos = m->qos,
		.retain = m->retain,
		.origin = m->origin,
		.expires_ms = m->expires_ms,
	});
	free(buf);
	return copy;
}
