#include "gateway/core/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0], *const b = &rig.boxes[1], *const c = &rig.boxes[2];

static void retain_many(const char *prefix, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char topic[32];
		snprintf(topic, sizeof(topic), "%s/%u", prefix, i);
		retain(topic, "1");
	}
}

static void a_new_subscription_gets_them_later(void **state)
{
	(void)state;
	retain("x/1", "1");
	retain("x/2", "2");
	retain("y", "3");
	subscribe_opts(a, "x/+", (struct sub_opts){ .qos = 2, .sub_id = 7 });
	assert_int_equal(a->n, 0); /* the SUBACK goes first */
	assert_int_equal(turns(), 1);
	assert_int_equal(a->n, 2);
	assert_true(a->seen[0].offer.retain);
	assert_true(a->seen[0].offer.replay);
	assert_int_equal(a->seen[0].offer.qos, 1);
	assert_int_equal(a->seen[0].offer.sub_ids, 7);
	assert_false(a->had_receipt);
	turns();
	assert_int_equal(a->n, 2);
}

static void retain_handling(void **state)
{
	(void)state;
	retain("x", "1");
	subscribe_opts(a, "x", (struct sub_opts){ .retain_handling = 2 });
	turns();
	assert_int_equal(a->n, 0);
	subscribe_opts(b, "x", (struct sub_opts){ .retain_handling = 1 });
	turns();
	subscribe_opts(b, "x", (struct sub_opts){ .retain_handling = 1 });
	turns();
	assert_int_equal(b->n, 1);
	subscribe(c, "x", 0);
	turns();
	subscribe(c, "x", 0);
	turns();
	assert_int_equal(c->n, 2);
}

static void gates_get_none(void **state)
{
	(void)state;
	retain("x", "1");
	subscribe(&rig.gate, "#", 2);
	turns();
	assert_int_equal(rig.gate.n, 0);
}

static void a_turn_is_bounded_and_fair(void **state)
{
	(void)state;
	retain_many("x", 200);
	subscribe(a, "#", 0);
	subscribe(b, "#", 0);
	assert_true(router_turn(rig.router));
	assert_int_equal(a->n + b->n, 64);
	assert_int_equal(a->n, b->n);
	turns();
	assert_int_equal(a->n, 200);
	assert_int_equal(b->n, 200);
}

static void without_room_it_waits(void **state)
{
	(void)state;
	retain_many("x", 20);
	a->room = 0;
	b->room = 5;
	subscribe(a, "#", 0);
	subscribe(b, "#", 0);
	subscribe(c, "#", 0);
	assert_false(router_turn(rig.router)); /* nothing more to do without them */
	assert_int_equal(a->n, 0);
	assert_int_equal(b->n, 5);
	assert_int_equal(c->n, 20);
	assert_false(router_turn(rig.router));
	a->room = 100;
	assert_false(router_turn(rig.router));
	assert_int_equal(a->n, 20);
	b->room = 100;
	router_turn(rig.router);
	assert_int_equal(b->n, 20);
}

static void a_repeated_subscription_starts_again(void **state)
{
	(void)state;
	retain_many("x", 20);
	a->room = 5;
	subscribe(a, "#", 0);
	router_turn(rig.router);
	subscribe_opts(a, "#", (struct sub_opts){ .qos = 1, .sub_id = 9 });
	a->room = 100;
	turns();
	assert_int_equal(a->n, 5 + 20);
	assert_int_equal(a->seen[5].offer.sub_ids, 9);
}

static void one_who_unsubscribes_gets_no_more(void **state)
{
	(void)state;
	retain_many("x", 20);
	a->room = b->room = 5;
	subscribe(a, "x/+", 0);
	subscribe(b, "x/+", 0);
	router_turn(rig.router);
	unsubscribe(a, "x/+");
	router_leave(rig.router, &b->sub);
	a->room = b->room = 100;
	turns();
	assert_int_equal(a->n, 5);
	assert_int_equal(b->n, 5);
}

/* The subscriber has the newer value live already; an older one must not follow it. */
static void what_was_replaced_meanwhile_is_left_out(void **state)
{
	(void)state;
	retain("x/1", "old");
	retain("x/2", "old");
	retain("x/3", "old");
	a->room = 0;
	subscribe(a, "x/+", 0);
	turns();
	retain("x/1", "new");
	retain("x/2", "");
	assert_int_equal(a->n, 2);
	a->room = 100;
	turns();
	assert_int_equal(a->n, 3);
	assert_string_equal(a->seen[2].topic, "x/3");
	assert_true(a->seen[2].offer.replay);
}

static void expired_ones_are_left_out(void **state)
{
	struct message *m = rig_message("x", "1", 0, true, 100);
	(void)state;

	router_publish(rig.router, &rig.gateway, m, NULL);
	message_unref(m);
	subscribe(a, "x", 0);
	clock_advance(100);
	turns();
	assert_int_equal(a->n, 0);
}

static void those_not_meant_for_it_are_left_out(void **state)
{
	struct message_init init = { .topic = span_str("x/own"),
		.payload = span_str("1"),
		.retain = true,
		.origin = a->who.origin };
	struct message *own = message_new(&init);
	(void)state;

	router_publish(rig.router, &a->who, own, NULL);
	message_unref(own);
	retain("x/secret", "1");
	retain("x/open", "1");
	rig.deny_client = "dev-0";
	rig.deny_access = ACCESS_RECEIVE;
	rig.deny_filter = "x/secret";
	subscribe_opts(a, "x/+", (struct sub_opts){ .no_local = true });
	turns();
	assert_int_equal(a->n, 1);
	assert_string_equal(a->seen[0].topic, "x/open");
}

/* More subscriptions than there may be lists drawn up at once: the later ones wait their turn. */
static void many_subscriptions_at_once(void **state)
{
	enum { TOPICS = 500, SUBSCRIBERS = 600 };
	static struct box crowd[SUBSCRIBERS];
	(void)state;

	retain_many("x", TOPICS);
	for (size_t i = 0; i < SUBSCRIBERS; i++) {
		memset(&crowd[i], 0, sizeof(crowd[i]));
		box_init(&crowd[i], "crowd", PROTO_MQTT);
		assert_int_equal(subscribe(&crowd[i], "x/+", 0), R_SUCCESS);
	}
	while (router_turn(rig.router))
		;
	for (size_t i = 0; i < SUBSCRIBERS; i++) {
		assert_int_equal(crowd[i].n, TOPICS);
		router_leave(rig.router, &crowd[i].sub);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_new_subscription_gets_them_later),
		RIG_TEST(retain_handling),
		RIG_TEST(gates_get_none),
		RIG_TEST(a_turn_is_bounded_and_fair),
		RIG_TEST(without_room_it_waits),
		RIG_TEST(a_repeated_subscription_starts_again),
		RIG_TEST(one_who_unsubscribes_gets_no_more),
		RIG_TEST(what_was_replaced_meanwhile_is_left_out),
		RIG_TEST(expired_ones_are_left_out),
		RIG_TEST(those_not_meant_for_it_are_left_out),
		RIG_TEST(many_subscriptions_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
