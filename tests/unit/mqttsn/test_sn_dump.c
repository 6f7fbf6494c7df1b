#include "adapters/mqttsn/sn_dump.h"

#include "tests/unit/mqttsn/world.h"

#include <stdio.h>

#define DEV 1001

static struct lines {
	char text[32][1500];
	unsigned n;
} lines;

static void keep(void *arg, const char *text)
{
	struct lines *l = arg;
	assert_true(l->n < ARRAY_SIZE(l->text));
	assert_true(strlen(text) < sizeof(l->text[0]));
	strcpy(l->text[l->n++], text);
}

static const struct lines *dump(struct world *w, uint16_t port, size_t topics)
{
	lines.n = 0;
	sn_dump_client(peer_at(w, port), topics, keep, &lines);
	return &lines;
}

static void assert_says(const char *line, const char *what)
{
	if (!strstr(line, what))
		fail_msg("no \"%s\" in \"%s\"", what, line);
}

static void test_an_active_device(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	pass_ms(w, 7000);
	const struct lines *l = dump(w, DEV, 8);
	assert_int_equal(l->n, 1);
	assert_string_equal(l->text[0],
		"client dev active at 10.0.0.1:1001, heard 7 s ago of 90 s, received 0, sent 0, "
		"queue 0 messages 0 octets, waits for nothing, last trouble: none");
}

static void test_a_sleeper_with_mail(void **state)
{
	struct world *w = *state;
	w->gw->conf.mail = (struct queue_policy){ .messages = 2 };
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	SAY(w, DEV, .type = SN_DISCONNECT, .present = true, .duration_s = 100);
	assert_hears(w, DEV, SN_DISCONNECT);
	publish(w, "a", "1", 1);
	publish(w, "a", "2", 1);
	publish(w, "a", "3", 1);
	const char *line = dump(w, DEV, 0)->text[0];
	assert_says(line, "client dev asleep");
	assert_says(line, "of 110 s");
	assert_says(line, "queue 2 messages ");
	assert_says(line, "dropped queue_full 1");
}

static void test_what_it_owes_us(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	subscribe_to(w, DEV, "a", 1);
	publish(w, "a", "1", 1);
	uint16_t id = hear(w, DEV)->msg_id;
	pass_ms(w, 10500);
	assert_int_equal(hear(w, DEV)->msg_id, id);
	assert_says(
		dump(w, DEV, 0)->text[0], "waits for PUBACK or PUBREC (id 1, repeated 1 times)");
	SAY(w, DEV, .type = SN_PUBACK, .topic_id = 1, .msg_id = id,
		.return_code = SN_NOT_SUPPORTED);
	assert_says(dump(w, DEV, 0)->text[0], "last trouble: message refused by the device");
	assert_says(dump(w, DEV, 0)->text[0], "dropped refused 1");
}

static void test_topics(void **state)
{
	struct world *w = *state;
	connect_as(w, DEV, "dev", true);
	register_name(w, DEV, "reg/one");
	subscribe_to(w, DEV, "sub/one", 1);
	SAY(w, DEV, .type = SN_SUBSCRIBE, .topic_type = SN_TOPIC_PREDEFINED, .topic_id = 2,
		.msg_id = 1);
	assert_hears(w, DEV, SN_SUBACK);
	subscribe_to(w, DEV, "wild/#", 1);
	pass_ms(w, 3000);
	publish(w, "wild/one", "x", 0);
	assert_hears(w, DEV, SN_REGISTER);
	const struct lines *l = dump(w, DEV, 8);
	assert_int_equal(l->n, 5);
	assert_string_equal(l->text[1], "client dev topic 1 reg/one, by client, acknowledged");
	assert_string_equal(
		l->text[2], "client dev topic 2 sub/one, by subscription, acknowledged");
	assert_says(l->text[3], "client dev topic 3 pre/two, by predefined 2");
	assert_says(l->text[4], "client dev topic 4 wild/one, by gateway, not registered");
	SAY(w, DEV, .type = SN_REGACK, .topic_id = 4, .msg_id = 1, .return_code = SN_NOT_SUPPORTED);
	l = dump(w, DEV, 2);
	assert_int_equal(l->n, 4);
	assert_says(l->text[0], "last trouble: topic refused by the device");
	assert_string_equal(l->text[3], "client dev has 2 more topics");
	assert_says(dump(w, DEV, 4)->text[4], ", refused");
}

static void test_a_long_name_leaves_room_for_the_rest(void **state)
{
	struct world *w = *state;
	char name[1200];
	memset(name, 'n', sizeof(name));
	memcpy(name + 1023, "\xc3\xa4", 2); /* cut in front of it */
	connect_as(w, DEV, "dev", true);
	struct session *s = sessions_find(w->sessions, PROTO_MQTTSN, "dev");
	sn_topics_add(s, span_of(name, sizeof(name)), SN_FROM_REGISTER, 9);
	const char *line = dump(w, DEV, 1)->text[1];
	assert_says(line, "nnn, by client");
	assert_null(strchr(line, 0xc3));
}

static void test_the_rest_is_counted(void **state)
{
	struct world *w = *state;
	char id[8];
	for (uint16_t i = 0; i < 5; i++) {
		snprintf(id, sizeof(id), "dev-%u", i);
		connect_as(w, (uint16_t)(DEV + i), id, true);
	}
	lines.n = 0;
	sn_dump_clients(w->gw, 3, 0, keep, &lines);
	assert_int_equal(lines.n, 4);
	assert_says(lines.text[0], "client dev-0 ");
	assert_string_equal(lines.text[3], "2 more clients");
	lines.n = 0;
	sn_dump_clients(w->gw, 5, 0, keep, &lines);
	assert_int_equal(lines.n, 5);
}

static void test_inside_the_will_dialogue(void **state)
{
	struct world *w = *state;
	SAY(w, DEV, .type = SN_CONNECT, .will = true, .protocol_id = 1, .duration_s = 60,
		.data = TEXT("dev"));
	assert_hears(w, DEV, SN_WILLTOPICREQ);
	assert_says(dump(w, DEV, 1)->text[0], "client - will topic at 10.0.0.1:1001, waits for");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_an_active_device),
		world_test(test_a_sleeper_with_mail),
		world_test(test_what_it_owes_us),
		world_test(test_topics),
		world_test(test_a_long_name_leaves_room_for_the_rest),
		world_test(test_the_rest_is_counted),
		world_test(test_inside_the_will_dialogue),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
