#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static struct session *dev(struct world *w)
{
	return sessions_find(w->sessions, PROTO_MQTTSN, "dev");
}

/* Hears a PUBLISH of a normal topic and returns its MsgId. */
static uint16_t hear_publish(
	struct world *w, uint16_t topic_id, const char *text, uint8_t qos, bool dup)
{
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_int_equal(p->topic_type, SN_TOPIC_NORMAL);
	assert_int_equal(p->topic_id, topic_id);
	assert_text(p->data, text);
	assert_int_equal(p->qos, qos);
	assert_int_equal(p->dup, dup);
	assert_int_equal(p->msg_id != 0, qos > 0);
	return p->msg_id;
}

static void puback(struct world *w, uint16_t topic_id, uint16_t msg_id, uint8_t code)
{
	SAY(w, DEV, .type = SN_PUBACK, .topic_id = topic_id, .msg_id = msg_id, .return_code = code);
}

static void test_by_name(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a/b", 2);
	publish(w, "a/b", "0", 0);
	hear_publish(w, id, "0", 0, false);
	publish(w, "a/b", "1", 1);
	puback(w, id, hear_publish(w, id, "1", 1, false), SN_ACCEPTED);
	assert_silence(w);
	assert_true(session_idle(dev(w)));
}

static void test_qos2(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 2);
	publish(w, "a", "2", 2);
	uint16_t msg_id = hear_publish(w, id, "2", 2, false);
	pass_ms(w, 10500);
	assert_int_equal(hear_publish(w, id, "2", 2, true), msg_id);
	for (int i = 0; i < 2; i++) { /* repeated: PUBREL again */
		SAY(w, DEV, .type = SN_PUBREC, .msg_id = msg_id);
		const struct sn_packet *p = hear(w, DEV);
		assert_int_equal(p->type, SN_PUBREL);
		assert_int_equal(p->msg_id, msg_id);
	}
	pass_ms(w, 10500); /* only PUBREL from here on */
	assert_hears(w, DEV, SN_PUBREL);
	assert_silence(w);
	SAY(w, DEV, .type = SN_PUBCOMP, .msg_id = msg_id);
	assert_true(session_idle(dev(w)));
	pass_ms(w, 10500);
	assert_silence(w);
	/* An exchange unknown here ends there as well. */
	SAY(w, DEV, .type = SN_PUBREC, .msg_id = 999);
	assert_hears(w, DEV, SN_PUBREL);
}

static void test_wildcard_registers_first(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	assert_int_equal(subscribe_to(w, DEV, "a/#", 1), 0);
	publish(w, "a/b", "1", 1);
	publish(w, "a/b", "2", 0);
	uint16_t id = accept_register(w, DEV, "a/b");
	uint16_t msg_id = hear_publish(w, id, "1", 1, false);
	assert_silence(w); /* QoS 0 waits behind QoS 1 */
	puback(w, id, msg_id, SN_ACCEPTED);
	hear_publish(w, id, "2", 0, false);
	/* Known now, whichever way it came. */
	assert_int_equal(register_name(w, DEV, "a/b"), id);
	assert_int_equal(subscribe_to(w, DEV, "a/b", 1), id);
}

static void test_hundred_at_once_in_order(void **state)
{
	struct world *w = *state;
	char text[16];
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	for (int i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "%d", i);
		publish(w, "a", text, (uint8_t)(i % 2));
	}
	for (int i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "%d", i);
		uint16_t msg_id = hear_publish(w, id, text, (uint8_t)(i % 2), false);
		if (i % 2) {
			assert_silence(w);
			puback(w, id, msg_id, SN_ACCEPTED);
		}
	}
	assert_true(session_idle(dev(w)));
}

static void test_lost_after_retries(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	uint16_t msg_id = hear_publish(w, id, "1", 1, false);
	for (int i = 0; i < 3; i++) {
		pass_ms(w, 10500);
		assert_int_equal(hear_publish(w, id, "1", 1, true), msg_id);
	}
	pass_ms(w, 10500);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
	/* Back again: REGISTER with the same id first, then the message once more. */
	connect_as(w, DEV, "dev", false);
	assert_int_equal(accept_register(w, DEV, "a"), id);
	assert_int_equal(hear_publish(w, id, "1", 1, true), msg_id);
	puback(w, id, msg_id, SN_ACCEPTED);
	assert_true(session_idle(dev(w)));
}

static void test_register_is_repeated(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "#", 0);
	publish(w, "a/b", "1", 0);
	uint16_t msg_id = hear(w, DEV)->msg_id;
	for (int i = 0; i < 3; i++) {
		pass_ms(w, 10500);
		const struct sn_packet *p = hear(w, DEV);
		assert_int_equal(p->type, SN_REGISTER);
		assert_int_equal(p->msg_id, msg_id);
	}
	/* A REGACK that belongs to nothing changes nothing. */
	SAY(w, DEV, .type = SN_REGACK, .topic_id = 1, .msg_id = (uint16_t)(msg_id + 1));
	assert_silence(w);
	pass_ms(w, 10500);
	assert_hears(w, DEV, SN_DISCONNECT);
}

