#include "tests/unit/mqtt/hub.h"

#include "adapters/mqtt/mq_props.h"

static struct policy policy;

static int start(void **state)
{
	static struct hub hub;

	policy = policy_allow_all;
	hub_start(&hub, &policy, "", "");
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	hub_stop(*state);
	return 0;
}

static void publish_props(struct client *c, const char *topic, const char *payload, uint8_t qos,
	uint16_t id, struct span props)
{
	client_send(c, &(struct mq_packet){ .type = MQ_PUBLISH,
			       .packet_id = id,
			       .props = props,
			       .publish = { .qos = qos,
				       .topic = span_str(topic),
				       .payload = span_str(payload) } });
}

#define PROPS(s) span_of(s, sizeof(s) - 1)

static void the_remaining_life_is_rounded_up(void **state)
{
	struct client *sub = client_new5(*state, "sub", PROPS("\x21\x00\x01")); /* window 1 */
	struct client *pub = client_new5(*state, "pub", PROPS(""));
	client_subscribe(sub, "t", 1);
	for (uint16_t id = 1; id <= 3; id++) {
		publish_props(pub, "t", "x", 1, id, PROPS("\x02\x00\x00\x00\x0a"));
		client_expect_reason(pub, MQ_PUBACK, id, R_SUCCESS);
	}
	static const uint32_t left[] = { 10, 9, 1 };
	static const int64_t pass_ms[] = { 1000, 8999, 0 };
	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		struct mq_packet p = client_expect(sub, MQ_PUBLISH);
		assert_int_equal(mq_props_number(p.props, MQ_PROP_MESSAGE_EXPIRY, 77), left[i]);
		clock_advance(pass_ms[i]);
		client_ack(sub, MQ_PUBACK, p.packet_id);
	}
	client_free(sub);
	client_free(pub);
}

static void older_clients_get_no_properties(void **state)
{
	struct client *sub = client_new(*state, "sub"),
		      *pub = client_new5(*state, "pub", PROPS(""));
	client_subscribe(sub, "t", 0);
	publish_props(pub, "t", "x", 0, 0, PROPS("\x26\x00\x01k\x00\x01v\x03\x00\x01x"));
	client_expect_message(sub, "t", "x", 0);
	client_expect_nothing(sub);
	client_free(sub);
	client_free(pub);
}

static void a_known_topic_is_left_out(void **state)
{
	struct client *sub = client_new5(*state, "sub", PROPS("\x22\x00\x01")); /* one alias */
	struct client *pub = client_new(*state, "pub");
	client_subscribe(sub, "#", 0);
	static const char *const sent[] = { "long/a", "long/a", "long/b", "long/b", "abc" };
	static const char *const seen[] = { "long/a", "", "long/b", "", "abc" };
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++) {
		client_publish(pub, sent[i], "x", 0, 0);
		struct mq_packet p = client_expect_message(sub, seen[i], "x", 0);
		/* a short one is not worth it */
		assert_int_equal(mq_props_number(p.props, MQ_PROP_TOPIC_ALIAS, 0), i < 4);
	}
	client_free(sub);
	client_free(pub);
}

static void a_packet_that_is_too_large_makes_room_for_the_next(void **state)
{
	/* Receive Maximum 1, Maximum Packet Size 20 */
	struct client *sub = client_new5(*state, "sub", PROPS("\x21\x00\x01\x27\x00\x00\x00\x14"));
	struct client *pub = client_new(*state, "pub");
	client_subscribe(sub, "t", 2);
	client_publish(pub, "t", "0123456789abcdef", 1, 1); /* 1 + 1 + 3 + 2 + 1 + 16 */
	client_publish(pub, "t", "0123456789ab", 1, 2);
	client_publish(pub, "t", "0123456789abc", 0, 0);
	for (uint16_t id = 1; id <= 2; id++)
		client_expect_ack(pub, MQ_PUBACK, id);
	struct mq_packet p = client_expect_message(sub, "t", "0123456789ab", 1);
	client_expect_message(sub, "t", "0123456789abc", 0);
	client_ack(sub, MQ_PUBACK, p.packet_id);
	client_expect_nothing(sub);
	struct session *s = sessions_find(((struct hub *)*state)->sessions, PROTO_MQTT, "sub");
	assert_int_equal(session_dropped(s, DROP_TOO_LARGE), 1);
	client_free(sub);
	client_free(pub);
}

static void subscribe_with_id(struct client *c, const char *filter, uint8_t id)
{
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof(buf));

	mq_put_filter(&w, MQ_SUBSCRIBE, &(struct mq_filter){ span_str(filter), 1 });
	client_send(c, &(struct mq_packet){ .type = MQ_SUBSCRIBE,
			       .packet_id = 5,
			       .props = span_of((uint8_t[]){ 0x0b, id }, 2),
			       .filters = span_of(buf, w.len) });
	assert_int_equal(client_expect(c, MQ_SUBACK).codes.p[0], 1);
}

static void identifiers_stay_with_a_message_that_waits(void **state)
{
	struct client *sub = client_new5(*state, "sub", PROPS("\x21\x00\x01")); /* window 1 */
	struct client *pub = client_new(*state, "pub");
	subscribe_with_id(sub, "t", 1);
	subscribe_with_id(sub, "+", 2);
	subscribe_with_id(sub, "#", 3);
	for (uint16_t id = 1; id <= 3; id++) {
		client_publish(pub, "t", "x", 1, id);
		client_expect_ack(pub, MQ_PUBACK, id);
	}
	for (unsigned i = 0; i < 2; i++) { /* the third is left in its queue */
		struct mq_packet p = client_expect(sub, MQ_PUBLISH);
		struct reader r = reader_of(p.props);
		struct mq_prop prop;
		unsigned sum = 0, n = 0;
		for (; mq_props_next(&r, &prop); n++)
			sum += prop.id == MQ_PROP_SUBSCRIPTION_ID ? prop.number : 100;
		assert_int_equal(n, 3);
		assert_int_equal(sum, 6);
		client_ack(sub, MQ_PUBACK, p.packet_id);
	}
	client_free(sub);
	client_free(pub);
}

static void reasons_that_do_not_fit_are_left_out(void **state)
{
	struct client *c = client_new5(*state, "dev", PROPS("\x27\x00\x00\x00\x14"));
	client_publish(c, "$SYS/x", "x", 1, 1);
	struct mq_packet p = client_expect(c, MQ_PUBACK);
	assert_int_equal(p.code, R_TOPIC_INVALID);
	assert_int_equal(p.props.len, 0);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_remaining_life_is_rounded_up),
		TEST(older_clients_get_no_properties),
		TEST(a_known_topic_is_left_out),
		TEST(a_packet_that_is_too_large_makes_room_for_the_next),
		TEST(identifiers_stay_with_a_message_that_waits),
		TEST(reasons_that_do_not_fit_are_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
