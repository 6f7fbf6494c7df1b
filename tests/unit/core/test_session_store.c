#include "gateway/core/session_store.h"

#include "gateway/core/record.h"
#include "gateway/core/session_store_priv.h"
#include "gateway/core/will.h"
#include "tests/unit/core/rig.h"

#include "tests/unit/core/fake_journal.h"

#include <errno.h>
#include <stdio.h>

static void fail_with(int err)
{
	journal->append_error = err;
}

static struct session_store *st;

static struct session_store_status status(void)
{
	struct session_store_status s;
	session_store_status(st, &s);
	return s;
}

/* What the gateway does at a start. */
static void start(void)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	st = session_store_new(rig.all);
	session_store_handlers(st, handlers);
	for (uint64_t i = 1; i <= journal->n; i++) {
		const struct journal_handler *h = &handlers[journal->records[i].type];
		if (journal->records[i].live && h->fn &&
			h->fn(h->arg, i,
				span_of(journal->records[i].body, journal->records[i].len)) < 0)
			journal->records[i].live = false;
	}
	session_store_attach(st, journal, 600000);
	session_store_restored(st);
}

static struct fake_link dev, other;

static int set_up(void **state)
{
	rig_up(state);
	journal_setup();
	start();
	fake_init(&dev);
	fake_init(&other);
	return 0;
}

static void end(void)
{
	sessions_free(rig.all);
	session_store_free(st);
	reap();
	router_free(rig.router);
	assert_int_equal(messages_bytes(), 0);
}

static int tear_down(void **state)
{
	(void)state;
	end();
	journal_teardown();
	return 0;
}

static void turn(void)
{
	rig_turn();
	session_store_turn(st);
	reap();
}

static void wait_ms(int64_t ms)
{
	clock_advance(ms);
	timers_run();
	turn();
}

/* The process is gone without a word, and the next one starts `ms` later by the wall clock. */
static void crash_for(int64_t ms)
{
	static bool was_live[FAKE_RECORDS];
	uint64_t n = journal->n;

	for (uint64_t i = 1; i <= n; i++)
		was_live[i] = journal->records[i].live;
	end();
	for (uint64_t i = 1; i <= n; i++)
		journal->records[i].live = was_live[i];
	fake_init(&dev);
	fake_init(&other);
	fail_with(0);
	clock_advance(ms);
	rig.router = router_new(&policy_allow_all, &(struct router_limits){ 0 });
	rig.all = sessions_new(rig.router, &rig.conf);
	start();
}

static void crash(void)
{
	turn();
	crash_for(0);
}

static void stop(void)
{
	turn();
	session_store_close(st);
	crash_for(0);
}

static struct session *find(const char *client_id)
{
	return sessions_find(rig.all, PROTO_MQTT, client_id);
}

struct list_of {
	char text[4000];
};

static void print_one(struct span filter, const struct sub_opts *o, void *arg)
{
	struct list_of *l = arg;
	size_t len = strlen(l->text);
	snprintf(l->text + len, sizeof(l->text) - len, "%.*s:%u%s%s%s:%u ", SPAN_ARGS(filter),
		o->qos, o->no_local ? "l" : "", o->retain_as_published ? "p" : "",
		o->exclusive ? "x" : "", (unsigned)o->sub_id);
}

static void assert_subscribed(struct session *s, const char *expected)
{
	struct list_of l = { "" };
	router_subscriptions(&s->sub, print_one, &l);
	assert_string_equal(l.text, expected);
}

