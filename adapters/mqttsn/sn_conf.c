#include "adapters/mqttsn/sn_conf.h"

#include "adapters/adapter.h"
#include "adapters/mqttsn/sn_predefined.h"
#include "gateway/base/addr.h"
#include "gateway/core/scope.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (1440 * MINUTE)

static const char *const minus_one_names[] = { "off", "predefined", "all", NULL };
static const char *const takeover_names[] = { "refuse", "same-ip", "allow", NULL };
static const char *const mail_names[] = { "oldest", "newest", "latest-per-topic", NULL };

static const char *check_listen(const char *value)
{
	struct uri u;
	struct addr a;
	if (uri_parse(&u, value) < 0 || strcmp(u.scheme, "udp") != 0 || u.path[0] ||
		addr_from_text(&a, u.host, u.port) < 0 || addr_is_multicast(&a))
		return "udp://ADDRESS:PORT with a numeric address, such as udp://127.0.0.1:1884";
	return NULL;
}

int sn_conf_addr(const char *text, uint16_t default_port, struct addr *a)
{
	char uri[300];
	struct uri u;
	if (addr_from_text(a, text, default_port) == 0)
		return 0;
	if (snprintf(uri, sizeof(uri), "udp://%s", text) >= (int)sizeof(uri) ||
		uri_parse(&u, uri) < 0 || u.path[0])
		return -EINVAL;
	return addr_from_text(a, u.host, u.port ? u.port : default_port);
}

static const char *check_multicast(const char *value)
{
	struct addr a;
	if (sn_conf_addr(value, SN_DEFAULT_PORT, &a) < 0 || !addr_is_multicast(&a))
		return "a numeric multicast address, such as 239.255.18.84 or [ff05::1]:1885";
	return NULL;
}

static const char *check_destination(const char *value)
{
	struct addr a;
	if (sn_conf_addr(value, SN_DEFAULT_PORT, &a) < 0 || addr_is_any(&a))
		return "a numeric address and a port, such as 239.255.18.84:1885, "
		       "[ff05::1]:1885 or 10.0.0.255:1884";
	return NULL;
}

static const char *check_forwarder(const char *value)
{
	struct addr a;
	if (strcmp(value, SN_FORWARDERS_ANY) == 0 || strcmp(value, SN_FORWARDERS_NONE) == 0 ||
		(addr_from_text(&a, value, 0) == 0 && !addr_is_any(&a)))
		return NULL;
	return "any, none, or numeric addresses without a port";
}

#define ROW(field) .offset = offsetof(struct sn_conf, field)