static void test_register_refused(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "#", 1);
	publish(w, "no/thanks", "1", 1);
	publish(w, "no/thanks", "2", 0);
	publish(w, "ok", "3", 0);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_REGISTER);
	SAY(w, DEV, .type = SN_REGACK, .topic_id = p->topic_id, .msg_id = p->msg_id,
		.return_code = SN_NOT_SUPPORTED);
	p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_text(p->data, "3");
	publish(w, "no/thanks", "4", 1);
	assert_silence(w);
	assert_int_equal(session_dropped(dev(w), DROP_REFUSED), 3);
	/* Until it asks for it by name. */
	uint16_t id = subscribe_to(w, DEV, "no/thanks", 0);
	publish(w, "no/thanks", "5", 0);
	hear_publish(w, id, "5", 0, false);
}

static void test_register_congestion(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_CONNECT, .clean = true, .protocol_id = 1, .data = TEXT("dev"));
	assert_hears(w, DEV, SN_CONNACK);
	subscribe_to(w, DEV, "#", 1);
	publish(w, "a/b", "1", 1);
	const struct sn_packet *p = hear(w, DEV);
	SAY(w, DEV, .type = SN_REGACK, .topic_id = p->topic_id, .msg_id = p->msg_id,
		.return_code = SN_CONGESTION);
	pass_ms(w, 200000);
	assert_silence(w);
	pass_ms(w, 120000);
	uint16_t id = accept_register(w, DEV, "a/b");
	hear_publish(w, id, "1", 1, false);
}

static void test_puback_unknown_id(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	uint16_t msg_id = hear_publish(w, id, "1", 1, false);
	puback(w, id, msg_id, SN_INVALID_TOPIC_ID);
	assert_int_equal(accept_register(w, DEV, "a"), id);
	assert_int_equal(hear_publish(w, id, "1", 1, true), msg_id);
	puback(w, id, msg_id, SN_ACCEPTED);
	/* At QoS 0 too. */
	publish(w, "a", "2", 0);
	hear_publish(w, id, "2", 0, false);
	puback(w, id, 0, SN_INVALID_TOPIC_ID);
	publish(w, "a", "3", 0);
	accept_register(w, DEV, "a");
	hear_publish(w, id, "3", 0, false);
}

/* A device that never learns the id does not hold up the rest for ever. */
static void test_puback_unknown_id_again_and_again(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	publish(w, "b/c", "-", 0);
	for (int i = 0; i < 4; i++) {
		uint16_t msg_id = hear_publish(w, id, "1", 1, i > 0);
		puback(w, id, msg_id, SN_INVALID_TOPIC_ID);
		if (i < 3)
			accept_register(w, DEV, "a");
	}
	assert_silence(w);
	assert_true(session_idle(dev(w)));
	assert_int_equal(session_dropped(dev(w), DROP_REFUSED), 1);
}

static void test_id_forgotten_between_repetitions(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	uint16_t msg_id = hear_publish(w, id, "1", 1, false);
	puback(w, id, 0, SN_INVALID_TOPIC_ID);
	assert_silence(w);
	pass_ms(w, 10500);
	assert_int_equal(accept_register(w, DEV, "a"), id);
	assert_int_equal(hear_publish(w, id, "1", 1, true), msg_id);
	puback(w, id, msg_id, SN_ACCEPTED);
	assert_true(session_idle(dev(w)));
}

static void test_puback_congestion_and_refusal(void **state)
{
	struct world *w = *state;
	w->gw->conf.wait_interval_ms = 20000;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	publish(w, "a", "2", 1);
	uint16_t msg_id = hear_publish(w, id, "1", 1, false);
	puback(w, id, msg_id, SN_CONGESTION);
	pass_ms(w, 15000);
	assert_silence(w);
	pass_ms(w, 6000);
	assert_int_equal(hear_publish(w, id, "1", 1, true), msg_id);
	puback(w, id, msg_id, SN_NOT_SUPPORTED);
	puback(w, id, hear_publish(w, id, "2", 1, false), SN_ACCEPTED);
	assert_int_equal(session_dropped(dev(w), DROP_REFUSED), 1);
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
}

static void test_short_and_predefined(void **state)
{
	struct world *w = *state;
	const struct sn_packet *p;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162,
		.msg_id = 1);
	assert_hears(w, DEV, SN_SUBACK);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 1,
		.msg_id = 2);
	assert_int_equal(hear(w, DEV)->topic_id, 1);
	publish(w, "ab", "s", 0);
	p = hear(w, DEV);
	assert_int_equal(p->topic_type, SN_TOPIC_SHORT);
	assert_int_equal(p->topic_id, 0x6162);
	publish(w, "pre/one", "p", 0);
	p = hear(w, DEV);
	assert_int_equal(p->topic_type, SN_TOPIC_PREDEFINED);
	assert_int_equal(p->topic_id, 1);
	/* By name: its normal id, also with two octets and when it is predefined. */
	uint16_t two = subscribe_to(w, DEV, "xy", 0), pre = subscribe_to(w, DEV, "pre/two", 0);
	publish(w, "xy", "1", 0);
	hear_publish(w, two, "1", 0, false);
	publish(w, "pre/two", "2", 0);
	hear_publish(w, pre, "2", 0, false);
	/* By wildcard alone: two octets are a short name. */
	subscribe_to(w, DEV, "+", 0);
	publish(w, "zz", "3", 0);
	assert_int_equal(hear(w, DEV)->topic_type, SN_TOPIC_SHORT);
}