static void a_session_comes_back(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	c.username = "ann";
	c.keepalive_ms = 90000;
	c.window = 7;
	c.datagram = true;
	struct session *s = connect_as(&c);
	struct sub_opts opts = {
		.qos = 2, .no_local = true, .retain_as_published = true, .sub_id = 268435455
	};
	session_subscribe(s, span_str("a/+"), &opts);
	subscribe(s, "$share/g/b", 1);
	subscribe(s, "$exclusive/c", 0);
	turn();
	uint64_t number = session_number(s);
	assert_int_not_equal(number, 0);
	crash();
	s = find("dev");
	assert_non_null(s);
	assert_int_equal(session_number(s), number);
	assert_string_equal(s->who.username, "ann");
	assert_int_equal(s->keepalive_ms, 90000);
	assert_int_equal(s->window, 7);
	assert_int_equal(s->expiry_s, 3600);
	assert_true(s->datagram);
	assert_null(s->link);
	assert_true(session_was_attached(s));
	assert_subscribed(s, "a/+:2lp:268435455 $share/g/b:1:0 $exclusive/c:0x:0 ");
	struct session_connect again = connecting("dev", &dev);
	bool present = false;
	session_connect(rig.all, &again, &s, &present);
	assert_true(present);
	assert_false(session_was_attached(s));
	assert_int_equal(session_number(s), number);
}

static void without_expiry_nothing_is_stored_unless_the_adapter_wants_it(void **state)
{
	(void)state;
	struct session_connect c = connecting("clean", &dev);
	c.expiry_s = 0;
	struct session *s = connect_as(&c);
	subscribe(s, "t", 1);
	turn();
	assert_int_equal(session_number(s), 0);
	assert_int_equal(session_mark(s), 0);
	assert_int_equal(journal->n, 0);
	c = connecting("node", &other);
	c.expiry_s = 0;
	c.stored = true;
	s = connect_as(&c);
	turn();
	assert_int_not_equal(session_number(s), 0);
	crash();
	assert_null(find("clean"));
	s = find("node");
	assert_true(s->stored);
	struct addr from = { .family = 4, .port = 9 };
	session_resume(s, &other.link, &from);
	wait_ms(1000);
	assert_ptr_equal(find("node"), s);
	assert_int_equal(s->who.peer.port, 9);
	assert_int_equal(sessions_count(rig.all, true), 1);
	crash();
	wait_ms(0); /* nobody asks for it */
	assert_null(find("node"));
	assert_int_equal(live_records(), 0);
}

static void an_idle_session_is_one_record(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	turn();
	for (int i = 0; i < 20; i++) {
		char filter[16];
		snprintf(filter, sizeof(filter), "t/%d", i);
		subscribe(s, filter, 1);
		turn();
		commit(0);
	}
	wait_ms(600000);
	assert_int_equal(live_records(), 1);
	assert_int_equal(status().records, 1);
	assert_int_equal(status().sessions, 1);
}

static void an_outdated_record_stays_until_the_new_one_is_safe(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	turn();
	commit(0);
	subscribe(s, "t", 1);
	turn();
	wait_ms(700000);
	assert_int_equal(live_records(), 2);
	commit(0);
	wait_ms(700000);
	assert_int_equal(live_records(), 1);
}

static void many_changes_of_a_turn_are_one_record(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	for (int i = 0; i < 10; i++)
		subscribe(s, i % 2 ? "a" : "b", (uint8_t)(i % 3));
	session_unsubscribe(s, span_str("a"));
	turn();
	assert_int_equal(journal->n, 1);
	turn();
	assert_int_equal(journal->n, 1);
}

static void make_large(struct session *s)
{
	for (int i = 0; i < 60; i++) {
		char filter[40];
		snprintf(filter, sizeof(filter), "some/longer/topic/filter/%d", i);
		subscribe(s, filter, 1);
	}
	turn();
}

