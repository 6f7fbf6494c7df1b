#include "tests/unit/mqtt/hub.h"

/* The policy of these tests: "evil" may not connect with a password, nobody reads "secret/#". */
static enum reason may_connect(struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	if (strcmp(who->client_id, "evil") == 0)
		return password.len ? R_BAD_CREDENTIALS : R_NOT_AUTHORIZED;
	return R_SUCCESS;
}

static bool allows(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	return access != ACCESS_SUBSCRIBE || !span_is(topic, "secret/#");
}

static struct policy policy = { may_connect, allows };

static int start(void **state)
{
	static struct hub hub;

	hub_start(&hub, &policy, "", "");
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	hub_stop(*state);
	return 0;
}

static void a_client_connects(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_ping(c);
	client_free(c);
}

static void the_first_packet_must_be_connect(void **state)
{
	struct client *c = client_open(*state);
	client_send(c, &(struct mq_packet){ .type = MQ_PINGREQ });
	client_expect_closed(c);
	client_free(c);
}

static void a_second_connect_closes(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_connect(
		c, &(struct mq_connect){ .clean_start = true, .client_id = span_str("dev") });
	client_expect_closed(c);
	client_free(c);
}

static void refuse(struct hub *h, const struct mq_connect *con, uint8_t code)
{
	struct client *c = client_open(h);
	client_connect(c, con);
	assert_int_equal(client_expect(c, MQ_CONNACK).code, code);
	client_expect_closed(c);
	client_free(c);
}

static void an_empty_client_id_needs_a_clean_session(void **state)
{
	struct client *a = client_new(*state, ""), *b = client_new(*state, "");
	client_ping(a); /* they have got different ids */
	client_ping(b);
	client_free(a);
	client_free(b);
	refuse(*state, &(struct mq_connect){ .clean_start = false }, MQ_BAD_CLIENT_ID);
	refuse(*state, &(struct mq_connect){ .level = MQ_V31, .clean_start = true },
		MQ_BAD_CLIENT_ID);
}

static void a_client_id_may_have_256_octets(void **state)
{
	char id[258];
	memset(id, 'x', sizeof(id));
	id[256] = '\0';
	client_free(client_new(*state, id));
	id[256] = 'x';
	refuse(*state, &(struct mq_connect){ .clean_start = true, .client_id = span_of(id, 257) },
		MQ_BAD_CLIENT_ID);
}

static void credentials_are_asked_for(void **state)
{
	struct mq_connect con = { .clean_start = true, .client_id = span_str("evil") };
	refuse(*state, &con, MQ_NOT_AUTHORIZED);
	con.has_username = con.has_password = true;
	con.username = span_str("u");
	con.password = span_str("p");
	refuse(*state, &con, MQ_BAD_LOGIN);
}

static void other_versions_are_told(void **state)
{
	struct client *c = client_open(*state);
	uint8_t answer[5];

	client_write(c, "\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x00", 15);
	hub_turns(*state, 3);
	assert_int_equal(recv(c->fd, answer, 5, 0), 5);
	assert_memory_equal(answer, "\x20\x03\x00\x84\x00", 5);
	client_expect_closed(c);
	client_free(c);

	c = client_open(*state);
	client_write(c, "\x10\x0c\x00\x04MQTT\x84\x02\x00\x00\x00\x00", 14);
	assert_int_equal(client_expect(c, MQ_CONNACK).code, MQ_BAD_VERSION);
	client_expect_closed(c);
	client_free(c);

	c = client_open(*state);
	client_write(c, "\x10\x0c\x00\x04HTTP\x04\x02\x00\x00\x00\x00", 14);
	client_expect_closed(c);
	client_free(c);
}

static void mqtt_3_1_is_served(void **state)
{
	struct client *c = client_open(*state);
	client_connect(c, &(struct mq_connect){ .level = MQ_V31, .client_id = span_str("old") });
	assert_int_equal(client_expect(c, MQ_CONNACK).code, MQ_ACCEPTED);
	assert_int_equal(client_subscribe(c, "t", 1), 1);
	client_free(c);

	/* MQTT 3.1 knows no "session present". */
	c = client_open(*state);
	client_connect(c, &(struct mq_connect){ .level = MQ_V31, .client_id = span_str("old") });
	assert_false(client_expect(c, MQ_CONNACK).session_present);
	client_free(c);
}

