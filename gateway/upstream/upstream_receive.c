#include "gateway/upstream/upstream_priv.h"

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/message.h"
#include "gateway/core/props.h"
#include "gateway/core/topic.h"

static struct count bad_topic = COUNT("upstream.inbound.bad_topic");
static struct count bad_props = COUNT("upstream.inbound.bad_properties");
static struct count not_imported = COUNT("upstream.inbound.not_imported");
static struct count stale_retained = COUNT("upstream.inbound.stale_retained");
static struct count known_retained = COUNT("upstream.inbound.known_retained");
static struct count no_memory = COUNT("upstream.inbound.no_memory");
static struct count overrun = COUNT("upstream.inbound.overrun");
static struct log_limit complaints = LOG_LIMIT(5, 60000);

/* The upstream is hostile input like any other. */
static bool valid(const struct uplink_message *m)
{
	if (m->qos > 2 || !topic_valid_name(m->topic) || m->topic.p[0] == '$') {
		count_one(&bad_topic);
		log_limited(&complaints, LOG_LEVEL_INFO,
			"upstream: the broker sent a message without a valid topic, dropped");
		return false;
	}
	if (!props_valid(m->props)) {
		count_one(&bad_props);
		log_limited(&complaints, LOG_LEVEL_INFO,
			"upstream: %.*s: malformed properties, dropped", SPAN_ARGS(m->topic));
		return false;
	}
	return true;
}

/* A retained message that answers a SUBSCRIBE says nothing new when we have the same, and nothing
 * true when a newer one of ours is still on its way up. */
static bool outdated(struct upstream *u, const struct uplink_message *m)
{
	/* MQTT 3.1.1, 3.3.1.3: with the flag set it is always the answer to a SUBSCRIBE. */
	if (!m->retain || (u->up.version == 5 && !interest_replaying(u->interest)))
		return false;
	if (backlog_has_retained(u->backlog, m->topic)) {
		count_one(&stale_retained);
		return true;
	}
	const struct message *have = router_retained(u->router, m->topic);
	if (!have || !span_equal(message_payload(have), m->payload))
		return false;
	count_one(&known_retained);
	return true;
}

void upstream_on_message(void *arg, const struct uplink_message *m)
{
	struct upstream *u = arg;

	u->received++;
	if (!valid(m))
		return;
	if (!interest_allows(u->interest, m->topic)) {
		count_one(&not_imported);
		return;
	}
	if (outdated(u, m) || (u->up.version == 4 && !m->retain && echo_received(u->echo, m)))
		return;
	struct message_init init = {
		.topic = m->topic,
		.payload = m->payload,
		.props = m->props,
		.qos = m->qos,
		.retain = m->retain,
		.origin = ORIGIN_UPSTREAM,
		.expires_ms = m->expiry_s ? clock_ms() + (int64_t)m->expiry_s * 1000 : 0,
	};
	struct message *msg = message_new(&init);
	if (!msg) {
		count_one(&no_memory);
		return;
	}
	router_publish(u->router, &u->who, msg, NULL);
	message_unref(msg);
}

void upstream_on_overrun(void *arg, uint64_t n)
{
	(void)arg;
	count_add(&overrun, n);
	log_limited(&complaints, LOG_LEVEL_INFO,
		"upstream: %llu QoS 0 messages from the broker dropped, they came too fast",
		(unsigned long long)n);
}
