#include "gateway/upstream/exchanges.h"

#include "gateway/base/util.h"
#include "gateway/core/record.h"
#include "tests/unit/core/fake_journal.h"

static struct exchanges *x;
static unsigned hurried;

void journal_hurry(struct journal *j)
{
	(void)j;
	hurried++;
}

static int setup(void **state)
{
	(void)state;
	journal_setup();
	hurried = 0;
	x = exchanges_new();
	exchanges_attach(x, journal);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	exchanges_free(x);
	journal_teardown();
	return 0;
}

/* The process ends, and another one reads what is on the disk. */
static void restart(void)
{
	exchanges_free(x);
	x = exchanges_new();
	for (uint64_t i = 1; i <= journal->n; i++) {
		struct fake_record *r = &journal->records[i];
		r->wait = NULL;
		if (r->live && exchanges_replay(x, i, span_of(r->body, r->len)) < 0)
			r->live = false;
	}
	exchanges_attach(x, journal);
}

struct owner {
	unsigned told;
	int err;
};

static void on_stored(struct exchange *e, int err)
{
	struct owner *o = e->owner;

	o->told++;
	o->err = err;
}

static struct exchange *begin(enum exchange_way way, uint16_t id, uint64_t what, struct owner *o)
{
	struct exchange init = {
		.way = way, .session = 77, .packet_id = id, .what = what, .owner = o
	};

	init.stored = o ? on_stored : NULL;
	return exchange_begin(x, &init);
}

/* The record is there until the end of its message is on stable storage as well. */
static void end_and_commit(struct exchange *e, unsigned before, unsigned after)
{
	exchange_end(e);
	exchanges_turn(x);
	assert_int_equal(live_records(), before);
	commit(0);
	exchanges_turn(x);
	assert_int_equal(live_records(), after);
}

static unsigned count(void)
{
	unsigned n = 0;
	struct list *pos;

	list_for_each(pos, exchanges_list(x))
		n++;
	return n;
}

static void test_stored_and_told(void **state)
{
	struct owner o = { 0 };
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1234, &o);

	(void)state;
	assert_int_equal(journal->n, 0); /* in memory until it is stored */
	assert_int_equal(exchange_store(e), 0);
	assert_int_equal(journal->records[1].type, JR_UPLINK);
	assert_int_equal(o.told, 0);
	exchanges_turn(x);
	exchanges_turn(x);
	assert_int_equal(hurried, 1); /* once for a turn in which something was stored */
	commit(0);
	assert_int_equal(o.told, 1);
	assert_int_equal(o.err, 0);
	restart();
	e = exchange_find(x, EXCHANGE_OUT, 77, 5);
	assert_non_null(e);
	assert_int_equal(e->what, 1234);
	assert_false(e->released);
	end_and_commit(e, 1, 0);
}

/* The record of a change takes the place of the one before once it is on the disk, not earlier. */
static void test_change(void **state)
{
	struct owner o = { 0 };
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1234, &o);

	(void)state;
	exchange_store(e);
	commit(0);
	e->released = true;
	exchange_store(e);
	assert_int_equal(live_records(), 2);
	commit(0);
	assert_int_equal(live_records(), 1);
	assert_int_equal(o.told, 2);
	restart();
	assert_true(exchange_find(x, EXCHANGE_OUT, 77, 5)->released);
}

static void test_changes_before_the_commit(void **state)
{
	struct owner o = { 0 };
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1234, &o);

	(void)state;
	exchange_store(e);
	e->packet_id = 6;
	exchange_store(e);
	e->released = true;
	exchange_store(e);
	commit(0);
	assert_int_equal(o.told, 1); /* for the last one */
	end_and_commit(e, 1, 0);
	assert_null(exchange_find(x, EXCHANGE_OUT, 77, 6));
}

static void test_failed_change_leaves_what_was(void **state)
{
	struct owner o = { 0 };
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1234, &o);

	(void)state;
	exchange_store(e);
	commit(0);
	e->released = true;
	exchange_store(e);
	commit(-EIO);
	assert_int_equal(o.err, -EIO);
	journal->append_error = -ENOSPC;
	assert_int_equal(exchange_store(e), -ENOSPC);
	assert_int_equal(live_records(), 1);
	restart();
	assert_false(exchange_find(x, EXCHANGE_OUT, 77, 5)->released);
}

