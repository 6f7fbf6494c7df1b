#include "gateway/base/log.h"
#include "gateway/upstream/ledger.h"
#include "tests/unit/upstream/backlog_rig.h"

static int setup(void **state)
{
	(void)state;
	setup_with("memory_bytes = 1MB\nqos0_bytes = 2000B\nbacklog_bytes = 64KB\n"
		   "backlog_age = 1h\nlatest_only = state/#\npriority = alarm/#\n"
		   "drop_oldest = bulk/#",
		true);
	backlog_set_link(b, false);
	return 0;
}

static enum reason push_to(const char *topic, const char *payload, uint8_t qos)
{
	struct message *m = make(topic, payload, qos, false);
	enum reason r = push_message(m, NULL, true);

	message_unref(m);
	commit(0);
	return r;
}

/* All that waits, by payload, in the order in which it leaves. */
static const char *drain(void)
{
	static char all[512];
	struct entry *e;
	size_t n = 0;

	all[0] = '\0';
	while ((e = backlog_next(b))) {
		struct span p = message_payload(entry_message(e));
		n += (size_t)snprintf(
			all + n, sizeof(all) - n, "%.*s ", (int)MIN(p.len, 8u), (const char *)p.p);
		backlog_sent(b, e);
		backlog_done(b, e, R_SUCCESS);
	}
	return all;
}

static uint64_t lost(enum loss why)
{
	return ledger_total(backlog_ledger(b), why);
}

static void test_priority_goes_first(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	push_to("alarm/x", "A", 1);
	push_to("a", "2", 0);
	push_to("alarm/x", "B", 1);
	push_to("a", "3", 2);
	assert_string_equal(drain(), "A B 1 2 3 ");
}

static void test_priority_survives_a_restart(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	push_to("alarm/x", "A", 1);
	push_to("alarm/x", "B", 2);
	restart();
	assert_string_equal(drain(), "A B 1 ");
}

static void test_order_of_a_lane_survives_requeue(void **state)
{
	struct entry *e[3];

	(void)state;
	push_to("a", "1", 1);
	push_to("a", "2", 1);
	push_to("alarm/x", "A", 1);
	for (int i = 0; i < 3; i++) {
		e[i] = backlog_next(b);
		backlog_sent(b, e[i]);
	}
	for (int i = 2; i >= 0; i--)
		backlog_requeue(b, e[i]);
	assert_string_equal(drain(), "A 1 2 ");
}

static void test_latest_only(void **state)
{
	struct waiter w;

	(void)state;
	push_to("state/1", "old", 1);
	push_to("state/2", "other", 1);
	push_to("a", "x", 1);
	struct message *m = make("state/1", "held", 1, false);
	memset(&w, 0, sizeof(w));
	receipt_init(&w.receipt, on_done);
	push_message(m, &w.receipt, true);
	message_unref(m);
	push_to("state/1", "new", 0);
	receipts_run();
	assert_true(w.done && w.reason == R_SUCCESS);
	assert_int_equal(lost(LOSS_SUPERSEDED), 2);
	assert_int_equal(live_records(), 2);
	assert_string_equal(drain(), "other x new ");
}

/* What is in flight may have arrived; when it comes back and a newer one waits it is of no use,
 * except at QoS 2, where the broker may know it. */
static void test_latest_only_and_what_is_in_flight(void **state)
{
	(void)state;
	push_to("state/1", "first", 1);
	struct entry *first = backlog_next(b);
	backlog_sent(b, first);
	push_to("state/2", "two", 2);
	struct entry *two = backlog_next(b);
	backlog_sent(b, two);
	push_to("state/1", "newer", 1);
	push_to("state/2", "three", 1);
	assert_int_equal(lost(LOSS_SUPERSEDED), 0);
	backlog_requeue(b, first);
	backlog_requeue(b, two);
	assert_int_equal(lost(LOSS_SUPERSEDED), 1);
	assert_string_equal(drain(), "two newer three ");
}

static void test_latest_only_over_a_restart(void **state)
{
	(void)state;
	push_to("state/1", "1", 1);
	restart();
	push_to("state/1", "2", 1);
	assert_string_equal(drain(), "2 ");
}

static void test_too_old(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	push_to("a", "2", 0);
	push_to("alarm/x", "A", 2);
	clock_advance(1800 * 1000);
	push_to("a", "3", 1);
	advance(1801 * 1000);
	assert_int_equal(lost(LOSS_AGED), 3);
	assert_int_equal(live_records(), 1);
	assert_string_equal(drain(), "3 ");
}

