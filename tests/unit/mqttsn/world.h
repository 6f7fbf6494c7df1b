#ifndef TIDEGATE_TESTS_UNIT_MQTTSN_WORLD_H
#define TIDEGATE_TESTS_UNIT_MQTTSN_WORLD_H

/* A hub with an MQTT-SN gateway in front of it, a clock that stands still, and a socket that keeps
 * what is sent. A device is a port number. */
#include "adapters/mqttsn/sn_peer.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/receipt.h"
#include "gateway/core/router.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NOTHING 0xFF /* a type that is reserved: no datagram came */
#define TEXT(s) span_str(s)

/* One datagram on its way to a device, and what it says. */
struct heard {
	struct list node;
	struct addr to;
	struct sn_packet p;
	size_t len;
	uint8_t bytes[];
};

/* A local subscriber that keeps the last message. */
struct spy {
	struct subscriber sub;
	struct identity who;
	struct message *last;
	unsigned n;
	uint8_t qos;
};

struct world {
	bool to_group; /* what is said goes to a group of gateways */
	struct policy policy;
	struct router *router;
	struct sessions *sessions;
	struct sn_gateway *gw;
	struct sn_socket socket;
	struct list out; /* of heard.node */
	struct heard *current;
	bool full; /* the socket takes nothing */
	struct spy spy;
	struct identity cloud; /* who publishes to the devices */
};

static inline int world_send(struct sn_socket *s, const struct addr *to, struct span datagram)
{
	struct world *w = container_of(s, struct world, socket);
	if (w->full)
		return -EAGAIN;
	struct heard *h = malloc(sizeof(*h) + datagram.len);
	assert_non_null(h);
	h->to = *to;
	h->len = datagram.len;
	memcpy(h->bytes, datagram.p, datagram.len);
	if (sn_decode(&h->p, span_of(h->bytes, h->len)) < 0)
		h->p.type = NOTHING - 1;
	list_append(&w->out, &h->node);
	return 0;
}

static inline enum reason spy_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	struct spy *spy = container_of(s, struct spy, sub);
	(void)r;
	message_unref(spy->last);
	spy->last = message_ref(m);
	spy->qos = o->qos;
	spy->n++;
	return R_SUCCESS;
}

static const struct subscriber_ops spy_ops = { .offer = spy_offer };
static const struct sn_socket_ops world_socket_ops = { .send = world_send };

static inline struct addr addr_at(const char *ip, uint16_t port)
{
	struct addr a;
	assert_int_equal(addr_from_text(&a, ip, port), 0);
	return a;
}

static inline struct sn_conf world_conf(void)
{
	static const char *any[] = { "any" };
	return (struct sn_conf){
		.gateway_id = 7,
		.retry_interval_ms = 10000,
		.retry_count = 3,
		.wait_interval_ms = 300000,
		.qos_minus_one = SN_MINUS_ONE_PREDEFINED,
		.takeover = SN_TAKEOVER_SAME_IP,
		.session_expiry_ms = 86400000,
		.topics_per_client = 8,
		.half_open = 4,
		.advertise_interval_ms = 900000,
		.forwarders = { ARRAY_SIZE(any), any },
	};
}

static inline struct sn_predefined *world_predefined(void)
{
	char path[] = "/tmp/tidegate-topics-XXXXXX", why[256];
	static const char text[] = "[*]\n1 = pre/one\n2 = pre/two\n[dev-9]\n1 = nine/one\n";
	struct sn_predefined *p;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	assert_int_equal(sn_predefined_load(path, &p, why, sizeof(why)), 0);
	unlink(path);
	return p;
}

static inline int world_setup(void **state)
{
	static const struct sessions_conf conf = {
		.max_sessions = 100,
		.max_subscriptions = 50,
		.queue_messages = 50,
		.max_inbound_qos2 = 5,
		.window = 20,
	};
	static const struct router_limits limits = { .max_retained = 50 };
	struct world *w = calloc(1, sizeof(*w));
	struct sn_conf sn = world_conf();
	clock_freeze(1000000, INT64_C(1700000000000));
	w->policy = policy_allow_all;
	w->router = router_new(&w->policy, &limits);
	w->sessions = sessions_new(w->router, &conf);
	w->socket.ops = &world_socket_ops;
	w->gw = calloc(1, sizeof(*w->gw));
	list_init(&w->out);
	struct env env = { .router = w->router, .sessions = w->sessions, .gateway_id = "test" };
	sn_gateway_init(w->gw, &env, &sn, world_predefined());
	w->socket.group = &w->gw->base;
	w->socket.at = addr_at("10.0.0.99", 1884);
	w->spy.who = (struct identity){ .client_id = "spy", .origin = identity_new_origin() };
	w->cloud = (struct identity){ .client_id = "cloud", .origin = identity_new_origin() };
	subscriber_init(&w->spy.sub, &spy_ops, &w->spy.who);
	struct sub_opts opts = { .qos = 2 };
	assert_int_equal(router_subscribe(w->router, &w->spy.sub, TEXT("#"), &opts), 2);
	*state = w;
	return 0;
}

