#include "adapters/mqtt/mqtt.h"

#include "adapters/mqtt/mq_conf.h"
#include "adapters/mqtt/mq_conn.h"
#include "adapters/mqtt/mq_group.h"
#include "adapters/mqtt/mq_listen.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

struct traffic mq_traffic = TRAFFIC("mqtt");

/* Descriptors left to the rest of the gateway when connections are counted. */
#define DESCRIPTORS_RESERVED 64

#define FREE_INPUTS  64  /* read buffers kept: 512 KB */
#define FREE_OUTPUTS 256 /* chunks kept: 512 KB */

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

static bool each_section(
	const struct conf *conf, size_t i, const char **section, const struct mqtt_conf **mc)
{
	const char *name;

	*mc = i ? conf_named_section(conf, "mqtt", i - 1, &name) : conf_section(conf, "mqtt");
	*section = *mc ? conf_section_name(conf, *mc) : NULL;
	return *mc;
}

/* Groups that came or went need a restart. */
static int apply_groups(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc;
	const char *section;

	for (size_t i = 0; each_section(conf, i, &section, &mc); i++) {
		struct mq_group *g = mq_group_find(m, section);
		int e = g ? mq_group_configure(g, mc) : 0;
		if (e)
			return e;
	}
	return 0;
}

static int apply(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc = conf_section(conf, "mqtt");
	const struct limits_conf *limits = conf_section(conf, "limits");

	int e = apply_groups(m, conf);
	if (e)
		return e;
	m->max_conns = connections_possible(mc->max_connections);
	m->max_payload_bytes = (uint32_t)MIN(limits->message_bytes, (int64_t)MQ_PAYLOAD_MAX);
	m->max_grown_bytes = (size_t)limits->memory;
	m->max_handshakes = (size_t)mc->max_handshakes;
	m->receive_max = (uint16_t)limits->inbound_messages;
	m->max_expiry_s = (uint32_t)(limits->session_expiry_ms / 1000);
	return 0;
}

static bool has_v4(const struct conf_list *listen, uint16_t port)
{
	struct mq_place p;

	for (size_t i = 0; i < listen->n; i++)
		if (mq_listen_parse(listen->items[i], &p) == 0 && p.addr.family == 4 &&
			p.addr.port == port)
			return true;
	return false;
}

/* An IPv6 wildcard takes IPv4 too, unless the same port is wanted for an IPv4 address of its own.
 */
static bool has_v4_twin(const struct conf *conf, const struct addr *v6)
{
	const struct mqtt_conf *mc;
	const char *section;

	for (size_t i = 0; each_section(conf, i, &section, &mc); i++)
		if (has_v4(&mc->listen, v6->port))
			return true;
	return false;
}

static int open_listeners(
	struct mq_group *g, const struct conf *conf, const struct conf_list *listen)
{
	for (size_t i = 0; i < listen->n; i++) {
		struct mq_place p;
		int e = mq_listen_parse(listen->items[i], &p);
		if (e == 0)
			e = mq_listen_open(g, &p, has_v4_twin(conf, &p.addr));
		if (e < 0)
			return e;
	}
	return 0;
}

static int open_groups(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc;
	const char *section;
	int e = 0;

	for (size_t i = 0; !e && each_section(conf, i, &section, &mc); i++)
		e = open_listeners(mq_group_find(m, section), conf, &mc->listen);
	return e;
}

static void make_groups(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc;
	const char *section;

	for (size_t i = 0; each_section(conf, i, &section, &mc); i++)
		mq_group_new(m, section, mc);
}

static void mqtt_stop(void *self)
{
	struct mqtt *m = self;

	mq_listen_close(m);
	while (!list_empty(&m->conns))
		mq_conn_abort(list_first(&m->conns, struct mq_conn, node));
	mq_pool_close(&m->inputs);
	mq_pool_close(&m->outputs);
	mq_groups_free(m);
	free(m);
}

static int mqtt_start(const struct env *env, const struct conf *conf, void **self)
{
	struct mqtt *m = must_calloc(1, sizeof(*m));

	traffic_register(&mq_traffic);
	m->env = *env;
	list_init(&m->groups);
	list_init(&m->listeners);
	list_init(&m->conns);
	list_init(&m->turn);
	list_init(&m->waiting);
	mq_pool_init(&m->inputs, MQ_READ_BYTES, FREE_INPUTS);
	mq_pool_init(&m->outputs, MQ_CHUNK_BYTES, FREE_OUTPUTS);
	make_groups(m, conf);
	int e = apply(m, conf);
	if (!e)
		e = open_groups(m, conf);
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
	mq_conns_wake(m);
	list_splice(&now, &m->turn);
	while (!list_empty(&now))
		mq_conn_turn(list_first(&now, struct mq_conn, turn));
}

static int mqtt_reload(void *self, const struct conf *conf)
{
	return apply(self, conf);
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
	log_notice("mqtt: %zu of %zu connections, %zu before CONNECT (%zu in TLS handshakes), %zu "
		   "not read because their "
		   "messages cannot be taken, %zu bytes unsent",
		m->n_conns, m->max_conns, waiting, m->handshakes, withheld, unsent);
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
