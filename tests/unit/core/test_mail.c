/* A stored session's queue over kills: nothing that was acknowledged is lost, nothing of QoS 2
 * comes twice, all in order. */
#include "gateway/core/mail.h"

#include "tests/unit/core/mail_rig.h"

#include "gateway/core/sub_ids.h"

static struct mail_client *const sub = &mail_clients[0], *const pub = &mail_clients[1],
				 *const other = &mail_clients[2];

static void say(const char *text, uint8_t qos)
{
	static uint16_t id;

	if (!pub->s->link)
		mail_attach(pub);
	assert_false(reason_failed(mail_publish_as(pub, "t/a", text, qos, ++id ? id : ++id)));
}

static unsigned answered(void)
{
	for (unsigned i = 0; i < pub->link.n_answers; i++)
		assert_false(reason_failed(pub->link.answers[i].reason));
	return pub->link.n_answers;
}

/* What the subscriber has been sent on this connection, "1 2 ...", and PUBREL as "r". */
static const char *sent(const struct mail_client *c)
{
	static char text[2000];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < c->link.n_sent; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "",
			c->link.sent[i].release ? "r" : c->link.sent[i].text);
	return text;
}

static uint16_t sent_id(unsigned i)
{
	assert_true(i < sub->link.n_sent);
	return sub->link.sent[i].id;
}

static void queued_mail_survives(void **state)
{
	uint16_t ids[3];
	(void)state;

	say("1", 1);
	say("2", 2);
	say("3", 1);
	receipts_run();
	assert_int_equal(answered(), 0); /* not before it is on disk */
	store_settle();
	assert_int_equal(answered(), 3);
	mail_kill();
	assert_int_equal(session_queued(sub->s), 3);
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 2 3");
	for (unsigned i = 0; i < 3; i++) {
		ids[i] = sent_id(i);
		assert_int_not_equal(ids[i], 0);
		assert_int_equal(sub->link.sent[i].qos, i == 1 ? 2 : 1);
		assert_true(sub->link.sent[i].dup);
	}
	mail_kill(); /* under the same packet ids */
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 2 3");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sent_id(i), ids[i]);
}

static void what_was_acknowledged_does_not_come_back(void **state)
{
	(void)state;
	say("1", 1);
	say("2", 1);
	say("3", 1);
	store_settle();
	mail_attach(sub);
	assert_false(sub->link.sent[0].dup);
	assert_true(session_acked(sub->s, sent_id(0)));
	assert_true(session_acked(sub->s, sent_id(1)));
	store_settle();
	mail_kill();
	mail_attach(sub);
	assert_string_equal(sent(sub), "3");
	session_acked(sub->s, sent_id(0));
	store_settle();
	mail_kill();
	assert_true(session_idle(sub->s));
	assert_int_equal(mail_status().messages, 0);
}

static void a_client_that_is_there_costs_no_write(void **state)
{
	char text[8];
	(void)state;

	mail_attach(sub);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "%u", i);
		say(text, (uint8_t)(i % 2));
		receipts_run();
		assert_int_equal(sub->link.n_sent, i + 1);
		if (i % 2) {
			assert_int_equal(answered(), i / 2); /* its publisher waits for it */
			session_acked(sub->s, sent_id(i));
		}
		receipts_run();
		assert_int_equal(answered(), (i + 1) / 2);
		store_turn(1);
	}
	store_settle();
	assert_int_equal(store_written(), 0);
	assert_int_equal(mail_status().messages, 0);
}

static void one_that_does_not_acknowledge_costs_one(void **state)
{
	(void)state;
	mail_attach(sub);
	say("1", 1);
	store_turn(990);
	assert_int_equal(store_written(), 0);
	assert_int_equal(answered(), 0);
	store_turn(20);
	store_settle();
	assert_int_equal(store_written(), 1);
	assert_int_equal(answered(), 1);
	uint16_t id = sent_id(0);
	mail_kill();
	mail_attach(sub);
	assert_string_equal(sent(sub), "1");
	assert_int_equal(sent_id(0), id);
}

