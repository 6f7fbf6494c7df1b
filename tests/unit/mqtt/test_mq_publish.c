#include "tests/unit/mqtt/hub.h"

#include "gateway/base/count.h"

static bool allows(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	return access != ACCESS_PUBLISH || !span_is(topic, "forbidden");
}

static enum reason may_connect(struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	(void)who;
	(void)password;
	return R_SUCCESS;
}

static struct policy policy = { may_connect, allows };

/* Who makes messages safe, in place of the upstream: refuses, or holds until told. */
static struct gate {
	struct subscriber sub;
	struct identity who;
	enum reason answer;
	struct receipt_hold holds[8];
	unsigned n_holds;
	bool holding;
	unsigned asked;
} gate;

static enum reason on_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *receipt)
{
	(void)s;
	(void)m;
	(void)o;
	gate.asked++;
	if (gate.holding && receipt) {
		assert_true(gate.n_holds < ARRAY_SIZE(gate.holds));
		receipt_hold(receipt, &gate.holds[gate.n_holds++]);
	}
	return gate.answer;
}

static const struct subscriber_ops gate_ops = { .offer = on_offer };

static void gate_release(enum reason why)
{
	for (unsigned i = 0; i < gate.n_holds; i++)
		receipt_release(&gate.holds[i], why);
	gate.n_holds = 0;
}

static int start(void **state)
{
	static struct hub hub;

	hub_start(&hub, &policy, "inbound_messages = 5\n", "");
	memset(&gate, 0, sizeof(gate));
	gate.who = (struct identity){
		.client_id = "gate", .protocol = PROTO_UPSTREAM, .origin = ORIGIN_UPSTREAM
	};
	subscriber_init(&gate.sub, &gate_ops, &gate.who);
	gate.sub.gate = true;
	router_subscribe(hub.router, &gate.sub, span_str("up/#"), &(struct sub_opts){ .qos = 2 });
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	struct hub *h = *state;

	gate_release(R_SUCCESS);
	router_leave(h->router, &gate.sub);
	hub_stop(h);
	return 0;
}

static void the_acknowledgement_waits_until_the_message_is_safe(void **state)
{
	struct client *c = client_new(*state, "dev");
	gate.holding = true;
	client_publish(c, "up/1", "x", 1, 1);
	client_publish(c, "up/2", "x", 2, 2);
	client_expect_nothing(c);
	gate_release(R_SUCCESS);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_expect_ack(c, MQ_PUBREC, 2);
	client_free(c);
}

static void a_promise_that_fails_closes(void **state)
{
	struct client *c = client_new(*state, "dev");
	gate.holding = true;
	client_publish(c, "up/1", "x", 1, 1);
	client_expect_nothing(c);
	gate_release(R_UNSPECIFIED);
	client_expect_closed(c);
	client_free(c);
}

static void what_is_not_allowed_is_acknowledged_and_dropped(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint64_t before = count_value("mqtt.publish_unauthorised");
	client_subscribe(c, "#", 2);
	client_publish(c, "forbidden", "x", 0, 0);
	client_publish(c, "forbidden", "x", 1, 1);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_publish(c, "forbidden", "x", 2, 2);
	client_expect_ack(c, MQ_PUBREC, 2);
	client_ack(c, MQ_PUBREL, 2);
	client_expect_ack(c, MQ_PUBCOMP, 2);
	client_publish(c, "$SYS/x", "x", 1, 3);
	client_expect_ack(c, MQ_PUBACK, 3);
	client_expect_nothing(c);
	assert_int_equal(count_value("mqtt.publish_unauthorised") - before, 4);
	client_free(c);
}

static void a_topic_beyond_the_limits_closes(void **state)
{
	char deep[200] = { 0 };
	memset(deep, '/', sizeof(deep) - 1);
	struct client *c = client_new(*state, "dev");
	client_publish(c, deep, "x", 1, 1);
	client_expect_closed(c);
	client_free(c);
}

static void a_refused_message_is_withheld_and_the_socket_not_read(void **state)
{
	struct client *c = client_new(*state, "dev");
	gate.answer = R_QUOTA;
	client_publish(c, "up/1", "x", 1, 1);
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	client_expect_nothing(c);
	unsigned asked = gate.asked;
	clock_advance(520);
	client_expect_nothing(c);
	assert_true(gate.asked > asked);

	gate.answer = R_SUCCESS;
	clock_advance(520);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_expect(c, MQ_PINGRESP);
	client_free(c);
}