/* A crash between a change and the end of the record before it, and one between the end of an
 * exchange and the next one under its id. */
static void test_later_record_counts(void **state)
{
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1000, NULL), *f;

	(void)state;
	exchange_store(e);
	commit(0);
	f = begin(EXCHANGE_OUT, 5, 2000, NULL);
	exchange_store(f);
	exchange_store(begin(EXCHANGE_IN, 5, 3000, NULL));
	commit(0);
	restart();
	assert_int_equal(count(), 2);
	assert_int_equal(exchange_find(x, EXCHANGE_OUT, 77, 5)->what, 2000);
	assert_int_equal(exchange_find(x, EXCHANGE_IN, 77, 5)->what, 3000);
	assert_null(exchange_find(x, EXCHANGE_IN, 78, 5));
	assert_int_equal(live_records(), 2);
}

static void test_owner_goes_away(void **state)
{
	struct owner o = { 0 };
	struct exchange *e = begin(EXCHANGE_OUT, 5, 1, &o);

	(void)state;
	exchange_store(e);
	exchange_leave(e);
	commit(0);
	assert_int_equal(o.told, 0);
	assert_int_equal(live_records(), 1);
}

static void test_memory_only(void **state)
{
	struct exchange *e;

	(void)state;
	exchanges_attach(x, NULL);
	e = begin(EXCHANGE_IN, 5, 1, NULL);
	assert_int_equal(exchange_store(e), -ENOTSUP);
	assert_ptr_equal(exchange_find(x, EXCHANGE_IN, 77, 5), e);
	exchange_end(e);
	assert_int_equal(count(), 0);
}

static void replay_bytes(const char *bytes, size_t len)
{
	assert_true(exchanges_replay(x, 1, span_of(bytes, len)) < 0);
	assert_int_equal(count(), 0);
}

static void test_hostile_records(void **state)
{
	/* form, way, id, session, what */
	static const char good[] = "\1\1\0\5SSSSSSSSWWWWWWWW";
	char bytes[sizeof(good)];

	(void)state;
	for (size_t len = 0; len < sizeof(good) - 1; len++)
		replay_bytes(good, len);
	memcpy(bytes, good, sizeof(good));
	bytes[0] = 2; /* another form */
	replay_bytes(bytes, sizeof(good) - 1);
	memcpy(bytes, good, sizeof(good));
	bytes[1] = 0; /* neither way */
	replay_bytes(bytes, sizeof(good) - 1);
	bytes[1] = 3;
	replay_bytes(bytes, sizeof(good) - 1);
	memcpy(bytes, good, sizeof(good));
	bytes[3] = 0; /* packet id 0 */
	replay_bytes(bytes, sizeof(good) - 1);
}

static void test_bounded_replay(void **state)
{
	char bytes[] = "\1\1\0\5SSSSSSSSWWWWWWWW";
	unsigned taken = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		bytes[2] = (char)(i >> 8);
		bytes[3] = (char)(i | 1);
		taken += exchanges_replay(x, i + 1, span_of(bytes, sizeof(bytes) - 1)) == 0;
	}
	assert_int_equal(taken, 4096);
	exchanges_free(x);
	x = exchanges_new();
}

static void test_digest(void **state)
{
	struct span ab_c[] = { span_str("ab"), span_str("c") };
	struct span a_bc[] = { span_str("a"), span_str("bc") };

	(void)state;
	assert_true(exchange_digest(ab_c, 2) != exchange_digest(a_bc, 2));
	/* The same in every run: it is on the disk. */
	assert_int_equal(exchange_digest(ab_c, 2), UINT64_C(0x20ba9b3025a8b421));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stored_and_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_before_the_commit, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_failed_change_leaves_what_was, setup, teardown),
		cmocka_unit_test_setup_teardown(test_later_record_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded_replay, setup, teardown),
		cmocka_unit_test(test_digest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
