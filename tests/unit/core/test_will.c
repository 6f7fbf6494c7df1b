#include "gateway/core/will.h"

#include "gateway/base/count.h"

#include "tests/unit/core/rig.h"

static struct fake_link dev, other, watcher;
static struct session *watching;

static int set_up(void **state)
{
	rig_up(state);
	watching = connect_client("watcher", &watcher);
	subscribe(watching, "will/#", 0);
	fake_init(&dev);
	fake_init(&other);
	return 0;
}

static struct session *connect_with_will(struct fake_link *f, const char *will, uint32_t delay_s,
	uint32_t expiry_s, bool clean_start)
{
	struct session_connect c = connecting("dev", f);
	c.will = will ? text_message("will/dev", will, 1, 0) : NULL;
	c.will_delay_s = delay_s;
	c.expiry_s = expiry_s;
	c.clean_start = clean_start;
	struct session *s = connect_as(&c);
	message_unref(c.will);
	return s;
}

static void assert_wills(unsigned n)
{
	assert_int_equal(watcher.n_sent, n);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(watcher.sent[i].text, "gone");
}

static void a_lost_client_has_its_will_published_once(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(1);
	rig_wait(60000);
	assert_wills(1);
	assert_int_equal(sessions_count(rig.all, false), 1);
}

static void a_session_without_expiry_publishes_it_too(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 0, false);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(1);
}

static void a_goodbye_cancels_it(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 60, false);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(61000);
	connect_with_will(&dev, "gone", 5, 0, false);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(61000);
	assert_wills(0);
}

static void a_delay_is_waited_for(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 10, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	rig_wait(9999);
	assert_wills(0);
	rig_wait(400);
	assert_wills(1);
	rig_wait(60000);
	assert_wills(1);
}

static void a_client_that_is_back_in_time_has_none(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 10, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	rig_wait(5000);
	connect_with_will(&dev, "gone", 10, 60, false);
	rig_wait(20000);
	assert_wills(0);
}

static void the_end_of_the_session_ends_the_delay(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 100, 10, false);
	session_detach(&dev.link, DETACH_LOST);
	rig_wait(10400);
	assert_wills(1);
	connect_with_will(&dev, "gone", 100, 0, false);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(2);
}

static void a_clean_start_ends_the_delay(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 100, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	connect_with_will(&dev, "gone", 100, 60, true);
	assert_wills(1);
	connect_with_will(&other, NULL, 0, 60, true);
	assert_wills(2);
	assert_int_equal(dev.closed, R_TAKEN_OVER);
	rig_wait(200000);
	assert_wills(2);
}

/* MQTT 5.0, 3.1.3.2.2: unless it has a delay and the session goes on. */
static void a_connection_that_gives_way_has_its_will_published(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 60, false);
	connect_with_will(&other, "gone", 0, 60, false);
	assert_wills(1);
	connect_with_will(&dev, "gone", 9, 60, true);
	assert_wills(2);
	connect_with_will(&other, NULL, 0, 60, false);
	rig_wait(60000);
	assert_wills(2);
}

static void a_device_that_speaks_from_elsewhere_is_not_lost(void **state)
{
	(void)state;
	struct session *s = connect_with_will(&dev, "gone", 0, 60, false);
	s->datagram = true;
	s = connect_with_will(&other, "gone", 0, 60, false);
	s->datagram = true;
	connect_with_will(&dev, "gone", 0, 60, true);
	assert_int_equal(other.n_closed, 1);
	assert_wills(0);
}

static void the_expiry_counts_from_publication(void **state)
{
	(void)state;
	subscribe(watching, "will/#", 1);
	session_detach(&watcher.link, DETACH_CLEAN);
	struct session_connect c = connecting("dev", &dev);
	c.will = message_new(&(struct message_init){ .topic = span_str("will/dev"),
		.payload = span_str("gone"),
		.qos = 1,
		.expires_ms = clock_ms() + 1000 });
	connect_as(&c);
	message_unref(c.will);
	rig_wait(5000);
	session_detach(&dev.link, DETACH_LOST);
	clock_advance(999);
	struct session_connect again = connecting("watcher", &watcher);
	connect_as(&again);
	assert_wills(1);
}

