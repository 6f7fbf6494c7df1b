#include "gateway/upstream/upstream_conf.h"

#include "gateway/base/addr.h"
#include "gateway/core/keeper.h"
#include "gateway/core/topic.h"
#include "gateway/upstream/backlog.h"
#include "gateway/upstream/uplink.h"
#include "gateway/upstream/upstream.h"

#include <string.h>
#include <strings.h>

#define MINUTE_MS ((int64_t)60000)
#define DAY_MS    (1440 * MINUTE_MS)
#define KB        ((int64_t)1024)
#define MB        (1024 * KB)

static const char *const versions[] = { "auto", "5", "3.1.1", NULL };
static const char *const echo_modes[] = { "auto", "upstream", "local", NULL };
static const char *const fail_backs[] = { "idle", "never", NULL };
static const char *const downlinks[] = { "safe", "fast", NULL };

static const char *check_uri(const char *value)
{
	static const char *const schemes[] = { "mqtt", "mqtts", "tcp", "ssl" };
	struct uri u;

	if (strchr(value, '@'))
		return "a URI without user and password; use username and password_file";
	if (uri_parse(&u, value) == 0 && u.host[0] && (u.path[0] == '\0' || !strcmp(u.path, "/")))
		for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
			if (strcasecmp(u.scheme, schemes[i]) == 0)
				return NULL;
	return "mqtt://host[:port] or mqtts://host[:port]";
}

static const char *check_filter(const char *value)
{
	if (value[0] == '$')
		return "a topic filter that does not begin with '$'";
	return topic_check_filter(value);
}

static const char *check_client_id(const char *value)
{
	struct span s = span_str(value);

	return s.len > 0 && s.len <= 256 && utf8_valid(s) ? NULL : "1 to 256 octets of UTF-8";
}

#define AT(member) offsetof(struct upstream_conf, member)

