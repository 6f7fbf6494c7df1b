#ifndef TIDEGATE_TESTS_RIG_H
#define TIDEGATE_TESTS_RIG_H

#include "tests/unit/core/fake_link.h"

#include <stdlib.h>

/* A hub of router and sessions with a frozen clock, and a gate that holds what it is offered until
 * the test lets it go. */
static struct rig {
	struct router *router;
	struct sessions *all;
	struct sessions_conf conf;
} rig;

static inline int rig_up(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	rig.conf = (struct sessions_conf){ .max_sessions = 20000,
		.queue_messages = 1000,
		.queue_bytes = 1000000,
		.max_inbound = 20,
		.max_inbound_qos2 = 20,
		.window = 20 };
	rig.router = router_new(&policy_allow_all, &(struct router_limits){ 0 });
	rig.all = sessions_new(rig.router, &rig.conf);
	return 0;
}

static inline int rig_down(void **state)
{
	(void)state;
	sessions_free(rig.all);
	reap();
	router_free(rig.router);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

/* What ends a turn of the loop. */
static inline void rig_turn(void)
{
	receipts_run();
	router_turn(rig.router);
	reap();
}

static inline void rig_wait(int64_t ms)
{
	clock_advance(ms);
	timers_run();
	rig_turn();
}

static inline struct session_connect connecting(const char *client_id, struct fake_link *f)
{
	return (struct session_connect){
		.client_id = client_id, .protocol = PROTO_MQTT, .link = &f->link, .expiry_s = 3600
	};
}

static inline struct session *connect_as(const struct session_connect *c)
{
	struct session *s = NULL;
	bool present;
	assert_int_equal(session_connect(rig.all, c, &s, &present), R_SUCCESS);
	session_pump(s);
	return s;
}

static inline struct session *connect_client(const char *client_id, struct fake_link *f)
{
	fake_init(f);
	struct session_connect c = connecting(client_id, f);
	return connect_as(&c);
}

static inline void subscribe(struct session *s, const char *filter, uint8_t qos)
{
	struct sub_opts opts = { .qos = qos };
	assert_false(reason_failed(session_subscribe(s, span_str(filter), &opts)));
}

static inline enum reason publish_text(struct session *s, const char *topic, const char *text,
	uint8_t qos, uint16_t packet_id, uint32_t cookie)
{
	struct message *m = text_message(topic, text, qos, s->who.origin);
	enum reason r = session_publish(s, m, packet_id, cookie);
	message_unref(m);
	return r;
}

struct gate {
	struct subscriber sub;
	struct identity who;
	enum reason result;
	unsigned n_offered, n_released;
	struct receipt_hold holds[2048];
};

static inline enum reason gate_offer(
	struct subscriber *sub, struct message *m, struct offer *o, struct receipt *receipt)
{
	struct gate *g = container_of(sub, struct gate, sub);
	(void)m;
	if (!o->qos || reason_failed(g->result))
		return g->result;
	receipt_hold(receipt, &g->holds[g->n_offered++]);
	return R_SUCCESS;
}

static inline struct gate *gate_open(void)
{
	static const struct subscriber_ops ops = { .offer = gate_offer };
	struct gate *g = calloc(1, sizeof(*g));
	g->who = (struct identity){ .client_id = "", .protocol = PROTO_UPSTREAM };
	g->who.origin = ORIGIN_UPSTREAM;
	subscriber_init(&g->sub, &ops, &g->who);
	g->sub.gate = true;
	struct sub_opts opts = { .qos = 2, .retain_as_published = true };
	assert_false(reason_failed(router_subscribe(rig.router, &g->sub, span_str("#"), &opts)));
	return g;
}

/* The oldest that is held is safe, or failed. */
static inline void gate_release(struct gate *g, enum reason reason)
{
	assert_true(g->n_released < g->n_offered);
	receipt_release(&g->holds[g->n_released++], reason);
	rig_turn();
}

static inline void gate_close(struct gate *g)
{
	router_leave(rig.router, &g->sub);
	while (g->n_released < g->n_offered)
		receipt_release(&g->holds[g->n_released++], R_SUCCESS);
	free(g);
}

#endif