static void a_message_reaches_a_subscriber_at_each_qos(void **state)
{
	struct client *sub = client_new(*state, "sub"), *pub = client_new(*state, "pub");
	assert_int_equal(client_subscribe(sub, "a/+", 2), 2);

	client_publish(pub, "a/0", "zero", 0, 0);
	client_expect_message(sub, "a/0", "zero", 0);

	client_publish(pub, "a/1", "one", 1, 10);
	client_expect_ack(pub, MQ_PUBACK, 10);
	uint16_t id = client_expect_message(sub, "a/1", "one", 1).packet_id;
	client_ack(sub, MQ_PUBACK, id);

	client_publish(pub, "a/2", "two", 2, 11);
	client_expect_ack(pub, MQ_PUBREC, 11);
	client_ack(pub, MQ_PUBREL, 11);
	client_expect_ack(pub, MQ_PUBCOMP, 11);
	id = client_expect_message(sub, "a/2", "two", 2).packet_id;
	client_ack(sub, MQ_PUBREC, id);
	client_expect_ack(sub, MQ_PUBREL, id);
	client_ack(sub, MQ_PUBCOMP, id);

	client_expect_nothing(sub);
	client_expect_nothing(pub);
	client_free(sub);
	client_free(pub);
}

static void a_qos_2_message_is_delivered_once(void **state)
{
	struct client *sub = client_new(*state, "sub"), *pub = client_new(*state, "pub");
	client_subscribe(sub, "t", 0);
	struct mq_packet p = { .type = MQ_PUBLISH,
		.packet_id = 3,
		.publish = { .qos = 2, .topic = span_str("t"), .payload = span_str("x") } };

	client_send(pub, &p);
	client_expect_ack(pub, MQ_PUBREC, 3);
	p.publish.dup = true;
	client_send(pub, &p);
	client_expect_ack(pub, MQ_PUBREC, 3);
	client_ack(pub, MQ_PUBREL, 3);
	client_expect_ack(pub, MQ_PUBCOMP, 3);
	client_ack(pub, MQ_PUBREL, 3); /* unknown by now, answered all the same */
	client_expect_ack(pub, MQ_PUBCOMP, 3);
	client_expect_message(sub, "t", "x", 0);
	client_expect_nothing(sub);
	client_free(sub);
	client_free(pub);
}

static void an_unknown_pubrec_is_answered(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_ack(c, MQ_PUBREC, 99);
	client_expect_ack(c, MQ_PUBREL, 99);
	client_ack(c, MQ_PUBCOMP, 99);
	client_ack(c, MQ_PUBACK, 99);
	client_ping(c);
	client_free(c);
}

static void the_suback_tells_each_filter(void **state)
{
	struct client *c = client_new(*state, "dev");
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof(buf));
	const char *filters[] = { "a", "secret/#", "b/#" };

	for (uint8_t i = 0; i < 3; i++)
		mq_put_filter(&w, MQ_SUBSCRIBE, &(struct mq_filter){ span_str(filters[i]), i });
	client_send(
		c, &(struct mq_packet){
			   .type = MQ_SUBSCRIBE, .packet_id = 5, .filters = span_of(buf, w.len) });
	struct mq_packet p = client_expect(c, MQ_SUBACK);
	assert_int_equal(p.packet_id, 5);
	assert_int_equal(p.codes.len, 3);
	assert_memory_equal(p.codes.p, "\x00\x80\x02", 3);
	client_free(c);
}

static void unsubscribing_ends_it(void **state)
{
	struct client *c = client_new(*state, "dev");
	client_subscribe(c, "t", 0);
	client_send(c, &(struct mq_packet){ .type = MQ_UNSUBSCRIBE,
			       .packet_id = 6,
			       .filters = span_of("\x00\x01t\x00\x04none", 9) });
	client_expect_ack(c, MQ_UNSUBACK, 6);
	client_publish(c, "t", "x", 1, 1);
	client_expect_ack(c, MQ_PUBACK, 1);
	client_expect_nothing(c);
	client_free(c);
}

static void retained_messages_follow_the_suback(void **state)
{
	struct client *c = client_new(*state, "dev");
	struct mq_packet p = { .type = MQ_PUBLISH,
		.publish = {
			.retain = true, .topic = span_str("r"), .payload = span_str("kept") } };
	client_send(c, &p);
	assert_int_equal(client_subscribe(c, "#", 1), 1);
	assert_true(client_expect_message(c, "r", "kept", 0).publish.retain);

	client_publish(c, "r", "live", 0, 0);
	assert_false(client_expect_message(c, "r", "live", 0).publish.retain);
	client_free(c);
}