static inline void forget_heard(struct world *w)
{
	free(w->current);
	w->current = NULL;
	while (!list_empty(&w->out)) {
		struct heard *h = list_first(&w->out, struct heard, node);
		list_remove(&h->node);
		free(h);
	}
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;
	router_leave(w->router, &w->spy.sub);
	sessions_free(w->sessions);
	sn_gateway_destroy(w->gw);
	forget_heard(w);
	message_unref(w->spy.last);
	reap();
	router_free(w->router);
	free(w->gw);
	free(w);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static inline void turn(struct world *w)
{
	receipts_run();
	while (router_turn(w->router))
		;
	reap();
}

static inline void pass_ms(struct world *w, int64_t ms)
{
	clock_advance(ms);
	timers_run();
	turn(w);
}

static inline struct sn_route route_of(struct world *w, uint16_t port)
{
	return (struct sn_route){ .socket = &w->socket, .addr = addr_at("10.0.0.1", port) };
}

static inline struct sn_peer *peer_at(struct world *w, uint16_t port)
{
	struct sn_route route = route_of(w, port);
	return sn_peer_find(w->gw, &route);
}

static inline enum sn_state state_at(struct world *w, uint16_t port)
{
	struct sn_peer *p = peer_at(w, port);
	return p ? (enum sn_state)p->state : SN_STRANGER;
}

static inline void say_raw(struct world *w, const struct sn_route *from, struct span bytes)
{
	/* Exactly as large as it is, so that the address sanitizer sees one octet too far. */
	uint8_t *copy = malloc(bytes.len ? bytes.len : 1);
	assert_non_null(copy);
	if (bytes.len)
		memcpy(copy, bytes.p, bytes.len);
	(w->to_group ? sn_hear : sn_receive)(w->gw, from, span_of(copy, bytes.len));
	free(copy);
	turn(w);
}

static inline void say_from(struct world *w, struct sn_route from, struct sn_packet p)
{
	static uint8_t buf[65536];
	int n = sn_encode(&p, buf, sizeof(buf));
	assert_true(n > 0);
	say_raw(w, &from, span_of(buf, (size_t)n));
}

static inline void say(struct world *w, uint16_t port, struct sn_packet p)
{
	say_from(w, route_of(w, port), p);
}
#define SAY(w, port, ...) say(w, port, (struct sn_packet){ __VA_ARGS__ })

/* The oldest datagram to that address not heard yet; good until the next call. */
static inline const struct sn_packet *hear_at(struct world *w, struct addr at)
{
	static const struct sn_packet nothing = { .type = NOTHING };
	struct list *pos;
	free(w->current);
	w->current = NULL;
	list_for_each(pos, &w->out) {
		struct heard *h = list_entry(pos, struct heard, node);
		if (!addr_equal(&h->to, &at))
			continue;
		list_remove(&h->node);
		w->current = h;
		return &h->p;
	}
	return &nothing;
}

static inline const struct sn_packet *hear(struct world *w, uint16_t port)
{
	return hear_at(w, addr_at("10.0.0.1", port));
}

#define assert_hears(w, port, what) assert_int_equal(hear(w, port)->type, what)
#define assert_silence(w)           assert_true(list_empty(&(w)->out))
#define assert_text(s, text)        assert_true(span_is(s, text))

static inline void assert_code(struct world *w, uint16_t port, uint8_t type, uint8_t code)
{
	const struct sn_packet *p = hear(w, port);
	assert_int_equal(p->type, type);
	assert_int_equal(p->return_code, code);
}

static inline void connect_as(struct world *w, uint16_t port, const char *id, bool clean)
{
	SAY(w, port, .type = SN_CONNECT, .clean = clean, .protocol_id = 1, .duration_s = 60,
		.data = span_str(id));
	assert_code(w, port, SN_CONNACK, SN_ACCEPTED);
}

static inline uint16_t register_name(struct world *w, uint16_t port, const char *name)
{
	SAY(w, port, .type = SN_REGISTER, .msg_id = 77, .data = span_str(name));
	const struct sn_packet *p = hear(w, port);
	assert_int_equal(p->type, SN_REGACK);
	assert_int_equal(p->return_code, SN_ACCEPTED);
	return p->topic_id;
}

/* Returns the topic id of the SUBACK. */
static inline uint16_t subscribe_to(struct world *w, uint16_t port, const char *filter, uint8_t qos)
{
	SAY(w, port, .type = SN_SUBSCRIBE, .qos = qos, .msg_id = 78, .data = span_str(filter));
	const struct sn_packet *p = hear(w, port);
	assert_int_equal(p->type, SN_SUBACK);
	assert_int_equal(p->return_code, SN_ACCEPTED);
	assert_int_equal(p->qos, qos);
	assert_int_equal(p->msg_id, 78);
	return p->topic_id;
}

/* Somebody else publishes. */
static inline void publish_bytes(
	struct world *w, const char *topic, struct span payload, uint8_t qos, bool retain)
{
	struct message *m = message_new(&(struct message_init){
		.topic = span_str(topic),
		.payload = payload,
		.qos = qos,
		.retain = retain,
		.origin = w->cloud.origin,
	});
	assert_non_null(m);
	assert_false(reason_failed(router_publish(w->router, &w->cloud, m, NULL)));
	message_unref(m);
	turn(w);
}

static inline void publish(struct world *w, const char *topic, const char *text, uint8_t qos)
{
	publish_bytes(w, topic, span_str(text), qos, false);
}

/* Answers the REGISTER that is due, and returns its topic id. */
static inline uint16_t accept_register(struct world *w, uint16_t port, const char *name)
{
	const struct sn_packet *p = hear(w, port);
	assert_int_equal(p->type, SN_REGISTER);
	assert_text(p->data, name);
	uint16_t id = p->topic_id;
	SAY(w, port, .type = SN_REGACK, .topic_id = id, .msg_id = p->msg_id);
	return id;
}

static inline void assert_spied(struct world *w, unsigned n, const char *topic, const char *text)
{
	assert_int_equal(w->spy.n, n);
	assert_text(message_topic(w->spy.last), topic);
	assert_text(message_payload(w->spy.last), text);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

#endif