static const struct conf_row rows[] = {
	{ .key = "uri",
		.type = CONF_LIST,
		.offset = AT(uri),
		.max = 512,
		.check = check_uri,
		.reload = true,
		.sample = "mqtts://broker.example:8883",
		.help = "The broker: mqtt://host[:port] or mqtts://host[:port] (TLS). Several, "
			"separated "
			"by commas, are tried in this order." },
	{ .key = "client_id",
		.type = CONF_STRING,
		.offset = AT(client_id),
		.check = check_client_id,
		.sample = "tidegate-cellar",
		.help = "Client id at the broker; it has to stay the same, because the broker "
			"keeps our "
			"session under it. The default is tidegate- and the gateway's id." },
	{ .key = "version",
		.type = CONF_ENUM,
		.offset = AT(version),
		.def = "auto",
		.choices = versions,
		.help = "MQTT version: auto tries 5 and goes down to 3.1.1 when the broker refuses "
			"it." },
	{ .key = "username",
		.type = CONF_STRING,
		.offset = AT(username),
		.reload = true,
		.sample = "gateway",
		.help = "User name at the broker." },
	{ .key = "username_file",
		.type = CONF_FILE,
		.offset = AT(username_file),
		.reload = true,
		.sample = "/etc/tidegate/upstream.user",
		.help = "File whose first line is the user name, instead of username. Read at "
			"every "
			"connect." },
	{ .key = "password_file",
		.type = CONF_FILE,
		.offset = AT(password_file),
		.reload = true,
		.sample = "/etc/tidegate/upstream.password",
		.help = "File whose first line is the password. Read at every connect." },
	{ .key = "ca_file",
		.type = CONF_FILE,
		.offset = AT(ca_file),
		.reload = true,
		.sample = "/etc/tidegate/ca.pem",
		.help = "Certificates that may have signed the broker's (PEM). The default is the "
			"system's "
			"store." },
	{ .key = "cert_file",
		.type = CONF_FILE,
		.offset = AT(cert_file),
		.reload = true,
		.sample = "/etc/tidegate/gateway.pem",
		.help = "Our own certificate (PEM), where the broker asks for one." },
	{ .key = "key_file",
		.type = CONF_FILE,
		.offset = AT(key_file),
		.reload = true,
		.sample = "/etc/tidegate/gateway.key",
		.help = "The key to cert_file (PEM, without a pass phrase)." },
	{ .key = "verify",
		.type = CONF_BOOL,
		.offset = AT(verify),
		.def = "yes",
		.reload = true,
		.help = "Check the broker's certificate and its host name. With no, anybody on the "
			"way can "
			"be the broker." },
	{ .key = "keepalive",
		.type = CONF_TIME,
		.offset = AT(keepalive_ms),
		.min = 1000,
		.max = 18 * 60 * MINUTE_MS,
		.def = "30s",
		.reload = true,
		.help = "Ping interval; a broker that fell silent is noticed after two and a half "
			"of them." },
	{ .key = "connect_timeout",
		.type = CONF_TIME,
		.offset = AT(connect_timeout_ms),
		.min = 1000,
		.max = 5 * MINUTE_MS,
		.def = "10s",
		.reload = true,
		.help = "Longest time for one attempt to connect." },
	{ .key = "session_expiry",
		.type = CONF_TIME,
		.offset = AT(session_expiry_ms),
		.min = 1000,
		.max = 365 * DAY_MS,
		.def = "1d",
		.reload = true,
		.help = "How long a broker with MQTT 5 keeps our session while we are away." },
	{ .key = "fail_back",
		.type = CONF_ENUM,
		.offset = AT(fail_back),
		.def = "idle",
		.choices = fail_backs,
		.reload = true,
		.help = "With several URIs: idle returns to the first one when it answers again "
			"and nothing "
			"is under way; never stays where it is." },
	{ .key = "export",
		.type = CONF_LIST,
		.offset = AT(exports),
		.max = TOPIC_BYTES_MAX,
		.def = "#",
		.check = check_filter,
		.reload = true,
		.help = "Topic filters of what goes to the broker." },
	{ .key = "import",
		.type = CONF_LIST,
		.offset = AT(imports),
		.max = TOPIC_BYTES_MAX,
		.def = "#",
		.check = check_filter,
		.reload = true,
		.help = "Topic filters of what may come from the broker. Within them the gateway "
			"subscribes "
			"to what local clients have subscribed to." },
	{ .key = "import_always",
		.type = CONF_LIST,
		.offset = AT(imports_always),
		.max = TOPIC_BYTES_MAX,
		.check = check_filter,
		.reload = true,
		.sample = "config/#",
		.help = "Topic filters that are subscribed to at the broker whether or not anybody "
			"here "
			"wants them, so that retained messages are at hand." },
	{ .key = "inflight",
		.type = CONF_INT,
		.offset = AT(inflight),
		.min = 1,
		.max = UPLINK_WINDOW_MAX,
		.def = "64",
		.help = "Messages under way to the broker at a time; never more than it allows." },
	{ .key = "drain_rate",
		.type = CONF_INT,
		.offset = AT(drain_rate),
		.min = 0,
		.max = 1000000,
		.def = "2000",
		.reload = true,
		.help = "Messages per second while a backlog is sent after an outage; 0 for no "
			"limit." },
	{ .key = "ack_hold",
		.type = CONF_TIME,
		.offset = AT(ack_hold_ms),
		.min = 0,
		.max = 8000,
		.def = "1s",
		.reload = true,
		.help = "How long a device's QoS 1 message waits for the broker's acknowledgement "
			"before it "
			"is stored here and acknowledged from here." },
	{ .key = "backlog_bytes",
		.type = CONF_SIZE,
		.offset = AT(backlog_bytes),
		.min = 64 * KB,
		.max = 1024 * 1024 * MB,
		.def = "48MB",
		.reload = true,
		.help = "Bound on what is stored for the broker; past it QoS 1 and 2 are refused "
			"visibly." },
	{ .key = "memory_bytes",
		.type = CONF_SIZE,
		.offset = AT(memory_bytes),
		.min = 16 * KB,
		.max = 1024 * MB,
		.def = "1MB",
		.reload = true,
		.help = "Bodies of waiting QoS 1 and 2 messages that are kept in memory besides." },
	{ .key = "qos0_bytes",
		.type = CONF_SIZE,
		.offset = AT(qos0_bytes),
		.min = 0,
		.max = 256 * MB,
		.def = "256KB",
		.reload = true,
		.help = "Waiting QoS 0 messages kept in memory while the broker is away, the "
			"oldest give "
			"way; sixteen times as much while it is there but slow." },
	{ .key = "downlink",
		.type = CONF_ENUM,
		.offset = AT(downlink),
		.def = "safe",
		.choices = downlinks,
		.reload = true,
		.help = "What a QoS 1 or 2 message of the broker needs before it is acknowledged "
			"there: safe waits until those who must not lose it here have it on "
			"stable storage, one message after the other (and while the storage "
			"fails everything to and from the broker waits); fast acknowledges "
			"what has been read." },
	{ .key = "backlog_age",
		.type = CONF_TIME,
		.offset = AT(backlog_age_ms),
		.max = 365 * DAY_MS,
		.def = "0",
		.reload = true,
		.help = "Messages that have waited longer are dropped, counted and reported to "
			"gap_topic; "
			"0 keeps them." },
	{ .key = "latest_only",
		.type = CONF_LIST,
		.offset = AT(latest_only),
		.max = TOPIC_BYTES_MAX,
		.check = check_filter,
		.reload = true,
		.sample = "status/#",
		.help = "Topic filters of which only the newest message of each topic waits." },
	{ .key = "priority",
		.type = CONF_LIST,
		.offset = AT(priority),
		.max = TOPIC_BYTES_MAX,
		.check = check_filter,
		.sample = "alarm/#",
		.help = "Topic filters whose messages are sent before all others that wait." },
	{ .key = "drop_oldest",
		.type = CONF_LIST,
		.offset = AT(drop_oldest),
		.max = TOPIC_BYTES_MAX,
		.check = check_filter,
		.reload = true,
		.sample = "telemetry/#",
		.help = "Topic filters whose oldest waiting messages give way when backlog_bytes "
			"is "
			"reached, instead of new ones being refused." },
	{ .key = "gap_topic",
		.type = CONF_STRING,
		.offset = AT(gap_topic),
		.max = TOPIC_BYTES_MAX,
		.check = topic_check_name,
		.reload = true,
		.sample = "tidegate/cellar/gaps",
		.help = "Topic at the broker where it is told, when it is there again, what of the "
			"messages for it was dropped: whose, why, how many, captured from when to "
			"when. The default is tidegate/, the gateway's id and /gaps." },
	{ .key = "captured_at",
		.type = CONF_BOOL,
		.offset = AT(captured_at),
		.def = "yes",
		.reload = true,
		.help = "With MQTT 5, messages that waited for the broker carry the time of their "
			"capture "
			"as user property captured-at, and in clock whether our clock was set "
			"then." },
	{ .key = "echo",
		.type = CONF_ENUM,
		.offset = AT(echo),
		.def = "auto",
		.choices = echo_modes,
		.reload = true,
		.help = "MQTT 3.1.1 only, for a message that the broker will send back to us: "
			"upstream (and "
			"auto) delivers it here when it comes back, local delivers it at once and "
			"drops what "
			"comes back." },
	{ .key = "echo_timeout",
		.type = CONF_TIME,
		.offset = AT(echo_timeout_ms),
		.min = 50,
		.max = MINUTE_MS,
		.def = "1s",
		.reload = true,
		.help = "With echo = upstream: how long to wait before it is delivered here all "
			"the same." },
};

