/* What MQTT 5 adds to CONNECT; the rest is in test_mq_receive.c. */
#include "tests/unit/mqtt/hub.h"

#include "adapters/mqtt/mq_props.h"

#define PROPS(s) span_of(s, sizeof(s) - 1)

static enum reason answer_to_connect;

static enum reason may_connect(struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	(void)who;
	(void)password;
	return answer_to_connect;
}

static bool allows(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	(void)access;
	(void)topic;
	return true;
}

static struct policy policy = { may_connect, allows };

static int start(void **state)
{
	static struct hub hub;

	answer_to_connect = R_SUCCESS;
	hub_start(&hub, &policy, "inbound_messages = 7\nmessage_bytes = 1KB\nsession_expiry = 1h\n",
		"max_keepalive = 10s\n");
	*state = &hub;
	return 0;
}

static int stop(void **state)
{
	hub_stop(*state);
	return 0;
}

static struct client *connecting(struct hub *h, struct span props, struct mq_connect con)
{
	struct client *c = client_open(h);

	c->version = MQ_V5;
	con.level = MQ_V5;
	client_send(c, &(struct mq_packet){ .type = MQ_CONNECT, .props = props, .connect = con });
	return c;
}

static void the_answer_tells_what_was_granted(void **state)
{
	struct client *c = connecting(*state, PROPS("\x11\x00\x00\x0e\x11"), /* an hour and 1 s */
		(struct mq_connect){ .keepalive_s = 11 });
	struct mq_packet p = client_expect(c, MQ_CONNACK);
	assert_int_equal(p.code, R_SUCCESS);
	assert_int_equal(mq_props_number(p.props, MQ_PROP_SESSION_EXPIRY, 0), 3600);
	assert_int_equal(mq_props_number(p.props, MQ_PROP_SERVER_KEEP_ALIVE, 0), 10);
	assert_int_equal(mq_props_number(p.props, MQ_PROP_RECEIVE_MAXIMUM, 0), 7);
	assert_int_equal(mq_props_number(p.props, MQ_PROP_SHARED_AVAILABLE, 1), 1);
	assert_int_equal(mq_props_number(p.props, MQ_PROP_MAXIMUM_PACKET_SIZE, 0),
		MQ_HEADER_MAX + MQ_BODY_OVERHEAD + 1024);
	assert_int_equal(mq_props_string(p.props, MQ_PROP_ASSIGNED_CLIENT_ID).len, 5 + 32);
	client_free(c);
}

static void what_was_granted_as_asked_is_not_repeated(void **state)
{
	struct client *c = connecting(*state, PROPS("\x11\x00\x00\x0e\x10"),
		(struct mq_connect){ .keepalive_s = 10, .client_id = span_str("dev") });
	struct mq_packet p = client_expect(c, MQ_CONNACK);
	struct mq_prop found;
	assert_false(mq_props_find(p.props, MQ_PROP_SESSION_EXPIRY, &found));
	assert_false(mq_props_find(p.props, MQ_PROP_SERVER_KEEP_ALIVE, &found));
	assert_false(mq_props_find(p.props, MQ_PROP_ASSIGNED_CLIENT_ID, &found));
	client_free(c);
}

static void expect_refusal(struct client *c, enum reason why, bool with_text)
{
	struct mq_packet p = client_expect(c, MQ_CONNACK);

	assert_int_equal(p.code, why);
	assert_int_equal(mq_props_string(p.props, MQ_PROP_REASON).len > 0, with_text);
	client_expect_closed(c);
	client_free(c);
}

static void refusals_have_the_policys_reason(void **state)
{
	struct mq_connect con = { .client_id = span_str("dev") };
	answer_to_connect = R_BAD_CREDENTIALS;
	expect_refusal(connecting(*state, PROPS(""), con), R_BAD_CREDENTIALS, true);
	answer_to_connect = R_NOT_AUTHORIZED;
	expect_refusal(connecting(*state, PROPS("\x17\x00"), con), R_NOT_AUTHORIZED, false);
}

static void authentication_is_refused_before_the_policy_is_asked(void **state)
{
	answer_to_connect = R_NOT_AUTHORIZED;
	struct client *c = connecting(*state, PROPS("\x15\x00\x01m\x16\x00\x01x"),
		(struct mq_connect){ .client_id = span_str("dev") });
	expect_refusal(c, R_BAD_AUTH_METHOD, true);
}

static void a_client_id_may_be_too_long(void **state)
{
	char id[258] = { 0 };
	memset(id, 'x', sizeof(id) - 1);
	struct client *c =
		connecting(*state, PROPS(""), (struct mq_connect){ .client_id = span_str(id) });
	expect_refusal(c, R_CLIENT_ID, true);
}

static void a_will_that_cannot_be_published_is_told(void **state)
{
	char deep[200] = { 0 };
	memset(deep, '/', sizeof(deep) - 1);
	struct mq_connect con = {
		.client_id = span_str("dev"), .has_will = true, .will_topic = span_str(deep)
	};
	expect_refusal(connecting(*state, PROPS(""), con), R_TOPIC_INVALID, true);
	con.will_topic = span_str("w");
	con.will_payload = span_str("\xff");
	con.will_props = PROPS("\x01\x01");
	expect_refusal(connecting(*state, PROPS(""), con), R_PAYLOAD_FORMAT, true);
}

static void mqtt_3_1_1_is_told_nothing_of_it(void **state)
{
	struct client *c = client_new(*state, "dev");
	clock_advance(60000); /* max_keepalive is not for those who cannot be told */
	client_ping(c);
	client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_answer_tells_what_was_granted),
		TEST(what_was_granted_as_asked_is_not_repeated),
		TEST(refusals_have_the_policys_reason),
		TEST(authentication_is_refused_before_the_policy_is_asked),
		TEST(a_client_id_may_be_too_long),
		TEST(a_will_that_cannot_be_published_is_told),
		TEST(mqtt_3_1_1_is_told_nothing_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