static struct client *client_with_will(struct hub *h, uint16_t keepalive_s)
{
	struct client *c = client_open(h);
	client_connect(c, &(struct mq_connect){ .clean_start = true,
				  .has_will = true,
				  .will_qos = 1,
				  .keepalive_s = keepalive_s,
				  .client_id = span_str("mortal"),
				  .will_topic = span_str("will"),
				  .will_payload = span_str("gone") });
	assert_int_equal(client_expect(c, MQ_CONNACK).code, MQ_ACCEPTED);
	return c;
}

static void a_will_is_published_for_a_lost_client(void **state)
{
	struct client *sub = client_new(*state, "sub");
	client_subscribe(sub, "will", 1);
	client_free(client_with_will(*state, 0));
	client_expect_message(sub, "will", "gone", 1);

	struct client *c = client_with_will(*state, 0);
	client_write(c, "\xf0\x00", 2); /* reserved: closed by the hub */
	client_expect_closed(c);
	client_free(c);
	client_expect_message(sub, "will", "gone", 1);
	client_free(sub);
}

static void disconnect_discards_the_will(void **state)
{
	struct client *sub = client_new(*state, "sub");
	client_subscribe(sub, "will", 1);
	struct client *c = client_with_will(*state, 0);
	client_send(c, &(struct mq_packet){ .type = MQ_DISCONNECT });
	client_expect_closed(c);
	client_free(c);
	client_expect_nothing(sub);
	client_free(sub);
}

static void a_will_needs_a_topic_that_can_be_published(void **state)
{
	char deep[200] = { 0 };
	memset(deep, '/', sizeof(deep) - 1); /* more levels than the gateway has */
	struct client *c = client_open(*state);
	client_connect(c, &(struct mq_connect){ .clean_start = true,
				  .has_will = true,
				  .client_id = span_str("mortal"),
				  .will_topic = span_str(deep) });
	client_expect_closed(c);
	client_free(c);
}

static void silence_of_one_and_a_half_keep_alive_ends(void **state)
{
	struct client *sub = client_new(*state, "sub"), *c = client_with_will(*state, 10);
	client_subscribe(sub, "will", 0);
	clock_advance(14900);
	client_ping(c); /* any packet counts */
	clock_advance(14900);
	client_expect_nothing(c);
	clock_advance(700); /* timers are at most 1/32 late */
	client_expect_closed(c);
	client_expect_message(sub, "will", "gone", 0);
	client_free(c);
	client_free(sub);
}

static void a_silent_socket_is_closed(void **state)
{
	struct client *c = client_open(*state);
	client_write(c, "\x10", 1);
	clock_advance(9900);
	client_expect_nothing(c);
	clock_advance(500);
	client_expect_closed(c);
	client_free(c);
}

static void a_second_connection_takes_over(void **state)
{
	struct client *a = client_new(*state, "same"), *b = client_new(*state, "same");
	client_expect_closed(a);
	client_ping(b);
	client_free(a);
	client_free(b);
}

static void a_persistent_session_keeps_what_came_meanwhile(void **state)
{
	struct client *c = client_resume(*state, "keeper", false);
	client_subscribe(c, "t", 1);
	client_send(c, &(struct mq_packet){ .type = MQ_DISCONNECT });
	client_free(c);

	struct client *pub = client_new(*state, "pub");
	client_publish(pub, "t", "first", 1, 1);
	client_publish(pub, "t", "second", 1, 2);
	client_expect_ack(pub, MQ_PUBACK, 1);
	client_expect_ack(pub, MQ_PUBACK, 2);
	client_free(pub);

	c = client_resume(*state, "keeper", true);
	uint16_t id = client_expect_message(c, "t", "first", 1).packet_id;
	client_expect_message(c, "t", "second", 1);
	client_ack(c, MQ_PUBACK, id);
	client_free(c);

	/* What was not acknowledged comes again, and says so. */
	c = client_resume(*state, "keeper", true);
	assert_true(client_expect_message(c, "t", "second", 1).publish.dup);
	client_free(c);

	client_free(client_new(*state, "keeper")); /* clean: forgotten */
	c = client_resume(*state, "keeper", false);
	client_expect_nothing(c);
	client_free(c);
}