static const struct conf_row rows[] = {
	{ .key = "listen",
		.type = CONF_LIST,
		ROW(listen),
		.def = "udp://127.0.0.1:1884",
		.check = check_listen,
		.sample = "udp://127.0.0.1:1884, udp://[::1]:1884",
		.help = "Where devices reach the gateway; without a port it is 1884." },
	{ .key = "allow_plain",
		.type = CONF_BOOL,
		ROW(allow_plain),
		.def = "no",
		.help = "Permits listeners beyond loopback without encryption: everybody who "
			"reaches them can read and forge what devices say." },
	{ .key = "multicast",
		.type = CONF_LIST,
		ROW(multicast),
		.check = check_multicast,
		.sample = "239.255.18.84:1885, [ff05::1]:1885",
		.help = "Groups in which the listeners hear SEARCHGW from devices that look for a "
			"gateway; the port, when it is not that of the listener." },
	{ .key = "multicast_interface",
		.type = CONF_STRING,
		ROW(multicast_interface),
		.sample = "eth0",
		.help = "Where groups are joined and multicast is sent; otherwise where the "
			"listener's address is, or where the system thinks best." },
	{ .key = "multicast_ttl",
		.type = CONF_INT,
		ROW(multicast_ttl),
		.min = 0,
		.max = 255,
		.def = "1",
		.help = "How many hops far ADVERTISE and GWINFO go by multicast: 1 stays in the "
			"network." },
	{ .key = "advertise",
		.type = CONF_LIST,
		ROW(advertise),
		.base_only = true,
		.check = check_destination,
		.reload = true,
		.sample = "239.255.18.84:1885, [ff05::1]:1885, 10.0.0.255:1884",
		.help = "Where the gateway makes itself known with ADVERTISE: multicast, broadcast "
			"or single addresses; without a port it is 1884." },
	{ .key = "advertise_interval",
		.type = CONF_TIME,
		ROW(advertise_interval_ms),
		.base_only = true,
		.max = 65535 * SECOND,
		.def = "15m",
		.reload = true,
		.help = "Time between two ADVERTISE (T_adv); 0 sends none." },
	{ .key = "gwinfo_delay",
		.type = CONF_TIME,
		ROW(gwinfo_delay_ms),
		.base_only = true,
		.max = MINUTE,
		.def = "0",
		.reload = true,
		.help = "SEARCHGW is answered to the asker at once. With a time here, GWINFO also "
			"goes to the multicast destinations of advertise, after a random part of "
			"it, so that others need not ask." },
	{ .key = "forwarders",
		.type = CONF_LIST,
		ROW(forwarders),
		.def = SN_FORWARDERS_ANY,
		.check = check_forwarder,
		.reload = true,
		.sample = "10.0.0.7, 10.0.0.8",
		.help = "From which addresses encapsulated messages of wireless nodes are taken: "
			"any, none, or a list. A forwarder can speak for all nodes behind it, and "
			"with any of them everybody can be one." },
	{ .key = "gateway_id",
		.type = CONF_INT,
		ROW(gateway_id),
		.base_only = true,
		.min = 1,
		.max = 255,
		.def = "1",
		.reload = true,
		.help = "Number of this gateway among those that devices find with SEARCHGW." },
	{ .key = "retry_interval",
		.type = CONF_TIME,
		ROW(retry_interval_ms),
		.min = 100,
		.max = 5 * MINUTE,
		.def = "10s",
		.reload = true,
		.help = "How long a device has to answer before it is sent the same again "
			"(T_retry)." },
	{ .key = "retry_count",
		.type = CONF_INT,
		ROW(retry_count),
		.min = 0,
		.max = 100,
		.def = "3",
		.reload = true,
		.help = "How often a device is sent the same again before it counts as lost "
			"(N_retry)." },
	{ .key = "wait_interval",
		.type = CONF_TIME,
		ROW(wait_interval_ms),
		.min = 100,
		.max = DAY,
		.def = "5m",
		.reload = true,
		.help = "Pause before a device that reported congestion is sent the same again "
			"(T_WAIT)." },
	{ .key = "keepalive_max",
		.type = CONF_TIME,
		ROW(keepalive_max_ms),
		.max = 365 * DAY,
		.def = "0",
		.reload = true,
		.help = "Longest keep alive and sleep granted, also to devices that ask for none; "
			"0 grants what they ask for." },
	{ .key = "predefined_file",
		.type = CONF_FILE,
		ROW(predefined_file),
		.base_only = true,
		.reload = true,
		.sample = "/etc/tidegate/topics.conf",
		.help = "Predefined topic ids: [*], [client-id] or [pattern*] headers with lines "
			"id = "
			"topic below." },
	{ .key = "qos_minus_one",
		.type = CONF_ENUM,
		ROW(qos_minus_one),
		.def = "predefined",
		.choices = minus_one_names,
		.reload = true,
		.help = "Which topics may be published to at QoS -1, without a connection: none, "
			"predefined ones, or short names as well." },
	{ .key = "takeover",
		.type = CONF_ENUM,
		ROW(takeover),
		.def = "same-ip",
		.choices = takeover_names,
		.reload = true,
		.help = "Whether a client id may go on from another address than it had: never "
			"while it is connected, from another port of its address, or from "
			"anywhere." },
	{ .key = "session_expiry",
		.type = CONF_TIME,
		ROW(session_expiry_ms),
		.base_only = true,
		.min = SECOND,
		.max = 3650 * DAY,
		.def = "7d",
		.reload = true,
		.help = "How long subscriptions, topic ids and messages are kept for a device that "
			"connected without CleanSession and is away." },
	{ .key = "topics_per_client",
		.type = CONF_INT,
		ROW(topics_per_client),
		.base_only = true,
		.min = 1,
		.max = 65534,
		.def = "1000",
		.reload = true,
		.help = "Most topic names that one device can have ids for." },
	/* A device collects one message per round trip: 100 are some seconds of its radio. What a
	 * sleeper missed matters the less the older it is, so the oldest gives way. */
	{ .key = "mail_messages",
		.type = CONF_INT,
		ROW(mail.messages),
		.min = 1,
		.max = 10000,
		.def = "100",
		.reload = true,
		.help = "Messages kept for one sleeping device." },
	{ .key = "mail_bytes",
		.type = CONF_SIZE,
		ROW(mail.bytes),
		.min = 1024,
		.max = INT64_C(1) << 30,
		.def = "64KB",
		.reload = true,
		.help = "Size of the messages kept for one sleeping device." },
	{ .key = "mail_age",
		.type = CONF_TIME,
		ROW(mail.age_ms),
		.max = 365 * DAY,
		.def = "0",
		.reload = true,
		.help = "How long a message is kept for a sleeping device at most; 0 is as long as "
			"it sleeps." },
	{ .key = "mail_policy",
		.type = CONF_ENUM,
		ROW(mail.full),
		.def = "oldest",
		.choices = mail_names,
		.reload = true,
		.help = "What gives way when that is not enough: the oldest message, the newest, "
			"or "
			"first of all those that a newer one of their topic outdates." },
	{ .key = "mountpoint",
		.type = CONF_STRING,
		ROW(mountpoint),
		.max = 1024,
		.check = scope_check_mountpoint,
		.sample = "field/%c/",
		.help = "Put in front of every topic that these devices publish or subscribe to, "
			"predefined ones too, and taken off what they get: they see nothing "
			"outside of it. %c stands for the client id; a device without one, as at "
			"QoS -1, or with one of + # / in it, is refused then." },
	{ .key = "half_open",
		.type = CONF_INT,
		ROW(half_open),
		.base_only = true,
		.min = 1,
		.max = 100000,
		.def = "200",
		.reload = true,
		.help = "Most devices that are connecting and still owe the gateway their will; "
			"the "
			"one that has been at it the longest gives way." },
};

