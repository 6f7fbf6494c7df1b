#include "gateway/core/router.h"

#include "gateway/core/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0], *const b = &rig.boxes[1], *const c = &rig.boxes[2];

/* What a watcher was told, as one line: "+1 a/b" wanted at QoS 1, "- a/b" no more. */
static char told[1024];

static void on_wanted(struct router_watcher *w, struct span filter, uint8_t qos)
{
	size_t at = strlen(told);

	(void)w;
	snprintf(told + at, sizeof(told) - at, "+%u %.*s;", qos, SPAN_ARGS(filter));
}

static void on_unwanted(struct router_watcher *w, struct span filter)
{
	size_t at = strlen(told);

	(void)w;
	snprintf(told + at, sizeof(told) - at, "- %.*s;", SPAN_ARGS(filter));
}

static struct router_watcher watcher = { .wanted = on_wanted, .unwanted = on_unwanted };

static void assert_told(const char *expected)
{
	assert_string_equal(told, expected);
	told[0] = '\0';
}

static int setup(void **state)
{
	told[0] = '\0';
	return rig_setup(state);
}

static void unwatched(void)
{
	router_unwatch(rig.router, &watcher);
}

static void bad_filters_are_refused(void **state)
{
	static const char *const bad[] = { "", "a#", "#/a", "a/+b", "a/\x01", "$share//a",
		"$share/g", "$share/g/", "$share/+/a", "$share/#", "$share/a+/b", "$exclusive/",
		"$share/g/$share/g/a", "$exclusive/$share/g/a" };
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(subscribe(a, bad[i], 0), R_FILTER_INVALID);
	assert_int_equal(a->sub.n_subscriptions, 0);
}

static void a_repetition_replaces_the_options(void **state)
{
	(void)state;
	assert_int_equal(subscribe_opts(a, "x", (struct sub_opts){ .sub_id = 1 }), R_SUCCESS);
	assert_int_equal(subscribe_opts(a, "x", (struct sub_opts){ .qos = 2, .sub_id = 2 }),
		R_GRANTED_QOS_2);
	assert_int_equal(a->sub.n_subscriptions, 1);
	publish("x", 2);
	assert_int_equal(a->n, 1);
	assert_int_equal(a->seen[0].offer.qos, 2);
	assert_int_equal(a->seen[0].offer.sub_ids, 2);
}

