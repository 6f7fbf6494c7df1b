#include "adapters/mqtt/mqtt.h"

#include "adapters/mqtt/mq_conn.h"
#include "adapters/mqtt/mq_listen.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Descriptors left to the rest of the gateway when connections are counted. */
#define DESCRIPTORS_RESERVED 64

#define FREE_INPUTS  64  /* read buffers kept: 512 KB */
#define FREE_OUTPUTS 256 /* chunks kept: 512 KB */

struct mqtt_conf {
	struct conf_list listen;
	bool allow_plain;
	int64_t max_connections;
	int64_t connect_timeout_ms;
};

static const char *check_listen(const char *value)
{
	struct addr a;

	return mq_listen_parse(value, &a) == 0 ? NULL
					       : "mqtt://ADDRESS[:PORT] with a numeric address, "
						 "such as mqtt://127.0.0.1:1883";
}

#define AT(field) offsetof(struct mqtt_conf, field)

static const struct conf_row mqtt_rows[] = {
	{ .key = "listen",
		.type = CONF_LIST,
		.offset = AT(listen),
		.def = "mqtt://127.0.0.1:1883",
		.check = check_listen,
		.sample = "mqtt://127.0.0.1:1883, mqtt://[::1]:1883",
		.help = "Where local MQTT clients connect; [::] takes IPv4 as well." },
	{ .key = "allow_plain",
		.type = CONF_BOOL,
		.offset = AT(allow_plain),
		.def = "no",
		.help = "Allows listeners without TLS on addresses other than loopback." },
	{ .key = "max_connections",
		.type = CONF_INT,
		.offset = AT(max_connections),
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
		.help = "How long a new connection may stay silent before its CONNECT." },
};

static int mqtt_check(const struct conf *conf, void *section, struct conf_error *err)
{
	const struct mqtt_conf *mc = section;
	struct addr a;

	if (mc->listen.n == 0)
		return conf_fail(err, conf, "mqtt", "listen",
			"no address; leave the section out to have no MQTT listener");
	for (size_t i = 0; i < mc->listen.n; i++)
		if (!mc->allow_plain && mq_listen_parse(mc->listen.items[i], &a) == 0 &&
			!addr_is_loopback(&a))
			return conf_fail(err, conf, "mqtt", "listen",
				"%s is open to the network without encryption; set allow_plain = "
				"yes if "
				"that is meant",
				mc->listen.items[i]);
	return 0;
}

const struct conf_section mqtt_conf_section = {
	.name = "mqtt",
	.help = "The listener for local MQTT clients (MQTT 3.1 and 3.1.1 over TCP).",
	.size = sizeof(struct mqtt_conf),
	.rows = mqtt_rows,
	.n_rows = ARRAY_SIZE(mqtt_rows),
	.optional = true,
	.in_sample = true,
	.check = mqtt_check,
};

/* Each connection is a descriptor: more of them than the process may have is an empty promise. */
static size_t connections_possible(int64_t wanted)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY)
		return (size_t)wanted;
	size_t possible = rl.rlim_cur > DESCRIPTORS_RESERVED + 1
				  ? (size_t)rl.rlim_cur - DESCRIPTORS_RESERVED
				  : 1;
	if ((size_t)wanted <= possible)
		return (size_t)wanted;
	log_warn(
		"mqtt: max_connections %lld needs more open files than are allowed (%llu); %zu are "
		"taken",
		(long long)wanted, (unsigned long long)rl.rlim_cur, possible);
	return possible;
}

static void apply(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc = conf_section(conf, "mqtt");
	const struct limits_conf *limits = conf_section(conf, "limits");

	m->max_conns = connections_possible(mc->max_connections);
	m->connect_timeout_ms = mc->connect_timeout_ms;
	m->max_payload_bytes = (uint32_t)MIN(limits->message_bytes, (int64_t)MQ_PAYLOAD_MAX);
	m->max_grown_bytes = (size_t)limits->memory;
}

/* An IPv6 wildcard takes IPv4 too, unless the same port is wanted for an IPv4 address of its own.
 */
static bool has_v4_twin(const struct conf_list *listen, const struct addr *v6)
{
	struct addr a;

	for (size_t i = 0; i < listen->n; i++)
		if (mq_listen_parse(listen->items[i], &a) == 0 && a.family == 4 &&
			a.port == v6->port)
			return true;
	return false;
}

static int open_listeners(struct mqtt *m, const struct conf_list *listen)
{
	for (size_t i = 0; i < listen->n; i++) {
		struct addr a;
		int e = mq_listen_parse(listen->items[i], &a);
		if (e == 0)
			e = mq_listen_open(m, &a, has_v4_twin(listen, &a));
		if (e < 0)
			return e;
	}
	return 0;
}

static void mqtt_stop(void *self)
{
	struct mqtt *m = self;

	mq_listen_close(m);
	while (!list_empty(&m->conns))
		mq_conn_abort(list_first(&m->conns, struct mq_conn, node));
	mq_pool_close(&m->inputs);
	mq_pool_close(&m->outputs);
	free(m);
}

static int mqtt_start(const struct env *env, const struct conf *conf, void **self)
{
	const struct mqtt_conf *mc = conf_section(conf, "mqtt");
	struct mqtt *m = must_calloc(1, sizeof(*m));

	m->env = *env;
	list_init(&m->listeners);
	list_init(&m->conns);
	list_init(&m->turn);
	mq_pool_init(&m->inputs, MQ_READ_BYTES, FREE_INPUTS);
	mq_pool_init(&m->outputs, MQ_CHUNK_BYTES, FREE_OUTPUTS);
	apply(m, conf);
	int e = open_listeners(m, &mc->listen);
	if (e < 0) {
		mqtt_stop(m);
		return e;
	}
	*self = m;
	return 0;
}

static void mqtt_flush(void *self)
{
	struct mqtt *m = self;
	struct list now;

	/* What a look at one connection causes for another is left to the next turn's end. */
	list_init(&now);
	list_splice(&now, &m->turn);
	while (!list_empty(&now))
		mq_conn_turn(list_first(&now, struct mq_conn, turn));
}

static int mqtt_reload(void *self, const struct conf *conf)
{
	apply(self, conf);
	return 0;
}

static bool mqtt_drain(void *self)
{
	struct mqtt *m = self;
	struct list *pos;

	mq_listen_close(m);
	list_for_each(pos, &m->conns)
		if (list_entry(pos, struct mq_conn, node)->out.bytes)
			return false;
	return true;
}

static void mqtt_dump(void *self)
{
	const struct mqtt *m = self;
	size_t waiting = 0, unsent = 0, withheld = 0;
	struct list *pos;

	list_for_each(pos, &m->conns) {
		const struct mq_conn *c = list_entry(pos, struct mq_conn, node);
		waiting += c->state == MQ_WAITING;
		unsent += c->out.bytes;
		withheld += !list_empty(&c->held) || c->no_memory;
	}
	log_notice("mqtt: %zu of %zu connections, %zu before CONNECT, %zu not read because their "
		   "messages cannot be taken, %zu bytes unsent",
		m->n_conns, m->max_conns, waiting, withheld, unsent);
}

const struct adapter adapter_mqtt = {
	.name = "mqtt",
	.section = &mqtt_conf_section,
	.start = mqtt_start,
	.flush = mqtt_flush,
	.reload = mqtt_reload,
	.drain = mqtt_drain,
	.stop = mqtt_stop,
	.dump = mqtt_dump,
};
