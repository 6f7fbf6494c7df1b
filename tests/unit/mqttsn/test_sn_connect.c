#include "tests/unit/mqttsn/world.h"

#define DEV 1001

static struct sn_packet connect_packet(const char *id)
{
	return (struct sn_packet){
		.type = SN_CONNECT,
		.clean = true,
		.protocol_id = 1,
		.duration_s = 60,
		.data = span_str(id),
	};
}

static struct session *session_of(struct world *w, const char *id)
{
	return sessions_find(w->sessions, PROTO_MQTTSN, id);
}

static void test_connect(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
	const struct session *s = session_of(w, "dev");
	assert_non_null(s);
	assert_int_equal(s->expiry_s, 0);
	assert_int_equal(s->keepalive_ms, 90000);
	assert_silence(w);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	static char long_id[258];
	memset(long_id, 'x', sizeof(long_id) - 1);
	static const char *const bad_ids[] = { "", long_id, "a\x01z", "\xff\xfe" };
	for (size_t i = 0; i < ARRAY_SIZE(bad_ids); i++) {
		say(w, DEV, connect_packet(bad_ids[i]));
		assert_code(w, DEV, SN_CONNACK, SN_NOT_SUPPORTED);
	}
	struct sn_packet p = connect_packet("dev");
	p.protocol_id = 2;
	say(w, DEV, p);
	assert_code(w, DEV, SN_CONNACK, SN_NOT_SUPPORTED);
	assert_int_equal(w->gw->n_peers, 0);
	assert_int_equal(sessions_count(w->sessions, false), 0);
}

/* Two ids with a common beginning are two clients. */
static void test_long_client_ids(void **state)
{
	struct world *w = *state;
	static char one[257], two[257];
	memset(one, 'x', 256);
	memset(two, 'x', 256);
	two[255] = 'y';
	connect_as(w, DEV, one, true);
	connect_as(w, DEV + 1, two, true);
	assert_int_equal(sessions_count(w->sessions, true), 2);
}

static void test_limit(void **state)
{
	struct world *w = *state;
	char id[16];
	for (uint16_t i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "dev%u", i);
		connect_as(w, (uint16_t)(DEV + i), id, true);
	}
	say(w, DEV + 100, connect_packet("one-more"));
	assert_code(w, DEV + 100, SN_CONNACK, SN_CONGESTION);
	assert_int_equal(w->gw->n_peers, 100);
	assert_int_equal(w->gw->n_half_open, 0);
}

static void begin_will(struct world *w, uint16_t port, const char *id, bool clean)
{
	struct sn_packet p = connect_packet(id);
	p.will = true;
	p.clean = clean;
	say(w, port, p);
	assert_hears(w, port, SN_WILLTOPICREQ);
}

static void connect_with_will(struct world *w, uint16_t port, const char *id, bool clean)
{
	begin_will(w, port, id, clean);
	SAY(w, port, .type = SN_WILLTOPIC, .present = true, .qos = 1, .data = TEXT("will"));
	assert_hears(w, port, SN_WILLMSGREQ);
	SAY(w, port, .type = SN_WILLMSG, .data = TEXT("gone"));
	assert_code(w, port, SN_CONNACK, SN_ACCEPTED);
}

static void test_will_dialogue(void **state)
{
	struct world *w = *state;
	begin_will(w, DEV, "dev", true);
	assert_int_equal(state_at(w, DEV), SN_WILL_TOPIC);
	assert_null(session_of(w, "dev"));
	/* What is repeated is asked again; what does not belong here does nothing. */
	begin_will(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_REGISTER, .msg_id = 1, .data = TEXT("a"));
	SAY(w, DEV, .type = SN_WILLMSG, .data = TEXT("early"));
	assert_silence(w);
	for (int i = 0; i < 2; i++) {
		SAY(w, DEV, .type = SN_WILLTOPIC, .present = true, .qos = 2, .retain = true,
			.data = TEXT("will"));
		assert_hears(w, DEV, SN_WILLMSGREQ);
	}
	struct sn_packet again = connect_packet("dev");
	again.will = true;
	say(w, DEV, again);
	assert_hears(w, DEV, SN_WILLMSGREQ);
	for (int i = 0; i < 2; i++) {
		SAY(w, DEV, .type = SN_WILLMSG, .data = TEXT("gone"));
		assert_code(w, DEV, SN_CONNACK, SN_ACCEPTED);
	}
	const struct message *will = session_of(w, "dev")->will;
	assert_text(message_topic(will), "will");
	assert_text(message_payload(will), "gone");
	assert_int_equal(will->qos, 2);
	assert_true(will->retain);
}

