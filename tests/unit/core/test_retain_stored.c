/* Retained and delayed messages over a kill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/storage_rig.h"

/* A client that publishes, and one that subscribes. */
static struct client {
	struct identity who;
	struct subscriber sub;
	struct receipt receipt;
	bool gate, took;
	unsigned n, done;
	enum reason answer, reason;
	char last[40];
	struct receipt_hold hold;
} dev, box, gate;

static enum reason on_offer(
	struct subscriber *s, struct message *m, struct offer *o, struct receipt *r)
{
	struct client *c = container_of(s, struct client, sub);

	(void)o;
	if (reason_failed(c->answer))
		return c->answer;
	c->n++;
	snprintf(c->last, sizeof(c->last), "%.*s=%.*s", SPAN_ARGS(message_topic(m)),
		SPAN_ARGS(message_payload(m)));
	if (c->gate)
		receipt_hold(r, &c->hold);
	return R_SUCCESS;
}

static const struct subscriber_ops ops = { .offer = on_offer };

static void on_done(struct receipt *r, enum reason reason)
{
	struct client *c = container_of(r, struct client, receipt);

	c->done++;
	c->reason = reason;
}

static void client_init(struct client *c, const char *id, enum protocol p)
{
	memset(c, 0, sizeof(*c));
	c->who = (struct identity){ .client_id = id, .protocol = p };
	c->who.origin = p == PROTO_UPSTREAM ? ORIGIN_UPSTREAM : identity_new_origin();
	c->gate = p == PROTO_UPSTREAM;
	subscriber_init(&c->sub, &ops, &c->who);
	c->sub.gate = c->gate;
	receipt_init(&c->receipt, on_done);
}

static void subscribe(struct client *c, const char *filter)
{
	struct sub_opts opts = { .qos = 2, .retain_handling = 2 };

	assert_false(
		reason_failed(router_subscribe(store.router, &c->sub, span_str(filter), &opts)));
}

static void open_store(void)
{
	struct journal_handler handlers[JOURNAL_TYPES] = { { NULL, NULL } };

	store_open(handlers);
	client_init(&dev, "dev", PROTO_MQTT);
	client_init(&box, "box", PROTO_MQTT);
	client_init(&gate, "", PROTO_UPSTREAM);
	store_ready();
}

static void close_store(void)
{
	receipt_cancel(&dev.receipt);
	router_leave(store.router, &box.sub);
	router_leave(store.router, &gate.sub);
	store_close();
}

static void kill_it(void)
{
	store_kill(close_store);
	open_store();
}

static int setup(void **state)
{
	(void)state;
	store_init();
	open_store();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_store();
	store_remove();
	return 0;
}

static enum reason publish_life(
	const char *topic, const char *payload, uint8_t qos, bool retain, int64_t life_ms)
{
	struct message *m = message_new(&(struct message_init){ .topic = span_str(topic),
		.payload = span_str(payload),
		.qos = qos,
		.retain = retain,
		.origin = dev.who.origin,
		.expires_ms = life_ms ? clock_ms() + life_ms : 0 });

	if (!receipt_open(&dev.receipt)) {
		receipt_init(&dev.receipt, on_done);
		dev.done = 0;
	}
	enum reason r = router_publish(store.router, &dev.who, m, qos ? &dev.receipt : NULL);
	message_unref(m);
	return r;
}

/* Published, and answered at QoS > 0. */
static void put(const char *topic, const char *payload, uint8_t qos)
{
	assert_false(reason_failed(publish_life(topic, payload, qos, true, 0)));
	if (!qos)
		return;
	store_settle();
	assert_int_equal(dev.done, 1);
	assert_int_equal(dev.reason, R_SUCCESS);
}

static void assert_kept(const char *topic, const char *payload)
{
	struct message *m = router_retained(store.router, span_str(topic));

	if (!payload) {
		assert_null(m);
		return;
	}
	assert_non_null(m);
	assert_true(span_is(message_payload(m), payload));
	assert_true(m->retain);
}

static void acknowledged_values_come_back(void **state)
{
	(void)state;
	put("a", "1", 1);
	put("b", "1", 2);
	put("a", "2", 1);
	kill_it();
	assert_kept("a", "2");
	assert_kept("b", "1");
	kill_it();
	assert_kept("a", "2");
	put("a", "3", 1);
	kill_it();
	assert_kept("a", "3");
}

static void the_answer_waits_for_the_disk(void **state)
{
	(void)state;
	publish_life("a", "1", 1, true, 0);
	receipts_run();
	assert_int_equal(dev.done, 0);
	store_settle();
	assert_int_equal(dev.done, 1);
}