static void unsubscribing(void **state)
{
	(void)state;
	subscribe(a, "x", 0);
	subscribe(b, "x", 0);
	assert_int_equal(unsubscribe(a, "y"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(unsubscribe(c, "x"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(unsubscribe(a, "x"), R_SUCCESS);
	assert_int_equal(unsubscribe(a, "x"), R_NO_SUBSCRIPTION_EXISTED);
	assert_int_equal(a->sub.n_subscriptions, 0);
	publish("x", 0);
	assert_int_equal(a->n, 0);
	assert_int_equal(b->n, 1);
}

static void quotas_of_one_and_of_all(void **state)
{
	struct router_limits limits = { .max_subscriptions = 3 };
	(void)state;

	router_set_limits(rig.router, &limits);
	a->sub.max_subscriptions = 2;
	assert_int_equal(subscribe(a, "1", 0), R_SUCCESS);
	assert_int_equal(subscribe(a, "2", 0), R_SUCCESS);
	assert_int_equal(subscribe(a, "3", 0), R_QUOTA);
	assert_int_equal(subscribe(a, "2", 1), R_GRANTED_QOS_1); /* nothing new */
	assert_int_equal(subscribe(b, "1", 0), R_SUCCESS);
	assert_int_equal(subscribe(b, "2", 0), R_QUOTA);
	assert_int_equal(subscribe(&rig.gate, "#", 2), R_GRANTED_QOS_2);
	unsubscribe(&rig.gate, "#");
	unsubscribe(a, "1");
	assert_int_equal(subscribe(b, "2", 0), R_SUCCESS);
}

static void list_one(struct span filter, const struct sub_opts *opts, void *arg)
{
	char *text = arg;
	size_t at = strlen(text);

	snprintf(text + at, 64 - at, "%.*s:%u ", SPAN_ARGS(filter), opts->qos);
}

static void subscriptions_are_listed(void **state)
{
	char text[64] = "";
	(void)state;

	subscribe(a, "a/+/#", 1);
	subscribe(a, "/", 2);
	router_subscriptions(&a->sub, list_one, text);
	assert_string_equal(text, "/:2 a/+/#:1 ");
}

static void watchers_hear_of_the_first_and_the_last(void **state)
{
	(void)state;
	router_watch(rig.router, &watcher);
	subscribe(a, "x/+", 0);
	assert_told("+0 x/+;");
	subscribe(b, "x/+", 0);
	subscribe(b, "$SYS/#", 1);
	assert_told("+1 $SYS/#;");
	unsubscribe(a, "x/+");
	assert_told("");
	unsubscribe(b, "x/+");
	assert_told("- x/+;");
	router_leave(rig.router, &b->sub);
	assert_told("- $SYS/#;");
	unwatched();
	subscribe(a, "x", 0);
	assert_told("");
}

static void watchers_hear_of_a_rise(void **state)
{
	(void)state;
	router_watch(rig.router, &watcher);
	subscribe(a, "x", 0);
	subscribe(b, "x", 1);
	assert_told("+0 x;+1 x;");
	subscribe(c, "x", 1);
	subscribe(c, "x", 0);
	assert_told("");
	subscribe(a, "x", 2);
	assert_told("+2 x;");
	unsubscribe(a, "x");
	unsubscribe(b, "x");
	assert_told("");
	unsubscribe(c, "x");
	assert_told("- x;");
	unwatched();
}

static void gates_want_nothing(void **state)
{
	(void)state;
	subscribe(&rig.gate, "x", 2);
	router_watch(rig.router, &watcher);
	assert_told("");
	subscribe(a, "x", 0);
	subscribe(b, "x", 0);
	subscribe(&rig.other_gate, "x", 2);
	assert_told("+0 x;");
	unsubscribe(b, "x");
	subscribe(a, "x", 1);
	assert_told("+1 x;");
	unsubscribe(a, "x");
	assert_told("- x;");
	unsubscribe(&rig.gate, "x");
	assert_told("");
	unwatched();
}

static void a_late_watcher_hears_all_at_once(void **state)
{
	(void)state;
	subscribe(a, "x", 1);
	subscribe(b, "x", 2);
	subscribe(c, "x", 0);
	subscribe(a, "y/+", 0);
	subscribe(&rig.gate, "#", 2);
	router_watch(rig.router, &watcher);
	assert_non_null(strstr(told, "+2 x;"));
	assert_non_null(strstr(told, "+0 y/+;"));
	assert_int_equal(strlen(told), strlen("+2 x;+0 y/+;"));
	unwatched();
}

/* Random changes: a watcher that believes what it is told knows exactly which filters are wanted,
 * and never at too low a QoS. */
enum { FILTERS = 5 };
static const char *const filters[FILTERS] = { "a", "a/+", "#", "+/b", "$x/#" };
static int believed[FILTERS];

static size_t filter_index(struct span filter)
{
	for (size_t i = 0; i < FILTERS; i++) {
		if (span_is(filter, filters[i]))
			return i;
	}
	fail();
	return 0;
}

static void believe_wanted(struct router_watcher *w, struct span filter, uint8_t qos)
{
	(void)w;
	believed[filter_index(filter)] = qos;
}

static void believe_unwanted(struct router_watcher *w, struct span filter)
{
	(void)w;
	assert_true(believed[filter_index(filter)] >= 0);
	believed[filter_index(filter)] = -1;
}

static void a_watcher_knows_what_is_wanted(void **state)
{
	struct router_watcher w = { .wanted = believe_wanted, .unwanted = believe_unwanted };
	int have[5][FILTERS]; /* four clients and the gate; -1: not subscribed */
	(void)state;

	memset(have, -1, sizeof(have));
	memset(believed, -1, sizeof(believed));
	router_watch(rig.router, &w);
	for (unsigned step = 0; step < 20000; step++) {
		size_t who = random_below(5), f = random_below(FILTERS);
		struct box *box = who < 4 ? &rig.boxes[who] : &rig.gate;

		if (random_below(3)) {
			have[who][f] = (int)random_below(3);
			subscribe(box, filters[f], (uint8_t)have[who][f]);
		} else {
			have[who][f] = -1;
			unsubscribe(box, filters[f]);
		}
		int highest = -1;
		for (size_t i = 0; i < 4; i++)
			highest = MAX(highest, have[i][f]);
		assert_int_equal(believed[f] >= 0, highest >= 0);
	}
	router_unwatch(rig.router, &w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bad_filters_are_refused),
		TEST(a_repetition_replaces_the_options),
		TEST(unsubscribing),
		TEST(quotas_of_one_and_of_all),
		TEST(subscriptions_are_listed),
		TEST(watchers_hear_of_the_first_and_the_last),
		TEST(watchers_hear_of_a_rise),
		TEST(gates_want_nothing),
		TEST(a_late_watcher_hears_all_at_once),
		TEST(a_watcher_knows_what_is_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
