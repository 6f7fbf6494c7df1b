#include "gateway/core/queue_policy.h"

#include "gateway/core/outqueue.h"
#include "tests/unit/core/fake_link.h"

#include <stdio.h>
#include <stdlib.h>

/* A sleeper's mailbox: a queue whose link takes nothing until the test collects. */
static struct sessions_conf conf;
static struct queue_policy policy;
static struct session session;
static struct fake_link fake;
static struct outqueue *q;

static int set_up(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	conf = (struct sessions_conf){ .queue_messages = 100, .queue_bytes = 100000, .window = 20 };
	session = (struct session){ .who = { .client_id = "dev" }, .window = 1 };
	policy = (struct queue_policy){ .messages = 3 };
	session.queue_policy = &policy;
	fake_init(&fake);
	fake.result = -EAGAIN;
	session.link = &fake.link;
	fake.link.session = &session;
	q = session.out = outqueue_new(&session, &conf);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	outqueue_free(q);
	free(session.rare);
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static enum reason offer_qos(const char *topic, const char *text, uint8_t qos)
{
	struct message *m = text_message(topic, text, qos, 0);
	struct offer o = { .qos = qos };
	enum reason r = outqueue_offer(q, m, &o, NULL);
	message_unref(m);
	return r;
}

static enum reason offer(const char *topic, const char *text)
{
	return offer_qos(topic, text, 0);
}

static enum reason offer_large(const char *topic, size_t size)
{
	uint8_t *bytes = calloc(1, size);
	struct message *m = message_new(&(struct message_init){
		.topic = span_str(topic), .payload = span_of(bytes, size) });
	struct offer o = { .qos = 0 };
	enum reason r = outqueue_offer(q, m, &o, NULL);
	message_unref(m);
	free(bytes);
	return r;
}

/* What the client gets when it asks for its mail, acknowledging as it goes. */
static const char *collected(void)
{
	static char text[1024];
	text[0] = '\0';
	fake.result = 0;
	outqueue_pump(q);
	for (unsigned i = 0; i < fake.n_sent; i++) {
		size_t len = strlen(text);
		snprintf(text + len, sizeof(text) - len, "%s%s%s", i ? " " : "", fake.sent[i].text,
			fake.sent[i].dup ? "+" : "");
		outqueue_acked(q, fake.sent[i].id);
	}
	fake.n_sent = 0;
	fake.result = -EAGAIN;
	return text;
}

static uint64_t dropped(enum drop d)
{
	return session_dropped(&session, d);
}

static void every_qos_waits_in_order(void **state)
{
	(void)state;
	offer_qos("t", "a", 0);
	offer_qos("t", "b", 1);
	offer_qos("t", "c", 0);
	assert_string_equal(collected(), "a b c");
}

static void the_oldest_gives_way(void **state)
{
	(void)state;
	const char *const texts[] = { "a", "b", "c", "d", "e" };
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(offer("t", texts[i]), R_SUCCESS);
	assert_int_equal(outqueue_length(q), 3);
	assert_int_equal(dropped(DROP_QUEUE_FULL), 2);
	assert_string_equal(collected(), "c d e");
}

static void the_newest_is_refused(void **state)
{
	(void)state;
	policy.full = QUEUE_NEWEST;
	offer("t", "a");
	offer("t", "b");
	offer("t", "c");
	assert_int_equal(offer("t", "d"), R_QUOTA);
	assert_int_equal(dropped(DROP_QUEUE_FULL), 1);
	assert_string_equal(collected(), "a b c");
}

static void the_latest_of_each_topic_stays(void **state)
{
	(void)state;
	policy.full = QUEUE_LATEST_PER_TOPIC;
	offer("b", "b1");
	offer("a", "a1");
	offer("a", "a2");
	offer("c", "c1"); /* a2 outdates a1; b1 is older, but the latest of its topic */
	assert_int_equal(dropped(DROP_OUTDATED), 1);
	offer("a", "a3");
	assert_int_equal(dropped(DROP_OUTDATED), 2);
	assert_int_equal(dropped(DROP_QUEUE_FULL), 0);
	assert_string_equal(collected(), "b1 c1 a3");
}

static void with_room_nothing_is_outdated(void **state)
{
	(void)state;
	policy.full = QUEUE_LATEST_PER_TOPIC;
	offer("a", "a1");
	offer("a", "a2");
	offer("a", "a3");
	assert_string_equal(collected(), "a1 a2 a3");
}

static void more_topics_than_room_cost_the_oldest(void **state)
{
	(void)state;
	policy.full = QUEUE_LATEST_PER_TOPIC;
	offer("a", "a1");
	offer("b", "b1");
	offer("c", "c1");
	offer("d", "d1");
	assert_int_equal(dropped(DROP_QUEUE_FULL), 1);
	assert_int_equal(dropped(DROP_OUTDATED), 0);
	assert_string_equal(collected(), "b1 c1 d1");
}

/* A device that reads one sensor per minute for a day keeps the newest of each of its topics. */
static void many_topics_many_values(void **state)
{
	(void)state;
	char topic[16], text[16];
	policy = (struct queue_policy){ .messages = 40, .full = QUEUE_LATEST_PER_TOPIC };
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(topic, sizeof(topic), "t/%u", i % 40);
		snprintf(text, sizeof(text), "%u", i);
		assert_int_equal(offer(topic, text), R_SUCCESS);
	}
	fake.result = 0;
	outqueue_pump(q);
	assert_int_equal(fake.n_sent, 40);
	assert_string_equal(fake.sent[0].text, "960");
	assert_string_equal(fake.sent[39].text, "999");
	assert_int_equal(dropped(DROP_OUTDATED), 960);
}

