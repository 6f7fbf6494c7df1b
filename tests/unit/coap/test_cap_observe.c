#include "tests/unit/coap/rig.h"

#include "adapters/coap/cap_client.h"

static struct rig rig;
static struct listener publisher;

static int setup(void **state)
{
	(void)state;
	rig_start(&rig, "");
	listener_start(&publisher, &rig, "unused", false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	router_leave(rig.router, &publisher.sub);
	rig_stop(&rig);
	return 0;
}

/* Registers (0) or cancels (1); `query` may be NULL. Returns the code. */
static unsigned observe_as(struct answer *a, unsigned type, uint16_t mid, const char *token,
	const char *path, const char *query, unsigned what)
{
	struct packet p;

	packet_init(&p, type, GET, mid, token);
	packet_uint(&p, OPT_OBSERVE, what);
	packet_path(&p, path);
	if (query)
		packet_query(&p, query);
	rig_ask(&rig, &p, a);
	assert_string_equal(a->token, token);
	return a->code;
}

static unsigned observe(struct answer *a, uint16_t mid, const char *token, const char *path)
{
	return observe_as(a, CON, mid, token, path, NULL, 0);
}

static void acknowledge(const struct answer *a)
{
	rig_empty(&rig, ACK, a->mid);
}

/* The next notification, acknowledged when it asks for that. */
static void expect_notification(struct answer *a, const char *token, const char *text)
{
	assert_true(rig_receive(&rig, a));
	assert_int_equal(a->code, CODE(205));
	assert_string_equal(a->token, token);
	assert_payload(a, text);
	if (a->type == CON)
		acknowledge(a);
}

static void expect_silence(void)
{
	struct answer a;

	assert_false(rig_receive(&rig, &a));
}

static void publish(const char *topic, const char *text, uint8_t qos)
{
	listener_publish(&publisher, &rig, topic, text, qos, false);
}

static void value_comes_with_the_registration(void **state)
{
	struct answer a;
	int64_t before;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/t", NULL, "old");
	assert_int_equal(observe(&a, 2, "ob", "/ps/t"), CODE(205));
	assert_payload(&a, "old");
	before = answer_uint(&a, OPT_OBSERVE);
	assert_true(before >= 0);
	expect_silence(); /* once, not again as a replay */
	publish("t", "new", 1);
	expect_notification(&a, "ob", "new");
	assert_int_equal(a.type, CON);
	assert_true(answer_uint(&a, OPT_OBSERVE) > before);
	assert_true(answer_option(&a, OPT_ETAG).len > 0);
	expect_silence();
}

static void registration_before_a_value(void **state)
{
	struct answer a;

	(void)state;
	assert_int_equal(observe(&a, 1, "ob", "/ps/none"), CODE(205));
	assert_true(answer_uint(&a, OPT_OBSERVE) >= 0);
	assert_int_equal(a.payload_len, 0);
	rig_publish(&rig, PUT, 2, "/ps/none", NULL, "first");
	expect_notification(&a, "ob", "first");
}

/* A client that has heard nothing for a minute asks whether it is still observing, for however long
 * the value lives. */
static void freshness_ends_after_a_minute(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/t", "expiry=86400", "long");
	assert_int_equal(rig_get(&rig, 2, "/ps/t", &a), CODE(205));
	assert_int_equal(answer_uint(&a, OPT_MAX_AGE), 86400);
	assert_int_equal(observe(&a, 3, "ob", "/ps/t"), CODE(205));
	assert_int_equal(answer_uint(&a, OPT_MAX_AGE), 60);
	rig_publish(&rig, PUT, 4, "/ps/t", "expiry=86400", "again");
	expect_notification(&a, "ob", "again");
	assert_int_equal(answer_uint(&a, OPT_MAX_AGE), 60);
	rig_publish(&rig, PUT, 5, "/ps/t", "expiry=5", "short");
	expect_notification(&a, "ob", "short");
	assert_int_equal(answer_uint(&a, OPT_MAX_AGE), 5);
}

static void filters_name_their_topics(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/r/1/temp", NULL, "20");
	assert_int_equal(observe(&a, 2, "ob", "/ps/r/+/temp"), CODE(205));
	assert_int_equal(a.payload_len, 0);
	expect_notification(&a, "ob", "20");
	publish("r/2/temp", "21", 1);
	expect_notification(&a, "ob", "21");
	assert_int_equal(a.options[2].number, OPT_LOCATION_PATH);
	assert_memory_equal(a.options[2].value, "ps", 2);
	assert_memory_equal(a.options[3].value, "r", 1);
	assert_memory_equal(a.options[4].value, "2", 1);
	assert_memory_equal(a.options[5].value, "temp", 4);
	publish("r/2/other", "x", 1);
	expect_silence();
}

static void one_confirmable_in_flight_in_order(void **state)
{
	struct answer a;

	(void)state;
	observe(&a, 1, "ob", "/ps/#");
	publish("x", "1", 1);
	publish("x", "2", 1);
	publish("x", "3", 1);
	assert_true(rig_receive(&rig, &a));
	assert_payload(&a, "1");
	expect_silence();
	acknowledge(&a);
	expect_notification(&a, "ob", "2");
	expect_notification(&a, "ob", "3");
	expect_silence();
}

static void every_fifth_is_confirmable_at_qos_0(void **state)
{
	struct answer a;

	(void)state;
	assert_int_equal(observe_as(&a, CON, 1, "ob", "/ps/x", "qos=0", 0), CODE(205));
	for (unsigned i = 1; i <= 10; i++) {
		publish("x", "v", 1);
		assert_true(rig_receive(&rig, &a));
		assert_int_equal(a.type, i % 5 ? NON : CON);
		if (a.type == CON)
			acknowledge(&a);
	}
	/* A NON registration asks for no confirmation either. */
	assert_int_equal(observe_as(&a, NON, 2, "on", "/ps/y", NULL, 0), CODE(205));
	publish("y", "v", 1);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, NON);
}