static void qos_2_waits_for_the_disk(void **state)
{
	(void)state;
	mail_attach(sub);
	say("1", 2);
	say("2", 1);
	assert_string_equal(sent(sub), "");
	store_settle();
	assert_string_equal(sent(sub), "1 2"); /* in order */
	uint16_t id = sent_id(0);
	session_received(sub->s, id);
	session_received(sub->s, id); /* repeated */
	assert_string_equal(sent(sub), "1 2");
	store_settle();
	assert_string_equal(sent(sub), "1 2 r");
	store_turn(1001); /* the other one is due, too */
	store_settle();
	mail_kill(); /* before PUBCOMP */
	mail_attach(sub);
	assert_string_equal(sent(sub), "r 2");
	assert_int_equal(sent_id(0), id);
	assert_true(session_completed(sub->s, id));
	session_acked(sub->s, sent_id(1));
	store_settle();
	mail_kill();
	mail_attach(sub);
	assert_null(strpbrk(sent(sub), "12")); /* PUBREL perhaps, the end of it was not awaited */
}

static void a_kill_before_pubrec_is_safe_sends_it_again(void **state)
{
	(void)state;
	mail_attach(sub);
	say("1", 2);
	store_settle();
	uint16_t id = sent_id(0);
	session_received(sub->s, id);
	mail_kill(); /* no PUBREL has left: the client knows the packet id */
	mail_attach(sub);
	assert_string_equal(sent(sub), "1");
	assert_int_equal(sent_id(0), id);
	assert_true(sub->link.sent[0].dup);
	assert_int_equal(sub->link.sent[0].qos, 2);
}

static void a_reconnect_while_pubrec_is_written(void **state)
{
	(void)state;
	mail_attach(sub);
	say("1", 2);
	store_settle();
	uint16_t id = sent_id(0);
	session_received(sub->s, id);
	mail_detach(sub);
	mail_attach(sub);
	assert_string_equal(sent(sub), "");
	store_settle();
	assert_string_equal(sent(sub), "r");
	assert_true(session_completed(sub->s, id));
	assert_true(session_idle(sub->s));
}

static void a_window_of_it(void **state)
{
	char text[8];
	(void)state;

	sub->window = 4;
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "%u", i);
		say(text, 1);
	}
	store_settle();
	mail_kill();
	sub->window = 2; /* it may shrink */
	mail_attach(sub);
	assert_string_equal(sent(sub), "0 1");
	say("10", 1);
	for (unsigned i = 0; i < 11; i++)
		assert_true(session_acked(sub->s, sent_id(i)));
	assert_string_equal(sent(sub), "0 1 2 3 4 5 6 7 8 9 10");
	assert_true(session_idle(sub->s));
}

static void identifiers_and_flags_come_back(void **state)
{
	struct sub_opts opts = { .qos = 1, .retain_handling = 2, .retain_as_published = true };
	(void)state;

	opts.sub_id = 9;
	session_subscribe(sub->s, span_str("t/+"), &opts); /* besides t/# with 1 */
	mail_attach(pub);
	struct message *m = message_new(&(struct message_init){ .topic = span_str("t/a"),
		.payload = span_str("x"),
		.props = span_of("\x08\0\1r", 4), /* response topic */
		.qos = 1,
		.retain = true,
		.origin = pub->s->who.origin });
	session_publish(pub->s, m, 1, 1);
	message_unref(m);
	store_settle();
	mail_kill();
	struct delivery *d = NULL;
	for (uint16_t id = 1; !d; id++)
		d = session_in_flight(sub->s, id);
	assert_int_equal(sub_ids_count(delivery_sub_ids(d)), 2);
	assert_int_equal(
		sub_ids_at(delivery_sub_ids(d), 0) + sub_ids_at(delivery_sub_ids(d), 1), 10);
	assert_int_equal(message_props(d->msg).len, 4);
	assert_true(d->retain || !d->retain); /* that of the subscription with the higher QoS */
}

static void both_deliveries_of_a_member(void **state)
{
	(void)state;
	struct sub_opts opts = { .qos = 1, .retain_handling = 2 };
	session_subscribe(sub->s, span_str("$share/g/t/#"), &opts);
	say("1", 1);
	store_settle();
	mail_kill();
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 1");
	assert_int_not_equal(sent_id(0), sent_id(1));
	session_acked(sub->s, sent_id(0));
	session_acked(sub->s, sent_id(1));
	store_settle();
	assert_int_equal(mail_status().messages, 0);
}

static void packet_ids_in_use_are_passed_over(void **state)
{
	(void)state;
	sub->s->last_id = 65534;
	sub->window = 1;
	say("1", 1); /* 65535 */
	say("2", 1); /* 1 */
	say("3", 1); /* 2 */
	store_settle();
	mail_attach(sub);
	assert_int_equal(sent_id(0), 65535);
	sub->s->last_id = 65534;
	say("4", 1);
	store_turn(1001);
	store_settle();
	mail_kill();
	sub->window = 20;
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 2 3 4");
	static const uint16_t ids[] = { 65535, 1, 2, 3 };
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(sent_id(i), ids[i]);
	say("5", 1);
	assert_int_equal(sent_id(4), 4);
}

