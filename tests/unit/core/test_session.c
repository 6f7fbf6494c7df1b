#include "gateway/core/session.h"

#include "tests/unit/core/rig.h"

static struct fake_link dev, other, sensor;

static int set_up(void **state)
{
	rig_up(state);
	fake_init(&dev);
	fake_init(&other);
	fake_init(&sensor);
	return 0;
}

static bool connect_to(const struct session_connect *c, struct session **s)
{
	bool present = false;
	assert_int_equal(session_connect(rig.all, c, s, &present), R_SUCCESS);
	return present;
}

static void publish(const char *text, uint8_t qos)
{
	if (!sensor.link.session)
		connect_client("sensor", &sensor);
	publish_text(sensor.link.session, "t", text, qos, 1, 0);
	rig_turn();
}

static void a_session_is_made_and_resumed(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s, *again;
	c.username = "ann";
	assert_false(connect_to(&c, &s));
	assert_string_equal(s->who.client_id, "dev");
	assert_ptr_equal(dev.link.session, s);
	uint64_t origin = s->who.origin;
	assert_true(origin >= ORIGIN_FIRST_CLIENT);
	session_detach(&dev.link, DETACH_CLEAN);
	assert_null(dev.link.session);
	c.username = "bob";
	c.peer.port = 77;
	assert_true(connect_to(&c, &again));
	assert_ptr_equal(again, s);
	assert_int_equal(s->who.origin, origin);
	assert_string_equal(s->who.username, "bob");
	assert_int_equal(s->who.peer.port, 77);
}

static void mail_waits_for_an_absent_client(void **state)
{
	(void)state;
	subscribe(connect_client("dev", &dev), "t", 1);
	session_detach(&dev.link, DETACH_LOST);
	publish("a", 1);
	publish("b", 0);
	publish("c", 1);
	struct session *s = connect_client("dev", &dev);
	assert_int_equal(dev.n_sent, 2);
	assert_string_equal(dev.sent[0].text, "a");
	assert_string_equal(dev.sent[1].text, "c");
	assert_int_equal(session_queued(s), 2);
	assert_non_null(session_in_flight(s, dev.sent[0].id));
	assert_true(session_acked(s, dev.sent[0].id));
	assert_true(session_acked(s, dev.sent[1].id));
	assert_true(session_idle(s));
	assert_int_equal(session_dropped(s, DROP_OFFLINE), 1);
}

static void connecting_sends_nothing_before_the_pump(void **state)
{
	(void)state;
	subscribe(connect_client("dev", &dev), "t", 1);
	session_detach(&dev.link, DETACH_LOST);
	publish("a", 1);
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	connect_to(&c, &s);
	assert_int_equal(dev.n_sent, 0);
	session_pump(s);
	assert_int_equal(dev.n_sent, 1);
}

static void a_clean_start_forgets(void **state)
{
	(void)state;
	struct session *first = connect_client("dev", &dev);
	uint64_t origin = first->who.origin;
	subscribe(first, "t", 1);
	session_detach(&dev.link, DETACH_LOST);
	publish("a", 1);
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.clean_start = true;
	assert_false(connect_to(&c, &s));
	publish("b", 1);
	assert_true(session_idle(s));
	assert_int_not_equal(s->who.origin, origin);
	assert_int_equal(dev.n_sent, 0);
	assert_int_equal(dev.n_closed, 0);
}

static void a_take_over_tells_the_old_link(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	subscribe(s, "t", 1);
	publish("a", 1);
	assert_ptr_equal(connect_client("dev", &other), s);
	assert_int_equal(dev.n_closed, 1);
	assert_int_equal(dev.closed, R_TAKEN_OVER);
	assert_int_equal(other.n_sent, 1);
	assert_true(other.sent[0].dup);
	assert_int_equal(other.sent[0].id, dev.sent[0].id);
	session_detach(&dev.link, DETACH_LOST);
	assert_ptr_equal(s->link, &other.link);
	assert_int_equal(sessions_count(rig.all, true), 2);
}

static void a_repeated_connect_does_not_close_its_own_link(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	connect_to(&c, &s);
	assert_true(connect_to(&c, &s));
	c.clean_start = true;
	assert_false(connect_to(&c, &s));
	assert_false(connect_to(&c, &s));
	assert_int_equal(dev.n_closed, 0);
	assert_ptr_equal(dev.link.session, s);
	assert_int_equal(sessions_count(rig.all, false), 1);
	assert_int_equal(sessions_count(rig.all, true), 1);
}

static void a_link_that_changes_its_name_leaves_its_old_session(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	connect_to(&c, &s);
	c.client_id = "dev2";
	connect_to(&c, &s);
	assert_ptr_equal(dev.link.session, s);
	assert_null(sessions_find(rig.all, PROTO_MQTT, "dev")->link);
	assert_int_equal(sessions_count(rig.all, true), 1);
}

