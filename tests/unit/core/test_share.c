#include "gateway/core/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0], *const b = &rig.boxes[1], *const c = &rig.boxes[2];

static void set_strategy(enum share_strategy strategy)
{
	router_set_limits(rig.router, &(struct router_limits){ .share_strategy = strategy });
}

static void three_members(const char *filter)
{
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(subscribe(&rig.boxes[i], filter, 1), R_GRANTED_QOS_1);
}

static unsigned all_seen(void)
{
	return a->n + b->n + c->n;
}

static void each_message_to_one_in_turn(void **state)
{
	(void)state;
	three_members("$share/g/t/#");
	for (unsigned i = 1; i <= 9; i++) {
		assert_int_equal(publish("t/x", 1), R_SUCCESS);
		assert_int_equal(all_seen(), i);
	}
	assert_int_equal(a->n, 3);
	assert_int_equal(b->n, 3);
	assert_int_equal(c->n, 3);
	assert_true(a->had_receipt);
}

/* The inner filter is what is subscribed to; who may not read a message is passed over. */
static void rights_are_those_of_the_members(void **state)
{
	(void)state;
	rig.deny_client = "dev-1";
	rig.deny_access = ACCESS_SUBSCRIBE;
	rig.deny_filter = "t/#";
	assert_int_equal(subscribe(b, "$share/g/t/x", 1), R_NOT_AUTHORIZED);
	rig.deny_access = ACCESS_RECEIVE;
	three_members("$share/g/t/#");
	for (unsigned i = 0; i < 8; i++)
		publish("t/x", 1);
	assert_int_equal(b->n, 0);
	assert_int_equal(a->n + c->n, 8);
}

static void random_choice_reaches_all(void **state)
{
	(void)state;
	set_strategy(SHARE_RANDOM);
	three_members("$share/g/t");
	for (unsigned i = 0; i < 120; i++)
		publish("t", 0);
	assert_int_equal(all_seen(), 120);
	assert_in_range(a->n, 1, 118); /* missed once in 10^21 runs */
	assert_in_range(b->n, 1, 118);
	assert_in_range(c->n, 1, 118);
}

static void sticky_stays_until_it_cannot(void **state)
{
	(void)state;
	set_strategy(SHARE_STICKY);
	three_members("$share/g/t");
	for (unsigned i = 0; i < 4; i++)
		publish("t", 0);
	assert_int_equal(a->n, 4);
	a->away = true;
	publish("t", 0);
	a->away = false;
	publish("t", 0);
	assert_int_equal(a->n, 4);
	assert_int_equal(b->n, 2);
	unsubscribe(b, "$share/g/t");
	publish("t", 0);
	publish("t", 0);
	assert_int_equal(b->n, 2);
	assert_true((a->n == 4 && c->n == 2) || (a->n == 6 && c->n == 0));
}

static void a_topic_keeps_its_member(void **state)
{
	char topic[16];
	(void)state;

	set_strategy(SHARE_HASH_TOPIC);
	three_members("$share/g/#");
	for (unsigned t = 0; t < 30; t++) {
		snprintf(topic, sizeof(topic), "t/%u", t);
		unsigned before[3] = { a->n, b->n, c->n };
		for (unsigned i = 0; i < 3; i++)
			publish(topic, 0);
		for (unsigned i = 0; i < 3; i++) {
			unsigned more = rig.boxes[i].n - before[i];
			assert_true(more == 0 || more == 3);
		}
	}
	assert_int_equal(all_seen(), 90);
}

static void a_publisher_keeps_its_member(void **state)
{
	(void)state;
	set_strategy(SHARE_HASH_CLIENTID);
	three_members("$share/g/#");
	for (unsigned i = 0; i < 6; i++)
		publish(i % 2 ? "x" : "y", 0);
	assert_int_equal(MAX(MAX(a->n, b->n), c->n), 6);
	assert_int_equal(all_seen(), 6);
}

/* Only the keys of a member that leaves move (it came last, so nobody takes its slot). */
static void others_keep_theirs_when_one_leaves(void **state)
{
	char topic[16];
	int had[60];
	(void)state;

	set_strategy(SHARE_HASH_TOPIC);
	three_members("$share/g/#");
	for (int t = 0; t < 60; t++) {
		unsigned before = a->n, before_b = b->n;
		snprintf(topic, sizeof(topic), "t/%d", t);
		publish(topic, 0);
		had[t] = a->n > before ? 0 : b->n > before_b ? 1 : 2;
	}
	unsubscribe(c, "$share/g/#");
	for (int t = 0; t < 60; t++) {
		unsigned before = a->n;
		snprintf(topic, sizeof(topic), "t/%d", t);
		publish(topic, 0);
		if (had[t] != 2)
			assert_int_equal(a->n > before, had[t] == 0);
	}
}