static void a_resumed_session_may_keep_its_will(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 60, false);
	session_detach(&dev.link, DETACH_CLEAN);
	struct session_connect c = connecting("dev", &dev);
	c.keep_will = true;
	connect_as(&c);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(1);
}

static void connecting_without_a_will_deletes_the_old_one(void **state)
{
	(void)state;
	connect_with_will(&dev, "gone", 0, 60, false);
	session_detach(&dev.link, DETACH_CLEAN);
	connect_with_will(&dev, NULL, 0, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(0);
}

static void an_update_replaces_it(void **state)
{
	(void)state;
	struct session *s = connect_with_will(&dev, "old", 5, 60, false);
	struct message *m = text_message("will/dev", "gone", 0, 0);
	session_set_will(s, m, 0);
	message_unref(m);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(1);
}

static void the_end_publishes_it_when_told_and_attached(void **state)
{
	(void)state;
	session_end(connect_with_will(&dev, "gone", 7, 60, false), R_ADMINISTRATIVE, false);
	assert_wills(0);
	session_end(connect_with_will(&dev, "gone", 7, 60, false), R_ADMINISTRATIVE, true);
	assert_wills(1);
	struct session *s = connect_with_will(&dev, "gone", 7, 60, false);
	session_detach(&dev.link, DETACH_CLEAN);
	session_end(s, R_ADMINISTRATIVE, true);
	assert_wills(1);
}

static void it_is_the_clients_own_message(void **state)
{
	(void)state;
	struct session *s = connect_with_will(&dev, "gone", 0, 60, false);
	struct sub_opts opts = { .qos = 1, .no_local = true };
	session_subscribe(s, span_str("will/dev"), &opts);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(1);
	assert_int_equal(session_queued(s), 0);
}

static void a_bad_topic_harms_nobody(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	c.will = text_message("$SYS/x", "gone", 1, 0);
	connect_as(&c);
	message_unref(c.will);
	session_detach(&dev.link, DETACH_LOST);
	assert_wills(0);
}

static bool not_to_wills(
	struct policy *p, const struct identity *who, enum access access, struct span topic)
{
	(void)p;
	return access != ACCESS_PUBLISH || !span_is(topic, "will/dev") ||
	       strcmp(who->client_id, "dev") != 0;
}

/* At the time of publication, as the client. */
static void the_policy_is_asked(void **state)
{
	struct policy strict = { policy_allow_all.connect, not_to_wills };
	uint64_t refused = count_value("will.refused");
	struct rig usual = rig;

	(void)state;
	rig.router = router_new(&strict, &(struct router_limits){ 0 });
	rig.all = sessions_new(rig.router, &rig.conf);
	struct session *s = connect_client("other", &other);
	subscribe(s, "will/#", 0);
	connect_with_will(&dev, "gone", 0, 60, false);
	session_detach(&dev.link, DETACH_LOST);
	assert_int_equal(other.n_sent, 0);
	assert_int_equal(count_value("will.refused"), refused + 1);
	sessions_free(rig.all);
	reap();
	router_free(rig.router);
	rig = usual;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, rig_down)
	const struct CMUnitTest tests[] = {
		TEST(a_lost_client_has_its_will_published_once),
		TEST(a_session_without_expiry_publishes_it_too),
		TEST(a_goodbye_cancels_it),
		TEST(a_delay_is_waited_for),
		TEST(a_client_that_is_back_in_time_has_none),
		TEST(the_end_of_the_session_ends_the_delay),
		TEST(a_clean_start_ends_the_delay),
		TEST(a_connection_that_gives_way_has_its_will_published),
		TEST(a_device_that_speaks_from_elsewhere_is_not_lost),
		TEST(the_expiry_counts_from_publication),
		TEST(a_resumed_session_may_keep_its_will),
		TEST(connecting_without_a_will_deletes_the_old_one),
		TEST(an_update_replaces_it),
		TEST(the_end_publishes_it_when_told_and_attached),
		TEST(it_is_the_clients_own_message),
		TEST(a_bad_topic_harms_nobody),
		TEST(the_policy_is_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