/* Sent already and not acknowledged: it comes again whatever happens. */
static void what_is_in_flight_never_gives_way(void **state)
{
	(void)state;
	for (int full = QUEUE_OLDEST; full <= QUEUE_LATEST_PER_TOPIC; full++) {
		policy.full = full;
		fake.result = 0;
		offer_qos("t", "flying", 1);
		uint16_t id = fake.sent[0].id;
		fake.n_sent = 0;
		fake.result = -EAGAIN;
		outqueue_requeue(q, id); /* it went back to sleep */
		for (unsigned i = 0; i < 5; i++)
			offer("t", "x");
		assert_int_equal(outqueue_length(q), 3);
		assert_string_equal(collected(), "flying+ x x");
	}
}

static void a_window_full_of_flights_refuses(void **state)
{
	(void)state;
	session.window = 3;
	fake.result = 0;
	offer_qos("t", "a", 1);
	offer_qos("t", "b", 1);
	offer_qos("t", "c", 1);
	fake.result = -EAGAIN;
	assert_int_equal(offer_qos("t", "d", 1), R_QUOTA);
	assert_int_equal(outqueue_length(q), 3);
}

static void bytes_count_as_well(void **state)
{
	(void)state;
	policy = (struct queue_policy){ .bytes = 3000 };
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(offer_large("t", 900), R_SUCCESS);
	assert_int_equal(outqueue_length(q), 3);
	assert_true(q->bytes <= 3000);
	assert_int_equal(dropped(DROP_QUEUE_FULL), 3);
}

/* One that could never fit must not empty the mailbox first. */
static void one_that_is_too_large_costs_nothing(void **state)
{
	(void)state;
	policy = (struct queue_policy){ .bytes = 3000 };
	offer("t", "a");
	offer("t", "b");
	assert_int_equal(offer_large("t", 3000), R_QUOTA);
	assert_string_equal(collected(), "a b");
	assert_int_equal(offer_large("t", 3000), R_SUCCESS); /* alone it is taken */
}

static void the_age_runs_in_the_queue(void **state)
{
	(void)state;
	policy = (struct queue_policy){ .age_ms = 1000 };
	offer("t", "a");
	clock_advance(600);
	offer("t", "b");
	clock_advance(400);
	assert_string_equal(collected(), "b");
	assert_int_equal(dropped(DROP_TOO_OLD), 1);
	offer("t", "c");
	clock_advance(1000);
	offer("t", "d"); /* memory does not wait for the client */
	assert_int_equal(outqueue_length(q), 1);
	assert_int_equal(dropped(DROP_TOO_OLD), 2);
}

static void what_is_stale_goes_before_the_policy_is_asked(void **state)
{
	(void)state;
	policy.full = QUEUE_NEWEST;
	struct message *m = message_new(
		&(struct message_init){ .topic = span_str("t"), .expires_ms = clock_ms() + 10 });
	struct offer o = { .qos = 0 };
	outqueue_offer(q, m, &o, NULL);
	message_unref(m);
	offer("t", "b");
	offer("t", "c");
	clock_advance(10);
	assert_int_equal(offer("t", "d"), R_SUCCESS);
	assert_int_equal(dropped(DROP_EXPIRED), 1);
	assert_string_equal(collected(), "b c d");
}

static void an_age_ends_no_flight(void **state)
{
	(void)state;
	policy = (struct queue_policy){ .age_ms = 1000 };
	fake.result = 0;
	offer_qos("t", "a", 1);
	fake.n_sent = 0;
	outqueue_requeue(q, 1);
	clock_advance(5000);
	assert_string_equal(collected(), "a+");
}

/* An active client had more waiting than a sleeper may have. */
static void falling_asleep_trims(void **state)
{
	(void)state;
	static const char *const left[] = { "d e f", "a b c", "b c f" };
	for (int full = QUEUE_OLDEST; full <= QUEUE_LATEST_PER_TOPIC; full++) {
		session.queue_policy = NULL;
		offer("1", "a");
		offer("2", "b");
		offer("3", "c");
		offer("1", "d");
		offer("1", "e");
		offer("1", "f");
		assert_int_equal(outqueue_length(q), 6);
		policy.full = full;
		session.queue_policy = &policy;
		outqueue_trim(q);
		assert_string_equal(collected(), left[full]);
	}
}

static void the_limits_of_all_hold_too(void **state)
{
	(void)state;
	conf.queue_messages = 2;
	policy.messages = 50;
	offer("t", "a");
	offer("t", "b");
	offer("t", "c");
	assert_string_equal(collected(), "b c");
}

/* A replay of retained messages waits instead of pushing others out. */
static void half_full_is_no_room_for_a_replay(void **state)
{
	(void)state;
	policy.messages = 4;
	offer("t", "a");
	assert_true(outqueue_room(q));
	offer("t", "b");
	assert_false(outqueue_room(q));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(every_qos_waits_in_order),
		TEST(the_oldest_gives_way),
		TEST(the_newest_is_refused),
		TEST(the_latest_of_each_topic_stays),
		TEST(with_room_nothing_is_outdated),
		TEST(more_topics_than_room_cost_the_oldest),
		TEST(many_topics_many_values),
		TEST(what_is_in_flight_never_gives_way),
		TEST(a_window_full_of_flights_refuses),
		TEST(bytes_count_as_well),
		TEST(one_that_is_too_large_costs_nothing),
		TEST(the_age_runs_in_the_queue),
		TEST(what_is_stale_goes_before_the_policy_is_asked),
		TEST(an_age_ends_no_flight),
		TEST(falling_asleep_trims),
		TEST(the_limits_of_all_hold_too),
		TEST(half_full_is_no_room_for_a_replay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
