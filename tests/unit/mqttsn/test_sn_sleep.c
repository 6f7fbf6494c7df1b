#include "tests/unit/mqttsn/world.h"

#include <stdio.h>

#define DEV 1001

static struct session *dev(struct world *w)
{
	return sessions_find(w->sessions, PROTO_MQTTSN, "dev");
}

static void sleep_for(struct world *w, uint16_t duration_s)
{
	SAY(w, DEV, .type = SN_DISCONNECT, .present = true, .duration_s = duration_s);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	assert_null(sn_peer_of_session(dev(w))->talk); /* a sleeper costs as little as can be */
}

static void ping(struct world *w, uint16_t port, const char *id)
{
	SAY(w, port, .type = SN_PINGREQ, .data = span_str(id));
}

/* Hears a PUBLISH and acknowledges it. Returns its MsgId. */
static uint16_t take(struct world *w, const char *text, bool dup)
{
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	assert_text(p->data, text);
	assert_int_equal(p->dup, dup);
	uint16_t id = p->msg_id;
	if (p->qos)
		SAY(w, DEV, .type = SN_PUBACK, .topic_id = p->topic_id, .msg_id = id);
	return id;
}

static void test_silence(void **state)
{
	struct world *w = *state;
	(void)state;
	assert_int_equal(sn_silence_ms(&w->gw->conf, 0), 0);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 10), 15000);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 60), 90000);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 100), 110000);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 65535), INT64_C(72088500));
	w->gw->conf.keepalive_max_ms = 600000;
	assert_int_equal(sn_silence_ms(&w->gw->conf, 0), 660000);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 10), 15000);
	assert_int_equal(sn_silence_ms(&w->gw->conf, 65535), 660000);
}

static void test_ping(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	for (int i = 0; i < 10; i++) {
		pass_ms(w, 80000);
		ping(w, DEV, i % 2 ? "" : "dev");
		assert_hears(w, DEV, SN_PINGRESP);
	}
	ping(w, DEV, "somebody");
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
	ping(w, DEV + 1, "nobody");
	assert_hears(w, DEV + 1, SN_DISCONNECT);
	ping(w, DEV + 1, "");
	assert_hears(w, DEV + 1, SN_DISCONNECT);
	/* The name of a client that is not asleep says nothing. */
	ping(w, DEV + 1, "dev");
	assert_hears(w, DEV + 1, SN_DISCONNECT);
	assert_silence(w);
}

static void test_mail(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	subscribe_to(w, DEV, "w/#", 1);
	sleep_for(w, 100);
	publish(w, "a", "0", 0);
	publish(w, "a", "1", 1);
	publish(w, "w/x", "2", 1);
	pass_ms(w, 60000);
	assert_silence(w);
	ping(w, DEV, "dev");
	take(w, "0", false);
	take(w, "1", false);
	ping(w, DEV, "dev"); /* does not restart anything */
	accept_register(w, DEV, "w/x");
	publish(w, "a", "3", 0); /* comes meanwhile, is still sent */
	take(w, "2", false);
	take(w, "3", false);
	assert_hears(w, DEV, SN_PINGRESP);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	/* Nothing there: PINGRESP at once, also when it is repeated. */
	for (int i = 0; i < 2; i++) {
		ping(w, DEV, "dev");
		assert_hears(w, DEV, SN_PINGRESP);
	}
	assert_silence(w);
}

static void test_unacknowledged_comes_again(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	sleep_for(w, 1000);
	publish(w, "a", "1", 1);
	ping(w, DEV, "dev");
	const struct sn_packet *p = hear(w, DEV);
	assert_int_equal(p->type, SN_PUBLISH);
	uint16_t id = p->msg_id;
	for (int i = 0; i < 3; i++) {
		pass_ms(w, 10500);
		assert_int_equal(hear(w, DEV)->msg_id, id);
	}
	pass_ms(w, 10500); /* back to sleep, not lost */
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	pass_ms(w, 60000);
	assert_silence(w);
	ping(w, DEV, "dev");
	assert_int_equal(take(w, "1", true), id);
	assert_hears(w, DEV, SN_PINGRESP);
}