static enum reason say_no(struct policy *p, const struct identity *who, struct span password)
{
	(void)p;
	assert_string_equal(who->client_id, "dev");
	return span_is(password, "secret") ? R_SUCCESS : R_BAD_CREDENTIALS;
}

static void the_policy_is_asked_before_anything_changes(void **state)
{
	(void)state;
	struct policy strict = { say_no, policy_allow_all.allows };
	struct router *router = router_new(&strict, &(struct router_limits){ 0 });
	struct sessions *all = sessions_new(router, &rig.conf);
	struct session_connect c = connecting("dev", &dev);
	struct session *s, *none = NULL;
	bool present;
	c.password = span_str("secret");
	assert_int_equal(session_connect(all, &c, &s, &present), R_SUCCESS);
	c.password = span_str("guess");
	c.clean_start = true;
	c.link = &other.link;
	assert_int_equal(session_connect(all, &c, &none, &present), R_BAD_CREDENTIALS);
	assert_ptr_equal(s->link, &dev.link);
	assert_null(other.link.session);
	assert_null(none);
	sessions_free(all);
	reap();
	router_free(router);
}

static void silence_loses_the_client(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.keepalive_ms = 10000;
	connect_to(&c, &s);
	rig_wait(6000);
	session_heard(s);
	rig_wait(6000);
	assert_int_equal(dev.n_closed, 0);
	rig_wait(4400);
	assert_int_equal(dev.n_closed, 1);
	assert_int_equal(dev.closed, R_KEEP_ALIVE);
	assert_null(s->link);
	assert_ptr_equal(sessions_find(rig.all, PROTO_MQTT, "dev"), s);
	rig_wait(60000);
	assert_int_equal(dev.n_closed, 1);
}

static void silence_ends_a_session_without_expiry(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.keepalive_ms = 10000;
	c.expiry_s = 0;
	connect_to(&c, &s);
	rig_wait(10400);
	assert_int_equal(dev.n_closed, 1);
	assert_int_equal(dev.closed, R_KEEP_ALIVE);
	assert_int_equal(sessions_count(rig.all, false), 0);
}

static void a_new_keepalive_counts_from_now(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.keepalive_ms = 10000;
	connect_to(&c, &s);
	rig_wait(9000);
	session_set_keepalive(s, 5000);
	rig_wait(4900);
	assert_int_equal(dev.n_closed, 0);
	session_set_keepalive(s, 0);
	rig_wait(1000000);
	assert_int_equal(dev.n_closed, 0);
}

static void a_detached_session_expires(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.expiry_s = 10;
	connect_to(&c, &s);
	rig_wait(20000);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(9999);
	assert_true(connect_to(&c, &s));
	rig_wait(20000);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(10400);
	assert_null(sessions_find(rig.all, PROTO_MQTT, "dev"));
	assert_false(connect_to(&c, &s));
	assert_int_equal(dev.n_closed, 0);
}

static void never_is_capped_by_configuration(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	struct session *s;
	c.expiry_s = UINT32_MAX;
	connect_to(&c, &s);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(1000 * (int64_t)UINT32_MAX);
	assert_true(connect_to(&c, &s));
	rig.conf.max_expiry_s = 100;
	sessions_set_conf(rig.all, &rig.conf);
	session_detach(&dev.link, DETACH_CLEAN);
	rig_wait(104000);
	assert_false(connect_to(&c, &s));
}

static unsigned extras_freed;

static void free_extra(struct session_extra *e)
{
	free(e);
	extras_freed++;
}

static struct session_extra *extra_new(void)
{
	static const struct session_extra_ops ops = { .free = free_extra };
	struct session_extra *e = malloc(sizeof(*e));
	e->ops = &ops;
	return e;
}

static void the_end_comes_at_once_and_the_memory_later(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	subscribe(s, "t", 1);
	session_detach(&dev.link, DETACH_CLEAN);
	extras_freed = 0;
	session_set_extra(s, extra_new());
	session_set_extra(s, extra_new());
	assert_int_equal(extras_freed, 1);
	publish("a", 1);
	uint64_t before = drops_total(DROP_SESSION_END);
	session_end(s, R_ADMINISTRATIVE, false);
	session_end(s, R_ADMINISTRATIVE, false);
	assert_int_equal(drops_total(DROP_SESSION_END), before + 1);
	assert_null(sessions_find(rig.all, PROTO_MQTT, "dev"));
	publish("b", 1);
	assert_int_equal(extras_freed, 2);
}

