#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static void test_qos0_normal(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = register_name(w, DEV, "a/b");
	assert_int_equal(id, 1);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = id, .data = TEXT("21.5"));
	assert_spied(w, 1, "a/b", "21.5");
	assert_false(w->spy.last->retain);
	assert_silence(w);
}

static void test_qos1(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = register_name(w, DEV, "a/b");
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .retain = true, .topic_id = id, .msg_id = 5,
		.data = TEXT("x"));
	assert_spied(w, 1, "a/b", "x");
	assert_int_equal(w->spy.qos, 1);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBACK);
	assert_int_equal(p->topic_id, id);
	assert_int_equal(p->msg_id, 5);
	assert_int_equal(p->return_code, SN_ACCEPTED);
	assert_non_null(router_retained(w->router, TEXT("a/b")));
	/* Several without waiting are all acknowledged. */
	for (uint16_t i = 6; i < 9; i++)
		SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .topic_id = id, .msg_id = i);
	for (uint16_t i = 6; i < 9; i++)
		assert_int_equal(hear(w, DEV)->msg_id, i);
}

static void test_qos2(void **state)
{
	struct world *w = *state;
	struct sn_packet publish = { .type = SN_PUBLISH, .qos = 2, .msg_id = 9, .data = TEXT("2") };
	connect_as(w, DEV, "dev", true);
	publish.topic_id = register_name(w, DEV, "q");
	for (int i = 0; i < 5; i++) { /* four repetitions are absorbed here */
		say(w, DEV, publish);
		assert_hears(w, DEV, SN_PUBREC);
		publish.dup = true;
	}
	assert_spied(w, 1, "q", "2");
	for (int i = 0; i < 2; i++) { /* PUBREL with a MsgId known no more as well */
		SAY(w, DEV, .type = SN_PUBREL, .msg_id = 9);
		const struct sn_packet *p = hear(w, DEV);
		assert_int_equal(p->type, SN_PUBCOMP);
		assert_int_equal(p->msg_id, 9);
	}
	assert_int_equal(w->spy.n, 1);
}

static void test_dup_of_unseen_is_processed(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = register_name(w, DEV, "q");
	SAY(w, DEV, .type = SN_PUBLISH, .dup = true, .qos = 1, .topic_id = id, .msg_id = 3);
	assert_code(w, DEV, SN_PUBACK, SN_ACCEPTED);
	assert_int_equal(w->spy.n, 1);
}

static void test_predefined_and_short(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 2,
		.data = TEXT("p"));
	assert_spied(w, 1, "pre/two", "p");
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .msg_id = 4, .topic_type = SN_TOPIC_SHORT,
		.topic_id = 0x6162, .data = TEXT("s"));
	assert_spied(w, 2, "ab", "s");
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBACK);
	assert_int_equal(p->topic_id, 0x6162); /* its two octets in place */
	/* The predefined ids of one client alone. */
	connect_as(w, DEV + 1, "dev-9", true);
	SAY(w, DEV + 1, .type = SN_PUBLISH, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 1);
	assert_spied(w, 3, "nine/one", "");
	SAY(w, DEV + 1, .type = SN_PUBLISH, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 2);
	assert_spied(w, 4, "pre/two", "");
}

static void test_unknown_ids(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	for (uint8_t qos = 0; qos <= 2; qos++) {
		for (uint8_t type = SN_TOPIC_NORMAL; type <= SN_TOPIC_PREDEFINED; type++) {
			SAY(w, DEV, .type = SN_PUBLISH, .qos = qos, .topic_type = type,
				.topic_id = 99, .msg_id = qos);
			const struct sn_packet *p = hear(w, DEV);
			assert_int_equal(p->type, SN_PUBACK);
			assert_int_equal(p->return_code, SN_INVALID_TOPIC_ID);
			assert_int_equal(p->topic_id, 99);
			assert_int_equal(p->msg_id, qos);
		}
	}
	/* Ids of another client are unknown. */
	connect_as(w, DEV + 1, "other", true);
	uint16_t id = register_name(w, DEV + 1, "mine");
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = id);
	assert_code(w, DEV, SN_PUBACK, SN_INVALID_TOPIC_ID);
	assert_int_equal(w->spy.n, 0);
}

static void test_refused_topics(void **state)
{
	struct world *w = *state;
	static const uint16_t bad[] = { 0x612b /* a+ */, 0x2361 /* #a */, 0x6100, 0xc328 };
	connect_as(w, DEV, "dev", true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .msg_id = 1, .topic_type = SN_TOPIC_SHORT,
			.topic_id = bad[i]);
		assert_code(w, DEV, SN_PUBACK, SN_NOT_SUPPORTED);
	}
	uint16_t id = register_name(w, DEV, "$SYS/x");
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .msg_id = 1, .topic_id = id);
	assert_code(w, DEV, SN_PUBACK, SN_NOT_SUPPORTED);
	/* MsgId 0 cannot be acknowledged. */
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162);
	assert_code(w, DEV, SN_PUBACK, SN_NOT_SUPPORTED);
	assert_int_equal(w->spy.n, 0);
}