static void cancel_ends_it(void **state)
{
	struct answer a;

	(void)state;
	observe(&a, 1, "ob", "/ps/x");
	rig_publish(&rig, PUT, 2, "/ps/x", NULL, "v");
	expect_notification(&a, "ob", "v");
	assert_int_equal(observe_as(&a, CON, 3, "ob", "/ps/x", NULL, 1), CODE(205));
	assert_int_equal(answer_uint(&a, OPT_OBSERVE), -1);
	assert_payload(&a, "v");
	publish("x", "w", 1);
	expect_silence();
}

static void reset_ends_it(void **state)
{
	struct answer a;

	(void)state;
	observe(&a, 1, "c", "/ps/x");
	observe_as(&a, CON, 2, "n", "/ps/y", "qos=0", 0);
	publish("x", "1", 1);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, CON);
	rig_empty(&rig, RST, a.mid);
	publish("x", "2", 1);
	expect_silence();
	publish("y", "1", 0);
	assert_true(rig_receive(&rig, &a));
	assert_int_equal(a.type, NON);
	rig_empty(&rig, RST, a.mid);
	publish("y", "2", 0);
	expect_silence();
}

static struct cap_client *only_client(void)
{
	struct cap *cap = rig.self;

	return list_first(&cap->by_age, struct cap_client, age);
}

/* libcoap tells after its last retransmission, which takes minutes; the rest is asked here. */
static void silence_to_one_ends_one(void **state)
{
	struct cap_client *c;
	struct answer a;

	(void)state;
	observe(&a, 1, "x", "/ps/x");
	observe(&a, 2, "y", "/ps/y");
	publish("x", "1", 1);
	publish("y", "1", 1);
	assert_true(rig_receive(&rig, &a));
	assert_string_equal(a.token, "x");
	c = only_client();
	assert_true(c->in_flight);
	cap_outbox_lost(c, c->in_flight_mid);
	assert_int_equal(c->n_observes, 1);
	/* libcoap would have given it up by itself; here it has to be told. */
	rig_empty(&rig, ACK, a.mid);
	assert_true(rig_receive(&rig, &a));
	assert_string_equal(a.token, "y");
	assert_payload(&a, "1");
}

static void new_token_replaces_the_old(void **state)
{
	struct answer a;

	(void)state;
	observe(&a, 1, "old", "/ps/x");
	observe(&a, 2, "new", "/ps/x");
	publish("x", "1", 1);
	expect_notification(&a, "new", "1");
	expect_silence();
	/* The same token for another topic leaves the first one. */
	observe(&a, 3, "new", "/ps/y");
	publish("x", "2", 1);
	expect_silence();
	publish("y", "3", 1);
	expect_notification(&a, "new", "3");
}

static void refreshed_filter_replays_nothing(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/f/1", NULL, "v");
	observe(&a, 2, "ob", "/ps/f/+");
	expect_notification(&a, "ob", "v");
	observe(&a, 3, "ob", "/ps/f/+");
	expect_silence();
	observe(&a, 4, "again", "/ps/f/+");
	expect_notification(&a, "again", "v");
}

static void no_local(void **state)
{
	struct answer a;

	(void)state;
	observe_as(&a, CON, 1, "ob", "/ps/x", "nl=1", 0);
	rig_publish(&rig, PUT, 2, "/ps/x", NULL, "mine");
	expect_silence();
	publish("x", "theirs", 1);
	expect_notification(&a, "ob", "theirs");
}

static void delete_tells_observers(void **state)
{
	struct answer a;

	(void)state;
	rig_publish(&rig, PUT, 1, "/ps/x", NULL, "v");
	observe(&a, 2, "ob", "/ps/x");
	assert_int_equal(rig_publish(&rig, DELETE, 3, "/ps/x", NULL, ""), CODE(202));
	expect_notification(&a, "ob", "");
	assert_int_equal(answer_option(&a, OPT_ETAG).len, 0);
}