static void deltas_of_a_large_session_say_the_same_as_the_whole(void **state)
{
	(void)state;
	struct list_of l = { "" };
	struct session *s = connect_client("dev", &dev);
	make_large(s);
	size_t whole = journal->records[journal->n].len;
	subscribe(s, "extra", 2);
	turn();
	assert_int_equal(journal->records[journal->n].type, JR_SESSION_DELTA);
	assert_true(journal->records[journal->n].len < 40);
	session_unsubscribe(s, span_str("some/longer/topic/filter/7"));
	subscribe(s, "extra", 1);
	turn();
	assert_int_equal(journal->records[journal->n].type, JR_SESSION_DELTA);
	crash();
	s = find("dev");
	router_subscriptions(&s->sub, print_one, &l);
	assert_int_equal(s->sub.n_subscriptions, 60);
	assert_non_null(strstr(l.text, "extra:1:0 "));
	assert_non_null(strstr(l.text, "filter/8:1:0 "));
	assert_null(strstr(l.text, "filter/7:"));
	/* And no more of them than the whole is worth. */
	size_t deltas = 0;
	for (int i = 0; i < 1000; i++) {
		subscribe(s, "extra", (uint8_t)(i % 3));
		turn();
		commit(0);
		deltas += journal->records[journal->n].type == JR_SESSION_DELTA;
	}
	assert_in_range(deltas, 900, 999);
	wait_ms(600000);
	assert_true(live_records() * 13 < whole + 100);
	session_end(s, R_SUCCESS, false);
	assert_int_equal(live_records(), 0);
}

static void what_ends_is_forgotten_at_once(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	make_large(s);
	subscribe(s, "extra", 1);
	turn();
	commit(0);
	struct session_connect c = connecting("dev", &dev);
	c.clean_start = true;
	c.expiry_s = 0;
	s = connect_as(&c);
	assert_int_equal(live_records(), 0);
	assert_int_equal(session_number(s), 0);
	assert_false(session_reached(rig.all, session_mark(s)));
	commit(0);
	assert_true(session_reached(rig.all, session_mark(s)));
	crash();
	assert_null(find("dev"));
}

static void marks_stand_for_what_was_promised(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	uint64_t mark = session_mark(s); /* writes it */
	assert_int_equal(journal->n, 1);
	assert_false(session_reached(rig.all, mark));
	commit(0);
	assert_true(session_reached(rig.all, mark));
	assert_true(session_reached(rig.all, session_mark(s)));
	/* The same terms again: nothing that was promised changes. */
	session_detach(&dev.link, DETACH_CLEAN);
	s = connect_client("dev", &dev);
	turn();
	assert_int_equal(journal->n, 1);
	assert_true(session_reached(rig.all, session_mark(s)));
	session_set_expiry(s, 10);
	assert_false(session_reached(rig.all, session_mark(s)));
	fail_with(-EIO);
	assert_true(session_reached(rig.all, session_mark(s)));
}

static void what_fails_is_written_later(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	make_large(s);
	static const int errors[] = { -EIO, -ENOSPC };
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		fail_with(errors[i]);
		subscribe(s, i ? "one" : "two", 1);
		struct session *gone = connect_client("gone", &other);
		turn();
		assert_int_equal(session_mark(s), 0);
		assert_int_equal(session_number(gone), 0);
		assert_int_equal(status().changed, 2);
		session_end(gone, R_SUCCESS, false);
		subscribe(s, "three", 1);
		turn();
		fail_with(0);
		turn();
		assert_int_equal(status().changed, 0);
		assert_int_equal(journal->records[journal->n].type, JR_SESSION);
	}
	crash();
	assert_null(find("gone"));
	s = find("dev");
	assert_int_equal(s->sub.n_subscriptions, 63);
}

static void lazy_state_waits_for_its_time_or_for_the_end(void **state)
{
	(void)state;
	connect_client("dev", &dev);
	turn();
	session_detach(&dev.link, DETACH_CLEAN);
	turn();
	assert_int_equal(journal->n, 1);
	wait_ms(599000);
	assert_int_equal(journal->n, 1);
	wait_ms(1000);
	assert_int_equal(journal->n, 2);
	crash();
	assert_false(session_was_attached(find("dev")));
	find("dev")->last_id = 77;
	session_changed_lazily(find("dev"));
	stop();
	assert_int_equal(find("dev")->last_id, 77);
}

