#include "adapters/mqtt/mq_conf.h"

#include "adapters/adapter.h"
#include "adapters/mqtt/mq_listen.h"
#include "gateway/core/scope.h"

#include <string.h>

static const char *check_listen(const char *value)
{
	struct mq_place p;

	return mq_listen_parse(value, &p) == 0 ? NULL
					       : "mqtt://ADDRESS[:PORT], mqtts://, ws:// or wss:// "
						 "with a numeric address and no path, such as "
						 "mqtt://127.0.0.1:1883";
}

static const char *check_path(const char *value)
{
	bool good = value[0] == '/';

	for (const char *c = value; *c; c++)
		good = good && *c > ' ' && *c < 0x7f && *c != '?' && *c != '#';
	return good ? NULL : "a path, such as /mqtt, without a query";
}

static const char *check_origin(const char *value)
{
	const char *host = strstr(value, "://");
	bool good = host && host > value && host[3] && !strchr(host + 3, '/');

	return good || strcmp(value, "*") == 0 ? NULL
					       : "what browsers send, such as "
						 "https://panel.example:8080, or *";
}

static const char *const require_choices[] = { "no", "optional", "yes", NULL };
static const char *const version_choices[] = { "1.2", "1.3", NULL };

#define AT(field) offsetof(struct mqtt_conf, field)

static const struct conf_row mqtt_rows[] = {
	{ .key = "listen",
		.type = CONF_LIST,
		.offset = AT(listen),
		.def = "mqtt://127.0.0.1:1883",
		.check = check_listen,
		.sample = "mqtt://127.0.0.1:1883, mqtts://[::]:8883, wss://[::]:8084",
		.help = "Where local MQTT clients connect: mqtt:// (port 1883), mqtts:// (TLS, "
			"8883), ws:// (WebSocket, 8083), wss:// (WebSocket over TLS, 8084); [::] "
			"takes IPv4 as well." },
	{ .key = "allow_plain",
		.type = CONF_BOOL,
		.offset = AT(allow_plain),
		.def = "no",
		.help = "Allows listeners without TLS on addresses other than loopback." },
	{ .key = "mountpoint",
		.type = CONF_STRING,
		.offset = AT(mountpoint),
		.max = 1024,
		.check = scope_check_mountpoint,
		.sample = "site/%c/",
		.help = "Put in front of every topic that the clients of these listeners publish "
			"or subscribe to, and taken off what they get: they see nothing outside of "
			"it, $SYS neither. %c stands for the client id and %u for the user name; a "
			"client without such a name, or with one of + # / in it, is refused." },
	{ .key = "max_connections",
		.type = CONF_INT,
		.offset = AT(max_connections),
		.base_only = true,
		.min = 1,
		.max = 1000000,
		.def = "1000",
		.reload = true,
		.help = "How many clients may be connected at once; more are turned away." },
	{ .key = "connect_timeout",
		.type = CONF_TIME,
		.offset = AT(connect_timeout_ms),
		.min = 100,
		.max = 600000,
		.def = "10s",
		.reload = true,
		.help = "How long a new connection may take until its CONNECT, the handshakes of "
			"TLS and WebSocket included." },
	{ .key = "max_keepalive",
		.type = CONF_TIME,
		.offset = AT(max_keepalive_ms),
		.min = 0,
		.max = 65535000,
		.def = "0s",
		.reload = true,
		.help = "The longest keep alive that a client of MQTT 5 may have; 0s: it "
			"decides." },
	{ .key = "max_handshakes",
		.type = CONF_INT,
		.offset = AT(max_handshakes),
		.base_only = true,
		.min = 1,
		.max = 100000,
		.def = "200",
		.reload = true,
		.help = "How many TLS handshakes may be under way at once; further clients are "
			"turned away and may try again." },
	{ .key = "cert_file",
		.type = CONF_FILE,
		.offset = AT(tls.cert_file),
		.sample = "/etc/tidegate/server.pem",
		.reload = true,
		.help = "The certificate of mqtts:// and wss:// (PEM), followed by those that "
			"signed it. A reload reads it again for new connections." },
	{ .key = "key_file",
		.type = CONF_FILE,
		.offset = AT(tls.key_file),
		.sample = "/etc/tidegate/server.key",
		.reload = true,
		.help = "The private key to cert_file (PEM, without a pass phrase)." },
	{ .key = "ca_file",
		.type = CONF_FILE,
		.offset = AT(tls.ca_file),
		.sample = "/etc/tidegate/clients-ca.pem",
		.reload = true,
		.help = "Certificates that may have signed those of the clients (PEM)." },
	{ .key = "require_certificate",
		.type = CONF_ENUM,
		.offset = AT(tls.require),
		.choices = require_choices,
		.def = "no",
		.reload = true,
		.help = "Whether a client is asked for a certificate of ca_file: optional refuses "
			"a wrong one, yes refuses clients without one as well (but not those with "
			"a key of psk_file)." },
	{ .key = "psk_file",
		.type = CONF_FILE,
		.offset = AT(tls.psk_file),
		.sample = "/etc/tidegate/psk",
		.reload = true,
		.help = "Pre-shared keys for TLS in place of certificates, lines identity:key with "
			"the key in hexadecimal." },
	{ .key = "psk_hint",
		.type = CONF_STRING,
		.offset = AT(tls.psk_hint),
		.max = 128,
		.sample = "tidegate",
		.reload = true,
		.help = "Sent to clients of TLS 1.2 to help them choose their key." },
	{ .key = "tls_min_version",
		.type = CONF_ENUM,
		.offset = AT(tls.min_version),
		.choices = version_choices,
		.def = "1.2",
		.reload = true,
		.help = "The oldest version of TLS that is spoken." },
	{ .key = "ws_path",
		.type = CONF_STRING,
		.offset = AT(ws_path),
		.max = 200,
		.def = "/mqtt",
		.check = check_path,
		.reload = true,
		.help = "The path that WebSocket clients have to ask for." },
	{ .key = "ws_origins",
		.type = CONF_LIST,
		.offset = AT(ws_origins),
		.max = 255,
		.check = check_origin,
		.sample = "https://panel.example",
		.reload = true,
		.help = "Web sites whose pages may connect from a browser, besides those of the "
			"gateway's own host; * for all." },
};

