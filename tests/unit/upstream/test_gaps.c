#include "gateway/upstream/gaps.h"

#include "gateway/base/clock.h"
#include "gateway/core/message.h"
#include "gateway/core/record.h"
#include "gateway/upstream/ledger.h"
#include "tests/unit/core/fake_journal.h"

static struct ledger *l;
static struct gaps *g;
static char told[8][512];
static unsigned n_told, n_taken;

static void start(void)
{
	l = ledger_new();
	g = gaps_new(l);
	for (uint64_t i = 1; i <= journal->n; i++) {
		struct fake_record *r = &journal->records[i];
		if (r->live && gaps_replay(g, i, span_of(r->body, r->len)) < 0)
			r->live = false;
	}
	gaps_attach(g, journal);
}

static void stop(void)
{
	gaps_free(g);
	ledger_free(l);
}

static int setup(void **state)
{
	(void)state;
	clock_freeze(1000000, 1700000000000);
	journal_setup();
	n_told = 0;
	n_taken = 8;
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	journal_teardown();
	assert_int_equal(messages_bytes(), 0);
	return 0;
}

static bool push(void *arg, struct message *m)
{
	struct span p = message_payload(m);

	(void)arg;
	if (n_told >= n_taken)
		return false;
	assert_int_equal(m->qos, 1);
	assert_true(span_is(message_topic(m), "gaps"));
	snprintf(told[n_told++], sizeof(told[0]), "%.*s", SPAN_ARGS(p));
	return true;
}

static void lose(const char *client, enum loss why, uint64_t n)
{
	uint16_t c = client[0] ? ledger_client(l, client) : 0;

	ledger_enter(l, c, why, n, 1700000000000, 1700000001500);
}

static void test_message(void **state)
{
	(void)state;
	lose("de\"v", LOSS_AGED, 12);
	lose("", LOSS_QOS0, 1);
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_int_equal(n_told, 2);
	told[0][strlen(told[0]) - strlen("unsynced\"}")] = '\0'; /* or not */
	assert_true(strncmp(told[0],
			    "{\"gateway\":\"gw\",\"reason\":\"qos0\",\"count\":1,"
			    "\"first\":\"2023-11-14T22:13:20.000Z\","
			    "\"last\":\"2023-11-14T22:13:21.500Z\",\"clock\":",
			    100) == 0);
	assert_non_null(strstr(told[1], "\"client\":\"de\\\"v\",\"reason\":\"aged\",\"count\":12"));
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_int_equal(n_told, 2);
}

static void test_what_is_not_taken_stays(void **state)
{
	(void)state;
	lose("a", LOSS_AGED, 1);
	lose("b", LOSS_AGED, 1);
	n_taken = 1;
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_int_equal(ledger_gaps(l), 1);
	n_taken = 8;
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_int_equal(n_told, 2);
	assert_int_equal(ledger_gaps(l), 0);
}

static void test_survives_a_restart(void **state)
{
	(void)state;
	lose("a", LOSS_AGED, 7);
	assert_true(gaps_turn(g));
	assert_int_equal(journal->n, 1);
	assert_int_equal(journal->records[1].type, JR_GAP);
	stop();
	start();
	assert_int_equal(ledger_gaps(l), 1);
	assert_int_equal(ledger_total(l, LOSS_AGED), 0);
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_non_null(strstr(told[0], "\"count\":7"));
	clock_advance(1000);
	gaps_turn(g); /* the record is of no use, but not before its message is safe */
	assert_int_equal(live_records(), 1);
	journal->synced = 1;
	gaps_turn(g);
	assert_int_equal(live_records(), 0);
}

/* At most one record a second, and the one before goes when the new one is safe. */
static void test_records(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		lose("a", LOSS_AGED, 1);
		gaps_turn(g);
		clock_advance(20);
	}
	assert_int_equal(journal->n, 1);
	commit(0);
	gaps_turn(g);
	assert_int_equal(journal->n, 2);
	assert_int_equal(live_records(), 2);
	lose("a", LOSS_AGED, 1);
	stop();
	start(); /* of two records the later one counts */
	gaps_tell(g, "gaps", "gw", push, NULL);
	assert_non_null(strstr(told[0], "\"count\":50"));
	gaps_hurry(g);
	commit(0);
	gaps_turn(g);
	assert_int_equal(live_records(), 0);
}

static void test_failing_storage(void **state)
{
	(void)state;
	journal->append_error = -EIO;
	lose("a", LOSS_AGED, 1);
	assert_true(gaps_turn(g));
	assert_int_equal(journal->n, 0);
	journal->append_error = 0;
	clock_advance(1000);
	gaps_turn(g);
	assert_int_equal(journal->n, 1);
}

static void test_hostile_records(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int result;
		unsigned gaps;
	} records[] = {
		{ "", 0, -EBADMSG, 0 },
		{ "\x00", 1, -EBADMSG, 0 },
		{ "\x02zz", 3, 0, 0 }, /* a later version */
		{ "\x01", 1, 0, 0 },
		{ "\x01\xff\xff\x61", 4, 0, 0 },
		{ "\x01\0\1a\x02\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 29, 0, 1 },
		{ "\x01\0\1a\x02\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0", 30, 0, 1 },
		{ "\x01\0\1a\x63\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 29, 0, 0 },
		{ "\x01\0\1\xff\x02\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 29, 0, 0 },
		{ "\x01\0\1a\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 29, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		stop();
		l = ledger_new();
		g = gaps_new(l);
		assert_int_equal(gaps_replay(g, i + 1, span_of(records[i].bytes, records[i].len)),
			records[i].result);
		assert_int_equal(ledger_gaps(l), records[i].gaps);
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_message),
		CASE(test_what_is_not_taken_stays),
		CASE(test_survives_a_restart),
		CASE(test_records),
		CASE(test_failing_storage),
		CASE(test_hostile_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
