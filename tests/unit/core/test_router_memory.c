/* Subscribing with an allocator that fails when told to: it is refused and leaves no trace. The
 * sources are compiled into this program with their allocator renamed. */
#include "tests/unit/core/failing_alloc.h"

#include "gateway/base/pool.c"
#include "gateway/core/ptrtable.c"
#include "gateway/core/replay.c"
#include "gateway/core/subscription.c"
#include "gateway/core/topictree.c"
#include "gateway/core/topictree_walk.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct box *const a = &rig.boxes[0];
static int n_wanted;

static void on_wanted(struct router_watcher *w, struct span filter, uint8_t qos)
{
	(void)w;
	(void)filter;
	(void)qos;
	n_wanted++;
}

static void on_unwanted(struct router_watcher *w, struct span filter)
{
	(void)w;
	(void)filter;
	n_wanted--;
}

static void a_refused_subscription_leaves_no_trace(void **state)
{
	struct router_watcher w = { .wanted = on_wanted, .unwanted = on_unwanted };
	unsigned failures = 0;
	(void)state;

	router_watch(rig.router, &w);
	for (;; failures++) {
		fail_after = (long)failures;
		enum reason reason = subscribe(a, "plant/+/temp", 1);
		fail_after = -1;
		if (reason == R_GRANTED_QOS_1)
			break;
		assert_int_equal(reason, R_QUOTA);
		assert_int_equal(a->sub.n_subscriptions, 0);
		assert_int_equal(n_wanted, 0);
		assert_int_equal(publish("plant/7/temp", 1), R_NO_MATCHING_SUBSCRIBERS);
	}
	assert_in_range(failures, 5, 20);
	assert_int_equal(n_wanted, 1);
	assert_int_equal(publish("plant/7/temp", 1), R_SUCCESS);
	router_unwatch(rig.router, &w);
}

static void a_replay_waits_for_memory(void **state)
{
	(void)state;
	retain("x/1", "1");
	retain("x/2", "1");
	assert_int_equal(
		subscribe_opts(a, "x/+", (struct sub_opts){ .retain_handling = 2 }), R_SUCCESS);
	fail_after = 2; /* the replay itself and its place, but not its list */
	assert_int_equal(subscribe(a, "x/+", 0), R_SUCCESS);
	fail_after = 0;
	assert_false(router_turn(rig.router)); /* nothing to spin for */
	assert_int_equal(a->n, 0);
	fail_after = -1;
	turns();
	assert_int_equal(a->n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_refused_subscription_leaves_no_trace),
		RIG_TEST(a_replay_waits_for_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
