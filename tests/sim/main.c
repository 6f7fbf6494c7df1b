#include "tests/sim/sim.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define EX_USAGE_STATUS 64

static void usage(FILE *out)
{
	fputs("usage: tidegate-sim [options] connect | publish | subscribe\n"
	      "  -P, --protocol NAME   mqttsn (default), coap or mqtt\n"
	      "  -h, --host ADDRESS    numeric address of the gateway (127.0.0.1)\n"
	      "  -p, --port PORT       1884, 5683 or 1883 by protocol\n"
	      "  -i, --id ID           client id, with -n its prefix (sim)\n"
	      "  -n, --clients N       simulated devices (1)\n"
	      "  -t, --topic TOPIC     topic or filter; %c is the client id\n"
	      "      --topic-id N      predefined topic id in its place (MQTT-SN)\n"
	      "  -m, --message TEXT    payload; %n is its number, %c the client id (%n)\n"
	      "  -s, --size OCTETS     payload of that size that starts with its number\n"
	      "  -q, --qos QOS         -1 (MQTT-SN), 0, 1 or 2 (1)\n"
	      "  -r, --retain          ask for the message to be retained\n"
	      "  -c, --count N         messages per client, 0 without end (1; subscribe: 0)\n"
	      "      --rate N          messages per second, all clients together (as fast as "
	      "answers come)\n"
	      "      --window N        unacknowledged messages per client over MQTT (64)\n"
	      "      --duration S      end after so many seconds\n"
	      "      --keepalive S     keep alive, with pings (60)\n"
	      "      --sleep S         sleep, and collect every S seconds (MQTT-SN subscribe)\n"
	      "      --persistent      clean session off\n"
	      "      --will-topic T, --will-message M\n"
	      "      --quiet           print no messages, only the summary\n"
	      "      --help            this text\n",
		out);
}

enum {
	OPT_TOPIC_ID = 256,
	OPT_RATE,
	OPT_WINDOW,
	OPT_DURATION,
	OPT_KEEPALIVE,
	OPT_SLEEP,
	OPT_PERSISTENT,
	OPT_WILL_TOPIC,
	OPT_WILL_MESSAGE,
	OPT_QUIET,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "protocol", required_argument, NULL, 'P' },
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "id", required_argument, NULL, 'i' },
	{ "clients", required_argument, NULL, 'n' },
	{ "topic", required_argument, NULL, 't' },
	{ "topic-id", required_argument, NULL, OPT_TOPIC_ID },
	{ "message", required_argument, NULL, 'm' },
	{ "size", required_argument, NULL, 's' },
	{ "qos", required_argument, NULL, 'q' },
	{ "retain", no_argument, NULL, 'r' },
	{ "count", required_argument, NULL, 'c' },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "window", required_argument, NULL, OPT_WINDOW },
	{ "duration", required_argument, NULL, OPT_DURATION },
	{ "keepalive", required_argument, NULL, OPT_KEEPALIVE },
	{ "sleep", required_argument, NULL, OPT_SLEEP },
	{ "persistent", no_argument, NULL, OPT_PERSISTENT },
	{ "will-topic", required_argument, NULL, OPT_WILL_TOPIC },
	{ "will-message", required_argument, NULL, OPT_WILL_MESSAGE },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static void fail(const char *what, const char *value)
{
	fprintf(stderr, "tidegate-sim: %s \"%s\"\n", what, value);
	exit(EX_USAGE_STATUS);
}

static long number(const char *text, long min, long max)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || v < min || v > max)
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

static void set(struct sim_options *o, int c, const char *arg)
{
	switch (c) {
	case 'P':
		o->protocol = protocol(arg);
		break;
	case 'h':
		o->host = arg;
		break;
	case 'p':
		o->port = (uint16_t)number(arg, 1, 65535);
		break;
	case 'i':
		o->id = arg;
		break;
	case 'n':
		o->clients = (unsigned)number(arg, 1, 100000);
		break;
	case 't':
		o->topic = arg;
		break;
	case OPT_TOPIC_ID:
		o->topic_id = (uint16_t)number(arg, 1, 65534);
		break;
	case 'm':
		o->message = arg;
		break;
	case 's':
		o->size = (size_t)number(arg, 1, 60000);
		break;
	case 'q':
		o->qos = (int)number(arg, -1, 2);
		break;
	case 'r':
		o->retain = true;
		break;
	case 'c':
		o->count = (unsigned)number(arg, 0, 1000000000);
		break;
	case OPT_RATE:
		o->rate = (double)number(arg, 1, 10000000);
		break;
	case OPT_WINDOW:
		o->window = (unsigned)number(arg, 1, 65535);
		break;
	case OPT_DURATION:
		o->duration_s = (unsigned)number(arg, 1, 1000000);
		break;
	case OPT_KEEPALIVE:
		o->keepalive_s = (unsigned)number(arg, 0, 65535);
		break;
	case OPT_SLEEP:
		o->sleep_s = (unsigned)number(arg, 1, 30000);
		break;
	case OPT_PERSISTENT:
		o->clean = false;
		break;
	case OPT_WILL_TOPIC:
		o->will_topic = arg;
		break;
	case OPT_WILL_MESSAGE:
		o->will_message = arg;
		break;
	case OPT_QUIET:
		o->quiet = true;
		break;
	case OPT_HELP:
		usage(stdout);
		exit(EXIT_SUCCESS);
	default:
		usage(stderr);
		exit(EX_USAGE_STATUS);
	}
}

static void check(struct sim_options *o)
{
	bool sn = o->protocol == &sim_mqttsn;

	if (o->command != SIM_CONNECT && !o->topic && !o->topic_id)
		fail("missing", "--topic");
	if (!sn && (o->topic_id || o->sleep_s || o->qos < 0))
		fail("only for MQTT-SN:", "--topic-id, --sleep, --qos -1");
	if (o->qos < 0 && o->command != SIM_PUBLISH)
		fail("only for publish:", "--qos -1");
	if (o->sleep_s && o->command != SIM_SUBSCRIBE)
		fail("only for subscribe:", "--sleep");
	if (!o->message)
		o->message = "%n";
	if (!o->will_message)
		o->will_message = "";
}

int main(int argc, char **argv)
{
	struct sim_options o = {
		.protocol = &sim_mqttsn,
		.host = "127.0.0.1",
		.id = "sim",
		.clients = 1,
		.window = 64,
		.qos = 1,
		.keepalive_s = 60,
		.clean = true,
	};
	unsigned unset = UINT32_MAX;
	int c;

	o.count = unset;
	while ((c = getopt_long(argc, argv, "P:h:p:i:n:t:m:s:q:rc:", long_options, NULL)) != -1)
		set(&o, c, optarg);
	if (optind != argc - 1) {
		usage(stderr);
		return EX_USAGE_STATUS;
	}
	o.command = command(argv[optind]);
	if (o.count == unset)
		o.count = o.command == SIM_PUBLISH ? 1 : 0;
	check(&o);
	return sim_run(&o);
}