static void who_is_away_is_passed_over(void **state)
{
	(void)state;
	three_members("$share/g/t");
	a->away = b->away = true;
	for (unsigned i = 0; i < 3; i++)
		publish("t", 1);
	assert_int_equal(c->n, 3);
	c->away = true; /* all away: the kept sessions take it */
	assert_int_equal(publish("t", 1), R_SUCCESS);
	assert_int_equal(all_seen(), 4);
}

static void who_refuses_is_passed_over(void **state)
{
	(void)state;
	three_members("$share/g/t");
	a->answer = b->answer = R_QUOTA;
	for (unsigned i = 0; i < 3; i++)
		publish("t", 1);
	assert_int_equal(c->n, 3);
	c->answer = R_QUOTA;
	publish("t", 1);
	assert_int_equal(all_seen(), 3);
}

static void who_has_no_right_is_passed_over(void **state)
{
	(void)state;
	three_members("$share/g/t");
	rig.deny_client = "dev-0";
	rig.deny_filter = "t";
	rig.deny_access = ACCESS_RECEIVE;
	for (unsigned i = 0; i < 4; i++)
		publish("t", 1);
	assert_int_equal(a->n, 0);
	assert_int_equal(b->n + c->n, 4);
}

static void rights_are_those_of_the_inner_filter(void **state)
{
	(void)state;
	rig.deny_client = "dev-0";
	rig.deny_filter = "t";
	rig.deny_access = ACCESS_SUBSCRIBE;
	assert_int_equal(subscribe(a, "$share/g/t", 1), R_NOT_AUTHORIZED);
	assert_int_equal(subscribe(a, "$exclusive/t", 1), R_NOT_AUTHORIZED);
	assert_int_equal(a->sub.n_subscriptions, 0);
}

static void groups_differ_by_name_and_by_filter(void **state)
{
	(void)state;
	subscribe(a, "$share/g/t", 0);
	subscribe(b, "$share/h/t", 0);
	subscribe(c, "$share/g/+", 0);
	publish("t", 0);
	assert_int_equal(a->n, 1);
	assert_int_equal(b->n, 1);
	assert_int_equal(c->n, 1);
}

static void an_own_subscription_counts_beside(void **state)
{
	(void)state;
	subscribe_opts(a, "t", (struct sub_opts){ .sub_id = 1 });
	subscribe_opts(a, "$share/g/t", (struct sub_opts){ .qos = 1, .sub_id = 2 });
	publish("t", 1);
	assert_int_equal(a->n, 2);
	assert_int_equal(a->seen[0].offer.sub_ids + a->seen[1].offer.sub_ids, 3);
}

static void no_retained_messages(void **state)
{
	(void)state;
	retain("t", "1");
	subscribe(a, "$share/g/t", 1);
	turns();
	assert_int_equal(a->n, 0);
	retain("t", "2");
	assert_int_equal(a->n, 1);
	assert_false(a->seen[0].offer.retain);
	subscribe_opts(a, "$share/g/t", (struct sub_opts){ .retain_as_published = true });
	retain("t", "3");
	assert_true(a->seen[1].offer.retain);
}

static void no_local_is_a_protocol_error(void **state)
{
	(void)state;
	assert_int_equal(subscribe_opts(a, "$share/g/t", (struct sub_opts){ .no_local = true }),
		R_PROTOCOL_ERROR);
}