static void what_is_given_up_does_not_come_back(void **state)
{
	static const struct queue_policy three = { .messages = 3, .full = QUEUE_OLDEST };
	(void)state;

	mail_attach(sub);
	sub->link.budget = 0;
	session_set_queue_policy(sub->s, &three);
	for (unsigned i = 0; i < 6; i++)
		say((char[]){ (char)('0' + i), '\0' }, 1);
	store_settle();
	assert_int_equal(mail_status().claims[CLAIM_MAIL], 3);
	mail_kill();
	mail_attach(sub);
	assert_string_equal(sent(sub), "3 4 5");
	assert_true(session_refused(sub->s, sent_id(0)));
	session_end(sub->s, R_SUCCESS, false);
	sub->s = NULL;
	store_settle();
	assert_int_equal(mail_status().messages, 0);
	mail_kill();
	assert_int_equal(mail_status().messages, 0);
}

static void expired_ones_do_not_come_back(void **state)
{
	(void)state;
	mail_attach(pub);
	for (uint16_t id = 1; id <= 2; id++) {
		struct message *m = message_new(&(struct message_init){ .topic = span_str("t"),
			.payload = span_str(id == 1 ? "1" : "2"),
			.qos = 1,
			.expires_ms = clock_ms() + id * 10000 });
		session_publish(pub->s, m, id, id);
		message_unref(m);
	}
	sub->filters[1] = "t";
	store_settle();
	assert_int_equal(session_queued(sub->s), 2);
	store_turn(10000);
	mail_attach(sub);
	assert_string_equal(sent(sub), "2");
	assert_int_equal(mail_status().claims[CLAIM_MAIL], 1);
}

/* `n` messages of 1 KB each for one that is away. */
static void fill(unsigned n, unsigned topics)
{
	char topic[16], text[1025];

	memset(text, '.', 1024);
	text[1024] = '\0';
	mail_attach(pub);
	for (unsigned i = 0; i < n; i++) {
		snprintf(topic, sizeof(topic), "t/%u", i % topics);
		int len = snprintf(text, sizeof(text), "%u", i);
		text[len] = '.';
		assert_false(reason_failed(
			mail_publish_as(pub, topic, text, 1, (uint16_t)(i % 60000 + 1))));
		if (i % 50 == 49)
			store_settle();
		pub->link.n_answers = 0;
	}
	store_settle();
}

static void collect(unsigned first, unsigned n, unsigned step)
{
	for (unsigned i = 0; i < n; i++) {
		struct fake_sent *e = &sub->link.sent[sub->link.n_sent - 1];
		assert_int_equal(atoi(e->text), first + i * step);
		uint16_t id = e->id;
		sub->link.n_sent = 0;
		assert_true(session_acked(sub->s, id));
	}
	assert_true(session_idle(sub->s));
}

static void a_long_queue_stays_on_disk(void **state)
{
	(void)state;
	store.conf.memory_bytes = 16384;
	keeper_set_conf(store.keeper, &store.conf);
	sub->window = 1;
	mail_attach(sub);
	mail_detach(sub);
	fill(500, 500);
	assert_in_range(messages_bytes(), 1, 40000);
	assert_in_range(session_queued_bytes(sub->s), 500 * 1024, 500 * 1200);
	mail_kill();
	assert_int_equal(session_queued(sub->s), 500);
	assert_in_range(messages_bytes(), 1, 40000);
	mail_attach(sub);
	collect(0, 500, 1);
	store_settle();
	assert_int_equal(mail_status().messages, 0);
}

static void the_latest_of_each_topic_without_bodies(void **state)
{
	static const struct queue_policy policy = { .messages = 10,
		.full = QUEUE_LATEST_PER_TOPIC };
	(void)state;

	store.conf.memory_bytes = 2048;
	keeper_set_conf(store.keeper, &store.conf);
	sub->window = 1;
	mail_attach(sub);
	sub->link.budget = 0;
	session_set_queue_policy(sub->s, &policy);
	fill(100, 10);
	assert_int_equal(session_queued(sub->s), 10);
	assert_int_equal(session_dropped(sub->s, DROP_OUTDATED), 90);
	assert_int_equal(session_dropped(sub->s, DROP_QUEUE_FULL), 0);
	assert_in_range(messages_bytes(), 1, 8000);
	sub->link.budget = -1;
	session_pump(sub->s);
	collect(90, 10, 1);
}