static void test_will_is_published_once(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "dev", true);
	pass_ms(w, 95000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_spied(w, 1, "will", "gone");
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
	pass_ms(w, 200000);
	assert_int_equal(w->spy.n, 1);
	assert_silence(w);
}

static void test_no_will_after_disconnect(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_hears(w, DEV, SN_DISCONNECT);
	pass_ms(w, 200000);
	assert_int_equal(w->spy.n, 0);
	/* Repeated, from an address just disconnected. */
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_hears(w, DEV, SN_DISCONNECT);
}

static void test_empty_will_topic(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "dev", false);
	/* Will=0 keeps it, an empty topic deletes it alone. */
	connect_as(w, DEV, "dev", false);
	assert_non_null(session_of(w, "dev")->will);
	subscribe_to(w, DEV, "a", 1);
	begin_will(w, DEV, "dev", false);
	SAY(w, DEV, .type = SN_WILLTOPIC);
	assert_code(w, DEV, SN_CONNACK, SN_ACCEPTED);
	assert_null(session_of(w, "dev")->will);
	assert_int_equal(session_of(w, "dev")->sub.n_subscriptions, 1);
}

static void test_stored_will_goes_with_the_session(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "dev", false);
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_hears(w, DEV, SN_DISCONNECT);
	connect_as(w, DEV, "dev", false);
	pass_ms(w, 95000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_spied(w, 1, "will", "gone");
	connect_as(w, DEV, "dev", true);
	assert_null(session_of(w, "dev")->will);
}

static void test_bad_will_topic(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = { "a/#", "+", "$SYS/x", "\xff" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		begin_will(w, DEV, "dev", true);
		SAY(w, DEV, .type = SN_WILLTOPIC, .present = true, .data = span_str(bad[i]));
		assert_code(w, DEV, SN_CONNACK, SN_NOT_SUPPORTED);
		assert_int_equal(state_at(w, DEV), SN_STRANGER);
	}
}

static void test_dialogue_ends(void **state)
{
	struct world *w = *state;
	begin_will(w, DEV, "dev", true);
	pass_ms(w, 16000);
	assert_int_equal(w->gw->n_peers, 0);
	assert_silence(w);
	/* Out of a session: the device is lost. */
	connect_with_will(w, DEV, "dev", true);
	begin_will(w, DEV, "dev", true);
	pass_ms(w, 16000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_spied(w, 1, "will", "gone");
	assert_int_equal(w->gw->n_peers, 0);
}

static void test_half_open_limit(void **state)
{
	struct world *w = *state;
	char id[16];
	connect_as(w, DEV - 1, "old", true);
	for (uint16_t i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "dev%u", i);
		begin_will(w, (uint16_t)(DEV + i), id, true);
	}
	assert_int_equal(w->gw->n_half_open, 4);
	assert_int_equal(w->gw->n_peers, 5);
	assert_int_equal(state_at(w, DEV + 9), SN_WILL_TOPIC);
	assert_int_equal(state_at(w, DEV + 5), SN_STRANGER);
	assert_int_equal(state_at(w, DEV - 1), SN_ACTIVE);
}

static void test_clean_session(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	uint16_t id = register_name(w, DEV, "a/b");
	subscribe_to(w, DEV, "c", 1);
	/* CleanSession=0: all is there, old ids are right. */
	connect_as(w, DEV, "dev", false);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = id, .data = TEXT("x"));
	assert_spied(w, 1, "a/b", "x");
	assert_int_equal(session_of(w, "dev")->sub.n_subscriptions, 1);
	/* CleanSession=1 forgets. */
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = id, .data = TEXT("x"));
	assert_code(w, DEV, SN_PUBACK, SN_INVALID_TOPIC_ID);
	assert_int_equal(session_of(w, "dev")->sub.n_subscriptions, 0);
	/* What began clean is not resumed. */
	register_name(w, DEV, "d");
	connect_as(w, DEV, "dev", false);
	SAY(w, DEV, .type = SN_PUBLISH, .topic_id = 1);
	assert_code(w, DEV, SN_PUBACK, SN_INVALID_TOPIC_ID);
}

static void test_session_expires(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	SAY(w, DEV, .type = SN_DISCONNECT);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_non_null(session_of(w, "dev"));
	pass_ms(w, INT64_C(90000000));
	assert_null(session_of(w, "dev"));
}

static void test_other_client_at_the_address(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "one", true);
	connect_as(w, DEV, "two", true);
	assert_null(session_of(w, "one"));
	assert_int_equal(w->spy.n, 0); /* no will */
	assert_int_equal(w->gw->n_peers, 1);
	begin_will(w, DEV, "three", true);
	assert_null(session_of(w, "two"));
	assert_int_equal(w->gw->n_half_open, 1);
}