static void full_queue_drops_the_oldest(void **state)
{
	struct answer a;
	char text[8];

	(void)state;
	observe(&a, 1, "ob", "/ps/x");
	for (unsigned i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "%u", i);
		publish("x", text, 1);
	}
	/* 0 is in flight, 1 and 2 made room for 4 and 5. */
	expect_notification(&a, "ob", "0");
	expect_notification(&a, "ob", "3");
	expect_notification(&a, "ob", "4");
	expect_notification(&a, "ob", "5");
	expect_silence();
	assert_int_equal(count_value("coap.dropped"), 2);
}

static int setup_short(void **state)
{
	(void)state;
	rig_start(&rig, "notify_queue = 3\nobservers_per_client = 2\nobservers = 3\n");
	listener_start(&publisher, &rig, "unused", false);
	return 0;
}

static void too_many_observations(void **state)
{
	struct packet p;
	struct answer a;
	int other = rig_device(&rig);

	(void)state;
	assert_int_equal(observe(&a, 1, "1", "/ps/1"), CODE(205));
	assert_int_equal(observe(&a, 2, "2", "/ps/2"), CODE(205));
	assert_int_equal(observe(&a, 3, "3", "/ps/3"), CODE(503));
	assert_true(answer_uint(&a, OPT_MAX_AGE) > 0);
	for (unsigned i = 1; i <= 2; i++) {
		packet_init(&p, CON, GET, (uint16_t)i, i == 1 ? "4" : "5");
		packet_uint(&p, OPT_OBSERVE, 0);
		packet_path(&p, i == 1 ? "/ps/4" : "/ps/5");
		rig_send_from(&rig, other, p.bytes, p.len);
		assert_true(rig_receive_at(&rig, other, &a));
		assert_int_equal(a.code, i == 1 ? CODE(205) : CODE(503));
	}
	close(other);
}

static int setup_prove(void **state)
{
	(void)state;
	rig_start(&rig, "prove_address = yes\n");
	listener_start(&publisher, &rig, "unused", false);
	return 0;
}

static void stranger_may_not_observe_for_another(void **state)
{
	struct packet p;
	struct answer a;
	uint8_t echo[40];
	size_t len;

	(void)state;
	assert_int_equal(observe(&a, 1, "ob", "/ps/x"), CODE(401));
	len = answer_option(&a, OPT_ECHO).len;
	assert_true(len > 0);
	memcpy(echo, answer_option(&a, OPT_ECHO).p, len);
	publish("x", "1", 1);
	expect_silence();
	packet_init(&p, CON, GET, 2, "ob");
	packet_uint(&p, OPT_OBSERVE, 0);
	packet_path(&p, "/ps/x");
	packet_option(&p, OPT_ECHO, echo, len);
	rig_ask(&rig, &p, &a);
	assert_int_equal(a.code, CODE(205));
	publish("x", "2", 1);
	expect_notification(&a, "ob", "2");
}

/* Without its ACK a device that says 2.04 in it would be asked again for ever. */
static void odd_acknowledgement_counts(void **state)
{
	struct packet p;
	struct answer a;

	(void)state;
	observe(&a, 1, "ob", "/ps/x");
	publish("x", "1", 1);
	publish("x", "2", 1);
	assert_true(rig_receive(&rig, &a));
	packet_init(&p, ACK, CODE(204), a.mid, "ob");
	rig_send(&rig, &p);
	expect_notification(&a, "ob", "2");
	expect_silence();
}

static void many_observers_in_batches(void **state)
{
	enum { N = 100 };
	struct packet p;
	struct answer a;
	int fd[N];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		fd[i] = rig_device(&rig);
		packet_init(&p, CON, GET, 1, "o");
		packet_uint(&p, OPT_OBSERVE, 0);
		packet_path(&p, "/ps/all");
		rig_send_from(&rig, fd[i], p.bytes, p.len);
		assert_true(rig_receive_at(&rig, fd[i], &a));
	}
	publish("all", "v", 1);
	for (unsigned i = 0; i < N; i++) {
		assert_true(rig_receive_at(&rig, fd[i], &a));
		assert_payload(&a, "v");
		packet_init(&p, ACK, 0, a.mid, "");
		rig_send_from(&rig, fd[i], p.bytes, p.len);
		close(fd[i]);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(full_queue_drops_the_oldest, setup_short, teardown),
		cmocka_unit_test_setup_teardown(too_many_observations, setup_short, teardown),
		cmocka_unit_test_setup_teardown(
			stranger_may_not_observe_for_another, setup_prove, teardown),
		T(value_comes_with_the_registration),
		T(registration_before_a_value),
		T(freshness_ends_after_a_minute),
		T(filters_name_their_topics),
		T(one_confirmable_in_flight_in_order),
		T(every_fifth_is_confirmable_at_qos_0),
		T(cancel_ends_it),
		T(reset_ends_it),
		T(silence_to_one_ends_one),
		T(new_token_replaces_the_old),
		T(refreshed_filter_replays_nothing),
		T(no_local),
		T(delete_tells_observers),
		T(odd_acknowledgement_counts),
		T(many_observers_in_batches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
