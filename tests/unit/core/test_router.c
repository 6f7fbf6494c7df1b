#include "gateway/core/router.h"

#include "gateway/core/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0], *const b = &rig.boxes[1], *const c = &rig.boxes[2];

static void goes_to_those_who_subscribed(void **state)
{
	(void)state;
	assert_int_equal(subscribe(a, "plant/+", 1), R_GRANTED_QOS_1);
	assert_int_equal(subscribe(b, "plant/7", 0), R_SUCCESS);
	assert_int_equal(subscribe(c, "other", 2), R_GRANTED_QOS_2);
	assert_int_equal(publish("plant/7", 2), R_SUCCESS);
	assert_int_equal(a->n, 1);
	assert_string_equal(a->seen[0].topic, "plant/7");
	assert_int_equal(a->seen[0].offer.qos, 1); /* the lower of both */
	assert_int_equal(b->seen[0].offer.qos, 0);
	assert_ptr_equal(a->seen[0].offer.from, &rig.boxes[3].who);
	assert_false(a->seen[0].offer.replay);
	assert_int_equal(c->n, 0);
	assert_int_equal(publish("plant", 1), R_NO_MATCHING_SUBSCRIBERS);
	assert_int_equal(a->n, 1);
}

static void once_each_at_the_highest_qos(void **state)
{
	(void)state;
	subscribe_opts(a, "plant/#", (struct sub_opts){ .qos = 0, .sub_id = 10 });
	subscribe_opts(a, "plant/7", (struct sub_opts){ .qos = 2, .sub_id = 200 });
	subscribe_opts(a, "+/7", (struct sub_opts){ .qos = 1, .sub_id = 3000 });
	subscribe_opts(a, "+/+", (struct sub_opts){ .qos = 1 });
	assert_int_equal(publish("plant/7", 2), R_SUCCESS);
	assert_int_equal(a->n, 1);
	assert_int_equal(a->seen[0].offer.qos, 2);
	/* MQTT 5.0, 3.3.4: the identifiers of all that matched and have one */
	assert_int_equal(a->seen[0].n_ids, 3);
	assert_int_equal(a->seen[0].ids_sum, 3210);
	assert_int_equal(sub_ids_blocks(), 0);
}

static void not_to_oneself_with_no_local(void **state)
{
	(void)state;
	subscribe_opts(a, "x", (struct sub_opts){ .no_local = true });
	subscribe(b, "x", 0);
	assert_int_equal(publish_as(&a->who, "x", "1", 0, false), R_SUCCESS);
	assert_int_equal(a->n, 0);
	assert_int_equal(b->n, 1);
	publish_as(&b->who, "x", "1", 0, false);
	assert_int_equal(a->n, 1);
	assert_int_equal(b->n, 2); /* without it one hears oneself */
}

static void the_retain_flag_is_shown_on_request(void **state)
{
	(void)state;
	subscribe(a, "x", 0);
	subscribe_opts(b, "x", (struct sub_opts){ .retain_as_published = true });
	assert_int_equal(retain("x", "1"), R_SUCCESS);
	assert_false(a->seen[0].offer.retain);
	assert_true(b->seen[0].offer.retain);
	publish("x", 0);
	assert_false(b->seen[1].offer.retain);
}