static void what_follows_a_withheld_message_stays_behind_it(void **state)
{
	struct client *c = client_new(*state, "dev"), *sub = client_new(*state, "sub");
	client_subscribe(sub, "up/#", 0);
	gate.answer = R_QUOTA;
	client_publish(c, "up/1", "first", 2, 1);
	client_publish(c, "up/1", "second", 1, 2);
	client_expect_nothing(sub);
	gate.answer = R_SUCCESS;
	clock_advance(520);
	client_expect_message(sub, "up/1", "first", 0);
	client_expect_message(sub, "up/1", "second", 0);
	client_expect_ack(c, MQ_PUBREC, 1);
	client_expect_ack(c, MQ_PUBACK, 2);
	client_free(c);
	client_free(sub);
}

static void a_refused_qos_0_message_is_counted(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint64_t before = count_value("mqtt.publish_qos0_dropped");
	gate.answer = R_QUOTA;
	client_publish(c, "up/1", "x", 0, 0);
	client_ping(c);
	uint64_t counted = count_value("mqtt.publish_qos0_dropped") - before;
	/* A gate may let QoS 0 pass: then nothing was refused. */
	assert_true(counted <= 1);
	client_free(c);
}

/* The client sends more than the window without waiting; the PUBRELs that make room come behind. */
static void more_qos_2_messages_than_the_window_do_not_block(void **state)
{
	struct client *c = client_new(*state, "dev"), *sub = client_new(*state, "sub");
	uint16_t received = 0, completed = 0;

	client_subscribe(sub, "t", 0);
	for (uint16_t id = 1; id <= 40; id++)
		client_publish(c, "t", "x", 2, id);
	while (completed < 40) {
		struct mq_packet p;
		client_take(c, &p);
		if (p.type == MQ_PUBREC) {
			assert_int_equal(p.packet_id, ++received);
			client_ack(c, MQ_PUBREL, p.packet_id);
		} else {
			assert_int_equal(p.type, MQ_PUBCOMP);
			assert_int_equal(p.packet_id, ++completed);
		}
	}
	for (unsigned n = 0; n < 40; n++)
		client_expect_message(sub, "t", "x", 0);
	client_expect_nothing(sub);
	client_expect_nothing(c);
	client_free(c);
	client_free(sub);
}

/* Held without end, they would fill the memory; not read on, they would wait for ever. */
static void too_many_qos_2_messages_without_pubrel_close(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint8_t bytes[7 * 1200];
	for (unsigned i = 0; i < 1200; i++) {
		unsigned id = i + 1;
		const uint8_t publish[] = { 0x34, 5, 0, 1, 't', (uint8_t)(id >> 8), (uint8_t)id };
		memcpy(bytes + 7 * i, publish, sizeof(publish));
	}
	client_write(c, bytes, 7 * 900);
	hub_turns(*state, 20);
	for (uint16_t id = 1; id <= 5; id++)
		client_expect_ack(c, MQ_PUBREC, id);
	client_expect_nothing(c);
	client_write(c, bytes + 7 * 900, 7 * 300);
	hub_turns(*state, 20);
	client_expect_closed(c);
	client_free(c);
}

static void a_packet_id_in_use_closes(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_publish(c, "t", "one", 2, 1);
	client_expect_ack(c, MQ_PUBREC, 1);
	client_publish(c, "t", "other", 2, 1);
	client_expect_closed(c);
	client_free(c);
}

static void without_memory_qos_1_waits_and_qos_0_is_dropped(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint64_t before = count_value("mqtt.publish_qos0_dropped");
	messages_set_budget(1);
	client_publish(c, "t", "x", 0, 0);
	assert_int_equal(count_value("mqtt.publish_qos0_dropped") - before, 1);
	client_publish(c, "t", "x", 1, 1);
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	client_expect_nothing(c);
	clock_advance(520);
	client_expect_nothing(c);
	messages_set_budget(0);
	clock_advance(520);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_expect(c, MQ_PINGRESP);
	client_free(c);
}

static void a_client_may_go_while_its_message_is_withheld(void **state)
{
	struct client *c = client_new(*state, "dev"), *again;
	gate.answer = R_QUOTA;
	client_publish(c, "up/1", "x", 1, 1);
	again = client_new(*state, "dev"); /* takes over */
	client_expect_closed(c);
	gate.answer = R_SUCCESS;
	clock_advance(1000);
	client_expect_nothing(again);
	client_free(c);
	client_free(again);
}