/* A certificate without its key, a name given twice: better said now than by a server. */
static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct upstream_conf *c = section;

	if (c->uri.n == 0)
		return conf_fail(err, conf, "upstream", "uri", "is missing; mqtt://host[:port]");
	if (c->username && c->username_file)
		return conf_fail(err, conf, "upstream", "username_file",
			"username is set too; one of them is enough");
	if (c->password_file && !c->username && !c->username_file)
		return conf_fail(err, conf, "upstream", "password_file",
			"there is no user name; set username or username_file");
	if (c->cert_file && !c->key_file)
		return conf_fail(
			err, conf, "upstream", "cert_file", "has no key; set key_file as well");
	if (c->key_file && !c->cert_file)
		return conf_fail(err, conf, "upstream", "key_file",
			"has no certificate; set cert_file as well");
	return 0;
}

const struct conf_section upstream_conf_section = {
	.name = "upstream",
	.help = "The broker this gateway is a bridge to. Without this section it is a hub of its "
		"own. "
		"With [store], QoS 2 to the broker is exactly once also over a crash, as long as "
		"the "
		"broker keeps our session; each of those messages then costs two small records "
		"more, and waits for them before it leaves and before it is released.",
	.size = sizeof(struct upstream_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.optional = true,
	.check = check,
};

void upstream_limits(const struct upstream_conf *c, struct backlog_limits *limits)
{
	*limits = (struct backlog_limits){
		.disk_bytes = c->backlog_bytes,
		.qos0_bytes = c->qos0_bytes,
		.age_ms = c->backlog_age_ms,
		.latest_only = &c->latest_only,
		.drop_oldest = &c->drop_oldest,
	};
}

void upstream_keeper_conf(const struct conf *conf, struct keeper_conf *k)
{
	const struct upstream_conf *c = conf_section(conf, "upstream");

	k->hold_ms = c ? c->ack_hold_ms : KEEPER_HOLD_MS;
	k->memory_bytes = c ? c->memory_bytes : KEEPER_MEMORY_BYTES;
}