/* A device that knows no such predefined id is given a normal one. */
static void test_predefined_unknown_to_the_device(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .qos = 1, .topic_type = SN_TOPIC_PREDEFINED,
		.topic_id = 1, .msg_id = 2);
	assert_hears(w, DEV, SN_SUBACK);
	publish(w, "pre/one", "1", 1);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->topic_type, SN_TOPIC_PREDEFINED);
	puback(w, 1, p->msg_id, SN_INVALID_TOPIC_ID);
	uint16_t id = accept_register(w, DEV, "pre/one");
	hear_publish(w, id, "1", 1, true);
}

static void test_table_full(void **state)
{
	struct world *w = *state;
	char name[16];
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "#", 0);
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "n/%d", i);
		register_name(w, DEV, name);
	}
	publish(w, "n/new", "-", 0);
	assert_silence(w);
	assert_int_equal(session_dropped(dev(w), DROP_REFUSED), 1);
	publish(w, "n/1", "+", 0);
	assert_hears(w, DEV, SN_PUBLISH);
}

static void test_too_large(void **state)
{
	struct world *w = *state;
	static uint8_t big[SN_DATAGRAM_MAX];
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	publish_bytes(w, "a", span_of(big, SN_DATAGRAM_MAX - 8), 1, false);
	assert_silence(w);
	assert_int_equal(session_dropped(dev(w), DROP_TOO_LARGE), 1);
	publish_bytes(w, "a", span_of(big, SN_DATAGRAM_MAX - 9), 1, false);
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->data.len, SN_DATAGRAM_MAX - 9);
	puback(w, id, p->msg_id, SN_ACCEPTED);
}

static void test_retained(void **state)
{
	struct world *w = *state;
	publish_bytes(w, "r", TEXT("old"), 1, true);
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "r", 0); /* SUBACK comes first */
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_int_equal(p->topic_id, id);
	assert_true(p->retain);
	publish_bytes(w, "r", TEXT("new"), 0, true);
	assert_false(hear(w, DEV)->retain);
	/* A repeated SUBSCRIBE is answered, and brings nothing twice. */
	SAY(w, DEV, .type = SN_SUBSCRIBE, .dup = true, .msg_id = 78, .data = TEXT("r"));
	assert_hears(w, DEV, SN_SUBACK);
	assert_silence(w);
}

static void test_socket_full(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	w->full = true;
	publish(w, "a", "1", 1);
	publish(w, "a", "2", 0);
	publish(w, "b/c", "-", 0);
	assert_silence(w);
	assert_false(list_empty(&w->gw->blocked));
	w->full = false;
	sn_unblock(w->gw, &w->socket);
	puback(w, id, hear_publish(w, id, "1", 1, false), SN_ACCEPTED);
	hear_publish(w, id, "2", 0, false);
	assert_true(list_empty(&w->gw->blocked));
	/* REGISTER and PUBREL find no room. */
	subscribe_to(w, DEV, "#", 2);
	w->full = true;
	publish(w, "b/c", "3", 2);
	w->full = false;
	sn_unblock(w->gw, &w->socket);
	id = accept_register(w, DEV, "b/c");
	uint16_t msg_id = hear_publish(w, id, "3", 2, false);
	w->full = true;
	SAY(w, DEV, .type = SN_PUBREC, .msg_id = msg_id);
	w->full = false;
	sn_unblock(w->gw, &w->socket);
	assert_hears(w, DEV, SN_PUBREL);
	SAY(w, DEV, .type = SN_PUBCOMP, .msg_id = msg_id);
	assert_true(session_idle(dev(w)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_by_name),
		world_test(test_qos2),
		world_test(test_wildcard_registers_first),
		world_test(test_hundred_at_once_in_order),
		world_test(test_lost_after_retries),
		world_test(test_register_is_repeated),
		world_test(test_register_refused),
		world_test(test_register_congestion),
		world_test(test_puback_unknown_id),
		world_test(test_puback_unknown_id_again_and_again),
		world_test(test_id_forgotten_between_repetitions),
		world_test(test_puback_congestion_and_refusal),
		world_test(test_short_and_predefined),
		world_test(test_predefined_unknown_to_the_device),
		world_test(test_table_full),
		world_test(test_too_large),
		world_test(test_retained),
		world_test(test_socket_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
