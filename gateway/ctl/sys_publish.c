#include "gateway/ctl/sys_publish.h"

#include "gateway/core/message.h"
#include "gateway/core/router.h"

#include <stdarg.h>
#include <stdio.h>

static const struct identity gateway_itself = {
	.client_id = "",
	.protocol = PROTO_GATEWAY,
	.origin = ORIGIN_GATEWAY,
};

void sys_publish(struct router *r, struct span topic, struct span payload, bool retain)
{
	struct message_init init = {
		.topic = topic, .payload = payload, .retain = retain, .origin = ORIGIN_GATEWAY
	};
	struct message *m = message_new(&init);

	if (!m)
		return;
	router_publish(r, &gateway_itself, m, NULL);
	message_unref(m);
}

void sys_publish_text(struct router *r, const char *name, struct span value)
{
	char topic[160];

	snprintf(topic, sizeof(topic), SYS_PREFIX "%s", name);
	struct message *old = router_retained(r, span_str(topic));
	if (!old || !span_equal(message_payload(old), value))
		sys_publish(r, span_str(topic), value, true);
}

void sys_publish_value(struct router *r, const char *name, const char *fmt, ...)
{
	char value[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	sys_publish_text(r, name, span_str(value));
}

void sys_publish_number(struct router *r, const char *name, uint64_t n)
{
	sys_publish_value(r, name, "%llu", (unsigned long long)n);
}