static void a_body_that_is_lost(void **state)
{
	(void)state;
	store.conf.memory_bytes = 0;
	keeper_set_conf(store.keeper, &store.conf);
	sub->window = 1;
	mail_attach(sub);
	mail_detach(sub);
	fill(4, 4);
	/* Nobody else may do that: the second is read back when the first has gone. */
	const struct delivery *d = sub->s->out->queue.first->next;
	assert_true(d->on_disk);
	journal_forget(store.journal, kept_record(d->kept));
	mail_attach(sub);
	assert_int_equal(atoi(sub->link.sent[0].text), 0);
	session_acked(sub->s, sent_id(0));
	assert_int_equal(atoi(sub->link.sent[1].text), 2);
	assert_int_equal(session_dropped(sub->s, DROP_UNREADABLE), 1);
}

static void the_storage_fails(void **state)
{
	(void)state;
	mail_attach(other);
	say("1", 1);
	store_settle();
	store_fail(true);
	say("2", 1); /* finds out */
	store_fail(true);
	assert_int_equal(answered(), 1);
	assert_false(reason_failed(mail_publish_as(pub, "t/a", "3", 1, 700)));
	receipts_run();
	assert_int_equal(pub->link.answers[1].reason, R_QUOTA); /* told at once */
	assert_int_equal(session_dropped(sub->s, DROP_QUEUE_FULL), 1);
	for (unsigned i = 0; i < 10; i++)
		store_turn(500);
	assert_int_equal(pub->link.n_answers, 3); /* the one that found out, too */
	assert_int_equal(pub->link.answers[2].reason, R_QUOTA);
	assert_int_equal(session_queued(sub->s), 1);
	mail_attach(sub);
	assert_string_equal(sent(sub), "1");
	pub->link.n_answers = 0;
	say("4", 1); /* as long as somebody is there it works */
	session_acked(sub->s, sent_id(1));
	receipts_run();
	assert_int_equal(answered(), 1);
	store_fail(false);
	mail_detach(sub);
	say("5", 1);
	store_settle();
	assert_int_equal(answered(), 2);
	mail_kill();
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 5");
}

static void what_is_not_stored_is_as_ever(void **state)
{
	(void)state;
	mail_stored = false;
	mail_attach(sub);
	mail_detach(sub);
	say("1", 1);
	say("2", 2);
	receipts_run();
	mail_attach(sub);
	assert_string_equal(sent(sub), "1 2");
	assert_int_equal(store_written(), 0);
	session_received(sub->s, sent_id(1));
	assert_string_equal(sent(sub), "1 2 r");
}

static void qos_2_of_a_stored_publisher(void **state)
{
	(void)state;
	mail_attach(sub);
	mail_attach(pub);
	mail_publish_as(pub, "t/a", "1", 2, 7);
	receipts_run();
	assert_int_equal(answered(), 0);
	store_settle();
	assert_int_equal(answered(), 1);
	assert_string_equal(sent(sub), "1");
	mail_kill(); /* PUBREC may have been seen or not */
	mail_attach(sub);
	assert_string_equal(sent(sub), "1");
	mail_attach(pub);
	mail_send(pub, "t/a", "1", 2, 7, true);
	receipts_run();
	assert_int_equal(answered(), 1);
	assert_string_equal(sent(sub), "1");
	assert_int_equal(session_queued(sub->s), 1);
	assert_true(session_released(pub->s, 7));
	store_settle();
	assert_int_equal(mail_status().claims[CLAIM_EXCHANGE], 0);
	mail_kill();
	mail_attach(pub);
	assert_false(session_released(pub->s, 7));
	mail_publish_as(pub, "t/a", "2", 2, 7); /* another one */
	store_settle();
	assert_int_equal(session_queued(sub->s), 2);
}

static void another_message_under_an_old_id(void **state)
{
	(void)state;
	mail_attach(pub);
	mail_publish_as(pub, "t/a", "1", 2, 7);
	store_settle();
	mail_kill();
	mail_attach(pub);
	mail_publish_as(pub, "t/a", "2", 2, 7);
	store_settle();
	assert_int_equal(mail_status().claims[CLAIM_EXCHANGE], 1);
	assert_int_equal(session_queued(sub->s), 2);
}