static void cleared_stays_cleared(void **state)
{
	(void)state;
	put("a", "1", 1);
	put("b", "1", 1);
	publish_life("a", "", 1, true, 0);
	assert_kept("a", NULL);
	receipts_run();
	assert_int_equal(dev.done, 0); /* not before it cannot come back */
	store_settle();
	assert_int_equal(dev.done, 1);
	kill_it();
	assert_kept("a", NULL);
	assert_kept("b", "1");
}

static void what_was_never_on_disk_is_cleared_at_once(void **state)
{
	(void)state;
	put("a", "1", 0);
	publish_life("a", "", 1, true, 0);
	receipts_run();
	assert_int_equal(dev.done, 1);
	store_settle();
	assert_int_equal(store_written(), 0);
}

static void qos_0_is_written_lazily(void **state)
{
	(void)state;
	put("a", "1", 0);
	put("b", "1", 0);
	store_settle();
	assert_int_equal(store_written(), 0);
	router_secure(store.router);
	store_turn(0);
	journal_hurry(store.journal);
	store_settle();
	assert_int_equal(store_written(), 2);
	put("b", "2", 0);
	put("c", "1", 0);
	put("d", "1", 1); /* others go with it */
	kill_it();
	assert_kept("a", "1");
	assert_kept("b", "2");
	assert_kept("c", "1");
}

static void what_the_upstream_has_as_well_is_written_lazily(void **state)
{
	(void)state;
	subscribe(&gate, "#");
	publish_life("a", "1", 1, true, 0);
	receipt_release(&gate.hold, R_SUCCESS);
	store_settle();
	assert_int_equal(dev.done, 1);
	assert_int_equal(store_written(), 0);
	router_secure(store.router);
	store_turn(0);
	journal_hurry(store.journal);
	store_settle();
	kill_it();
	assert_kept("a", "1");
}

/* Also when nothing is lazy any more: the value may have been replaced more than once meanwhile. */
static void an_older_value_rather_than_none(void **state)
{
	(void)state;
	put("a", "1", 1);
	put("a", "2", 0);
	put("a", "3", 0);
	store_settle();
	assert_int_equal(store_written(), 1);
	kill_it();
	assert_kept("a", "1");
	put("a", "4", 0);
	put("b", "1", 1); /* goes with it */
	store_settle();
	kill_it();
	assert_kept("a", "4");
	put("a", "5", 0);
	put("a", "6", 1);
	store_settle();
	struct keeper_status s;
	keeper_status(store.keeper, &s);
	assert_int_equal(s.claims[CLAIM_RETAINED], 2); /* none of those before */
	put("a", "7", 0);
	put("a", "", 1);
	kill_it();
	assert_kept("a", NULL);
}

static void gone_when_they_expire(void **state)
{
	struct keeper_status s;
	(void)state;

	publish_life("a", "1", 1, true, 5000);
	store_settle();
	publish_life("b", "1", 1, true, 20000);
	store_settle();
	for (unsigned i = 0; i < 10; i++)
		store_turn(1000); /* the sweep */
	keeper_status(store.keeper, &s);
	assert_int_equal(s.claims[CLAIM_RETAINED], 1);
	kill_it();
	assert_kept("a", NULL);
	assert_kept("b", "1");
	store_kill(close_store);
	clock_freeze(1000, 1700000000000 + 60000); /* that long afterwards, after a boot */
	open_store();
	assert_kept("b", NULL);
	keeper_status(store.keeper, &s);
	assert_int_equal(s.messages, 0);
}

static void only_within_the_limits(void **state)
{
	struct keeper_status s;
	(void)state;

	put("a", "1", 1);
	put("b", "1", 1);
	put("c", "1", 1);
	store.limits.max_retained = 2;
	kill_it();
	assert_kept("b", "1");
	assert_kept("c", NULL);
	keeper_status(store.keeper, &s);
	assert_int_equal(s.claims[CLAIM_RETAINED], 2);
}

static void refused_when_it_cannot_be_kept(void **state)
{
	(void)state;
	subscribe(&box, "#");
	put("a", "1", 1);
	store_fail(true);
	publish_life("b", "1", 1, true, 0); /* finds out */
	store_fail(true);
	assert_int_equal(dev.done, 0);
	receipt_cancel(&dev.receipt);
	box.n = 0;
	assert_int_equal(publish_life("c", "1", 1, true, 0), R_QUOTA);
	assert_int_equal(publish_life("a", "", 1, true, 0), R_QUOTA);
	assert_int_equal(box.n, 0);
	assert_kept("a", "1");
	assert_int_equal(publish_life("c", "0", 0, true, 0), R_SUCCESS); /* as ever */
	assert_kept("c", "0");
	store_fail(false);
	put("c", "1", 1);
	kill_it();
	assert_kept("b", "1");
	assert_kept("c", "1");
}

