#ifndef TIDEGATE_BASE_REASON_H
#define TIDEGATE_BASE_REASON_H

#include <stdbool.h>

/* Outcomes told to a peer: the reason codes of MQTT 5.0, 2.4. Each adapter maps them to its own
 * protocol's codes in one table. Our own failures are negative errnos, never these. */
enum reason {
	R_SUCCESS = 0x00,
	R_GRANTED_QOS_1 = 0x01,
	R_GRANTED_QOS_2 = 0x02,
	R_DISCONNECT_WITH_WILL = 0x04,
	R_NO_MATCHING_SUBSCRIBERS = 0x10,
	R_NO_SUBSCRIPTION_EXISTED = 0x11,
	R_CONTINUE_AUTH = 0x18,
	R_REAUTHENTICATE = 0x19,
	R_UNSPECIFIED = 0x80,
	R_MALFORMED = 0x81,
	R_PROTOCOL_ERROR = 0x82,
	R_IMPLEMENTATION = 0x83,
	R_VERSION = 0x84,
	R_CLIENT_ID = 0x85,
	R_BAD_CREDENTIALS = 0x86,
	R_NOT_AUTHORIZED = 0x87,
	R_SERVER_UNAVAILABLE = 0x88,
	R_BUSY = 0x89,
	R_BANNED = 0x8A,
	R_SHUTTING_DOWN = 0x8B,
	R_BAD_AUTH_METHOD = 0x8C,
	R_KEEP_ALIVE = 0x8D,
	R_TAKEN_OVER = 0x8E,
	R_FILTER_INVALID = 0x8F,
	R_TOPIC_INVALID = 0x90,
	R_PACKET_ID_IN_USE = 0x91,
	R_PACKET_ID_UNKNOWN = 0x92,
	R_RECEIVE_MAXIMUM = 0x93,
	R_TOPIC_ALIAS = 0x94,
	R_TOO_LARGE = 0x95,
	R_RATE = 0x96,
	R_QUOTA = 0x97,
	R_ADMINISTRATIVE = 0x98,
	R_PAYLOAD_FORMAT = 0x99,
	R_RETAIN_UNSUPPORTED = 0x9A,
	R_QOS_UNSUPPORTED = 0x9B,
	R_USE_ANOTHER_SERVER = 0x9C,
	R_SERVER_MOVED = 0x9D,
	R_SHARED_UNSUPPORTED = 0x9E,
	R_CONNECTION_RATE = 0x9F,
	R_MAX_CONNECT_TIME = 0xA0,
	R_SUBSCRIPTION_ID_UNSUPPORTED = 0xA1,
	R_WILDCARD_UNSUPPORTED = 0xA2,
};

/* MQTT 5.0, 2.4: codes of 0x80 and above are failures. */
static inline bool reason_failed(enum reason r)
{
	return r >= R_UNSPECIFIED;
}

/* A short lower-case name for logs and counters, never NULL ("quota exceeded", "reason 0xc3"...).
 */
const char *reason_name(enum reason r);

#endif