/* The end of the first was not on disk yet: a sensor says the same, under the same id, and means it
 * anew. */
static void the_same_again_is_another_message(void **state)
{
	(void)state;
	mail_attach(pub);
	mail_publish_as(pub, "t/a", "1", 2, 7);
	store_settle();
	assert_true(session_released(pub->s, 7));
	mail_kill();
	assert_int_equal(mail_status().claims[CLAIM_EXCHANGE], 1);
	mail_attach(pub);
	mail_publish_as(pub, "t/a", "1", 2, 7);
	store_settle();
	assert_int_equal(session_queued(sub->s), 2);
	mail_send(pub, "t/a", "1", 2, 7, true);
	assert_int_equal(session_queued(sub->s), 2);
}

/* A commit that was cut short has the claim that came under an id, and not the end of the one
 * before. */
static void the_later_exchange_under_an_id_counts(void **state)
{
	struct claim c = { .kind = CLAIM_EXCHANGE, .packet_id = 7, .owner = 101 };
	const char *texts[] = { "1", "2" };
	struct kept *kept[2];
	int err;
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		struct message *m = text_message("t/a", texts[i], 2, 77);
		c.digest = message_digest(m);
		kept[i] = keeper_claim(store.keeper, m, &c, NULL, CLAIM_NOW, &err);
		assert_non_null(kept[i]);
		message_unref(m);
	}
	store_settle();
	for (unsigned i = 0; i < 2; i++)
		kept_leave(kept[i], &c);
	mail_kill();
	assert_int_equal(mail_status().claims[CLAIM_EXCHANGE], 1);
	mail_attach(pub);
	mail_send(pub, "t/a", "2", 2, 7, true);
	store_settle();
	assert_int_equal(session_queued(sub->s), 0);
	assert_true(session_released(pub->s, 7));
	store_settle();
	assert_int_equal(mail_status().messages, 0);
}

static void the_end_of_a_session_ends_its_exchanges(void **state)
{
	(void)state;
	mail_attach(pub);
	mail_publish_as(pub, "x", "1", 2, 7);
	mail_publish_as(pub, "x", "2", 2, 8);
	store_settle();
	mail_publish_as(pub, "x", "3", 2, 9);
	assert_int_equal(mail_status().claims[CLAIM_EXCHANGE], 3);
	session_end(pub->s, R_SUCCESS, false);
	pub->s = NULL;
	assert_int_equal(mail_status().messages, 0);
}

static void qos_2_is_refused_before_anybody_has_it(void **state)
{
	(void)state;
	mail_attach(sub);
	mail_attach(pub);
	store_fail(true);
	mail_publish_as(pub, "t/a", "1", 2, 7); /* finds out */
	store_fail(true);
	assert_int_equal(mail_publish_as(pub, "t/a", "2", 2, 8), R_QUOTA);
	assert_int_equal(session_queued(sub->s), 1);
	store_fail(false);
	store_settle();
	assert_int_equal(answered(), 1);
	assert_string_equal(sent(sub), "1");
	assert_int_equal(mail_publish_as(pub, "t/a", "2", 2, 8), R_SUCCESS);
	store_settle();
	assert_string_equal(sent(sub), "1 2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mail_setup, mail_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(queued_mail_survives),
		TEST(what_was_acknowledged_does_not_come_back),
		TEST(a_client_that_is_there_costs_no_write),
		TEST(one_that_does_not_acknowledge_costs_one),
		TEST(qos_2_waits_for_the_disk),
		TEST(a_kill_before_pubrec_is_safe_sends_it_again),
		TEST(a_reconnect_while_pubrec_is_written),
		TEST(a_window_of_it),
		TEST(identifiers_and_flags_come_back),
		TEST(both_deliveries_of_a_member),
		TEST(packet_ids_in_use_are_passed_over),
		TEST(what_is_given_up_does_not_come_back),
		TEST(expired_ones_do_not_come_back),
		TEST(a_long_queue_stays_on_disk),
		TEST(the_latest_of_each_topic_without_bodies),
		TEST(a_body_that_is_lost),
		TEST(the_storage_fails),
		TEST(what_is_not_stored_is_as_ever),
		TEST(qos_2_of_a_stored_publisher),
		TEST(another_message_under_an_old_id),
		TEST(the_same_again_is_another_message),
		TEST(the_later_exchange_under_an_id_counts),
		TEST(the_end_of_a_session_ends_its_exchanges),
		TEST(qos_2_is_refused_before_anybody_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