static void test_asleep_in_the_middle_of_qos2(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 2);
	publish(w, "a", "1", 2);
	uint16_t id = hear(w, DEV)->msg_id;
	SAY(w, DEV, .type = SN_PUBREC, .msg_id = id);
	assert_hears(w, DEV, SN_PUBREL);
	sleep_for(w, 1000);
	pass_ms(w, 60000);
	assert_silence(w);
	ping(w, DEV, "dev");
	const struct sn_packet *p = hear(w, DEV); /* never the message again */
	assert_int_equal(p->type, SN_PUBREL);
	assert_int_equal(p->msg_id, id);
	SAY(w, DEV, .type = SN_PUBCOMP, .msg_id = id);
	assert_hears(w, DEV, SN_PINGRESP);
}

/* An acknowledgement that comes when it already sleeps is still good. */
static void test_late_puback(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	const struct sn_packet *p = hear(w, DEV);
	uint16_t topic_id = p->topic_id, id = p->msg_id;
	sleep_for(w, 100);
	SAY(w, DEV, .type = SN_PUBACK, .topic_id = topic_id, .msg_id = id);
	assert_silence(w);
	ping(w, DEV, "dev");
	assert_hears(w, DEV, SN_PINGRESP);
	assert_silence(w);
}

static void test_sleeper_is_lost(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .data = TEXT("will"));
	assert_hears(w, DEV, SN_WILLTOPICRESP);
	sleep_for(w, 200);
	pass_ms(w, 200000); /* keep alive (60 s) counts no more */
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	ping(w, DEV, "dev"); /* restarts the sleep timer */
	assert_hears(w, DEV, SN_PINGRESP);
	pass_ms(w, 210000);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	pass_ms(w, 30000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_spied(w, 1, "will", "");
	ping(w, DEV, "dev");
	assert_hears(w, DEV, SN_DISCONNECT);
}

static void test_connect_wakes(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", false);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	sleep_for(w, 100);
	publish(w, "a", "1", 1);
	connect_as(w, DEV, "dev", false);
	assert_int_equal(state_at(w, DEV), SN_ACTIVE);
	assert_int_equal(accept_register(w, DEV, "a"), id);
	take(w, "1", false);
	assert_silence(w);
	assert_int_equal(dev(w)->keepalive_ms, 90000);
}

static void test_disconnect_of_a_sleeper(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	sleep_for(w, 100);
	sleep_for(w, 1000); /* a new duration */
	assert_int_equal(dev(w)->keepalive_ms, 1100000);
	SAY(w, DEV, .type = SN_DISCONNECT, .present = true, .duration_s = 0);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV), SN_STRANGER);
	connect_as(w, DEV, "dev", true);
}

static void test_sleeper_is_served(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = register_name(w, DEV, "a/b");
	sleep_for(w, 100);
	SAY(w, DEV, .type = SN_PUBLISH, .qos = 1, .topic_id = id, .msg_id = 1, .data = TEXT("x"));
	assert_code(w, DEV, SN_PUBACK, SN_ACCEPTED);
	assert_spied(w, 1, "a/b", "x");
	subscribe_to(w, DEV, "c", 0);
	SAY(w, DEV, .type = SN_PINGREQ);
	assert_hears(w, DEV, SN_PINGRESP);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
}

static void test_from_another_address(void **state)
{
	struct world *w = *state;
	struct sn_route far = { .socket = &w->socket, .addr = addr_at("10.0.0.66", 5) };
	connect_as(w, DEV + 5, "dev", true);
	SAY(w, DEV + 5, .type = SN_SUBSCRIBE, .qos = 1, .msg_id = 1, .data = TEXT("a"));
	assert_hears(w, DEV + 5, SN_SUBACK);
	SAY(w, DEV + 5, .type = SN_DISCONNECT, .present = true, .duration_s = 100);
	assert_hears(w, DEV + 5, SN_DISCONNECT);
	publish(w, "a", "mail", 1);
	/* A stranger that knows the name gets nothing. */
	say_from(w, far, (struct sn_packet){ .type = SN_PINGREQ, .data = TEXT("dev") });
	assert_int_equal(hear_at(w, far.addr)->type, SN_DISCONNECT);
	assert_silence(w);
	/* Nor does another client's address. */
	connect_as(w, DEV + 6, "other", true);
	ping(w, DEV + 6, "dev");
	assert_hears(w, DEV + 6, SN_DISCONNECT);
	assert_int_equal(state_at(w, DEV + 6), SN_ACTIVE);
	/* A new port of its own address does. */
	ping(w, DEV, "dev");
	take(w, "mail", false);
	assert_hears(w, DEV, SN_PINGRESP);
	assert_int_equal(state_at(w, DEV + 5), SN_STRANGER);
	w->gw->conf.takeover = SN_TAKEOVER_REFUSE;
	ping(w, DEV + 5, "dev");
	assert_hears(w, DEV + 5, SN_DISCONNECT);
}