static void expiry_runs_while_the_gateway_is_down(void **state)
{
	(void)state;
	connect_client("dev", &dev);
	session_detach(&dev.link, DETACH_CLEAN);
	wait_ms(600000); /* on the disk since here */
	crash_for(2000000);
	wait_ms(999000);
	assert_non_null(find("dev"));
	wait_ms(1000);
	assert_null(find("dev"));
	assert_int_equal(live_records(), 0);
	connect_client("dev", &dev);
	turn();
	crash_for(4000000); /* it was connected until the crash: all of its time is left */
	wait_ms(3599000);
	assert_non_null(find("dev"));
	wait_ms(1000);
	assert_null(find("dev"));
}

static void a_clock_that_jumps_ends_nothing_early(void **state)
{
	(void)state;
	static const int64_t walls[] = { 0, 1668464000000 }; /* 1970, a year back */
	for (size_t i = 0; i < ARRAY_SIZE(walls); i++) {
		clock_freeze(clock_ms(), 1700000000000);
		connect_client("dev", &dev);
		session_detach(&dev.link, DETACH_CLEAN);
		wait_ms(600000);
		clock_freeze(clock_ms(), walls[i]);
		crash_for(0);
		wait_ms(2999000);
		assert_non_null(find("dev"));
		wait_ms(1000);
		assert_null(find("dev"));
	}
	clock_freeze(clock_ms(), 5000); /* stored in 1970, read when the time is known */
	connect_client("dev", &dev);
	session_detach(&dev.link, DETACH_CLEAN);
	wait_ms(600000);
	clock_freeze(clock_ms(), 1700000000000);
	crash_for(0);
	wait_ms(2999000);
	assert_non_null(find("dev"));
}

static unsigned wills;

static enum reason on_will(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	(void)s, (void)o, (void)r;
	assert_true(span_is(message_topic(m), "will"));
	wills++;
	return R_SUCCESS;
}

static struct subscriber *watch(void)
{
	static const struct subscriber_ops ops = { .offer = on_will };
	static const struct identity who = { .client_id = "", .protocol = PROTO_GATEWAY };
	static struct subscriber sub;
	subscriber_init(&sub, &ops, &who);
	router_subscribe(rig.router, &sub, span_str("will"), &(struct sub_opts){ .qos = 1 });
	wills = 0;
	return &sub;
}

static void connect_with_will(int64_t keepalive_ms, uint32_t delay_s)
{
	struct session_connect c = connecting("dev", &dev);
	c.will = text_message("will", "gone", 1, 0);
	c.will_delay_s = delay_s;
	c.keepalive_ms = keepalive_ms;
	connect_as(&c);
	message_unref(c.will);
	turn();
}

static void the_will_of_a_client_that_stays_away(void **state)
{
	(void)state;
	static const struct {
		int64_t keepalive_ms, after_ms;
		uint32_t delay_s;
	} cases[] = { { 15000, 15000, 0 }, { 15000, 20000, 20 }, { 15000, 15000, 10 },
		{ 0, 60000, 0 } };
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		connect_with_will(cases[i].keepalive_ms, cases[i].delay_s);
		crash();
		struct subscriber *sub = watch();
		wait_ms(cases[i].after_ms - 1);
		assert_int_equal(wills, 0);
		wait_ms(1);
		assert_int_equal(wills, 1);
		wait_ms(1000000);
		assert_int_equal(wills, 1);
		router_leave(rig.router, sub);
	}
}

static void a_will_does_not_come_for_a_client_that_came_or_went(void **state)
{
	(void)state;
	connect_with_will(15000, 0);
	crash();
	struct subscriber *sub = watch();
	connect_with_will(0, 0);
	wait_ms(100000);
	assert_int_equal(wills, 0);
	session_detach(&dev.link, DETACH_CLEAN);
	turn();
	router_leave(rig.router, sub);
	crash();
	sub = watch();
	wait_ms(100000);
	assert_int_equal(wills, 0);
	router_leave(rig.router, sub);
}

