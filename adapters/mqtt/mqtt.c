#include "adapters/mqtt/mqtt.h"

#include "adapters/mqtt/mq_conf.h"
#include "adapters/mqtt/mq_conn.h"
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

/* Certificates and keys are read again; connections that stand keep what they began with. */
static int apply_tls(struct mqtt *m, const struct mqtt_conf *mc)
{
	struct mq_tls_error err;
	struct ssl_ctx_st *ctx;

	if (!mq_conf_wants_tls(mc))
		return 0;
	if (mq_tls_context_new(&mc->tls, &ctx, &err) < 0) {
		log_error("mqtt: [mqtt] %s: %s", err.key, err.text);
		return -EINVAL;
	}
	mq_tls_context_free(m->tls);
	m->tls = ctx;
	return 0;
}

static void ws_rules_free(struct mq_ws_rules *ws)
{
	for (size_t i = 0; i < ws->n_origins; i++)
		free((void *)(uintptr_t)ws->origins[i]);
	free((void *)(uintptr_t)ws->origins);
	free((void *)(uintptr_t)ws->path);
	*ws = (struct mq_ws_rules){ 0 };
}

static void apply_ws(struct mqtt *m, const struct mqtt_conf *mc)
{
	const char **origins = must_calloc(mc->ws_origins.n + 1, sizeof(*origins));

	for (size_t i = 0; i < mc->ws_origins.n; i++)
		origins[i] = must_strdup(mc->ws_origins.items[i]);
	ws_rules_free(&m->ws);
	m->ws = (struct mq_ws_rules){
		.path = must_strdup(mc->ws_path),
		.origins = origins,
		.n_origins = mc->ws_origins.n,
	};
}

static int apply(struct mqtt *m, const struct conf *conf)
{
	const struct mqtt_conf *mc = conf_section(conf, "mqtt");
	const struct limits_conf *limits = conf_section(conf, "limits");

	int e = apply_tls(m, mc);
	if (e)
		return e;
	apply_ws(m, mc);
	m->max_conns = connections_possible(mc->max_connections);
	m->connect_timeout_ms = mc->connect_timeout_ms;
	m->max_payload_bytes = (uint32_t)MIN(limits->message_bytes, (int64_t)MQ_PAYLOAD_MAX);
	m->max_grown_bytes = (size_t)limits->memory;
	m->max_handshakes = (size_t)mc->max_handshakes;
	m->receive_max = (uint16_t)limits->inbound_messages;
	m->max_expiry_s = (uint32_t)(limits->session_expiry_ms / 1000);
	m->max_keepalive_s = (uint16_t)(mc->max_keepalive_ms / 1000);
	return 0;
}

/* An IPv6 wildcard takes IPv4 too, unless the same port is wanted for an IPv4 address of its own.
 */
static bool has_v4_twin(const struct conf_list *listen, const struct addr *v6)
{
	struct mq_place p;

	for (size_t i = 0; i < listen->n; i++)
		if (mq_listen_parse(listen->items[i], &p) == 0 && p.addr.family == 4 &&
			p.addr.port == v6->port)
			return true;
	return false;
}

static int open_listeners(struct mqtt *m, const struct conf_list *listen)
{
	for (size_t i = 0; i < listen->n; i++) {
		struct mq_place p;
		int e = mq_listen_parse(listen->items[i], &p);
		if (e == 0)
			e = mq_listen_open(m, &p, has_v4_twin(listen, &p.addr));
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
	mq_tls_context_free(m->tls);
	ws_rules_free(&m->ws);
	free(m);
}

static int mqtt_start(const struct env *env, const struct conf *conf, void **self)
{
	const struct mqtt_conf *mc = conf_section(conf, "mqtt");
	struct mqtt *m = must_calloc(1, sizeof(*m));

	traffic_register(&mq_traffic);
	m->env = *env;
	list_init(&m->listeners);
	list_init(&m->conns);
	list_init(&m->turn);
	mq_pool_init(&m->inputs, MQ_READ_BYTES, FREE_INPUTS);
	mq_pool_init(&m->outputs, MQ_CHUNK_BYTES, FREE_OUTPUTS);
	int e = apply(m, conf);
	if (!e)
		e = open_listeners(m, &mc->listen);
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