static void test_congested_while_awake(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	uint16_t id = subscribe_to(w, DEV, "a", 1);
	sleep_for(w, 10000);
	publish(w, "a", "1", 1);
	ping(w, DEV, "dev");
	uint16_t msg_id = hear(w, DEV)->msg_id;
	SAY(w, DEV, .type = SN_PUBACK, .topic_id = id, .msg_id = msg_id,
		.return_code = SN_CONGESTION);
	assert_hears(w, DEV, SN_PINGRESP);
	pass_ms(w, 400000);
	assert_silence(w);
	ping(w, DEV, "dev");
	assert_int_equal(take(w, "1", true), msg_id);
	assert_hears(w, DEV, SN_PINGRESP);
}

/* Collects everything; the texts with a blank between them. */
static const char *collect(struct world *w)
{
	static char texts[256];
	size_t len = 0;
	texts[0] = '\0';
	ping(w, DEV, "dev");
	for (;;) {
		const struct sn_packet *p = hear(w, DEV);
		if (p->type != SN_PUBLISH) {
			assert_int_equal(p->type, SN_PINGRESP);
			return texts;
		}
		len += (size_t)snprintf(texts + len, sizeof(texts) - len, "%s%.*s", len ? " " : "",
			SPAN_ARGS(p->data));
		if (p->qos)
			SAY(w, DEV, .type = SN_PUBACK, .topic_id = p->topic_id,
				.msg_id = p->msg_id);
	}
}

static void sleep_with_mail(struct world *w, const struct queue_policy *mail)
{
	w->gw->conf.mail = *mail;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	subscribe_to(w, DEV, "b", 1);
	sleep_for(w, 1000);
}

static void test_mail_policies(void **state)
{
	struct world *w = *state;
	static const char *const left[] = { "a1 a2 a3", "b0 a1 a2", "b0 a2 a3" };
	for (int full = QUEUE_OLDEST; full <= QUEUE_LATEST_PER_TOPIC; full++) {
		sleep_with_mail(w, &(struct queue_policy){ .messages = 3, .full = full });
		publish(w, "b", "b0", 1);
		publish(w, "a", "a1", 0);
		publish(w, "a", "a2", 1);
		publish(w, "a", "a3", 1);
		assert_string_equal(collect(w), left[full]);
		assert_int_equal(session_dropped(dev(w), DROP_OUTDATED),
			full == QUEUE_LATEST_PER_TOPIC ? 1 : 0);
		assert_int_equal(session_dropped(dev(w), DROP_QUEUE_FULL),
			full == QUEUE_LATEST_PER_TOPIC ? 0 : 1);
	}
}

static void test_mail_of_a_kilobyte(void **state)
{
	struct world *w = *state;
	static const uint8_t large[600];
	sleep_with_mail(w, &(struct queue_policy){ .bytes = 1024 });
	publish(w, "a", "old", 1);
	publish_bytes(w, "a", span_of(large, sizeof(large)), 1, false);
	publish(w, "a", "new", 1);
	publish(w, "b", "newer", 1);
	publish(w, "b", "newest", 1);
	assert_int_equal(session_queued(dev(w)), 5);
	publish_bytes(w, "b", span_of(large, 400), 1, false);
	assert_true(session_queued_bytes(dev(w)) <= 1024);
	assert_int_equal(session_dropped(dev(w), DROP_QUEUE_FULL), 2);
}

