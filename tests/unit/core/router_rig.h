#ifndef TIDEGATE_TESTS_CORE_ROUTER_RIG_H
#define TIDEGATE_TESTS_CORE_ROUTER_RIG_H

/* A router with subscribers that write down what they are offered. Included after cmocka.h. */
#include "gateway/base/clock.h"
#include "gateway/base/timer.h"
#include "gateway/base/util.h"
#include "gateway/core/router.h"
#include "gateway/core/sub_ids.h"
#include "gateway/core/topic.h"

#include <stdio.h>
#include <string.h>

#define RIG_NOW_MS  1000000
#define RIG_WALL_MS 1700000000000
enum { SEEN_MAX = 512 };

struct seen {
	char topic[40];
	struct offer offer;
	size_t n_ids;
	uint32_t ids_sum;
};

struct box {
	struct identity who;
	struct subscriber sub;
	struct seen seen[SEEN_MAX];
	unsigned n;
	unsigned room;      /* for replays */
	bool away;          /* not ready for shared messages */
	enum reason answer; /* to offers */
	bool unkept;        /* with a refusal: it should have been kept */
	bool withhold;      /* as a gate */
	bool keep;          /* takes a hold on receipts */
	bool had_receipt;   /* with the last offer */
	struct receipt_hold hold;
};

struct rig {
	struct router *router;
	struct policy policy;
	struct box boxes[4], gate, other_gate;
	struct identity gateway, upstream;
	/* The policy says no to this client id, at this access, below this filter. */
	const char *deny_client, *deny_filter;
	enum access deny_access;
	struct receipt receipt;
	unsigned done;
	enum reason reason;
};

static struct rig rig;

static enum reason box_offer(
	struct subscriber *s, struct message *m, struct offer *offer, struct receipt *receipt)
{
	struct box *b = container_of(s, struct box, sub);

	b->had_receipt = receipt != NULL;
	offer->unkept = b->unkept;
	if (reason_failed(b->answer))
		return b->answer;
	assert_in_range(b->n, 0, SEEN_MAX - 1);
	struct seen *seen = &b->seen[b->n++];
	struct span topic = message_topic(m);
	snprintf(seen->topic, sizeof(seen->topic), "%.*s", SPAN_ARGS(topic));
	seen->offer = *offer;
	seen->n_ids = sub_ids_count(offer->sub_ids);
	seen->ids_sum = 0;
	for (size_t i = 0; i < seen->n_ids; i++)
		seen->ids_sum += sub_ids_at(offer->sub_ids, i);
	offer->withhold = b->withhold;
	if (b->keep)
		receipt_hold(receipt, &b->hold);
	return R_SUCCESS;
}

static bool box_room(struct subscriber *s)
{
	struct box *b = container_of(s, struct box, sub);

	return b->n < b->room;
}

static bool box_ready(struct subscriber *s, const struct message *m)
{
	(void)m;
	return !container_of(s, struct box, sub)->away;
}

static const struct subscriber_ops box_ops = { box_offer, box_room, box_ready };

static bool rig_allows(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	struct rig *r = container_of(p, struct rig, policy);

	return !r->deny_client || strcmp(r->deny_client, who->client_id) != 0 ||
	       r->deny_access != access || !topic_matches(span_str(r->deny_filter), topic);
}

static void box_init(struct box *b, const char *client_id, enum protocol protocol)
{
	b->who = (struct identity){ .client_id = client_id, .protocol = protocol };
	b->who.origin = protocol == PROTO_UPSTREAM ? ORIGIN_UPSTREAM : identity_new_origin();
	subscriber_init(&b->sub, &box_ops, &b->who);
	b->room = SEEN_MAX;
}

static void rig_done(struct receipt *r, enum reason reason)
{
	(void)r;
	rig.done++;
	rig.reason = reason;
}

static int rig_setup(void **state)
{
	static const char *const names[] = { "dev-0", "dev-1", "dev-2", "dev-3" };
	struct router_limits limits = { 0 };
	(void)state;

	clock_freeze(RIG_NOW_MS, RIG_WALL_MS);
	memset(&rig, 0, sizeof(rig));
	rig.policy = policy_allow_all;
	rig.policy.allows = rig_allows;
	rig.router = router_new(&rig.policy, &limits);
	for (size_t i = 0; i < ARRAY_SIZE(rig.boxes); i++)
		box_init(&rig.boxes[i], names[i], PROTO_MQTT);
	box_init(&rig.gate, "", PROTO_UPSTREAM);
	box_init(&rig.other_gate, "", PROTO_UPSTREAM);
	rig.gate.sub.gate = rig.other_gate.sub.gate = true;
	rig.gateway = (struct identity){ .client_id = "", .origin = ORIGIN_GATEWAY };
	rig.upstream = rig.gate.who;
	receipt_init(&rig.receipt, rig_done);
	return rig.router ? 0 : -1;
}

static int rig_teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rig.boxes); i++)
		router_leave(rig.router, &rig.boxes[i].sub);
	router_leave(rig.router, &rig.gate.sub);
	router_leave(rig.router, &rig.other_gate.sub);
	router_free(rig.router);
	receipt_cancel(&rig.receipt);
	return messages_bytes() == 0 ? 0 : -1;
}

static inline enum reason subscribe_opts(struct box *b, const char *filter, struct sub_opts opts)
{
	return router_subscribe(rig.router, &b->sub, span_str(filter), &opts);
}

static inline enum reason subscribe(struct box *b, const char *filter, uint8_t qos)
{
	return subscribe_opts(b, filter, (struct sub_opts){ .qos = qos });
}

static inline enum reason unsubscribe(struct box *b, const char *filter)
{
	return router_unsubscribe(rig.router, &b->sub, span_str(filter));
}

static inline struct message *rig_message(
	const char *topic, const char *payload, uint8_t qos, bool retain, uint32_t life_ms)
{
	struct message_init init = { .topic = span_str(topic),
		.payload = span_str(payload),
		.qos = qos,
		.retain = retain,
		.expires_ms = life_ms ? clock_ms() + life_ms : 0 };
	struct message *m = message_new(&init);

	assert_non_null(m);
	return m;
}

static inline enum reason publish_as(const struct identity *from, const char *topic,
	const char *payload, uint8_t qos, bool retain)
{
	struct message *m = rig_message(topic, payload, qos, retain, 0);

	receipts_run(); /* of the publication before */
	if (!receipt_open(&rig.receipt))
		receipt_init(&rig.receipt, rig_done);
	enum reason reason = router_publish(rig.router, from, m, &rig.receipt);

	message_unref(m);
	return reason;
}

/* By dev-3, not retained. */
static inline enum reason publish(const char *topic, uint8_t qos)
{
	return publish_as(&rig.boxes[3].who, topic, "1", qos, false);
}

/* By dev-3; an empty payload clears. */
static inline enum reason retain(const char *topic, const char *payload)
{
	return publish_as(&rig.boxes[3].who, topic, payload, 1, true);
}

/* Turns until nothing is left to do, or fails. */
static inline unsigned turns(void)
{
	unsigned n = 1;

	while (router_turn(rig.router)) {
		n++;
		assert_in_range(n, 1, 1000);
	}
	return n;
}

#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

#endif