static bool stays_here(const char *listen)
{
	struct uri u;
	struct addr a;
	return uri_parse(&u, listen) == 0 && addr_from_text(&a, u.host, u.port) == 0 &&
	       addr_is_loopback(&a);
}

/* Words stand alone. */
static int check_forwarders(const struct conf *conf, const char *name,
	const struct conf_list *forwarders, struct conf_error *err)
{
	struct addr a;
	for (size_t i = 0; i < forwarders->n && forwarders->n > 1; i++) {
		if (addr_from_text(&a, forwarders->items[i], 0) < 0)
			return conf_fail(err, conf, name, "forwarders",
				"%s does not go together with others", forwarders->items[i]);
	}
	return 0;
}

static int check_interface(
	const struct conf *conf, const char *name, const char *interface, struct conf_error *err)
{
	if (!interface || strlen(interface) < IF_NAMESIZE)
		return 0;
	return conf_fail(err, conf, name, "multicast_interface",
		"%s is no name of a network interface, such as eth0", interface);
}

static int check_interval(const struct conf *conf, const struct sn_conf *c, struct conf_error *err)
{
	if (!c->advertise_interval_ms || c->advertise_interval_ms >= SECOND)
		return 0;
	return conf_fail(err, conf, mqttsn_conf_section.name, "advertise_interval",
		"is too short; write 1s or more, or 0 for none");
}

static int check_predefined(
	const struct conf *conf, const struct sn_conf *c, struct conf_error *err)
{
	char why[400];
	struct sn_predefined *predefined;
	if (sn_predefined_load(c->predefined_file, &predefined, why, sizeof(why)) < 0)
		return conf_fail(err, conf, mqttsn_conf_section.name, "predefined_file", "%s", why);
	sn_predefined_free(predefined);
	return 0;
}

static int check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct sn_conf *c = section;
	const char *name = conf_section_name(conf, section);
	bool named = strcmp(name, mqttsn_conf_section.name) != 0;
	if (named && !conf_is_set(conf, name, "listen"))
		return conf_fail(
			err, conf, name, "listen", "is missing; each group has its own listeners");
	for (size_t i = 0; i < c->listen.n && !c->allow_plain; i++) {
		if (!stays_here(c->listen.items[i]))
			return conf_fail(err, conf, name, "listen",
				"%s is not on loopback and not encrypted; set allow_plain = yes if "
				"its network can be trusted",
				c->listen.items[i]);
	}
	int rc = check_forwarders(conf, name, &c->forwarders, err);
	if (rc == 0)
		rc = check_interface(conf, name, c->multicast_interface, err);
	if (rc == 0 && !named)
		rc = check_interval(conf, c, err);
	return rc < 0 || named ? rc : check_predefined(conf, c, err);
}

const struct conf_section mqttsn_conf_section = {
	.name = "mqttsn",
	.help = "MQTT-SN 1.2 over UDP, for sensors and actuators. Without the section it is off.",
	.size = sizeof(struct sn_conf),
	.rows = rows,
	.n_rows = ARRAY_SIZE(rows),
	.optional = true,
	.in_sample = true,
	.named = "A further group of listeners, for devices that want other values: another "
		 "network, or sleepers with longer retries. It has its own listen; what it does "
		 "not set is as in [mqttsn].",
	.check = check,
};
