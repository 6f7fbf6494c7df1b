#ifndef TIDEGATE_TESTS_UNIT_MQTT_HUB_H
#define TIDEGATE_TESTS_UNIT_MQTT_HUB_H

/* A hub with the MQTT adapter in this process, and clients on raw sockets. The clock stands still
 * but for clock_advance(); a client that waits for bytes turns the loop itself. */
#include "adapters/adapter.h"
#include "adapters/mqtt/mq_codec.h"
#include "gateway/base/log.h"
#include "gateway/core/sub_ids.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct hub {
	struct event_base *base;
	struct router *router;
	struct sessions *sessions;
	struct conf *conf;
	void *mqtt;
	uint16_t port;
};

struct client {
	struct hub *hub;
	enum mq_version version;
	int fd;
	size_t at, len;
	uint8_t in[512 * 1024];
};

static const struct conf_section *const hub_sections[] = { &limits_conf_section, &mqtt_conf_section,
	NULL };

static inline uint16_t free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

/* `limits` and `mqtt`: more lines of these sections. */
static inline struct conf *hub_conf(uint16_t port, const char *limits, const char *mqtt)
{
	struct conf_error err;
	struct conf *conf;
	char text[1024];
	int len = snprintf(text, sizeof(text),
		"[limits]\n%s\n[mqtt]\nlisten = mqtt://127.0.0.1:%u\n%s\n", limits, port, mqtt);

	if (conf_parse(hub_sections, "test.conf", text, (size_t)len, &conf, &err) != 0)
		fail_msg("%s", err.text);
	return conf;
}

static inline void hub_start(
	struct hub *h, struct policy *policy, const char *limits, const char *mqtt)
{
	clock_freeze(1000000, 1700000000000);
	log_init(LOG_LEVEL_ERROR, false);
	h->port = free_port();
	h->base = event_base_new();
	h->conf = hub_conf(h->port, limits, mqtt);

	const struct limits_conf *l = conf_section(h->conf, "limits");
	struct sessions_conf sc = { .max_subscriptions = (uint32_t)l->subscriptions_per_client,
		.queue_messages = (uint32_t)l->queue_messages,
		.queue_bytes = l->queue_bytes,
		.max_inbound = (uint32_t)l->inbound_messages,
		.window = (uint16_t)l->inflight };
	h->router = router_new(policy, &(struct router_limits){ 0 });
	h->sessions = sessions_new(h->router, &sc);
	struct env env = { h->base, h->router, h->sessions, "test", NULL, false };
	assert_int_equal(adapter_mqtt.start(&env, h->conf, &h->mqtt), 0);
}

/* What the daemon does between two waits. */
static inline void hub_turn(struct hub *h)
{
	event_base_loop(h->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	clock_tick();
	timers_run();
	receipts_run();
	router_turn(h->router);
	adapter_mqtt.flush(h->mqtt);
	reap();
}

static inline void hub_turns(struct hub *h, unsigned n)
{
	while (n--)
		hub_turn(h);
}

static inline void hub_stop(struct hub *h)
{
	sessions_free(h->sessions);
	hub_turn(h);
	adapter_mqtt.stop(h->mqtt);
	reap();
	router_free(h->router);
	conf_free(h->conf);
	event_base_free(h->base);
	messages_set_budget(0);
	assert_int_equal(messages_bytes(), 0);
	assert_int_equal(sub_ids_blocks(), 0);
}

static inline struct client *client_open(struct hub *h)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(h->port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct client *c = malloc(sizeof(*c));

	c->hub = h;
	c->version = MQ_V311;
	c->at = c->len = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	assert_int_equal(connect(c->fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	hub_turns(h, 2);
	return c;
}

static inline void client_free(struct client *c)
{
	close(c->fd);
	hub_turns(c->hub, 2);
	free(c);
}

/* All of it, turning the loop while the socket is full. */
static inline void client_write(struct client *c, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			fail_msg("send: %s", strerror(errno));
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
		hub_turn(c->hub);
	}
}

static inline void client_send(struct client *c, const struct mq_packet *packet)
{
	size_t cap = 4096 + (packet->type == MQ_PUBLISH ? packet->publish.payload.len : 0);
	uint8_t *buf = malloc(cap);
	struct writer w = writer_of(buf, cap);
	struct mq_packet p = *packet;

	p.version = (uint8_t)c->version;
	mq_encode(&w, &p);
	assert_false(w.bad);
	client_write(c, buf, w.len);
	free(buf);
}

/* Waits for more bytes; false: closed by the hub. Fails when none come. */
static inline bool client_fill(struct client *c)
{
	memmove(c->in, c->in + c->at, c->len - c->at);
	c->len -= c->at;
	c->at = 0;
	for (unsigned tries = 0; tries < 500; tries++) {
		hub_turn(c->hub);
		ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);
		if (n > 0) {
			c->len += (size_t)n;
			return true;
		}
		if (n == 0 || errno != EAGAIN)
			return false;
		if (tries > 20)
			poll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, 1);
	}
	fail_msg("nothing came");
	return false;
}