static void leaving(void **state)
{
	(void)state;
	three_members("$share/g/t");
	assert_int_equal(a->sub.n_subscriptions, 1);
	assert_int_equal(unsubscribe(a, "$share/h/t"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(unsubscribe(a, "t"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(unsubscribe(a, "$share/g/t"), R_SUCCESS);
	assert_int_equal(unsubscribe(a, "$share/g/t"), R_NO_SUBSCRIPTION_EXISTED);
	router_leave(rig.router, &b->sub);
	for (unsigned i = 0; i < 3; i++)
		publish("t", 0);
	assert_int_equal(c->n, 3);
	unsubscribe(c, "$share/g/t");
	assert_int_equal(publish("t", 1), R_NO_MATCHING_SUBSCRIBERS);
}

static void the_options_of_each_member(void **state)
{
	(void)state;
	subscribe(a, "$share/g/t", 0);
	subscribe(b, "$share/g/t", 2);
	subscribe(b, "$share/g/t", 1);
	assert_int_equal(b->sub.n_subscriptions, 1);
	publish("t", 2);
	publish("t", 2);
	assert_int_equal(a->seen[0].offer.qos, 0);
	assert_false(a->had_receipt);
	assert_int_equal(b->seen[0].offer.qos, 1);
}

static void the_limits_count(void **state)
{
	(void)state;
	a->sub.max_subscriptions = 1;
	assert_int_equal(subscribe(a, "$share/g/t", 0), R_SUCCESS);
	assert_int_equal(subscribe(a, "$share/h/t", 0), R_QUOTA);
	assert_int_equal(subscribe(a, "$share/g/t", 1), R_GRANTED_QOS_1);
	assert_int_equal(a->sub.n_subscriptions, 1);
}

static char told[64];

static void on_wanted(struct router_watcher *w, struct span filter, uint8_t qos)
{
	(void)w;
	snprintf(told, sizeof(told), "+%u %.*s", qos, SPAN_ARGS(filter));
}

static void on_unwanted(struct router_watcher *w, struct span filter)
{
	(void)w;
	snprintf(told, sizeof(told), "- %.*s", SPAN_ARGS(filter));
}

static void watchers_see_the_inner_filter(void **state)
{
	struct router_watcher w = { .wanted = on_wanted, .unwanted = on_unwanted };
	(void)state;

	router_watch(rig.router, &w);
	subscribe(a, "$share/g/t/#", 1);
	assert_string_equal(told, "+1 t/#");
	subscribe(b, "$share/g/t/#", 2);
	assert_string_equal(told, "+2 t/#");
	unsubscribe(a, "$share/g/t/#");
	unsubscribe(b, "$share/g/t/#");
	assert_string_equal(told, "- t/#");
	router_unwatch(rig.router, &w);
}

static void one_holder_of_an_exclusive_filter(void **state)
{
	(void)state;
	retain("t", "1");
	assert_int_equal(subscribe(a, "$exclusive/t", 1), R_GRANTED_QOS_1);
	assert_int_equal(subscribe(a, "$exclusive/t", 0), R_SUCCESS);
	assert_int_equal(subscribe(b, "$exclusive/t", 1), R_QUOTA);
	assert_int_equal(subscribe(b, "$exclusive/+", 1), R_GRANTED_QOS_1);
	assert_int_equal(subscribe(c, "t", 1), R_GRANTED_QOS_1);
	turns();
	publish("t", 1);
	assert_int_equal(a->n, 2);
	assert_int_equal(b->n, 2);
	assert_int_equal(c->n, 2);
	assert_int_equal(unsubscribe(a, "t"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(unsubscribe(a, "$exclusive/t"), R_SUCCESS);
	assert_int_equal(subscribe(c, "$exclusive/t", 1), R_GRANTED_QOS_1);
	router_leave(rig.router, &c->sub);
	assert_int_equal(subscribe(a, "$exclusive/t", 1), R_GRANTED_QOS_1);
}

static void list_one(struct span filter, const struct sub_opts *opts, void *arg)
{
	char *text = arg;
	size_t at = strlen(text);
	(void)opts;

	snprintf(text + at, 128 - at, "%.*s;", SPAN_ARGS(filter));
}

static void listed_as_asked_for(void **state)
{
	char text[128] = "";
	(void)state;

	subscribe(a, "$share/g/t/+", 0);
	subscribe(a, "$exclusive/u", 0);
	subscribe(a, "v", 0);
	router_subscriptions(&a->sub, list_one, text);
	assert_string_equal(text, "v;$exclusive/u;$share/g/t/+;");
}

static void another_member_keeps_it(void **state)
{
	(void)state;

	subscribe(a, "$share/g/t", 1);
	a->answer = R_QUOTA;
	a->unkept = true;
	assert_int_equal(publish("t", 1), R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.reason, R_QUOTA);
	subscribe(b, "$share/g/t", 1);
	assert_int_equal(publish("t", 1), R_SUCCESS);
	receipts_run();
	assert_int_equal(rig.reason, R_SUCCESS);
	assert_int_equal(b->n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(another_member_keeps_it),
		RIG_TEST(each_message_to_one_in_turn),
		RIG_TEST(rights_are_those_of_the_members),
		RIG_TEST(random_choice_reaches_all),
		RIG_TEST(sticky_stays_until_it_cannot),
		RIG_TEST(a_topic_keeps_its_member),
		RIG_TEST(a_publisher_keeps_its_member),
		RIG_TEST(others_keep_theirs_when_one_leaves),
		RIG_TEST(who_is_away_is_passed_over),
		RIG_TEST(who_refuses_is_passed_over),
		RIG_TEST(who_has_no_right_is_passed_over),
		RIG_TEST(rights_are_those_of_the_inner_filter),
		RIG_TEST(groups_differ_by_name_and_by_filter),
		RIG_TEST(an_own_subscription_counts_beside),
		RIG_TEST(no_retained_messages),
		RIG_TEST(no_local_is_a_protocol_error),
		RIG_TEST(leaving),
		RIG_TEST(the_options_of_each_member),
		RIG_TEST(the_limits_count),
		RIG_TEST(watchers_see_the_inner_filter),
		RIG_TEST(one_holder_of_an_exclusive_filter),
		RIG_TEST(listed_as_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
