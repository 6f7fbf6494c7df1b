#include "gateway/upstream/interest_memory.h"

#include "gateway/core/record.h"
#include "tests/unit/core/fake_journal.h"

static struct interest_memory *m;

static void start(void)
{
	m = interest_memory_new();
	for (uint64_t i = 1; i <= journal->n; i++) {
		struct fake_record *r = &journal->records[i];
		if (r->live && interest_memory_replay(m, i, span_of(r->body, r->len)) < 0)
			r->live = false;
	}
	interest_memory_attach(m, journal);
}

static void restart(void)
{
	interest_memory_free(m);
	start();
}

static int set_up(void **state)
{
	(void)state;
	journal_setup();
	start();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	interest_memory_free(m);
	journal_teardown();
	return 0;
}

static uint64_t add(const char *filter)
{
	return interest_memory_add(m, span_str(filter));
}

static void what_was_subscribed_is_known_after_a_restart(void **state)
{
	(void)state;
	struct span filter;
	uint64_t record, a = add("a/#"), b = add("b");
	assert_true(journal->records[a].lazy);
	interest_memory_drop(m, add("c"));
	restart();
	assert_int_equal(add("b"), b);
	assert_true(interest_memory_take(m, &filter, &record));
	assert_true(span_is(filter, "a/#"));
	assert_int_equal(record, a);
	interest_memory_drop(m, record);
	assert_false(interest_memory_take(m, &filter, &record));
	assert_int_equal(live_records(), 1);
	restart();
	interest_memory_forget(m);
	assert_int_equal(live_records(), 0);
}

static void hostile_records_are_forgotten(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "a/#/b", "\xff" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		add(bad[i]);
	add("twice");
	add("twice");
	restart();
	assert_int_equal(live_records(), 1);
}

static void without_storage_nothing_is_kept(void **state)
{
	(void)state;
	struct interest_memory *none = interest_memory_new();
	assert_int_equal(interest_memory_add(none, span_str("a")), 0);
	interest_memory_forget(none);
	interest_memory_free(none);
	journal->append_error = -EIO;
	assert_int_equal(add("a"), 0);
	interest_memory_drop(m, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_subscribed_is_known_after_a_restart),
		TEST(hostile_records_are_forgotten),
		TEST(without_storage_nothing_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
