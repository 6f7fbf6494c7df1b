#include "gateway/base/reason.h"

#include "gateway/base/util.h"

#include <stdio.h>

static const char *const names[] = {
	[R_SUCCESS] = "success",
	[R_GRANTED_QOS_1] = "granted qos 1",
	[R_GRANTED_QOS_2] = "granted qos 2",
	[R_DISCONNECT_WITH_WILL] = "disconnect with will",
	[R_NO_MATCHING_SUBSCRIBERS] = "no matching subscribers",
	[R_NO_SUBSCRIPTION_EXISTED] = "no subscription existed",
	[R_CONTINUE_AUTH] = "continue authentication",
	[R_REAUTHENTICATE] = "re-authenticate",
	[R_UNSPECIFIED] = "unspecified error",
	[R_MALFORMED] = "malformed packet",
	[R_PROTOCOL_ERROR] = "protocol error",
	[R_IMPLEMENTATION] = "implementation specific error",
	[R_VERSION] = "unsupported protocol version",
	[R_CLIENT_ID] = "client identifier not valid",
	[R_BAD_CREDENTIALS] = "bad user name or password",
	[R_NOT_AUTHORIZED] = "not authorized",
	[R_SERVER_UNAVAILABLE] = "server unavailable",
	[R_BUSY] = "server busy",
	[R_BANNED] = "banned",
	[R_SHUTTING_DOWN] = "server shutting down",
	[R_BAD_AUTH_METHOD] = "bad authentication method",
	[R_KEEP_ALIVE] = "keep alive timeout",
	[R_TAKEN_OVER] = "session taken over",
	[R_FILTER_INVALID] = "topic filter invalid",
	[R_TOPIC_INVALID] = "topic name invalid",
	[R_PACKET_ID_IN_USE] = "packet identifier in use",
	[R_PACKET_ID_UNKNOWN] = "packet identifier not found",
	[R_RECEIVE_MAXIMUM] = "receive maximum exceeded",
	[R_TOPIC_ALIAS] = "topic alias invalid",
	[R_TOO_LARGE] = "packet too large",
	[R_RATE] = "message rate too high",
	[R_QUOTA] = "quota exceeded",
	[R_ADMINISTRATIVE] = "administrative action",
	[R_PAYLOAD_FORMAT] = "payload format invalid",
	[R_RETAIN_UNSUPPORTED] = "retain not supported",
	[R_QOS_UNSUPPORTED] = "qos not supported",
	[R_USE_ANOTHER_SERVER] = "use another server",
	[R_SERVER_MOVED] = "server moved",
	[R_SHARED_UNSUPPORTED] = "shared subscriptions not supported",
	[R_CONNECTION_RATE] = "connection rate exceeded",
	[R_MAX_CONNECT_TIME] = "maximum connect time",
	[R_SUBSCRIPTION_ID_UNSUPPORTED] = "subscription identifiers not supported",
	[R_WILDCARD_UNSUPPORTED] = "wildcard subscriptions not supported",
};

const char *reason_name(enum reason r)
{
	/* A code from the network may be any octet. One buffer per thread: valid until the next
	 * call. */
	static _Thread_local char unknown[24];
	if ((size_t)r < ARRAY_SIZE(names) && names[r])
		return names[r];
	snprintf(unknown, sizeof(unknown), "reason 0x%02x", (unsigned)r);
	return unknown;
}