static void test_mail_grows_old(void **state)
{
	struct world *w = *state;
	sleep_with_mail(w, &(struct queue_policy){ .age_ms = 60000 });
	publish(w, "a", "1", 1);
	pass_ms(w, 59000);
	publish(w, "a", "2", 0);
	pass_ms(w, 1000);
	assert_string_equal(collect(w), "2");
	assert_int_equal(session_dropped(dev(w), DROP_TOO_OLD), 1);
}

/* What was sent once comes again, whatever has been published meanwhile. */
static void test_mail_in_flight_stays(void **state)
{
	struct world *w = *state;
	sleep_with_mail(w, &(struct queue_policy){ .messages = 2, .age_ms = 300000 });
	publish(w, "a", "1", 1);
	ping(w, DEV, "dev");
	assert_int_equal(hear(w, DEV)->type, SN_PUBLISH);
	for (int i = 0; i < 4; i++)
		pass_ms(w, 10500);
	while (!list_empty(&w->out))
		hear(w, DEV);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	publish(w, "a", "2", 1);
	publish(w, "a", "3", 1);
	pass_ms(w, 290000);
	publish(w, "a", "4", 1);
	assert_string_equal(collect(w), "1 4");
}

/* A device that is awake for good has the limits of everybody again. */
static void test_connect_ends_the_mail_limits(void **state)
{
	struct world *w = *state;
	struct queue_policy mail = { .messages = 1 };
	sleep_with_mail(w, &mail);
	assert_ptr_equal(dev(w)->queue_policy, &w->gw->conf.mail);
	SAY(w, DEV, .type = SN_CONNECT, .protocol_id = 1, .duration_s = 60, .data = TEXT("dev"));
	assert_code(w, DEV, SN_CONNACK, SN_ACCEPTED);
	assert_null(dev(w)->queue_policy);
}

/* An active device that is slow may have more waiting than its mailbox holds. */
static void test_falling_asleep_trims(void **state)
{
	struct world *w = *state;
	w->gw->conf.mail = (struct queue_policy){ .messages = 3 };
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	static const char *const texts[] = { "1", "2", "3", "4", "5" };
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		publish(w, "a", texts[i], 1);
	assert_int_equal(hear(w, DEV)->type, SN_PUBLISH);
	sleep_for(w, 100);
	assert_string_equal(collect(w), "1 4 5");
}

/* 18 hours are the longest a device can announce (5.4.21); with PINGREQs it sleeps for days. */
static void test_days_of_sleep(void **state)
{
	struct world *w = *state;
	w->gw->conf.session_expiry_ms = 3600000; /* begins only when it is lost */
	connect_as(w, DEV, "dev", false);
	subscribe_to(w, DEV, "a", 1);
	SAY(w, DEV, .type = SN_WILLTOPICUPD, .present = true, .data = TEXT("will"));
	assert_hears(w, DEV, SN_WILLTOPICRESP);
	sleep_for(w, 65535);
	for (int day = 0; day < 7; day++) {
		publish(w, "a", "x", 1);
		pass_ms(w, 72000000);
		assert_string_equal(collect(w), "x");
	}
	assert_int_equal(w->spy.n, 7); /* no will among them */
	pass_ms(w, 72088000);
	assert_int_equal(state_at(w, DEV), SN_ASLEEP);
	pass_ms(w, 1000);
	assert_hears(w, DEV, SN_DISCONNECT);
	assert_spied(w, 8, "will", "");
	pass_ms(w, 3599000);
	assert_non_null(dev(w));
	pass_ms(w, 2000);
	assert_null(dev(w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_silence),
		world_test(test_ping),
		world_test(test_mail),
		world_test(test_unacknowledged_comes_again),
		world_test(test_asleep_in_the_middle_of_qos2),
		world_test(test_late_puback),
		world_test(test_sleeper_is_lost),
		world_test(test_connect_wakes),
		world_test(test_disconnect_of_a_sleeper),
		world_test(test_sleeper_is_served),
		world_test(test_from_another_address),
		world_test(test_congested_while_awake),
		world_test(test_mail_policies),
		world_test(test_mail_of_a_kilobyte),
		world_test(test_mail_grows_old),
		world_test(test_mail_in_flight_stays),
		world_test(test_connect_ends_the_mail_limits),
		world_test(test_falling_asleep_trims),
		world_test(test_days_of_sleep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
