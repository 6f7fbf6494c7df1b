#include "tests/sim/sim.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EX_USAGE_STATUS 64

enum kind { FLAG, TEXT, NUMBER, INTEGER, PROTOCOL };

/* One row per option: what the usage says, and where the value goes. */
struct row {
	char letter; /* 0: none */
	const char *name, *value, *help;
	enum kind kind;
	size_t at; /* in struct sim_options */
	long min, max;
};

#define AT(field)              offsetof(struct sim_options, field)
#define ROW_TEXT(field)        TEXT, AT(field), 0, 0
#define ROW_NUM(field, lo, hi) NUMBER, AT(field), lo, hi

static const struct row rows[] = {
	{ 'P', "protocol", "NAME", "mqttsn (default), coap or mqtt", PROTOCOL, AT(protocol), 0, 0 },
	{ 'h', "host", "ADDRESS", "numeric address of the gateway (127.0.0.1)", ROW_TEXT(host) },
	{ 'p', "port", "PORT", "1884, 5683 or 1883 by protocol", ROW_NUM(port, 1, 65535) },
	{ 'i', "id", "ID", "client id, with -n its prefix (sim)", ROW_TEXT(id) },
	{ 'n', "clients", "N", "simulated devices (1)", ROW_NUM(clients, 1, 100000) },
	{ 't', "topic", "TOPIC", "topic or filter; %c is the client id, %n the device's number",
		ROW_TEXT(topic) },
	{ 0, "topic-id", "N", "predefined topic id in its place (MQTT-SN)",
		ROW_NUM(topic_id, 1, 65534) },
	{ 'm', "message", "TEXT", "payload; %n is its number, %c the client id (%n)",
		ROW_TEXT(message) },
	{ 's', "size", "OCTETS", "payload of that size that starts with its number",
		ROW_NUM(size, 1, 60000) },
	{ 'q', "qos", "QOS", "-1 (MQTT-SN), 0, 1 or 2 (1)", INTEGER, AT(qos), -1, 2 },
	{ 'r', "retain", NULL, "ask for the message to be retained", FLAG, AT(retain), 0, 0 },
	{ 'c', "count", "N", "messages per client, 0 without end (1; subscribe: 0)",
		ROW_NUM(count, 0, 1000000000) },
	{ 0, "rate", "N", "messages per second, all clients together (as fast as answers come)",
		ROW_NUM(rate, 1, 10000000) },
	{ 0, "window", "N", "unacknowledged messages (64), see tidegate-sim(1)",
		ROW_NUM(window, 1, 65535) },
	{ 0, "duration", "S", "end after so many seconds", ROW_NUM(duration_s, 1, 1000000) },
	{ 0, "linger", "S", "end so long after the last message of --count (0)",
		ROW_NUM(linger_s, 0, 1000000) },
	{ 0, "keepalive", "S", "keep alive, with pings (60)", ROW_NUM(keepalive_s, 0, 65535) },
	{ 0, "persistent", NULL, "clean session off", FLAG, AT(persistent), 0, 0 },
	{ 0, "sleep", "S", "sleep, and collect every S seconds; USR1: now (MQTT-SN)",
		ROW_NUM(sleep_s, 1, 30000) },
	{ 0, "roam", "S", "go on from another port every S seconds (MQTT-SN)",
		ROW_NUM(roam_s, 1, 30000) },
	{ 0, "forwarder", NULL, "all devices behind a forwarder (MQTT-SN)", FLAG, AT(forwarder), 0,
		0 },
	{ 0, "will-topic", "TOPIC", "a will", ROW_TEXT(will_topic) },
	{ 0, "will-message", "TEXT", "its message (empty)", ROW_TEXT(will_message) },
	{ 0, "will-qos", "QOS", "0, 1 or 2 (1)", INTEGER, AT(will_qos), 0, 2 },
	{ 0, "will-retain", NULL, "a retained will", FLAG, AT(will_retain), 0, 0 },
	{ 0, "new-will-topic", "TOPIC", "once connected, update the will; empty deletes (MQTT-SN)",
		ROW_TEXT(new_will_topic) },
	{ 0, "new-will-message", "TEXT", "the same for its message (MQTT-SN)",
		ROW_TEXT(new_will_message) },
	{ 0, "vanish", NULL, "end without DISCONNECT", FLAG, AT(vanish), 0, 0 },
	{ 0, "retry-ms", "MS", "T_retry of the devices (2000)", ROW_NUM(retry_ms, 10, 100000) },
	{ 0, "retries", "N", "N_retry of the devices (8)", ROW_NUM(retries, 0, 1000) },
	{ 0, "loss", "PERCENT", "datagrams lost, each way", ROW_NUM(loss, 0, 95) },
	{ 0, "dup", "PERCENT", "datagrams that come twice, each way", ROW_NUM(dup, 0, 100) },
	{ 0, "reorder", "PERCENT", "datagrams that come up to T_retry late, each way",
		ROW_NUM(reorder, 0, 100) },
	{ 0, "seed", "N", "of these dice (1)", ROW_NUM(seed, 0, 1000000000) },
	{ 0, "check", NULL, "check the numbers that payloads start with, per topic (subscribe)",
		FLAG, AT(check), 0, 0 },
	{ 0, "quiet", NULL, "print no messages, only the summary", FLAG, AT(quiet), 0, 0 },
};