static void a_will_that_waits_goes_on_waiting(void **state)
{
	(void)state;
	connect_with_will(15000, 100);
	session_detach(&dev.link, DETACH_LOST);
	turn();
	crash_for(40000);
	struct subscriber *sub = watch();
	wait_ms(59999);
	assert_int_equal(wills, 0);
	router_leave(rig.router, sub);
	session_changed(find("dev"));
	stop();
	sub = watch();
	wait_ms(0);
	assert_int_equal(wills, 0);
	wait_ms(1);
	assert_int_equal(wills, 1);
	router_leave(rig.router, sub);
}

static void a_will_that_came_does_not_come_again(void **state)
{
	(void)state;
	for (unsigned lost = 0; lost < 2; lost++) {
		connect_with_will(15000, 10);
		if (lost) {
			session_detach(&dev.link, DETACH_LOST);
			turn();
		} else {
			crash();
		}
		struct subscriber *sub = watch();
		wait_ms(15000);
		assert_int_equal(wills, 1);
		router_leave(rig.router, sub);
		crash();
		sub = watch();
		wait_ms(1000000);
		assert_int_equal(wills, 0);
		router_leave(rig.router, sub);
	}
}

static void a_device_that_goes_on_costs_no_write(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	c.stored = c.datagram = true;
	connect_as(&c);
	for (unsigned i = 0; i < 2; i++) {
		crash();
		assert_true(session_was_attached(find("dev")));
		session_resume(find("dev"), &dev.link, &c.peer);
		uint64_t written = journal->n;
		wait_ms(700000);
		assert_int_equal(journal->n, written);
	}
}

/* Restarts do not give a client that stays away more time. */
static void expiry_runs_on_over_many_restarts(void **state)
{
	(void)state;
	struct session_connect c = connecting("dev", &dev);
	c.expiry_s = 3600;
	connect_as(&c);
	for (unsigned i = 0; i < 5; i++) {
		crash();
		assert_non_null(find("dev"));
		wait_ms(700000);
	}
	crash();
	wait_ms(100000);
	assert_null(find("dev"));
}

/* An adapter with one item for its link and one for what it keeps. */
static void save_link(const struct link *l, struct session_items *items)
{
	(void)l;
	struct span part = span_str("10.0.0.1");
	session_item_put(items, SESSION_ADAPTER, &part, 1);
}

static void forget_nothing(struct session_extra *e)
{
	(void)e;
}

static void save_extra(const struct session_extra *e, struct session_items *items)
{
	(void)e;
	struct span parts[] = { span_str("1="), span_str("topic") };
	session_item_put(items, SESSION_ADAPTER + 1, parts, 2);
}

static void assert_saved(struct session *s, const char *expected)
{
	struct reader r = reader_of(session_saved(s));
	struct session_item item;
	char text[200] = "";

	while (session_item_next(&r, &item))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u:%.*s ", item.type,
			SPAN_ARGS(item.body));
	assert_false(r.bad);
	assert_string_equal(text, expected);
}

static void an_adapter_finds_what_it_saved(void **state)
{
	(void)state;
	static const struct session_extra_ops extra_ops = { forget_nothing, save_extra };
	static struct session_extra extra = { &extra_ops };
	struct link_ops ops = *dev.link.ops;
	ops.save = save_link;
	struct session *s = connect_client("dev", &dev);
	dev.link.ops = &ops;
	session_set_extra(s, &extra);
	make_large(s);
	struct span part = span_str("2=more");
	session_note(s, SESSION_ADAPTER + 1, &part, 1);
	turn();
	assert_int_equal(journal->records[journal->n].type, JR_SESSION_DELTA);
	crash();
	assert_saved(find("dev"), "65:1=topic 64:10.0.0.1 65:2=more ");
	session_changed(find("dev")); /* nobody took it: it is written again */
	crash();
	assert_saved(find("dev"), "65:1=topic 64:10.0.0.1 65:2=more ");
	session_set_extra(find("dev"), NULL);
	assert_int_equal(session_saved(find("dev")).len, 0);
}

