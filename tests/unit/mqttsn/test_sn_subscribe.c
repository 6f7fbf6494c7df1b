#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static void test_register(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	assert_int_equal(register_name(w, DEV, "a/b"), 1);
	assert_int_equal(register_name(w, DEV, "\xc3\xa9t\xc3\xa9"), 2);
	/* One name has one id, whether it comes by REGISTER or SUBSCRIBE. */
	assert_int_equal(register_name(w, DEV, "a/b"), 1);
	assert_int_equal(subscribe_to(w, DEV, "a/b", 0), 1);
	assert_int_equal(subscribe_to(w, DEV, "c", 0), 3);
	assert_int_equal(register_name(w, DEV, "c"), 3);
	/* A name of two octets is as good as another. */
	uint16_t two = register_name(w, DEV, "ab");
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = two, .data = TEXT("2"));
	assert_spied(w, 1, "ab", "2");
}

static void test_register_refused(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = { "", "#", "a/+", "a+", "a\x01z", "\xff\xff\xff" };
	connect_as(w, DEV, "dev", true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		SAY(w, DEV, .type = SN_REGISTER, .msg_id = 9, .data = span_str(bad[i]));
		const struct sn_packet *p = hear(w, DEV);
		assert_int_equal(p->type, SN_REGACK);
		assert_int_equal(p->return_code, SN_NOT_SUPPORTED);
		assert_int_equal(p->msg_id, 9);
	}
	for (int i = 0; i < 8; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n/%d", i);
		register_name(w, DEV, name);
	}
	SAY(w, DEV, .type = SN_REGISTER, .msg_id = 9, .data = TEXT("one/more"));
	assert_code(w, DEV, SN_REGACK, SN_CONGESTION);
	assert_int_equal(register_name(w, DEV, "n/3"), 4);
}

static void test_subscribe(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	assert_int_equal(subscribe_to(w, DEV, "a/+", 2), 0);
	assert_int_equal(subscribe_to(w, DEV, "#", 1), 0);
	assert_true(subscribe_to(w, DEV, "a/b", 0) > 0);
	/* QoS 0b11 is no QoS 3. */
	SAY(w, DEV, .type = SN_SUBSCRIBE, .qos = 3, .msg_id = 1, .data = TEXT("q"));
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->return_code, SN_ACCEPTED);
	assert_int_equal(p->qos, 0);
	/* Overlapping filters, and one subscribed again: one copy, at the highest QoS. */
	subscribe_to(w, DEV, "a/+", 2);
	publish(w, "a/b", "x", 2);
	p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_int_equal(p->qos, 2);
	assert_silence(w);
}

static void test_subscribe_refused(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = { "", "a/#/b", "a+", "a/b#", "\xff\xff" };
	connect_as(w, DEV, "dev", true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 9, .data = span_str(bad[i]));
		const struct sn_packet *p = hear(w, DEV);
		assert_int_equal(p->type, SN_SUBACK);
		assert_int_equal(p->return_code, SN_NOT_SUPPORTED);
		assert_int_equal(p->msg_id, 9);
	}
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 9, .topic_type = SN_TOPIC_PREDEFINED,
		.topic_id = 99);
	assert_code(w, DEV, SN_SUBACK, SN_INVALID_TOPIC_ID);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 9, .topic_type = SN_TOPIC_SHORT,
		.topic_id = 0x2f23 /* "/#" */);
	assert_code(w, DEV, SN_SUBACK, SN_NOT_SUPPORTED);
	for (int i = 0; i < 8; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n/%d", i);
		subscribe_to(w, DEV, name, 0);
	}
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 9, .data = TEXT("one/more"));
	assert_code(w, DEV, SN_SUBACK, SN_CONGESTION);
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
}

static void unsubscribe(struct world *w, struct sn_packet p)
{
	p.type = SN_UNSUBSCRIBE;
	p.msg_id = 5;
	say(w, DEV, p);
	const struct sn_packet *back = hear(w, DEV);
	assert_int_equal(back->type, SN_UNSUBACK);
	assert_int_equal(back->msg_id, 5);
}

static void test_unsubscribe(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 0);
	subscribe_to(w, DEV, "b/#", 0);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 1, .topic_type = SN_TOPIC_SHORT,
		.topic_id = 0x6162);
	assert_hears(w, DEV, SN_SUBACK);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 1, .topic_type = SN_TOPIC_PREDEFINED,
		.topic_id = 1);
	assert_hears(w, DEV, SN_SUBACK);

	unsubscribe(w, (struct sn_packet){ .data = TEXT("a") });
	unsubscribe(w, (struct sn_packet){ .data = TEXT("b/#") });
	unsubscribe(w, (struct sn_packet){ .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162 });
	unsubscribe(w, (struct sn_packet){ .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 1 });
	/* What is not there or makes no sense is answered as well. */
	unsubscribe(w, (struct sn_packet){ .data = TEXT("never") });
	unsubscribe(w, (struct sn_packet){ .data = TEXT("a/#/b") });
	unsubscribe(w, (struct sn_packet){ .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 99 });
	static const char *const topics[] = { "a", "b/c", "ab", "pre/one" };
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
		publish(w, topics[i], "x", 0);
	assert_silence(w);
	assert_int_equal(sessions_find(w->sessions, PROTO_MQTTSN, "dev")->sub.n_subscriptions, 0);
}

/* '#' does not match what begins with '$'. */
static void test_dollar(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "#", 0);
	w->cloud.protocol = PROTO_GATEWAY;
	w->cloud.origin = ORIGIN_GATEWAY;
	publish(w, "$SYS/x", "1", 0);
	assert_silence(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_register),
		world_test(test_register_refused),
		world_test(test_subscribe),
		world_test(test_subscribe_refused),
		world_test(test_unsubscribe),
		world_test(test_dollar),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