#define OPT_FIRST 256 /* getopt's value of rows[0] */
#define OPT_HELP  (OPT_FIRST - 1)

static void usage(FILE *out)
{
	fputs("usage: tidegate-sim [options] connect | publish | subscribe\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		char name[40];
		snprintf(name, sizeof(name), "--%s %s", r->name, r->value ? r->value : "");
		if (r->letter)
			fprintf(out, "  -%c, %-24s %s\n", r->letter, name, r->help);
		else
			fprintf(out, "      %-24s %s\n", name, r->help);
	}
	fputs("      --help                   this text\n", out);
}

static void fail(const char *what, const char *value)
{
	fprintf(stderr, "tidegate-sim: %s \"%s\"\n", what, value);
	exit(EX_USAGE_STATUS);
}

static long number(const struct row *r, const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || v < r->min || v > r->max)
		fail("not a number in range:", text);
	return v;
}

static const struct device_ops *protocol(const char *name)
{
	static const struct device_ops *const all[] = { &sim_mqttsn, &sim_coap, &sim_mqtt };
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	fail("unknown protocol", name);
	return NULL;
}

static enum sim_command command(const char *name)
{
	static const char *const names[] = { "connect", "publish", "subscribe" };
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return (enum sim_command)i;
	fail("unknown command", name);
	return SIM_CONNECT;
}

static void set(struct sim_options *o, const struct row *r, const char *arg)
{
	void *at = (char *)o + r->at;

	switch (r->kind) {
	case FLAG:
		*(bool *)at = true;
		break;
	case TEXT:
		*(const char **)at = arg;
		break;
	case NUMBER:
		*(unsigned *)at = (unsigned)number(r, arg);
		break;
	case INTEGER:
		*(int *)at = (int)number(r, arg);
		break;
	case PROTOCOL:
		*(const struct device_ops **)at = protocol(arg);
		break;
	}
}

/* The row of an option, by what getopt_long() returned. */
static const struct row *row_of(int c)
{
	if (c >= OPT_FIRST)
		return &rows[c - OPT_FIRST];
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].letter && rows[i].letter == c)
			return &rows[i];
	usage(stderr);
	exit(EX_USAGE_STATUS);
}

static void read_options(struct sim_options *o, int argc, char **argv)
{
	struct option table[ARRAY_SIZE(rows) + 2] = { 0 };
	size_t n = ARRAY_SIZE(rows);
	int c;

	for (size_t i = 0; i < n; i++)
		table[i] = (struct option){ rows[i].name,
			rows[i].kind == FLAG ? no_argument : required_argument, NULL,
			OPT_FIRST + (int)i };
	table[n] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	while ((c = getopt_long(argc, argv, "P:h:p:i:n:t:m:s:q:rc:", table, NULL)) != -1) {
		if (c == OPT_HELP) {
			usage(stdout);
			exit(EXIT_SUCCESS);
		}
		set(o, row_of(c), optarg);
	}
	if (optind != argc - 1) {
		usage(stderr);
		exit(EX_USAGE_STATUS);
	}
	o->command = command(argv[optind]);
}

static void check(const struct sim_options *o)
{
	bool sn = o->protocol == &sim_mqttsn;

	if (o->command != SIM_CONNECT && !o->topic && !o->topic_id)
		fail("missing", "--topic");
	if (!sn && (o->topic_id || o->sleep_s || o->qos < 0 || o->roam_s || o->forwarder))
		fail("only for MQTT-SN:", "--topic-id, --sleep, --qos -1, --roam, --forwarder");
	if (o->protocol == &sim_mqtt && (o->loss || o->dup || o->reorder))
		fail("not over TCP:", "--loss, --dup, --reorder");
	if (o->qos < 0 && o->command != SIM_PUBLISH)
		fail("only for publish:", "--qos -1");
	if (o->check && o->command != SIM_SUBSCRIBE)
		fail("only for subscribe:", "--check");
	if (o->sleep_s && o->command == SIM_PUBLISH)
		fail("not for publish:", "--sleep");
}

int main(int argc, char **argv)
{
	struct sim_options o = {
		.protocol = &sim_mqttsn,
		.host = "127.0.0.1",
		.id = "sim",
		.message = "%n",
		.will_message = "",
		.will_qos = 1,
		.clients = 1,
		.count = UINT32_MAX,
		.window = 64,
		.qos = 1,
		.keepalive_s = 60,
		.retry_ms = 2000,
		.retries = 8,
		.seed = 1,
	};

	read_options(&o, argc, argv);
	if (o.count == UINT32_MAX)
		o.count = o.command == SIM_PUBLISH ? 1 : 0;
	check(&o);
	return sim_run(&o);
}
