#include "gateway/core/router.h"

#include "gateway/base/count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/core/router_rig.h"

static struct message *kept(const char *topic)
{
	return router_retained(rig.router, span_str(topic));
}

static void count_message(struct message *m, void *arg)
{
	(void)m;
	++*(unsigned *)arg;
}

static unsigned kept_by(const char *filter)
{
	unsigned n = 0;

	router_retained_match(rig.router, span_str(filter), count_message, &n);
	return n;
}

static size_t retained_bytes(void)
{
	struct router_stats s;

	router_stats(rig.router, &s);
	return s.tree.retained_bytes;
}

static void the_last_one_is_kept(void **state)
{
	(void)state;
	publish("x", 1);
	assert_null(kept("x"));
	retain("x", "1");
	retain("x", "2");
	assert_true(span_is(message_payload(kept("x")), "2"));
	publish("x", 1); /* not retained: changes nothing */
	assert_true(span_is(message_payload(kept("x")), "2"));
	assert_int_equal(kept_by("#"), 1);
}

static void an_empty_one_clears(void **state)
{
	struct box *a = &rig.boxes[0];
	(void)state;

	subscribe(a, "#", 0);
	retain("x", "1");
	assert_int_equal(retain("x", ""), R_SUCCESS);
	assert_null(kept("x"));
	assert_int_equal(kept_by("#"), 0);
	assert_int_equal(a->n, 2); /* it is delivered as well */
	retain("never/there", "");
	assert_int_equal(retained_bytes(), 0);
}

static void a_full_table_refuses_new_topics(void **state)
{
	struct router_limits limits = { .max_retained = 2 };
	struct box *a = &rig.boxes[0];
	uint64_t counted = count_value("router.retained_refused");
	(void)state;

	router_set_limits(rig.router, &limits);
	retain("1", "x");
	retain("2", "x");
	subscribe_opts(a, "#", (struct sub_opts){ .retain_handling = 2 });
	assert_int_equal(retain("3", "x"), R_QUOTA);
	assert_int_equal(a->n, 0);
	receipts_run();
	assert_int_equal(rig.done, 2);
	/* QoS 0 cannot be refused: delivered, not kept, counted. */
	assert_int_equal(publish_as(&rig.boxes[3].who, "3", "x", 0, true), R_SUCCESS);
	assert_int_equal(publish_as(&rig.upstream, "3", "x", 1, true), R_SUCCESS);
	assert_int_equal(a->n, 2);
	assert_null(kept("3"));
	assert_int_equal(count_value("router.retained_refused"), counted + 2);
	/* A known topic goes on. */
	assert_int_equal(retain("2", "y"), R_SUCCESS);
	assert_true(span_is(message_payload(kept("2")), "y"));
	assert_int_equal(retain("1", ""), R_SUCCESS);
	assert_int_equal(retain("3", "x"), R_SUCCESS);
}

static bool is_kept(const char *topic, const char *payload)
{
	enum reason reason = retain(topic, payload);

	assert_true(reason == R_QUOTA || !reason_failed(reason));
	return reason != R_QUOTA;
}

static void bytes_are_limited_as_well(void **state)
{
	struct router_limits limits = { .max_retained_bytes = 400 };
	char big[300];
	(void)state;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	router_set_limits(rig.router, &limits);
	assert_true(is_kept("1", "x"));
	assert_true(is_kept("2", "x"));
	assert_false(is_kept("1", big)); /* a small one may not become a big one */
	assert_true(is_kept("2", ""));
	assert_true(is_kept("1", big));
	assert_false(is_kept("2", "x"));
	limits.max_retained_bytes = 10; /* a reload below what there is */
	router_set_limits(rig.router, &limits);
	assert_true(is_kept("1", big));
	assert_true(is_kept("1", "x"));
	assert_false(is_kept("1", "xx"));
	assert_true(retained_bytes() < 100);
}