static void bad_topics_are_refused(void **state)
{
	static const char *const bad[] = { "", "a/+", "#", "$SYS/x", "a/\x01", "a/\xff" };
	(void)state;

	subscribe(a, "#", 0);
	subscribe(a, "$SYS/#", 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(publish(bad[i], 1), R_TOPIC_INVALID);
	assert_int_equal(a->n, 0);
	assert_int_equal(publish_as(&rig.gateway, "$SYS/x", "1", 0, false), R_SUCCESS);
	assert_int_equal(a->n, 1);
	receipts_run();
	assert_int_equal(rig.done, 1); /* for the one that was taken */
}

static void the_policy_is_asked(void **state)
{
	(void)state;
	subscribe(a, "#", 0);
	subscribe(b, "#", 0);
	rig.deny_client = "dev-3";
	rig.deny_access = ACCESS_PUBLISH;
	rig.deny_filter = "secret/#";
	assert_int_equal(publish("secret/1", 1), R_NOT_AUTHORIZED);
	assert_int_equal(publish("open/1", 0), R_SUCCESS);
	rig.deny_client = "dev-0";
	rig.deny_access = ACCESS_RECEIVE;
	assert_int_equal(publish("secret/1", 0), R_SUCCESS);
	assert_int_equal(a->n, 1);
	assert_int_equal(b->n, 2);
	rig.deny_access = ACCESS_SUBSCRIBE;
	assert_int_equal(subscribe(a, "secret/+", 0), R_NOT_AUTHORIZED);
	assert_int_equal(subscribe(a, "open/+", 0), R_SUCCESS);
}

static void the_gateway_and_the_upstream_are_trusted(void **state)
{
	(void)state;
	subscribe(a, "#", 0);
	rig.deny_client = "";
	rig.deny_access = ACCESS_PUBLISH;
	rig.deny_filter = "#";
	assert_int_equal(publish_as(&rig.upstream, "x", "1", 0, false), R_SUCCESS);
	assert_int_equal(publish_as(&rig.gateway, "x", "1", 0, false), R_SUCCESS);
	assert_int_equal(a->n, 2);
}

static void an_expired_message_reaches_nobody(void **state)
{
	struct message *m = rig_message("x", "1", 1, true, 10);
	(void)state;

	subscribe(a, "x", 1);
	clock_advance(10);
	assert_int_equal(
		router_publish(rig.router, &b->who, m, &rig.receipt), R_NO_MATCHING_SUBSCRIBERS);
	router_deliver(rig.router, &b->who, m);
	receipts_run();
	assert_int_equal(rig.done, 1); /* it is over, so the publisher may know */
	assert_int_equal(a->n, 0);
	assert_null(router_retained(rig.router, span_str("x")));
	message_unref(m);
}

static void the_receipt_waits_for_all_who_hold_it(void **state)
{
	(void)state;
	a->keep = b->keep = true;
	subscribe(a, "x", 1);
	subscribe(b, "x", 2);
	assert_int_equal(publish("x", 2), R_SUCCESS);
	receipt_release(&a->hold, R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 0);
	receipt_release(&b->hold, R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 1);
	assert_int_equal(rig.reason, R_SUCCESS);
}

static void the_receipt_fires_without_any_hold(void **state)
{
	(void)state;
	assert_int_equal(publish("x", 1), R_NO_MATCHING_SUBSCRIBERS);
	assert_int_equal(rig.done, 0); /* not from inside */
	receipts_run();
	assert_int_equal(rig.done, 1);
}

static void no_receipt_at_qos_0(void **state)
{
	(void)state;
	subscribe(a, "x", 0);
	subscribe(b, "x", 1);
	publish("x", 1);
	assert_false(a->had_receipt);
	assert_true(b->had_receipt);
}

static void a_refusal_of_one_client_is_its_own_matter(void **state)
{
	struct router_stats s;
	(void)state;

	a->answer = R_QUOTA;
	subscribe(a, "x", 1);
	subscribe(b, "x", 1);
	assert_int_equal(publish("x", 1), R_SUCCESS);
	assert_int_equal(b->n, 1);
	router_stats(rig.router, &s);
	assert_int_equal(s.published, 1);
	assert_int_equal(s.delivered, 1);
	assert_int_equal(s.refused, 0);
}

static void a_gate_that_refuses_stops_it(void **state)
{
	struct router_stats s;
	(void)state;

	subscribe(a, "x", 1);
	subscribe(&rig.gate, "#", 2);
	rig.gate.answer = R_QUOTA;
	assert_int_equal(retain("x", "1"), R_QUOTA);
	assert_int_equal(a->n, 0);
	assert_null(router_retained(rig.router, span_str("x")));
	receipts_run();
	assert_int_equal(rig.done, 0);
	assert_false(receipt_open(&rig.receipt));
	router_stats(rig.router, &s);
	assert_int_equal(s.refused, 1);
	/* QoS 0 does not depend on it. */
	assert_int_equal(publish("x", 0), R_SUCCESS);
	assert_int_equal(a->n, 1);
	/* And the subscriber was left clean for the next one. */
	rig.gate.answer = R_SUCCESS;
	assert_int_equal(publish("x", 1), R_SUCCESS);
	assert_int_equal(a->n, 2);
}

static void a_gate_is_asked_before_the_clients(void **state)
{
	(void)state;
	subscribe(a, "x", 1);
	subscribe(&rig.gate, "#", 2);
	rig.gate.keep = true;
	assert_int_equal(retain("x", "1"), R_SUCCESS);
	assert_int_equal(rig.gate.n, 1);
	assert_true(rig.gate.seen[0].offer.retain); /* always as published */
	assert_true(rig.gate.had_receipt);
	receipts_run();
	assert_int_equal(rig.done, 0);
	receipt_release(&rig.gate.hold, R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 1);
	assert_int_equal(publish("nobody/else", 1), R_SUCCESS); /* a gate is somebody */
}

static void the_second_of_two_gates_refuses(void **state)
{
	(void)state;
	subscribe(&rig.gate, "#", 2);
	subscribe(&rig.other_gate, "#", 2);
	rig.gate.keep = true;
	rig.other_gate.answer = R_BUSY;
	assert_int_equal(publish("x", 1), R_BUSY);
	assert_false(receipt_held(&rig.gate.hold)); /* its hold is empty now */
	receipt_release(&rig.gate.hold, R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 0);
}

static void what_a_gate_withholds_is_delivered_later(void **state)
{
	struct message *m = rig_message("x", "1", 1, true, 0);
	(void)state;

	subscribe(a, "x", 1);
	subscribe(&rig.gate, "#", 2);
	rig.gate.withhold = true;
	assert_int_equal(router_publish(rig.router, &b->who, m, &rig.receipt), R_SUCCESS);
	assert_int_equal(a->n, 0);
	assert_null(router_retained(rig.router, span_str("x")));
	receipts_run();
	assert_int_equal(rig.done, 1);

	router_deliver(rig.router, &b->who, m);
	assert_int_equal(a->n, 1);
	assert_false(a->had_receipt);
	assert_ptr_equal(router_retained(rig.router, span_str("x")), m);
	assert_int_equal(rig.gate.n, 1); /* it is not asked again */
	message_unref(m);
}

static void what_comes_from_upstream_does_not_go_back(void **state)
{
	(void)state;
	subscribe_opts(&rig.gate, "#", (struct sub_opts){ .qos = 2, .no_local = true });
	subscribe(a, "#", 2);
	assert_int_equal(publish_as(&rig.upstream, "x", "1", 1, true), R_SUCCESS);
	assert_int_equal(rig.gate.n, 0);
	assert_int_equal(a->n, 1);
	assert_non_null(router_retained(rig.router, span_str("x")));
}

static void one_who_left_gets_nothing(void **state)
{
	(void)state;
	subscribe(a, "x", 0);
	subscribe(a, "y/#", 0);
	subscribe(b, "x", 0);
	router_leave(rig.router, &a->sub);
	router_leave(rig.router, &a->sub);
	publish("x", 0);
	publish("y/z", 0);
	assert_int_equal(a->n, 0);
	assert_int_equal(b->n, 1);
}

/* Full queues are the subscriber's own matter; what cannot be kept for it, though it was to be, is
 * the publisher's. */
static void told_of_what_could_not_be_kept(void **state)
{
	(void)state;

	subscribe(a, "t", 1);
	subscribe(b, "t", 1);
	b->answer = R_QUOTA;
	assert_int_equal(publish("t", 1), R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.reason, R_SUCCESS);
	b->unkept = true;
	assert_int_equal(publish("t", 1), R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.done, 2);
	assert_int_equal(rig.reason, R_QUOTA);
	assert_int_equal(a->n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(told_of_what_could_not_be_kept),
		RIG_TEST(goes_to_those_who_subscribed),
		RIG_TEST(once_each_at_the_highest_qos),
		RIG_TEST(not_to_oneself_with_no_local),
		RIG_TEST(the_retain_flag_is_shown_on_request),
		RIG_TEST(bad_topics_are_refused),
		RIG_TEST(the_policy_is_asked),
		RIG_TEST(the_gateway_and_the_upstream_are_trusted),
		RIG_TEST(an_expired_message_reaches_nobody),
		RIG_TEST(the_receipt_waits_for_all_who_hold_it),
		RIG_TEST(the_receipt_fires_without_any_hold),
		RIG_TEST(no_receipt_at_qos_0),
		RIG_TEST(a_refusal_of_one_client_is_its_own_matter),
		RIG_TEST(a_gate_that_refuses_stops_it),
		RIG_TEST(a_gate_is_asked_before_the_clients),
		RIG_TEST(the_second_of_two_gates_refuses),
		RIG_TEST(what_a_gate_withholds_is_delivered_later),
		RIG_TEST(what_comes_from_upstream_does_not_go_back),
		RIG_TEST(one_who_left_gets_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
