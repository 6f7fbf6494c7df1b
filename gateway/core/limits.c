#include "gateway/core/limits.h"

#include "gateway/core/topic.h"

#include <stddef.h>
#include <stdint.h>

#define FIELD(name) offsetof(struct limits_conf, name)
#define DAY_MS      ((int64_t)24 * 60 * 60 * 1000)
#define MB          ((int64_t)1024 * 1024)
#define GB          (1024 * MB)

/* Counts are held in 32 bits. */
#define MANY INT32_MAX

static const struct conf_row rows[] = {
	{ .key = "sessions",
		.type = CONF_INT,
		.offset = FIELD(sessions),
		.min = 1,
		.max = MANY,
		.def = "10000",
		.reload = true,
		.help = "How many sessions there can be, connected or not; further clients are "
			"refused." },
	{ .key = "session_expiry",
		.type = CONF_TIME,
		.offset = FIELD(session_expiry_ms),
		.min = 0,
		.max = 10 * 365 * DAY_MS,
		.def = "7d",
		.reload = true,
		.help = "How long at most the session of a client that is away is kept." },
	{ .key = "subscriptions_per_client",
		.type = CONF_INT,
		.offset = FIELD(subscriptions_per_client),
		.min = 1,
		.max = MANY,
		.def = "200",
		.reload = true,
		.help = "Subscriptions of one client." },
	{ .key = "subscriptions",
		.type = CONF_INT,
		.offset = FIELD(subscriptions),
		.min = 1,
		.max = MANY,
		.def = "100000",
		.reload = true,
		.help = "Subscriptions of all clients together." },
	{ .key = "topic_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(topic_bytes),
		.min = 16,
		.max = TOPIC_BYTES_MAX * 8,
		.def = "1KB",
		.help = "Length of a topic or filter; longer ones are refused." },
	{ .key = "topic_levels",
		.type = CONF_INT,
		.offset = FIELD(topic_levels),
		.min = 2,
		.max = TOPIC_LEVELS_MAX * 8,
		.def = "32",
		.help = "Levels of a topic or filter; deeper ones are refused." },
	{ .key = "queue_messages",
		.type = CONF_INT,
		.offset = FIELD(queue_messages),
		.min = 1,
		.max = MANY,
		.def = "1000",
		.reload = true,
		.help = "Messages that wait for one client." },
	{ .key = "queue_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(queue_bytes),
		.min = 1024,
		.max = GB,
		.def = "256KB",
		.reload = true,
		.help = "Size of the messages that wait for one client." },
	{ .key = "inflight",
		.type = CONF_INT,
		.offset = FIELD(inflight),
		.min = 1,
		.max = UINT16_MAX,
		.def = "20",
		.reload = true,
		.help = "QoS 1 and 2 messages on their way to one MQTT client before it "
			"acknowledges." },
	{ .key = "inbound_messages",
		.type = CONF_INT,
		.offset = FIELD(inbound_messages),
		.min = 1,
		.max = UINT16_MAX,
		.def = "1000",
		.reload = true,
		.help = "QoS 1 and 2 messages of one MQTT client that are not finished; clients of "
			"MQTT 5 are told, and disconnected when they send more, of others no more "
			"is read." },
	{ .key = "inbound_qos2",
		.type = CONF_INT,
		.offset = FIELD(inbound_qos2),
		.min = 1,
		.max = UINT16_MAX,
		.def = "20",
		.reload = true,
		.help = "Unfinished QoS 2 exchanges that one MQTT-SN device may have opened." },
	{ .key = "retained_messages",
		.type = CONF_INT,
		.offset = FIELD(retained_messages),
		.min = 1,
		.max = MANY,
		.def = "100000",
		.reload = true,
		.help = "Retained messages; beyond that new topics are refused and known ones "
			"still updated." },
	{ .key = "retained_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(retained_bytes),
		.min = 1024,
		.max = GB,
		.def = "16MB",
		.reload = true,
		.help = "Size of all retained messages together." },
	{ .key = "retained_message_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(retained_message_bytes),
		.min = 1,
		.max = 64 * MB,
		.def = "1MB",
		.reload = true,
		.help = "Payload of one retained message; larger ones are refused." },
	{ .key = "delayed_messages",
		.type = CONF_INT,
		.offset = FIELD(delayed_messages),
		.min = 0,
		.max = MANY,
		.def = "1000",
		.reload = true,
		.help = "Messages published to $delayed/SECONDS/TOPIC that wait for their time, at "
			"most 4294967 seconds; with 0 there are none. Without [store] they are in "
			"memory only and a restart loses them: at QoS 1 and 2 those that the "
			"upstream would get are refused then." },
	{ .key = "delayed_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(delayed_bytes),
		.min = 1024,
		.max = GB,
		.def = "1MB",
		.reload = true,
		.help = "Size of all delayed messages together." },
	{ .key = "message_bytes",
		.type = CONF_SIZE,
		.offset = FIELD(message_bytes),
		.min = 128,
		.max = 64 * MB,
		.def = "1MB",
		.reload = true,
		.help = "Payload of one message." },
	{ .key = "memory",
		.type = CONF_SIZE,
		.offset = FIELD(memory),
		.min = 64 * 1024,
		.max = 2 * GB,
		.def = "64MB",
		.reload = true,
		.help = "Size of all messages held at one time, retained and waiting; beyond it "
			"publishers are refused." },
};

/* What one limit lets in the other must have room for, or it would fail in operation. */
static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct limits_conf *l = section;

	if (l->message_bytes > l->memory)
		return conf_fail(err, conf, "limits", "message_bytes",
			"is above memory; it must not be larger");
	if (l->retained_bytes > l->memory)
		return conf_fail(err, conf, "limits", "retained_bytes",
			"is above memory; it must not be larger");
	if (l->queue_bytes > l->memory)
		return conf_fail(err, conf, "limits", "queue_bytes",
			"is above memory; it must not be larger");
	return 0;
}

const struct conf_section limits_conf_section = {
	.name = "limits",
	.help = "Caps of the hub. What goes beyond them is refused visibly and counted.",
	.size = sizeof(struct limits_conf),
	.rows = rows,
	.n_rows = sizeof(rows) / sizeof(rows[0]),
	.check = check,
};