static void test_too_many_open(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	for (uint16_t i = 1; i <= 5; i++) {
		SAY(w, DEV, .type = SN_PUBLISH, .qos = 2, .msg_id = i, .topic_type = SN_TOPIC_SHORT,
			.topic_id = 0x6162);
		assert_hears(w, DEV, SN_PUBREC);
	}
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 2, .msg_id = 6, .topic_type = SN_TOPIC_SHORT,
		.topic_id = 0x6162);
	assert_code(w, DEV, SN_PUBACK, SN_CONGESTION);
	assert_int_equal(w->spy.n, 5);
}

static void minus_one(struct world *w, uint8_t type, uint16_t id)
{
	SAY(w, DEV, .type = SN_PUBLISH, .qos = SN_QOS_MINUS_1, .topic_type = type, .topic_id = id,
		.data = TEXT("-1"));
	assert_silence(w);
}

static void test_qos_minus_one(void **state)
{
	struct world *w = *state;
	minus_one(w, SN_TOPIC_PREDEFINED, 1);
	assert_spied(w, 1, "pre/one", "-1");
	assert_int_equal(w->spy.last->qos, 0);
	minus_one(w, SN_TOPIC_SHORT, 0x6162);
	minus_one(w, SN_TOPIC_NORMAL, 1);
	minus_one(w, SN_TOPIC_PREDEFINED, 99);
	assert_int_equal(w->spy.n, 1);

	w->gw->conf.qos_minus_one = SN_MINUS_ONE_ALL;
	minus_one(w, SN_TOPIC_SHORT, 0x6162);
	assert_spied(w, 2, "ab", "-1");
	minus_one(w, SN_TOPIC_NORMAL, 1);
	assert_int_equal(w->spy.n, 2);

	w->gw->conf.qos_minus_one = SN_MINUS_ONE_OFF;
	minus_one(w, SN_TOPIC_PREDEFINED, 1);
	minus_one(w, SN_TOPIC_SHORT, 0x6162);
	assert_int_equal(w->spy.n, 2);
}

static void test_qos_minus_one_of_a_client(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev-9", true);
	minus_one(w, SN_TOPIC_PREDEFINED, 1);
	assert_spied(w, 1, "nine/one", "-1");
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
}

static bool deny_all(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	(void)who;
	(void)access;
	(void)topic;
	return false;
}

/* QoS -1 and everything else go through the same policy. */
static void test_policy(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	w->policy.allows = deny_all;
	minus_one(w, SN_TOPIC_PREDEFINED, 1);
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .msg_id = 1, .topic_type = SN_TOPIC_SHORT,
		.topic_id = 0x6162);
	assert_code(w, DEV, SN_PUBACK, SN_NOT_SUPPORTED);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .msg_id = 1, .data = TEXT("a"));
	assert_code(w, DEV, SN_SUBACK, SN_NOT_SUPPORTED);
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .data = TEXT("a"));
	assert_code(w, DEV, SN_WILLTOPICRESP, SN_NOT_SUPPORTED);
	assert_int_equal(w->spy.n, 0);
}

/* The largest datagram, empty payloads and binary ones arrive unchanged. */
static void test_payloads(void **state)
{
	struct world *w = *state;
	static uint8_t big[SN_DATAGRAM_MAX - 9];
	connect_as(w, DEV, "dev", true);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162,
		.data = span_of(big, sizeof(big)));
	assert_true(span_equal(message_payload(w->spy.last), span_of(big, sizeof(big))));
	SAY(w, DEV, .type = SN_PUBLISH, .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162);
	assert_int_equal(w->spy.last->payload_len, 0);
}

static void test_return_codes(void **state)
{
	(void)state;
	assert_int_equal(sn_return_code(R_SUCCESS), SN_ACCEPTED);
	assert_int_equal(sn_return_code(R_NO_MATCHING_SUBSCRIBERS), SN_ACCEPTED);
	assert_int_equal(sn_return_code(R_QUOTA), SN_CONGESTION);
	assert_int_equal(sn_return_code(R_TOPIC_ALIAS), SN_INVALID_TOPIC_ID);
	assert_int_equal(sn_return_code(R_NOT_AUTHORIZED), SN_NOT_SUPPORTED);
	assert_int_equal(sn_return_code(R_TOPIC_INVALID), SN_NOT_SUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_qos0_normal),
		world_test(test_qos1),
		world_test(test_qos2),
		world_test(test_dup_of_unseen_is_processed),
		world_test(test_predefined_and_short),
		world_test(test_unknown_ids),
		world_test(test_refused_topics),
		world_test(test_too_many_open),
		world_test(test_qos_minus_one),
		world_test(test_qos_minus_one_of_a_client),
		world_test(test_policy),
		world_test(test_payloads),
		cmocka_unit_test(test_return_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