static void mqtt_5_is_refused_instead(void **state)
{
	struct client *c = client_new5(*state, "dev", span_of(NULL, 0));
	gate.answer = R_QUOTA;
	for (uint16_t id = 1; id < 20; id += 2) { /* more than the window */
		client_publish(c, "up/1", "x", 1, id);
		client_expect_reason(c, MQ_PUBACK, id, R_QUOTA);
		client_publish(c, "up/1", "x", 2, (uint16_t)(id + 1));
		client_expect_reason(c, MQ_PUBREC, (uint16_t)(id + 1), R_QUOTA);
	}
	client_publish(c, "up/1", "x", 0, 0);
	gate.answer = R_SERVER_UNAVAILABLE; /* no reason of PUBACK */
	client_publish(c, "up/1", "x", 1, 1);
	client_expect_reason(c, MQ_PUBACK, 1, R_UNSPECIFIED);
	client_free(c);
}

static void mqtt_5_is_told_of_a_promise_that_fails(void **state)
{
	struct client *c = client_new5(*state, "dev", span_of(NULL, 0));
	gate.holding = true;
	client_publish(c, "up/1", "x", 1, 1);
	client_publish(c, "up/2", "x", 2, 2);
	client_expect_nothing(c);
	gate_release(R_IMPLEMENTATION);
	client_expect_reason(c, MQ_PUBACK, 1, R_IMPLEMENTATION);
	client_expect_reason(c, MQ_PUBREC, 2, R_IMPLEMENTATION);
	client_ack(c, MQ_PUBREL, 2);
	client_expect_reason(c, MQ_PUBCOMP, 2, R_PACKET_ID_UNKNOWN);
	client_free(c);
}

static void mqtt_5_is_told_what_is_not_allowed(void **state)
{
	struct client *c = client_new5(*state, "dev", span_of(NULL, 0));
	client_publish(c, "forbidden", "x", 1, 1);
	client_expect_reason(c, MQ_PUBACK, 1, R_NOT_AUTHORIZED);
	client_publish(c, "forbidden", "x", 2, 2);
	client_expect_reason(c, MQ_PUBREC, 2, R_NOT_AUTHORIZED);
	client_publish(c, "forbidden", "x", 0, 0);
	client_ping(c);
	client_free(c);
}

static void mqtt_5_without_memory_is_refused(void **state)
{
	struct client *c = client_new5(*state, "dev", span_of(NULL, 0));
	messages_set_budget(1);
	client_publish(c, "t", "x", 0, 0);
	client_publish(c, "t", "x", 1, 1);
	client_expect_reason(c, MQ_PUBACK, 1, R_QUOTA);
	messages_set_budget(0);
	client_publish(c, "t", "x", 1, 1);
	client_expect_reason(c, MQ_PUBACK, 1, R_NO_MATCHING_SUBSCRIBERS);
	client_free(c);
}

/* inbound_messages is what the client was told as Receive Maximum. */
static void mqtt_5_keeps_to_its_window(void **state)
{
	struct client *c = client_new5(*state, "dev", span_of(NULL, 0));
	gate.holding = true;
	for (uint16_t id = 1; id <= 5; id++)
		client_publish(c, "up/1", "x", 1, id);
	client_expect_nothing(c);
	gate_release(R_SUCCESS);
	for (uint16_t id = 1; id <= 5; id++)
		client_expect_reason(c, MQ_PUBACK, id, R_SUCCESS);
	for (uint16_t id = 1; id <= 6; id++)
		client_publish(c, "up/1", "x", 1, id);
	client_expect_reason(c, MQ_DISCONNECT, 0, R_RECEIVE_MAXIMUM);
	client_expect_closed(c);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_acknowledgement_waits_until_the_message_is_safe),
		TEST(a_promise_that_fails_closes),
		TEST(what_is_not_allowed_is_acknowledged_and_dropped),
		TEST(a_topic_beyond_the_limits_closes),
		TEST(a_refused_message_is_withheld_and_the_socket_not_read),
		TEST(what_follows_a_withheld_message_stays_behind_it),
		TEST(a_refused_qos_0_message_is_counted),
		TEST(more_qos_2_messages_than_the_window_do_not_block),
		TEST(too_many_qos_2_messages_without_pubrel_close),
		TEST(a_packet_id_in_use_closes),
		TEST(without_memory_qos_1_waits_and_qos_0_is_dropped),
		TEST(a_client_may_go_while_its_message_is_withheld),
		TEST(mqtt_5_is_refused_instead),
		TEST(mqtt_5_is_told_of_a_promise_that_fails),
		TEST(mqtt_5_is_told_what_is_not_allowed),
		TEST(mqtt_5_without_memory_is_refused),
		TEST(mqtt_5_keeps_to_its_window),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