static void test_age_goes_on_over_a_restart(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	clock_advance(1800 * 1000);
	restart();
	assert_int_equal(status().queued, 1);
	advance(1801 * 1000);
	assert_int_equal(lost(LOSS_AGED), 1);
}

/* A clock without battery has begun in 1970: no time has passed, as far as anybody can tell. */
static void test_age_with_a_wrong_clock(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	clock_freeze(clock_ms(), 3600 * 1000);
	restart();
	push_to("a", "2", 1);
	clock_freeze(clock_ms(), 1800000000000);
	restart();
	assert_int_equal(status().queued, 2);
	advance(1000);
	assert_int_equal(lost(LOSS_AGED), 1); /* the one of a clock that was right */
}

static void fill(const char *topic, const char *name, int n)
{
	char payload[1001];

	for (int i = 0; i < n; i++) {
		memset(payload, ' ', 1000);
		payload[1000] = '\0';
		int len = snprintf(payload, sizeof(payload), "%s%d", name, i);
		payload[len] = ' ';
		assert_int_equal(push_to(topic, payload, 1), R_SUCCESS);
	}
}

static void test_named_filters_give_way(void **state)
{
	(void)state;
	fill("bulk/x", "b", 30);
	fill("a", "a", 27);
	fill("a", "c", 10);
	assert_true(lost(LOSS_OLDEST) > 0);
	uint64_t before = lost(LOSS_OLDEST);
	fill("bulk/x", "d", 1);
	assert_int_equal(lost(LOSS_OLDEST), before + 1);
	assert_true(lost(LOSS_OLDEST) + status().queued == 68);
	assert_true(status().disk_bytes <= 64 * 1024);
}

static void test_refused_when_nothing_gives_way(void **state)
{
	char large[1001];

	(void)state;
	memset(large, 'x', 1000);
	large[1000] = '\0';
	fill("a", "a", 58);
	while (push_to("a", large, 1) == R_SUCCESS)
		;
	assert_int_equal(lost(LOSS_OLDEST), 0);
	assert_int_equal(push_to("bulk/x", large, 1), R_QUOTA);
	assert_int_equal(status().error, -ENOSPC);
}

static void test_nothing_in_flight_gives_way(void **state)
{
	(void)state;
	fill("bulk/x", "b", 1);
	struct entry *e = backlog_next(b);
	backlog_sent(b, e);
	fill("a", "a", 57);
	char large[2001];
	memset(large, 'x', 2000);
	large[2000] = '\0';
	while (push_to("a", large, 1) == R_SUCCESS)
		;
	assert_int_equal(lost(LOSS_OLDEST), 0);
	backlog_requeue(b, e);
	fill("a", "z", 1);
	assert_int_equal(lost(LOSS_OLDEST), 1);
}

static bool is_of(const struct ledger_line *line, void *arg)
{
	unsigned *n = arg;

	assert_string_equal(line->client_id, "dev-1");
	assert_int_equal(line->gap, line->total);
	assert_int_equal(line->first_wall_ms, 1700000000000);
	++*n;
	return false;
}

static void test_whose_and_when(void **state)
{
	unsigned n = 0;

	(void)state;
	push_to("a", "1", 1);
	push_to("state/1", "1", 1);
	clock_advance(1000);
	push_to("state/1", "2", 1);
	advance(3601 * 1000);
	ledger_each(backlog_ledger(b), is_of, &n);
	assert_int_equal(n, 2);
}

static void test_gaps_are_told_first(void **state)
{
	(void)state;
	push_to("a", "1", 1);
	advance(3601 * 1000);
	push_to("a", "2", 1);
	push_to("alarm/x", "A", 1);
	backlog_tell_gaps(b, "gaps", "gw");
	const char *all = drain();
	assert_true(strncmp(all, "A {\"gatewa 2 ", 13) == 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_priority_goes_first),
		CASE(test_priority_survives_a_restart),
		CASE(test_order_of_a_lane_survives_requeue),
		CASE(test_latest_only),
		CASE(test_latest_only_and_what_is_in_flight),
		CASE(test_latest_only_over_a_restart),
		CASE(test_too_old),
		CASE(test_age_goes_on_over_a_restart),
		CASE(test_age_with_a_wrong_clock),
		CASE(test_named_filters_give_way),
		CASE(test_refused_when_nothing_gives_way),
		CASE(test_nothing_in_flight_gives_way),
		CASE(test_whose_and_when),
		CASE(test_gaps_are_told_first),
	};

	log_init(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
