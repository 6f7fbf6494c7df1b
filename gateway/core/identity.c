#include "gateway/core/identity.h"

#include "gateway/base/util.h"
#include "gateway/core/message.h"

const char *protocol_name(enum protocol p)
{
	static const char *const names[] = {
		[PROTO_GATEWAY] = "gateway",
		[PROTO_UPSTREAM] = "upstream",
		[PROTO_MQTT] = "mqtt",
		[PROTO_MQTTSN] = "mqttsn",
		[PROTO_COAP] = "coap",
	};
	return (size_t)p < ARRAY_SIZE(names) ? names[p] : "unknown";
}

uint64_t identity_new_origin(void)
{
	static uint64_t next = ORIGIN_FIRST_CLIENT;

	return next++;
}

static enum reason connect_anybody(
	struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	(void)who;
	(void)password;
	return R_SUCCESS;
}

static bool allow_everything(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	(void)access;
	(void)topic;
	return true;
}

struct policy policy_allow_all = { .connect = connect_anybody, .allows = allow_everything };