static inline void client_take(struct client *c, struct mq_packet *p)
{
	struct mq_header h;
	struct span left = span_of(c->in + c->at, c->len - c->at);

	while (mq_header_read(left, &h) != 0 || left.len - h.size < h.body) {
		if (!client_fill(c))
			fail_msg("closed");
		left = span_of(c->in + c->at, c->len - c->at);
	}
	enum reason why =
		mq_decode(&h, span_of(left.p + h.size, h.body), MQ_FROM_SERVER, c->version, p);
	assert_int_equal(why, R_SUCCESS);
	c->at += h.size + h.body;
}

/* The next packet is one of this type. Its views live until the next call. */
static inline struct mq_packet client_expect(struct client *c, enum mq_type type)
{
	struct mq_packet p;

	client_take(c, &p);
	assert_string_equal(mq_type_name((uint8_t)p.type), mq_type_name((uint8_t)type));
	return p;
}

static inline void client_expect_ack(struct client *c, enum mq_type type, uint16_t packet_id)
{
	assert_int_equal(client_expect(c, type).packet_id, packet_id);
}

static inline void client_expect_closed(struct client *c)
{
	assert_int_equal(c->at, c->len);
	while (client_fill(c))
		fail_msg("bytes instead of the end");
}

static inline void client_expect_nothing(struct client *c)
{
	uint8_t byte;

	assert_int_equal(c->at, c->len);
	hub_turns(c->hub, 10);
	assert_int_equal(recv(c->fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void client_connect(struct client *c, const struct mq_connect *con)
{
	struct mq_packet p = { .type = MQ_CONNECT, .connect = *con };

	if (!p.connect.level)
		p.connect.level = MQ_V311;
	client_send(c, &p);
}

/* Connected, with a clean session. */
static inline struct client *client_new(struct hub *h, const char *id)
{
	struct client *c = client_open(h);

	client_connect(c, &(struct mq_connect){ .clean_start = true, .client_id = span_str(id) });
	assert_int_equal(client_expect(c, MQ_CONNACK).code, MQ_ACCEPTED);
	return c;
}

/* The same with MQTT 5, and with properties. */
static inline struct client *client_new5(struct hub *h, const char *id, struct span props)
{
	struct client *c = client_open(h);

	c->version = MQ_V5;
	client_send(c,
		&(struct mq_packet){ .type = MQ_CONNECT,
			.props = props,
			.connect = {
				.level = MQ_V5, .clean_start = true, .client_id = span_str(id) } });
	assert_int_equal(client_expect(c, MQ_CONNACK).code, R_SUCCESS);
	return c;
}

/* The next packet is one of this type, with this reason. */
static inline void client_expect_reason(
	struct client *c, enum mq_type type, uint16_t packet_id, enum reason why)
{
	struct mq_packet p = client_expect(c, type);

	assert_int_equal(p.packet_id, packet_id);
	assert_int_equal(p.code, why);
}

/* Connected, with a session that stays. */
static inline struct client *client_resume(struct hub *h, const char *id, bool present)
{
	struct client *c = client_open(h);

	client_connect(c, &(struct mq_connect){ .client_id = span_str(id) });
	struct mq_packet p = client_expect(c, MQ_CONNACK);
	assert_int_equal(p.code, MQ_ACCEPTED);
	assert_int_equal(p.session_present, present);
	return c;
}

/* The granted code. */
static inline uint8_t client_subscribe(struct client *c, const char *filter, uint8_t qos)
{
	uint8_t buf[256];
	struct writer w = writer_of(buf, sizeof(buf));

	mq_put_filter(&w, MQ_SUBSCRIBE, &(struct mq_filter){ span_str(filter), qos });
	client_send(
		c, &(struct mq_packet){
			   .type = MQ_SUBSCRIBE, .packet_id = 77, .filters = span_of(buf, w.len) });
	struct mq_packet p = client_expect(c, MQ_SUBACK);
	assert_int_equal(p.packet_id, 77);
	assert_int_equal(p.codes.len, 1);
	return p.codes.p[0];
}

static inline void client_publish(
	struct client *c, const char *topic, const char *payload, uint8_t qos, uint16_t id)
{
	client_send(c, &(struct mq_packet){ .type = MQ_PUBLISH,
			       .packet_id = id,
			       .publish = { .qos = qos,
				       .topic = span_str(topic),
				       .payload = span_str(payload) } });
}

static inline void client_ack(struct client *c, enum mq_type type, uint16_t packet_id)
{
	client_send(c, &(struct mq_packet){ .type = type, .packet_id = packet_id });
}

static inline struct mq_packet client_expect_message(
	struct client *c, const char *topic, const char *payload, uint8_t qos)
{
	struct mq_packet p = client_expect(c, MQ_PUBLISH);

	assert_int_equal(p.publish.topic.len, strlen(topic));
	assert_memory_equal(p.publish.topic.p, topic, strlen(topic));
	assert_int_equal(p.publish.payload.len, strlen(payload));
	assert_memory_equal(p.publish.payload.p, payload, strlen(payload));
	assert_int_equal(p.publish.qos, qos);
	return p;
}

static inline void client_ping(struct client *c)
{
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	client_expect(c, MQ_PINGRESP);
}

#endif