static void nothing_below_dollar(void **state)
{
	struct identity own = { .client_id = "", .protocol = PROTO_GATEWAY };
	struct message *m = message_new(&(struct message_init){ .topic = span_str("$SYS/x"),
		.payload = span_str("1"),
		.retain = true,
		.origin = ORIGIN_GATEWAY });
	(void)state;

	own.origin = ORIGIN_GATEWAY;
	router_publish(store.router, &own, m, NULL);
	message_unref(m);
	router_secure(store.router);
	put("a", "1", 1);
	assert_int_equal(store_written(), 1);
}

static void a_delay_goes_on(void **state)
{
	(void)state;
	assert_int_equal(publish_life("$delayed/100/a", "1", 1, false, 0), R_SUCCESS);
	receipts_run();
	assert_int_equal(dev.done, 0);
	store_settle();
	assert_int_equal(dev.done, 1);
	store_turn(30000);
	store_kill(close_store);
	clock_freeze(5000, clock_wall_ms() + 50000); /* off for 50 s */
	open_store();
	subscribe(&box, "#");
	store_turn(15000);
	assert_int_equal(box.n, 0);
	store_turn(6000);
	assert_int_equal(box.n, 1);
	assert_string_equal(box.last, "a=1");
	store_settle();
	kill_it();
	subscribe(&box, "#");
	store_turn(200000);
	assert_int_equal(box.n, 0);
}

static void an_overdue_one_comes_at_once(void **state)
{
	(void)state;
	publish_life("$delayed/10/a", "1", 2, false, 0);
	store_settle();
	store_kill(close_store);
	clock_freeze(5000, clock_wall_ms() + 3600000);
	open_store();
	subscribe(&box, "#");
	store_turn(0);
	assert_int_equal(box.n, 1);
}

static void a_clock_that_starts_in_1970_takes_nothing_off(void **state)
{
	(void)state;
	publish_life("$delayed/100/a", "1", 1, false, 0);
	store_settle();
	store_kill(close_store);
	clock_freeze(5000, 20000);
	open_store();
	subscribe(&box, "#");
	store_turn(99000);
	assert_int_equal(box.n, 0);
	store_turn(1001);
	assert_int_equal(box.n, 1);
}

static void bound_upstream_it_stays_until_it_is_safe(void **state)
{
	struct keeper_status s;
	(void)state;

	subscribe(&gate, "#");
	gate.answer = R_QUOTA; /* delayed ones are not offered yet */
	assert_int_equal(publish_life("$delayed/1/a", "1", 1, false, 0), R_SUCCESS);
	store_settle();
	store_turn(1001);
	assert_int_equal(gate.n, 0);
	gate.answer = R_SUCCESS;
	store_turn(5000); /* tried again */
	assert_int_equal(gate.n, 1);
	kill_it(); /* the upstream has it perhaps, but nobody knows */
	subscribe(&gate, "#");
	store_turn(1000);
	assert_int_equal(gate.n, 1);
	receipt_release(&gate.hold, R_SUCCESS);
	store_settle();
	keeper_status(store.keeper, &s);
	assert_int_equal(s.messages, 0);
}

static void a_delay_is_refused_when_it_cannot_be_kept(void **state)
{
	(void)state;
	store_fail(true);
	publish_life("$delayed/100/a", "1", 1, false, 0); /* finds out */
	store_fail(true);
	receipt_cancel(&dev.receipt);
	assert_int_equal(publish_life("$delayed/100/b", "1", 1, false, 0), R_QUOTA);
	assert_int_equal(publish_life("$delayed/100/c", "1", 0, false, 0), R_SUCCESS);
	store_fail(false);
	store_settle();
	subscribe(&box, "#");
	store_turn(110000);
	assert_int_equal(box.n, 2);
}

static void nothing_is_written_for_nobody(void **state)
{
	(void)state;
	subscribe(&box, "#");
	for (unsigned i = 0; i < 10; i++) {
		publish_life("a", "1", (uint8_t)(i % 3), false, 0);
		store_settle();
	}
	assert_int_equal(store_written(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(acknowledged_values_come_back),
		TEST(the_answer_waits_for_the_disk),
		TEST(cleared_stays_cleared),
		TEST(what_was_never_on_disk_is_cleared_at_once),
		TEST(qos_0_is_written_lazily),
		TEST(what_the_upstream_has_as_well_is_written_lazily),
		TEST(an_older_value_rather_than_none),
		TEST(gone_when_they_expire),
		TEST(only_within_the_limits),
		TEST(refused_when_it_cannot_be_kept),
		TEST(nothing_below_dollar),
		TEST(a_delay_goes_on),
		TEST(an_overdue_one_comes_at_once),
		TEST(a_clock_that_starts_in_1970_takes_nothing_off),
		TEST(bound_upstream_it_stays_until_it_is_safe),
		TEST(a_delay_is_refused_when_it_cannot_be_kept),
		TEST(nothing_is_written_for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
