#include "gateway/upstream/backlog.h"

#include "gateway/base/log.h"
#include "tests/unit/upstream/backlog_rig.h"

static int setup(void **state)
{
	(void)state;
	return setup_with("", true);
}

static int setup_small(void **state)
{
	(void)state;
	return setup_with("memory_bytes = 16KB\nqos0_bytes = 2000B\nbacklog_bytes = 64KB", true);
}

static int setup_memory(void **state)
{
	(void)state;
	return setup_with("backlog_bytes = 64KB", false);
}

static void test_held_until_acknowledged(void **state)
{
	struct waiter w;

	(void)state;
	assert_int_equal(push(&w, "x", 1, false), R_SUCCESS);
	struct entry *e = backlog_next(b);
	assert_payload(e, "x");
	backlog_sent(b, e);
	assert_null(backlog_next(b));
	advance(500);
	assert_false(w.done);
	backlog_done(b, e, R_SUCCESS);
	receipts_run();
	assert_true(w.done);
	assert_int_equal(w.reason, R_SUCCESS);
	assert_int_equal(journal->n, 0); /* no disk write */
	assert_true(backlog_safe(b));
}

static void test_stored_after_ack_hold(void **state)
{
	struct waiter w;

	(void)state;
	push(&w, "x", 1, false);
	advance(999);
	assert_int_equal(journal->n, 0);
	advance(40);
	assert_int_equal(journal->n, 1);
	assert_false(w.done); /* not before the commit */
	commit(0);
	receipts_run();
	assert_true(w.done);
	assert_int_equal(status().stored, 1);
	struct entry *e = backlog_next(b);
	backlog_sent(b, e);
	backlog_done(b, e, R_SUCCESS);
	assert_int_equal(journal->forgotten, 1);
	assert_int_equal(status().disk_bytes, 0);
}