static void no_limit_refuses_what_was_stored(void **state)
{
	(void)state;
	subscribe(connect_client("a", &dev), "t", 1);
	subscribe(connect_client("b", &other), "t", 1);
	subscribe(find("a"), "u", 1);
	turn();
	rig.conf.max_sessions = 1;
	rig.conf.max_subscriptions = 1;
	crash();
	assert_non_null(find("b"));
	assert_int_equal(find("a")->sub.n_subscriptions, 2);
	assert_int_equal(find("a")->sub.max_subscriptions, 1);
}

static void later_records_win(void **state)
{
	(void)state;
	struct session *s = connect_client("dev", &dev);
	subscribe(s, "old", 1);
	turn();
	uint64_t first = s->record;
	session_unsubscribe(s, span_str("old"));
	turn();
	commit(0);
	wait_ms(600000);
	assert_false(journal->records[first].live);
	journal->records[first].live = true; /* its end did not reach the disk */
	crash();
	assert_int_equal(find("dev")->sub.n_subscriptions, 0);
	assert_false(journal->records[first].live);
	/* An earlier session of the same client. */
	uint64_t earlier = find("dev")->record;
	struct session_connect c = connecting("dev", &dev);
	c.clean_start = true;
	subscribe(connect_as(&c), "new", 1);
	turn();
	journal->records[earlier].live = true;
	crash();
	assert_subscribed(find("dev"), "new:1:0 ");
	assert_int_equal(live_records(), 1);
}

static void set_record(const uint8_t *body, size_t len, uint8_t type)
{
	uint64_t seq = ++journal->n;
	journal->records[seq].body = malloc(len + 1);
	memcpy(journal->records[seq].body, body, len);
	journal->records[seq].len = len;
	journal->records[seq].type = type;
	journal->records[seq].live = true;
}

static void hostile_records_do_no_harm(void **state)
{
	(void)state;
	connect_with_will(15000, 3);
	subscribe(find("dev"), "a/b", 1);
	turn();
	uint64_t seq = find("dev")->record;
	size_t len = journal->records[seq].len;
	uint8_t good[1000];
	memcpy(good, journal->records[seq].body, len);
	session_end(find("dev"), R_SUCCESS, false);
	for (size_t cut = 0; cut < len; cut++) { /* all truncations */
		set_record(good, cut, JR_SESSION);
		crash_for(0);
	}
	for (size_t at = 0; at < len; at++) { /* and damaged octets */
		uint8_t bad[1000];
		memcpy(bad, good, len);
		bad[at] ^= (uint8_t)(1 + at % 255);
		set_record(bad, len, JR_SESSION);
		set_record(bad, len, JR_SESSION_DELTA);
		crash_for(0);
		wait_ms(0);
	}
	assert_true(status().sessions <= len + 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_comes_back),
		TEST(without_expiry_nothing_is_stored_unless_the_adapter_wants_it),
		TEST(an_idle_session_is_one_record),
		TEST(an_outdated_record_stays_until_the_new_one_is_safe),
		TEST(many_changes_of_a_turn_are_one_record),
		TEST(deltas_of_a_large_session_say_the_same_as_the_whole),
		TEST(what_ends_is_forgotten_at_once),
		TEST(marks_stand_for_what_was_promised),
		TEST(what_fails_is_written_later),
		TEST(lazy_state_waits_for_its_time_or_for_the_end),
		TEST(expiry_runs_while_the_gateway_is_down),
		TEST(a_clock_that_jumps_ends_nothing_early),
		TEST(the_will_of_a_client_that_stays_away),
		TEST(a_will_does_not_come_for_a_client_that_came_or_went),
		TEST(a_will_that_waits_goes_on_waiting),
		TEST(a_will_that_came_does_not_come_again),
		TEST(a_device_that_goes_on_costs_no_write),
		TEST(expiry_runs_on_over_many_restarts),
		TEST(an_adapter_finds_what_it_saved),
		TEST(no_limit_refuses_what_was_stored),
		TEST(later_records_win),
		TEST(hostile_records_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
