#ifndef TIDEGATE_TESTS_UNIT_COAP_RIG_H
#define TIDEGATE_TESTS_UNIT_COAP_RIG_H

/* The adapter on a free loopback port with a router, turned by hand, and one device. */

#include "tests/unit/coap/device.h"

#include "gateway/base/clock.h"
#include "gateway/base/reap.h"
#include "gateway/base/timer.h"
#include "gateway/core/receipt.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig {
	struct event_base *base;
	struct router *router;
	struct conf *conf;
	void *self;
	uint16_t port;
	int fd; /* the device */
};

static inline int rig_socket(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static inline struct conf *rig_conf(const char *text, struct conf_error *err)
{
	static const struct conf_section *const sections[] = { &cap_conf_section, NULL };
	struct conf *conf = NULL;

	conf_parse(sections, "test.conf", text, strlen(text), &conf, err);
	return conf;
}

/* A socket of a new device, connected to the gateway. */
static inline int rig_device(const struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(r->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint16_t port;
	int fd = rig_socket(&port);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

/* `rows` are more lines of the section. */
static inline void rig_start_with(struct rig *r, const char *rows, struct policy *policy)
{
	struct conf_error err = { .text = "" };
	char text[1024];
	struct env env;
	int fd;

	*r = (struct rig){ .base = event_base_new() };
	clock_tick();
	r->router = router_new(policy, &(struct router_limits){ .max_retained = 1000 });
	fd = rig_socket(&r->port);
	close(fd);
	snprintf(text, sizeof(text), "[coap]\nlisten = coap://127.0.0.1:%u\n%s", r->port, rows);
	r->conf = rig_conf(text, &err);
	assert_string_equal(err.text, "");
	assert_non_null(r->conf);
	env = (struct env){ .base = r->base, .router = r->router, .gateway_id = "test" };
	assert_int_equal(adapter_coap.start(&env, r->conf, &r->self), 0);
	r->fd = rig_device(r);
}

static inline void rig_start(struct rig *r, const char *rows)
{
	rig_start_with(r, rows, &policy_allow_all);
}

static inline void rig_stop(struct rig *r)
{
	close(r->fd);
	adapter_coap.stop(r->self);
	router_free(r->router);
	reap();
	conf_free(r->conf);
	event_base_free(r->base);
}

/* One turn of the loop, as gateway.c does it. */
static inline void rig_turn(struct rig *r)
{
	event_base_loop(r->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	clock_tick();
	timers_run();
	receipts_run();
	router_turn(r->router);
	adapter_coap.flush(r->self);
	reap();
}

static inline void rig_send_from(struct rig *r, int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, 0), (ssize_t)len);
	rig_turn(r);
	rig_turn(r);
}

/* False: nothing came, though the gateway had all it needs. */
static inline bool rig_receive_at(struct rig *r, int fd, struct answer *a)
{
	for (int i = 0; i < 20; i++) {
		ssize_t n = recv(fd, a->bytes, sizeof(a->bytes), 0);

		if (n >= 0) {
			a->len = (size_t)n;
			answer_parse(a);
			return true;
		}
		rig_turn(r);
		if (i > 10)
			poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 1);
	}
	return false;
}

static inline void rig_send(struct rig *r, const struct packet *p)
{
	rig_send_from(r, r->fd, p->bytes, p->len);
}

static inline bool rig_receive(struct rig *r, struct answer *a)
{
	return rig_receive_at(r, r->fd, a);
}

/* Sends, and expects an answer that carries a code. */
static inline void rig_ask(struct rig *r, const struct packet *p, struct answer *a)
{
	rig_send(r, p);
	assert_true(rig_receive(r, a));
}

/* An empty message: ACK or RST. */
static inline void rig_empty(struct rig *r, unsigned type, uint16_t mid)
{
	struct packet p;

	packet_init(&p, type, 0, mid, "");
	rig_send(r, &p);
}

/* PUT, POST or DELETE in one packet, with "name=value" or NULL as the query. Returns the code. */
static inline unsigned rig_publish(struct rig *r, unsigned method, uint16_t mid, const char *path,
	const char *query, const char *text)
{
	struct answer a;
	struct packet p;

	packet_init(&p, CON, method, mid, "tk");
	packet_path(&p, path);
	if (query)
		packet_query(&p, query);
	packet_payload(&p, text, strlen(text));
	rig_ask(r, &p, &a);
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.mid, mid);
	assert_string_equal(a.token, "tk");
	return a.code;
}

/* GET; the answer stays in *a. Returns the code. */
static inline unsigned rig_get(struct rig *r, uint16_t mid, const char *path, struct answer *a)
{
	struct packet p;

	packet_init(&p, CON, GET, mid, "get");
	packet_path(&p, path);
	rig_ask(r, &p, a);
	return a->code;
}

/* ---- a local subscriber that remembers, and may be a gate that keeps the receipt ---- */

struct listener {
	struct identity who;
	struct subscriber sub;
	struct receipt_hold holds[256]; /* in order of arrival */
	unsigned n;
	uint8_t qos;
	bool retain;
	int64_t expires_ms;
	char topic[256], payload[70000];
	size_t payload_len;
	uint8_t props[128];
	size_t props_len;
};

static inline enum reason listener_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *receipt)
{
	struct listener *l = container_of(s, struct listener, sub);
	struct span topic = message_topic(m), payload = message_payload(m),
		    props = message_props(m);

	l->n++;
	l->qos = o->qos;
	l->retain = m->retain;
	l->expires_ms = m->expires_ms;
	snprintf(l->topic, sizeof(l->topic), "%.*s", SPAN_ARGS(topic));
	l->payload_len = payload.len;
	if (payload.len)
		memcpy(l->payload, payload.p, payload.len);
	l->props_len = props.len;
	if (props.len)
		memcpy(l->props, props.p, props.len);
	if (s->gate && receipt)
		receipt_hold(receipt, &l->holds[(l->n - 1) % ARRAY_SIZE(l->holds)]);
	return R_SUCCESS;
}

static inline void listener_start(struct listener *l, struct rig *r, const char *filter, bool gate)
{
	static const struct subscriber_ops ops = { .offer = listener_offer };

	memset(l, 0, sizeof(*l));
	l->who = (struct identity){
		.client_id = "listener", .origin = identity_new_origin(), .protocol = PROTO_GATEWAY
	};
	subscriber_init(&l->sub, &ops, &l->who);
	l->sub.gate = gate;
	assert_false(reason_failed(router_subscribe(
		r->router, &l->sub, span_str(filter), &(struct sub_opts){ .qos = 2 })));
}

static inline void listener_publish(struct listener *l, struct rig *r, const char *topic,
	const char *text, uint8_t qos, bool retain)
{
	struct message *m = message_new(&(struct message_init){
		.topic = span_str(topic),
		.payload = span_str(text),
		.qos = qos,
		.retain = retain,
		.origin = l->who.origin,
	});

	assert_false(reason_failed(router_publish(r->router, &l->who, m, NULL)));
	message_unref(m);
	rig_turn(r);
}

#endif