static void an_ended_session_takes_nothing_any_more(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	struct sub_opts opts = { .qos = 1 };
	session_end(s, R_ADMINISTRATIVE, false);
	assert_int_equal(session_subscribe(s, span_str("t"), &opts), R_TAKEN_OVER);
	assert_int_equal(session_unsubscribe(s, span_str("t")), R_TAKEN_OVER);
	assert_int_equal(publish_text(s, "t", "a", 1, 1, 1), R_TAKEN_OVER);
	session_pump(s);
	assert_false(session_acked(s, 1));
	assert_int_equal(dev.closed, R_ADMINISTRATIVE);
}

static void end_inside(struct fake_link *f)
{
	f->inside = NULL;
	session_end(f->link.session, R_ADMINISTRATIVE, true);
}

static void a_session_may_end_inside_a_delivery(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	subscribe(s, "t", 1);
	dev.budget = 0;
	publish("a", 1);
	publish("b", 0);
	dev.budget = -1;
	dev.inside = end_inside;
	session_pump(s);
	assert_int_equal(dev.n_sent, 1);
	assert_int_equal(dev.n_closed, 1);
	rig_turn();
}

static void qos0_is_answered_by_the_call(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	assert_int_equal(publish_text(s, "nobody", "a", 0, 0, 0), R_SUCCESS);
	assert_int_equal(publish_text(s, "a/#", "a", 0, 0, 0), R_TOPIC_INVALID);
	rig_turn();
	assert_int_equal(dev.n_answers, 0);
	assert_int_equal(s->received, 2);
}

static void every_drop_has_a_name_and_a_total(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	for (enum drop d = 0; d < DROP_REASONS; d++) {
		uint64_t before = drops_total(d);
		session_drop(s, d);
		assert_int_equal(drops_total(d), before + 1);
		assert_int_equal(session_dropped(s, d), 1);
	}
	assert_string_equal(drop_name(DROP_QUEUE_FULL), "queue_full");
}

static void the_configured_window_is_the_upper_limit(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	assert_int_equal(s->window, 20);
	session_set_window(s, 65535);
	assert_int_equal(s->window, 20);
	subscribe(s, "#", 1);
	session_set_window(s, 2);
	for (uint16_t i = 1; i < 6; i++)
		publish_text(s, "t", "x", 1, i, 0);
	assert_int_equal(dev.n_sent, 2);
}

/* Mostly nothing is queued: then there is no queue either. */
static void an_idle_client_has_no_queue(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	assert_null(s->out);
	assert_true(session_idle(s));
	assert_false(session_acked(s, 1) || session_received(s, 1) || session_completed(s, 1));
	assert_false(session_refused(s, 1) || session_requeue(s, 1));
	assert_null(session_in_flight(s, 1));
	subscribe(s, "#", 1);
	publish_text(s, "t", "x", 1, 1, 0);
	assert_non_null(s->out);
	session_set_queue_policy(s, NULL);
	assert_non_null(s->out);
	assert_true(session_acked(s, 1));
	session_set_queue_policy(s, NULL);
	assert_null(s->out);
	publish_text(s, "t", "y", 1, 2, 0);
	assert_int_equal(dev.sent[1].id, 2); /* ids go on */
	session_acked(s, 2);
	session_detach(&dev.link, DETACH_CLEAN);
	assert_null(s->out);
}

static void the_queue_policy_goes_with_the_link(void **state)
{
	(void)state;
	static const struct queue_policy policy = { .messages = 1 };
	struct session *s = connect_client("dev", &dev);
	session_set_queue_policy(s, &policy);
	session_detach(&dev.link, DETACH_CLEAN);
	assert_null(s->queue_policy);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, rig_down)
	const struct CMUnitTest tests[] = {
		TEST(a_session_is_made_and_resumed),
		TEST(mail_waits_for_an_absent_client),
		TEST(connecting_sends_nothing_before_the_pump),
		TEST(a_clean_start_forgets),
		TEST(a_take_over_tells_the_old_link),
		TEST(a_repeated_connect_does_not_close_its_own_link),
		TEST(a_link_that_changes_its_name_leaves_its_old_session),
		TEST(the_policy_is_asked_before_anything_changes),
		TEST(silence_loses_the_client),
		TEST(silence_ends_a_session_without_expiry),
		TEST(a_new_keepalive_counts_from_now),
		TEST(a_detached_session_expires),
		TEST(never_is_capped_by_configuration),
		TEST(the_end_comes_at_once_and_the_memory_later),
		TEST(an_ended_session_takes_nothing_any_more),
		TEST(a_session_may_end_inside_a_delivery),
		TEST(qos0_is_answered_by_the_call),
		TEST(the_configured_window_is_the_upper_limit),
		TEST(an_idle_client_has_no_queue),
		TEST(the_queue_policy_goes_with_the_link),
		TEST(every_drop_has_a_name_and_a_total),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