static void an_acknowledged_message_is_not_sent_again(void **state)
{
	struct client *c = client_resume(*state, "keeper", false);
	client_subscribe(c, "t", 2);
	client_publish(c, "t", "x", 1, 1);
	uint16_t id = 0;
	for (unsigned i = 0; i < 2; i++) { /* PUBACK and the message, in either order */
		struct mq_packet p;
		client_take(c, &p);
		if (p.type == MQ_PUBLISH)
			id = p.packet_id;
	}
	assert_int_not_equal(id, 0);
	client_free(c);

	c = client_resume(*state, "keeper", true);
	client_expect_message(c, "t", "x", 1);
	client_ack(c, MQ_PUBACK, id);
	client_ping(c);
	client_free(c);
	c = client_resume(*state, "keeper", true);
	client_expect_nothing(c);
	client_free(c);
}

static void pubrel_is_repeated_after_a_reconnect(void **state)
{
	struct client *c = client_resume(*state, "keeper", false);
	struct client *pub = client_new(*state, "pub");
	client_subscribe(c, "t", 2);
	client_publish(pub, "t", "x", 2, 1);
	client_expect_ack(pub, MQ_PUBREC, 1);
	uint16_t id = client_expect_message(c, "t", "x", 2).packet_id;
	client_ack(c, MQ_PUBREC, id);
	client_expect_ack(c, MQ_PUBREL, id);
	client_free(c);

	c = client_resume(*state, "keeper", true);
	client_expect_ack(c, MQ_PUBREL, id);
	client_ack(c, MQ_PUBCOMP, id);
	client_expect_nothing(c);
	client_free(c);
	client_free(pub);
}

static void what_a_client_may_not_send_closes(void **state)
{
	static const struct span bad[] = {
		{ (const uint8_t *)"\x20\x02\x00\x00", 4 },              /* CONNACK */
		{ (const uint8_t *)"\xd0\x00", 2 },                      /* PINGRESP */
		{ (const uint8_t *)"\xf0\x00", 2 },                      /* reserved */
		{ (const uint8_t *)"\xc1\x00", 2 },                      /* reserved flag */
		{ (const uint8_t *)"\x36\x05\x00\x01t\x00\x01", 7 },     /* QoS 3 */
		{ (const uint8_t *)"\x80\x06\x00\x07\x00\x01#\x00", 8 }, /* flags of SUBSCRIBE */
		{ (const uint8_t *)"\x82\x06\x00\x07\x00\x01#\x03", 8 }, /* subscribed QoS 3 */
		{ (const uint8_t *)"\xa0\x05\x00\x07\x00\x01#", 7 },     /* of UNSUBSCRIBE */
		{ (const uint8_t *)"\x40\x02\x00\x00", 4 },              /* packet id 0 */
		{ (const uint8_t *)"\x30\x80\x80\x80\x80\x01", 6 },      /* five octets */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct client *c = client_new(*state, "dev");
		client_write(c, bad[i].p, bad[i].len);
		client_expect_closed(c);
		client_free(c);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_client_connects),
		TEST(the_first_packet_must_be_connect),
		TEST(a_second_connect_closes),
		TEST(an_empty_client_id_needs_a_clean_session),
		TEST(a_client_id_may_have_256_octets),
		TEST(credentials_are_asked_for),
		TEST(other_versions_are_told),
		TEST(mqtt_3_1_is_served),
		TEST(a_message_reaches_a_subscriber_at_each_qos),
		TEST(a_qos_2_message_is_delivered_once),
		TEST(an_unknown_pubrec_is_answered),
		TEST(the_suback_tells_each_filter),
		TEST(unsubscribing_ends_it),
		TEST(retained_messages_follow_the_suback),
		TEST(a_will_is_published_for_a_lost_client),
		TEST(disconnect_discards_the_will),
		TEST(a_will_needs_a_topic_that_can_be_published),
		TEST(silence_of_one_and_a_half_keep_alive_ends),
		TEST(a_silent_socket_is_closed),
		TEST(a_second_connection_takes_over),
		TEST(a_persistent_session_keeps_what_came_meanwhile),
		TEST(an_acknowledged_message_is_not_sent_again),
		TEST(pubrel_is_repeated_after_a_reconnect),
		TEST(what_a_client_may_not_send_closes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