static void test_stored_when_link_goes_down(void **state)
{
	struct waiter w[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		push(&w[i], "x", 1, false);
	struct entry *e = backlog_next(b);
	backlog_sent(b, e);
	backlog_set_link(b, false);
	assert_int_equal(journal->n, 3); /* in flight too: nobody knows what becomes of it */
	commit(0);
	receipts_run();
	for (int i = 0; i < 3; i++)
		assert_true(w[i].done);
}

static void test_acknowledged_before_commit(void **state)
{
	struct waiter w;

	(void)state;
	push(&w, "x", 2, true);
	assert_int_equal(journal->n, 1);
	struct entry *e = backlog_next(b);
	backlog_sent(b, e);
	backlog_done(b, e, R_SUCCESS);
	receipts_run();
	assert_true(w.done);
	assert_null(journal->records[1].wait);
	assert_int_equal(journal->forgotten, 1);
}

static void test_failed_commit_is_never_acknowledged(void **state)
{
	struct waiter w;

	(void)state;
	push(&w, "x", 1, true);
	commit(-EIO);
	receipts_run();
	assert_false(w.done);
	assert_int_equal(status().error, -EIO);
	assert_int_equal(status().stored, 0);
	advance(1100);
	assert_int_equal(journal->n, 2); /* tried again */
	commit(0);
	receipts_run();
	assert_true(w.done);
	assert_int_equal(w.reason, R_SUCCESS);
	assert_int_equal(status().error, 0);
}

static void test_failing_storage_refuses(void **state)
{
	struct waiter held, refused;

	(void)state;
	push(&held, "1", 1, false);
	journal->append_error = -ENOSPC;
	assert_int_equal(push(&refused, "2", 1, true), R_QUOTA);
	advance(1100); /* the held one can't be stored either: it goes on waiting */
	assert_false(held.done);
	assert_false(refused.done);
	assert_int_equal(status().queued, 1);
	assert_int_equal(status().error, -ENOSPC);
	journal->append_error = 0;
	advance(1100);
	commit(0);
	receipts_run();
	assert_true(held.done);
}

/* It was taken, then its commit failed, and the upstream is away. */
static void test_refused_after_all(void **state)
{
	struct waiter once, twice;

	(void)state;
	push(&once, "1", 1, true);
	push(&twice, "2", 2, true);
	backlog_set_link(b, false);
	journal->append_error = -ENOSPC;
	commit(-ENOSPC);
	for (int i = 0; i < 4; i++)
		advance(1000);
	assert_false(once.done);
	advance(1000);
	advance(1);
	assert_true(once.done);
	assert_int_equal(once.reason, R_QUOTA);
	assert_int_equal(status().queued, 1); /* it will not arrive as well */
	assert_false(twice.done);
	journal->append_error = 0;
	advance(1000);
	commit(0);
	receipts_run();
	assert_true(twice.done);
	assert_int_equal(twice.reason, R_SUCCESS);
}

static void test_order_survives_requeue(void **state)
{
	struct entry *e[5];
	char payload[2] = "0";

	(void)state;
	for (int i = 0; i < 5; i++) {
		payload[0] = (char)('0' + i);
		push(NULL, payload, 1, false);
	}
	for (int i = 0; i < 3; i++) {
		e[i] = backlog_next(b);
		backlog_sent(b, e[i]);
	}
	backlog_requeue(b, e[1]);
	backlog_requeue(b, e[0]);
	for (int i = 0; i < 5; i++) {
		if (i == 2)
			continue; /* still in flight */
		struct entry *n = backlog_next(b);
		payload[0] = (char)('0' + i);
		assert_payload(n, payload);
		backlog_sent(b, n);
	}
	assert_null(backlog_next(b));
	assert_int_equal(status().in_flight, 5);
}

static void test_oldest_qos0_gives_way(void **state)
{
	char payload[16];

	(void)state;
	backlog_set_link(b, false);
	for (int i = 0; i < 100; i++) {
		snprintf(payload, sizeof(payload), "%d", i);
		assert_int_equal(push(NULL, payload, 0, false), R_SUCCESS);
	}
	assert_true(status().qos0_bytes <= 2000);
	assert_int_equal(status().dropped_qos0 + status().queued, 100);
	snprintf(payload, sizeof(payload), "%u", (unsigned)status().dropped_qos0);
	assert_payload(backlog_next(b), payload);
}

static void test_bodies_stay_on_disk(void **state)
{
	char payload[200];

	(void)state;
	backlog_set_link(b, false);
	for (int i = 0; i < 200; i++) {
		snprintf(payload, sizeof(payload), "%0150d", i);
		assert_int_equal(push(NULL, payload, 1, true), R_SUCCESS);
		commit(0);
	}
	assert_true(status().memory_bytes < 17 * 1024);
	for (int i = 0; i < 200; i++) {
		struct entry *e = backlog_next(b);
		snprintf(payload, sizeof(payload), "%0150d", i);
		assert_payload(e, payload);
		backlog_sent(b, e);
		backlog_done(b, e, R_SUCCESS);
	}
	assert_int_equal(status().memory_bytes, 0);
	assert_int_equal(journal->forgotten, 200);
}

static void test_bound_on_disk(void **state)
{
	char payload[1001];
	int taken = 0;

	(void)state;
	backlog_set_link(b, false);
	memset(payload, 'x', 1000);
	payload[1000] = '\0';
	while (taken < 100 && push(NULL, payload, 1, true) == R_SUCCESS) {
		commit(0);
		taken++;
	}
	assert_in_range(taken, 55, 64); /* 64 KB */
	struct entry *e = backlog_next(b);
	backlog_sent(b, e);
	backlog_done(b, e, R_SUCCESS);
	assert_int_equal(push(NULL, payload, 1, true), R_SUCCESS);
}

static void test_replay(void **state)
{
	char payload[16];

	(void)state;
	backlog_set_link(b, false);
	for (int i = 0; i < 4; i++) {
		snprintf(payload, sizeof(payload), "%d", i);
		struct message *m = make("state", payload, i == 1 ? 2 : 1, i == 2);
		if (i == 3)
			m->expires_ms = clock_ms() + 1000;
		assert_int_equal(push_message(m, NULL, true), R_SUCCESS);
		message_unref(m);
	}
	commit(0);
	clock_advance(5000);
	restart();
	assert_int_equal(status().queued, 3);
	assert_int_equal(status().expired, 1);
	assert_int_equal(live_records(), 3);
	assert_true(backlog_has_retained(b, span_str("state")));
	assert_true(backlog_safe(b));
	for (int i = 0; i < 3; i++) {
		struct entry *e = backlog_next(b);
		snprintf(payload, sizeof(payload), "%d", i);
		assert_payload(e, payload);
		assert_int_equal(e->qos, i == 1 ? 2 : 1);
		assert_true(e->old);
		backlog_sent(b, e);
		backlog_done(b, e, R_SUCCESS);
	}
	assert_false(backlog_has_retained(b, span_str("state")));
	assert_int_equal(status().disk_bytes, 0);
	assert_int_equal(live_records(), 0);
}

static void test_unreadable_bodies(void **state)
{
	(void)state;
	keeper_set_conf(k, &(struct keeper_conf){ .hold_ms = 1000 });
	backlog_set_link(b, false);
	push(NULL, "lost", 1, true);
	push(NULL, "kept", 1, true);
	commit(0);
	assert_int_equal(status().memory_bytes, 0);
	journal->read_error = -EIO; /* may pass: nothing is dropped */
	assert_null(backlog_next(b));
	advance(1100);
	assert_true(more_calls > 0);
	assert_int_equal(status().queued, 2);
	journal->read_error = -EBADMSG;
	assert_null(backlog_next(b));
	assert_int_equal(status().unreadable, 2);
	assert_int_equal(status().queued, 0);
}

/* A disk that can't be read for long must not block the queue; what it holds may be read at the
 * next start. */
static void test_unreadable_for_long_stays_in_the_journal(void **state)
{
	(void)state;
	keeper_set_conf(k, &(struct keeper_conf){ .hold_ms = 1000 });
	backlog_set_link(b, false);
	push(NULL, "later", 1, true);
	commit(0);
	journal->read_error = -EIO;
	for (int i = 0; i < 60; i++)
		assert_null(backlog_next(b));
	assert_int_equal(status().queued, 0);
	assert_int_equal(status().unreadable, 1);
	assert_int_equal(status().disk_bytes, 0);
	assert_true(journal->records[1].live);
}

static void test_expired_is_dropped(void **state)
{
	struct message *m = make("t", "old", 1, false);

	(void)state;
	m->expires_ms = clock_ms() + 100;
	push_message(m, NULL, false);
	message_unref(m);
	push(NULL, "new", 1, false);
	clock_advance(200);
	assert_payload(backlog_next(b), "new");
	assert_int_equal(status().expired, 1);
}

static void test_memory_only(void **state)
{
	struct waiter up, down;
	char payload[1001];

	(void)state;
	push(&up, "x", 1, false);
	advance(5000);
	assert_false(up.done); /* it waits for the upstream */
	backlog_set_link(b, false);
	receipts_run();
	assert_true(up.done);
	push(&down, "y", 1, true);
	assert_true(list_empty(&down.receipt.holds)); /* taken, nothing to wait for */
	assert_true(backlog_safe(b));
	memset(payload, 'x', 1000);
	payload[1000] = '\0';
	int taken = 0;
	while (taken < 100 && push(NULL, payload, 1, true) == R_SUCCESS)
		taken++;
	assert_in_range(taken, 50, 64);
}

static void test_journal_keeps_a_publishers_order(void **state)
{
	(void)state;
	push(NULL, "first", 1, false);
	push(NULL, "second", 2, true);
	assert_int_equal(journal->n, 2);
	commit(0);
	restart();
	assert_payload(backlog_next(b), "first");
}

/* What finds no room on the disk keeps its publisher's later messages from going there first. */
static void test_a_smaller_one_does_not_pass_on_disk(void **state)
{
	char large[4001];
	struct waiter first, second, third;

	(void)state;
	memset(large, 'x', 4000);
	large[4000] = '\0';
	journal->max_body = 1000;
	assert_int_equal(push(&first, large, 1, false), R_SUCCESS);
	assert_int_equal(push(&second, "small", 1, false), R_SUCCESS);
	assert_int_equal(push(&third, "small", 2, true), R_QUOTA);
	advance(1100); /* ack_hold is over */
	commit(0);
	receipts_run();
	assert_int_equal(journal->n, 0);
	assert_false(first.done || second.done);
}

int main(void)
{
#define CASE(f)       cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_IN(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_held_until_acknowledged),
		CASE(test_stored_after_ack_hold),
		CASE(test_stored_when_link_goes_down),
		CASE(test_acknowledged_before_commit),
		CASE(test_failed_commit_is_never_acknowledged),
		CASE(test_failing_storage_refuses),
		CASE(test_refused_after_all),
		CASE(test_order_survives_requeue),
		CASE_IN(test_oldest_qos0_gives_way, setup_small),
		CASE_IN(test_bodies_stay_on_disk, setup_small),
		CASE_IN(test_bound_on_disk, setup_small),
		CASE(test_replay),
		CASE(test_unreadable_bodies),
		CASE(test_unreadable_for_long_stays_in_the_journal),
		CASE(test_expired_is_dropped),
		CASE_IN(test_memory_only, setup_memory),
		CASE(test_journal_keeps_a_publishers_order),
		CASE(test_a_smaller_one_does_not_pass_on_disk),
	};

	log_init(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
