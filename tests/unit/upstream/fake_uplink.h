#ifndef TIDEGATE_TESTS_UPSTREAM_FAKE_UPLINK_H
#define TIDEGATE_TESTS_UPSTREAM_FAKE_UPLINK_H

#include "gateway/base/util.h"
#include "gateway/core/message.h"
#include "gateway/upstream/uplink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A client library that does nothing by itself: the test sees what it is asked for and plays the
 * server. One at a time. */
#define FAKE_MAX 2048

static struct fake {
	struct uplink uplink;
	const struct uplink_events *events;
	void *arg;
	unsigned connects, disconnects, abandons, stops;
	bool connected_to, is_up;
	struct {
		unsigned version;
		char host[64], address[64], client_id[64], username[64], password[64];
		uint16_t port;
		bool tls;
		int keepalive_s;
	} target;
	struct {
		char topic[64], payload[64];
		uint64_t token;
		uint8_t qos;
		bool retain, open;
		uint32_t expiry_s;
		struct message *msg;
	} sent[FAKE_MAX];
	size_t n_sent;
	struct {
		char filter[64];
		uint8_t qos;
	} asked[UPLINK_FILTERS_MAX];
	size_t n_asked; /* 0: no request outstanding */
	bool unsub;
	unsigned requests;
	unsigned n_released; /* held without a message */
	uint32_t ticket;     /* of the last answer */
	bool kept;
} fake;

static int fake_connect(struct uplink *u, const struct uplink_target *t)
{
	(void)u;
	if (fake.connected_to)
		return -EBUSY;
	fake.connected_to = true;
	fake.connects++;
	fake.target.version = t->version;
	fake.target.port = t->port;
	fake.target.tls = t->tls;
	fake.target.keepalive_s = t->keepalive_s;
	snprintf(fake.target.host, sizeof(fake.target.host), "%s", t->host);
	snprintf(fake.target.address, sizeof(fake.target.address), "%s", t->address);
	snprintf(fake.target.client_id, sizeof(fake.target.client_id), "%s", t->client_id);
	snprintf(fake.target.username, sizeof(fake.target.username), "%s",
		t->username ? t->username : "");
	snprintf(
		fake.target.password, sizeof(fake.target.password), "%.*s", SPAN_ARGS(t->password));
	return 0;
}

static int fake_publish(struct uplink *u, const struct uplink_publish *what)
{
	struct span topic = message_topic(what->msg), payload = message_payload(what->msg);

	(void)u;
	if (fake.n_sent == FAKE_MAX)
		return -EAGAIN;
	size_t i = fake.n_sent++;
	snprintf(fake.sent[i].topic, sizeof(fake.sent[i].topic), "%.*s", SPAN_ARGS(topic));
	snprintf(fake.sent[i].payload, sizeof(fake.sent[i].payload), "%.*s", SPAN_ARGS(payload));
	fake.sent[i].token = what->token;
	fake.sent[i].qos = what->qos;
	fake.sent[i].retain = what->retain;
	fake.sent[i].expiry_s = what->expiry_s;
	fake.sent[i].msg = message_ref(what->msg);
	fake.sent[i].open = true;
	return 0;
}

static int fake_hold(struct uplink *u, const struct uplink_publish *what, struct exchange *x)
{
	if (what)
		return fake_publish(u, what);
	(void)x;
	fake.n_released++;
	return 0;
}

static void fake_acknowledge(struct uplink *u, uint32_t ticket, bool kept)
{
	(void)u;
	fake.ticket = ticket;
	fake.kept = kept;
}

static int fake_request(const struct uplink_filter *f, size_t n, bool unsub)
{
	if (fake.n_asked)
		return -EBUSY;
	for (size_t i = 0; i < n; i++) {
		snprintf(fake.asked[i].filter, sizeof(fake.asked[i].filter), "%s", f[i].filter);
		fake.asked[i].qos = f[i].qos;
	}
	fake.n_asked = n;
	fake.unsub = unsub;
	fake.requests++;
	return 0;
}

static int fake_subscribe(struct uplink *u, const struct uplink_filter *f, size_t n)
{
	(void)u;
	return fake_request(f, n, false);
}

static int fake_unsubscribe(struct uplink *u, const struct uplink_filter *f, size_t n)
{
	(void)u;
	return fake_request(f, n, true);
}

static void fake_disconnect(struct uplink *u)
{
	(void)u;
	fake.disconnects++;
}

static void fake_abandon(struct uplink *u)
{
	(void)u;
	fake.abandons++;
}

static void fake_stop(struct uplink *u, int wait_ms)
{
	(void)u;
	(void)wait_ms;
	fake.stops++;
	for (size_t i = 0; i < fake.n_sent; i++)
		if (fake.sent[i].open)
			message_unref(fake.sent[i].msg);
}

static const struct uplink_ops fake_ops = {
	.connect = fake_connect,
	.publish = fake_publish,
	.hold = fake_hold,
	.acknowledge = fake_acknowledge,
	.subscribe = fake_subscribe,
	.unsubscribe = fake_unsubscribe,
	.disconnect = fake_disconnect,
	.abandon = fake_abandon,
	.stop = fake_stop,
};

static inline struct uplink *fake_new(struct event_base *base, struct exchanges *exchanges,
	const struct uplink_events *events, void *arg)
{
	(void)base;
	(void)exchanges;
	memset(&fake, 0, sizeof(fake));
	fake.uplink.ops = &fake_ops;
	fake.events = events;
	fake.arg = arg;
	return &fake.uplink;
}

static inline void fake_answer(size_t i, enum uplink_outcome outcome, enum reason reason)
{
	struct message *m = fake.sent[i].msg;

	fake.sent[i].open = false;
	fake.events->published(fake.arg, fake.sent[i].token, outcome, reason);
	message_unref(m);
}

static inline void fake_grant_all(uint8_t code)
{
	uint8_t codes[UPLINK_FILTERS_MAX];
	size_t n = fake.n_asked;

	memset(codes, code, sizeof(codes));
	fake.n_asked = 0;
	fake.events->granted(fake.arg, codes, n);
}

static inline void fake_up(unsigned version, bool session_present, uint16_t receive_maximum)
{
	struct uplink_up up = {
		.version = version,
		.session_present = session_present,
		.receive_maximum = receive_maximum,
		.maximum_qos = 2,
		.retain_available = true,
	};

	fake.is_up = true;
	fake.events->up(fake.arg, &up);
}

static inline void fake_down(enum reason reason, const char *text)
{
	if (fake.n_asked)
		fake_grant_all(UPLINK_UNANSWERED);
	fake.connected_to = fake.is_up = false;
	fake.events->down(fake.arg, reason, text);
}

static inline void fake_message(const char *topic, const char *payload, uint8_t qos, bool retain)
{
	struct uplink_message m = {
		.topic = span_str(topic), .payload = span_str(payload), .qos = qos, .retain = retain
	};

	fake.events->message(fake.arg, &m);
}

#endif