static void test_takeover_same_ip(void **state)
{
	struct world *w = *state;
	connect_with_will(w, DEV, "dev", false);
	connect_as(w, DEV + 1, "dev", false);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
	assert_int_equal(state_at(w, DEV + 1), SN_ACTIVE);
	assert_int_equal(w->spy.n, 0);
	/* The old address cannot publish any more. */
	SAY(w, DEV, .type = SN_PUBLISH, .topic_type = SN_TOPIC_SHORT, .topic_id = 0x6162);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(w->spy.n, 0);
}

static void test_takeover_from_elsewhere(void **state)
{
	struct world *w = *state;
	struct sn_route far = { .socket = &w->socket, .addr = addr_at("10.0.0.66", 5) };
	connect_as(w, DEV, "dev", false);
	subscribe_to(w, DEV, "a", 1);
	for (int away = 0; away < 2; away++) { /* neither while it is here nor while it is not */
		say_from(w, far, connect_packet("dev"));
		const struct sn_packet *p = hear_at(w, far.addr);
		assert_int_equal(p->type, SN_CONNACK);
		assert_int_equal(p->return_code, SN_NOT_SUPPORTED);
		assert_int_equal(session_of(w, "dev")->sub.n_subscriptions, 1);
		SAY(w, DEV, .type = SN_DISCONNECT);
		assert_hears(w, DEV, SN_DISCONNECT);
	}
	w->gw->conf.takeover = SN_TAKEOVER_ALLOW;
	say_from(w, far, connect_packet("dev"));
	assert_int_equal(hear_at(w, far.addr)->return_code, SN_ACCEPTED);
}

static void test_takeover_refuse(void **state)
{
	struct world *w = *state;
	w->gw->conf.takeover = SN_TAKEOVER_REFUSE;
	connect_as(w, DEV, "dev", false);
	connect_as(w, DEV, "dev", false);
	say(w, DEV + 1, connect_packet("dev"));
	assert_code(w, DEV + 1, SN_CONNACK, SN_NOT_SUPPORTED);
	SAY(w, DEV, .type = SN_DISCONNECT);
	connect_as(w, DEV + 1, "dev", false);
}

static void test_will_updates(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_WILLMSGUPD, .data = TEXT("m"));
	assert_code(w, DEV, SN_WILLMSGRESP, SN_NOT_SUPPORTED);
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .qos = 1, .data = TEXT("t"));
	assert_code(w, DEV, SN_WILLTOPICRESP, SN_ACCEPTED);
	assert_int_equal(session_of(w, "dev")->will->payload_len, 0);
	SAY(w, DEV, .type = SN_WILLMSGUPD, .data = TEXT("m"));
	assert_code(w, DEV, SN_WILLMSGRESP, SN_ACCEPTED);
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .data = TEXT("t/2"));
	assert_code(w, DEV, SN_WILLTOPICRESP, SN_ACCEPTED);
	assert_text(message_topic(session_of(w, "dev")->will), "t/2");
	assert_text(message_payload(session_of(w, "dev")->will), "m");
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .data = TEXT("t/#"));
	assert_code(w, DEV, SN_WILLTOPICRESP, SN_NOT_SUPPORTED);
	SAY(w, DEV, .type = SN_WILLTOPICUPD);
	assert_code(w, DEV, SN_WILLTOPICRESP, SN_ACCEPTED);
	assert_null(session_of(w, "dev")->will);
}

static void test_draining(void **state)
{
	struct world *w = *state;
	w->gw->draining = true;
	say(w, DEV, connect_packet("dev"));
	assert_code(w, DEV, SN_CONNACK, SN_CONGESTION);
}

/* The hub ends a session for reasons of its own. */
static void test_session_ended_by_the_hub(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	session_end(session_of(w, "dev"), R_ADMINISTRATIVE, false);
	turn(w);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(w->gw->n_peers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_connect),
		world_test(test_refused),
		world_test(test_long_client_ids),
		world_test(test_limit),
		world_test(test_will_dialogue),
		world_test(test_will_is_published_once),
		world_test(test_no_will_after_disconnect),
		world_test(test_empty_will_topic),
		world_test(test_stored_will_goes_with_the_session),
		world_test(test_bad_will_topic),
		world_test(test_dialogue_ends),
		world_test(test_half_open_limit),
		world_test(test_clean_session),
		world_test(test_session_expires),
		world_test(test_other_client_at_the_address),
		world_test(test_takeover_same_ip),
		world_test(test_takeover_from_elsewhere),
		world_test(test_takeover_refuse),
		world_test(test_will_updates),
		world_test(test_draining),
		world_test(test_session_ended_by_the_hub),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
