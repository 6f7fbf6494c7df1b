#include "gateway/upstream/interest.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/core/topic.h"
#include "gateway/upstream/interest_memory.h"
#include "tests/unit/upstream/fake_uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct interest *in;

static void on_granted(void *arg, const uint8_t *codes, size_t n)
{
	(void)arg;
	interest_granted(in, codes, n);
}

static const struct uplink_events events = { .granted = on_granted };

static struct conf_list list_of(const char **items, size_t n)
{
	return (struct conf_list){ n, items };
}

static int setup(void **state)
{
	static const char *all[] = { "#" };
	struct conf_list imports = list_of(all, 1), none = { 0 };

	(void)state;
	clock_freeze(1000000, 1700000000000);
	in = interest_new(fake_new(NULL, NULL, &events, NULL));
	assert_int_equal(interest_set_imports(in, &imports, &none), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	interest_free(in);
	return 0;
}

static void want(const char *filter, uint8_t qos)
{
	interest_wanted(in, span_str(filter), qos);
}

static void unwant(const char *filter)
{
	interest_unwanted(in, span_str(filter));
}

static void advance(int64_t ms)
{
	clock_advance(ms);
	timers_run();
	interest_turn(in);
}

/* Asked for exactly these, in any order. */
static void assert_asked(bool unsub, size_t n, const char *const *filters)
{
	interest_turn(in);
	assert_int_equal(fake.n_asked, n);
	assert_int_equal(fake.unsub, unsub);
	for (size_t i = 0; i < n; i++) {
		bool found = false;
		for (size_t k = 0; k < n; k++)
			found = found || strcmp(fake.asked[k].filter, filters[i]) == 0;
		if (!found)
			fail_msg("%s was not asked for", filters[i]);
	}
}
#define SUBSCRIBES(...)                                                                            \
	do {                                                                                       \
		static const char *const f[] = { __VA_ARGS__ };                                    \
		assert_asked(false, sizeof(f) / sizeof(f[0]), f);                                  \
	} while (0)
#define UNSUBSCRIBES(...)                                                                          \
	do {                                                                                       \
		static const char *const f[] = { __VA_ARGS__ };                                    \
		assert_asked(true, sizeof(f) / sizeof(f[0]), f);                                   \
	} while (0)

static void assert_quiet(void)
{
	interest_turn(in);
	assert_int_equal(fake.n_asked, 0);
}

static void test_on_demand(void **state)
{
	unsigned n;

	(void)state;
	interest_up(in, false);
	assert_quiet();
	want("a/b", 1);
	want("a/b", 1); /* as the router tells of a rise of QoS */
	want("$SYS/x", 1);
	SUBSCRIBES("a/b");
	assert_int_equal(fake.asked[0].qos, 1);
	assert_true(interest_matches(in, span_str("a/b"))); /* it may come back already */
	fake_grant_all(1);
	assert_quiet();
	assert_int_equal(interest_count(in, &n), 1);
	assert_int_equal(n, 1);
	assert_false(interest_matches(in, span_str("a/c")));
}

static void test_linger(void **state)
{
	(void)state;
	interest_up(in, false);
	want("a", 0);
	interest_turn(in);
	fake_grant_all(0);
	unwant("a");
	advance(INTEREST_LINGER_MS - 100);
	assert_quiet();
	want("a", 0); /* back in time */
	advance(2000);
	assert_quiet();
	unwant("a");
	advance(INTEREST_LINGER_MS + 400);
	UNSUBSCRIBES("a");
	fake_grant_all(0);
	unsigned n;
	assert_int_equal(interest_count(in, &n), 0);
}

/* What the process before has subscribed to; in memory only, so that it has no records. */
static void test_after_a_restart(void **state)
{
	struct interest_memory *memory = interest_memory_new();
	unsigned n;

	(void)state;
	assert_int_equal(interest_memory_replay(memory, 7, span_str("old/#")), 0);
	assert_int_equal(interest_memory_replay(memory, 8, span_str("new")), 0);
	interest_set_memory(in, memory);
	want("new", 0);
	interest_up(in, true);
	SUBSCRIBES("new");
	fake_grant_all(0);
	advance(INTEREST_RETURN_MS - 1);
	assert_quiet();
	advance(1);
	UNSUBSCRIBES("old/#");
	fake_grant_all(0);
	assert_quiet();
	assert_int_equal(interest_count(in, &n), 1);
	assert_int_equal(n, 1);
	interest_up(in, true); /* once a run */
	advance(INTEREST_RETURN_MS);
	assert_quiet();
	interest_set_memory(in, NULL);
	interest_memory_free(memory);
}

static void test_wider_first(void **state)
{
	(void)state;
	interest_up(in, false);
	want("a/1", 1);
	want("a/2", 0);
	want("b", 0);
	SUBSCRIBES("a/1", "a/2", "b");
	fake_grant_all(1);
	want("a/+", 0);
	SUBSCRIBES("a/+");
	assert_int_equal(fake.asked[0].qos, 1); /* for those it stands for */
	fake_grant_all(1);
	UNSUBSCRIBES("a/1", "a/2");
	fake_grant_all(0);
	want("a/3", 0); /* covered: nothing to ask */
	assert_quiet();
	unwant("a/+");
	advance(INTEREST_LINGER_MS + 400);
	SUBSCRIBES("a/1", "a/2", "a/3"); /* before the wide one goes */
	fake_grant_all(1);
	UNSUBSCRIBES("a/+");
	fake_grant_all(0);
	assert_quiet();
}

static void test_qos_rises(void **state)
{
	(void)state;
	interest_up(in, false);
	want("a/#", 0);
	interest_turn(in);
	fake_grant_all(0);
	want("a/b", 2);
	SUBSCRIBES("a/#");
	assert_int_equal(fake.asked[0].qos, 2);
	fake_grant_all(2);
	assert_quiet();
}

static void test_import_limits(void **state)
{
	static const char *limits[] = { "cmd/#", "conf/+/x" };
	static const char *always[] = { "fixed" };
	struct conf_list imports = list_of(limits, 2), fixed = list_of(always, 1);

	(void)state;
	interest_set_imports(in, &imports, &fixed);
	interest_up(in, false);
	SUBSCRIBES("fixed");
	fake_grant_all(2);
	want("#", 1); /* wider than what may come */
	SUBSCRIBES("cmd/#", "conf/+/x");
	fake_grant_all(1);
	want("elsewhere", 1);
	want("cmd/a", 1);
	assert_quiet();
	assert_true(interest_allows(in, span_str("cmd/a")));
	assert_true(interest_allows(in, span_str("fixed")));
	assert_false(interest_allows(in, span_str("elsewhere")));
	unwant("#");
	advance(INTEREST_LINGER_MS + 400);
	SUBSCRIBES("cmd/a");
	fake_grant_all(1);
	UNSUBSCRIBES("cmd/#", "conf/+/x");
}

static void test_reconnect(void **state)
{
	(void)state;
	interest_up(in, false);
	want("a", 1);
	interest_turn(in);
	fake_grant_all(1);
	interest_down(in);
	want("b", 1);
	assert_quiet();
	interest_up(in, true); /* only what has changed */
	SUBSCRIBES("b");
	fake_grant_all(UPLINK_UNANSWERED);
	interest_down(in);
	interest_up(in, true);
	SUBSCRIBES("b");
	fake_grant_all(1);
	interest_down(in);
	interest_up(in, false);
	SUBSCRIBES("a", "b");
}

static void test_refused(void **state)
{
	uint8_t codes[] = { R_NOT_AUTHORIZED };

	(void)state;
	interest_up(in, false);
	want("a/b", 1);
	interest_turn(in);
	fake_grant_all(1);
	want("a/#", 1);
	SUBSCRIBES("a/#");
	fake.n_asked = 0;
	interest_granted(in, codes, 1);
	assert_quiet(); /* the narrow one stays, the wide one is not asked for again */
	assert_true(interest_matches(in, span_str("a/b")));
	want("a/c", 1);
	SUBSCRIBES("a/c");
	fake_grant_all(1);
	interest_down(in);
	interest_up(in, true);
	SUBSCRIBES("a/#"); /* the server may have changed its mind */
}

static void test_chunks(void **state)
{
	char filter[16];
	unsigned n;

	(void)state;
	for (int i = 0; i < 120; i++) {
		snprintf(filter, sizeof(filter), "t/%d", i);
		want(filter, 1);
	}
	interest_up(in, false);
	for (size_t left = 120; left > 0;) {
		interest_turn(in);
		assert_int_equal(fake.n_asked, MIN(left, (size_t)UPLINK_FILTERS_MAX));
		left -= fake.n_asked;
		fake_grant_all(1);
	}
	assert_quiet();
	interest_count(in, &n);
	assert_int_equal(n, 120);
	assert_true(interest_replaying(in));
	clock_advance(INTEREST_REPLAY_MS);
	assert_false(interest_replaying(in));
}

static const char *const filters[] = { "#", "+", "a", "a/#", "a/+", "a/b", "a/b/#", "a/b/c", "+/b",
	"+/#", "b", "b/+/c" };

/* Answers the outstanding request, and keeps the server's books. */
static void grant(bool *there)
{
	for (size_t i = 0; i < fake.n_asked; i++)
		for (size_t f = 0; f < ARRAY_SIZE(filters); f++)
			if (strcmp(fake.asked[i].filter, filters[f]) == 0)
				there[f] = !fake.unsub;
	if (fake.n_asked)
		fake_grant_all(1);
}

static bool any_covers(const bool *which, size_t f, bool wide)
{
	for (size_t g = 0; g < ARRAY_SIZE(filters); g++) {
		struct span a = span_str(filters[g]), c = span_str(filters[f]);
		if (which[g] && (wide ? topic_covers(a, c) : topic_covers(c, a)))
			return true;
	}
	return false;
}

/* Any order of wanting and unwanting ends with exactly what is needed. */
static void test_random(void **state)
{
	bool wanted[ARRAY_SIZE(filters)] = { 0 };
	bool there[ARRAY_SIZE(filters)] = { 0 };

	(void)state;
	srandom(4711);
	interest_up(in, false);
	for (int step = 0; step < 5000; step++) {
		size_t k = (size_t)random() % ARRAY_SIZE(filters);
		if (wanted[k])
			unwant(filters[k]);
		else
			want(filters[k], 1);
		wanted[k] = !wanted[k];
		if (random() % 4 == 0)
			advance(3000);
		interest_turn(in);
		grant(there);
	}
	for (int i = 0; i < 40; i++) {
		advance(INTEREST_LINGER_MS);
		grant(there);
	}
	for (size_t f = 0; f < ARRAY_SIZE(filters); f++) {
		if (wanted[f])
			assert_true(any_covers(there, f, true));
		if (there[f]) /* somebody needs it */
			assert_true(any_covers(wanted, f, false));
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_on_demand),
		CASE(test_linger),
		CASE(test_wider_first),
		CASE(test_qos_rises),
		CASE(test_import_limits),
		CASE(test_reconnect),
		CASE(test_refused),
		CASE(test_after_a_restart),
		CASE(test_chunks),
		CASE(test_random),
	};

	log_init(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