bool mq_conf_wants_tls(const struct mqtt_conf *mc)
{
	struct mq_place p;

	for (size_t i = 0; i < mc->listen.n; i++)
		if (mq_listen_parse(mc->listen.items[i], &p) == 0 && p.tls)
			return true;
	return false;
}

static int check_listeners(const struct conf *conf, const char *name, const struct mqtt_conf *mc,
	struct conf_error *err)
{
	struct mq_place p;

	if (strcmp(name, mqtt_conf_section.name) != 0 && !conf_is_set(conf, name, "listen"))
		return conf_fail(
			err, conf, name, "listen", "is missing; each group has its own listeners");
	if (mc->listen.n == 0)
		return conf_fail(err, conf, name, "listen",
			"no address; leave the section out to have no MQTT listener");
	if (!mc->ws_path)
		return conf_fail(err, conf, name, "ws_path", "empty; a path, such as /mqtt");
	for (size_t i = 0; i < mc->listen.n; i++)
		if (!mc->allow_plain && mq_listen_parse(mc->listen.items[i], &p) == 0 && !p.tls &&
			!addr_is_loopback(&p.addr))
			return conf_fail(err, conf, name, "listen",
				"%s is open to the network without encryption; set allow_plain = "
				"yes if that is meant",
				mc->listen.items[i]);
	return 0;
}

/* What is configured is tried: a certificate that does not fit is told now, not to a client. */
static int check_tls(const struct conf *conf, const char *name, const struct mqtt_conf *mc,
	struct conf_error *err)
{
	struct mq_tls_error te;
	struct ssl_ctx_st *ctx;

	if (!mq_conf_wants_tls(mc))
		return 0;
	if (!mc->tls.cert_file && !mc->tls.psk_file)
		return conf_fail(err, conf, name, "listen",
			"mqtts:// and wss:// need a certificate; set cert_file and key_file (or "
			"psk_file)");
	if (mq_tls_context_new(&mc->tls, &ctx, &te) < 0)
		return conf_fail(err, conf, name, te.key, "%s", te.text);
	mq_tls_context_free(ctx);
	return 0;
}

static int mqtt_check(const struct conf *conf, void *section, struct conf_error *err)
{
	const char *name = conf_section_name(conf, section);
	int e = check_listeners(conf, name, section, err);

	return e ? e : check_tls(conf, name, section, err);
}

const struct conf_section mqtt_conf_section = {
	.name = "mqtt",
	.help = "The listeners for local MQTT clients (3.1, 3.1.1 and 5.0), over TCP, TLS and "
		"WebSocket.",
	.size = sizeof(struct mqtt_conf),
	.rows = mqtt_rows,
	.n_rows = ARRAY_SIZE(mqtt_rows),
	.optional = true,
	.in_sample = true,
	.named = "A further group of listeners, for clients that are served by other values: a "
		 "mountpoint, or certificates. It has its own listen; what it does not set is as "
		 "in [mqtt].",
	.check = mqtt_check,
};