static void one_message_is_limited_too(void **state)
{
	struct router_limits limits = { .max_retained_message = 3 };
	struct box *a = &rig.boxes[0];
	(void)state;

	subscribe_opts(a, "#", (struct sub_opts){ .retain_handling = 2 });
	router_set_limits(rig.router, &limits);
	assert_int_equal(retain("1", "123"), R_SUCCESS);
	assert_int_equal(a->n, 1);
	assert_int_equal(retain("1", "1234"), R_TOO_LARGE);
	assert_true(span_is(message_payload(kept("1")), "123"));
	assert_int_equal(a->n, 1);
	/* Who cannot be told is served, and so is what is not to be retained. */
	assert_int_equal(publish_as(&rig.boxes[3].who, "1", "1234", 0, true), R_SUCCESS);
	assert_int_equal(publish_as(&rig.boxes[3].who, "1", "1234", 1, false), R_SUCCESS);
	assert_int_equal(a->n, 3);
}

static void keep_for(const char *topic, uint32_t life_ms)
{
	struct message *m = rig_message(topic, "1", 0, true, life_ms);

	router_publish(rig.router, &rig.gateway, m, NULL);
	message_unref(m);
}

static void an_expired_one_is_not_shown(void **state)
{
	(void)state;
	keep_for("x/1", 500);
	keep_for("x/2", 0);
	assert_int_equal(kept_by("x/+"), 2);
	clock_advance(500);
	assert_null(kept("x/1"));
	assert_non_null(kept("x/2"));
	assert_int_equal(kept_by("x/+"), 1);
}

static void expired_ones_give_their_memory_back(void **state)
{
	(void)state;
	keep_for("stays", 0);
	assert_int_equal(timers_next_ms(), -1); /* nothing can expire: no timer */
	size_t before = retained_bytes();
	for (unsigned i = 0; i < 300; i++) {
		char topic[16];
		snprintf(topic, sizeof(topic), "%u", i);
		keep_for(topic, 1500);
	}
	for (unsigned s = 0; s < 10; s++) {
		clock_advance(1100);
		timers_run();
	}
	assert_int_equal(retained_bytes(), before);
	assert_int_equal(timers_next_ms(), -1);
	keep_for("again", 100);
	clock_advance(3000);
	timers_run();
	assert_int_equal(retained_bytes(), before);
}

static void keep_own(const char *topic, const char *payload)
{
	struct message_init init = { .topic = span_str(topic),
		.payload = span_str(payload),
		.retain = true,
		.origin = ORIGIN_GATEWAY };
	struct message *m = message_new(&init);

	assert_non_null(m);
	router_publish(rig.router, &rig.gateway, m, NULL);
	message_unref(m);
}

static void the_gateways_own_do_not_count(void **state)
{
	struct router_limits limits = { .max_retained = 2, .max_retained_bytes = 400 };
	char topic[40];
	(void)state;

	rig.gateway.protocol = PROTO_GATEWAY;
	router_set_limits(rig.router, &limits);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 20; i++) {
			snprintf(topic, sizeof(topic), "$SYS/broker/%u", i);
			keep_own(topic, round ? "a longer value" : "1");
		}
	assert_int_equal(kept_by("$SYS/#"), 20);
	assert_true(is_kept("1", "x"));
	assert_true(is_kept("2", "x"));
	assert_false(is_kept("3", "x"));
	keep_own("$SYS/broker/0", "");
	keep_own("$SYS/broker/21", "x"); /* full for others */
	assert_int_equal(kept_by("$SYS/#"), 20);
	assert_false(is_kept("3", "x"));
	assert_true(is_kept("2", ""));
	assert_true(is_kept("3", "x"));
	keep_own("own/but/not/below/dollar", "x");
	assert_null(kept("own/but/not/below/dollar"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(the_last_one_is_kept),
		RIG_TEST(an_empty_one_clears),
		RIG_TEST(a_full_table_refuses_new_topics),
		RIG_TEST(bytes_are_limited_as_well),
		RIG_TEST(one_message_is_limited_too),
		RIG_TEST(an_expired_one_is_not_shown),
		RIG_TEST(expired_ones_give_their_memory_back),
		RIG_TEST(the_gateways_own_do_not_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
