#include "tests/unit/store/journal_fixture.h"

#include <stdatomic.h>

#define MB (INT64_C(1) << 20)

static atomic_int syncs;

static int counted_sync(int fd)
{
	syncs++;
	return fdatasync(fd);
}

static void pass(struct fixture *f, int64_t ms)
{
	for (int64_t i = 0; i < ms; i += 10) {
		fixture_turn(f, 10);
		usleep(20);
	}
}

static void a_mark_is_reached_by_the_sync(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	assert_true(journal_reached(f.j, 0));
	assert_true(journal_reached(f.j, journal_mark(f.j))); /* nothing has happened */
	append_text(&f, 1, "a", NULL);
	uint64_t first = journal_mark(f.j);
	append_text(&f, 1, "b", NULL);
	assert_int_equal(journal_mark(f.j), first); /* the same commit */
	assert_false(journal_reached(f.j, first));
	journal_turn(f.j);
	assert_int_equal(journal_mark(f.j), first); /* under way */
	append_text(&f, 1, "c", NULL);
	uint64_t second = journal_mark(f.j);
	assert_true(second > first);
	while (!journal_reached(f.j, first))
		fixture_turn(&f, 0);
	assert_false(journal_reached(f.j, second));
	fixture_settle(&f);
	assert_true(journal_reached(f.j, second));
	assert_int_equal(journal_mark(f.j), second);
	assert_int_equal(f.j->commits, 2);
	fixture_destroy(&f);
}

static void a_mark_makes_forgets_be_synced(void **state)
{
	(void)state;
	struct fixture f;
	char names[2][32];
	static uint8_t image[MB];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL), b = append_text(&f, 1, "b", NULL);
	fixture_settle(&f);

	journal_forget(f.j, a);
	uint64_t mark = journal_mark(f.j);
	assert_false(journal_reached(f.j, mark));
	fixture_turn(&f, 250);
	while (!journal_reached(f.j, mark))
		fixture_turn(&f, 0);
	/* What is in the file now is what a crash at this moment finds. */
	assert_int_equal(segment_files(&f, names, 2), 1);
	size_t len = file_get(&f, names[0], image, sizeof(image));
	fixture_close(&f);
	file_put(&f, names[0], image, len);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 1);
	assert_int_equal(f.seen[0].seq, b);
	fixture_destroy(&f);
}

/* The forget was written 20 ms after the fact; the mark comes later and finds nothing to write. */
static void a_mark_syncs_what_is_already_written(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL);
	fixture_settle(&f);

	journal_forget(f.j, a);
	fixture_turn(&f, 2 * FORGET_MS);
	while (!list_empty(&f.j->flights))
		fixture_turn(&f, 0);
	assert_int_equal(f.j->commits, 2);
	assert_int_equal(f.j->pending.n, 0);
	uint64_t written = f.j->written.total, mark = journal_mark(f.j);
	assert_false(journal_reached(f.j, mark));
	fixture_turn(&f, 300);
	while (!journal_reached(f.j, mark))
		fixture_turn(&f, 0);
	assert_int_equal(f.j->commits, 3);
	assert_int_equal(f.j->written.total, written);
	fixture_destroy(&f);
}

static void a_mark_waits_for_the_interval_unless_hurried(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL), b = append_text(&f, 1, "b", NULL);
	fixture_settle(&f);
	pass(&f, 300);
	f.j->paid_ms = clock_ms();
	append_text(&f, 1, "begins an interval", NULL);
	journal_turn(f.j);
	while (f.j->commits == 1 || !list_empty(&f.j->flights))
		fixture_turn(&f, 0);
	assert_int_equal(f.j->commits, 2);

	journal_forget(f.j, a);
	uint64_t mark = journal_mark(f.j);
	fixture_turn(&f, FORGET_MS - 1);
	assert_int_equal(f.j->commits, 2);
	fixture_turn(&f, 250 - FORGET_MS);
	assert_int_equal(f.j->commits, 2);
	fixture_turn(&f, 1);
	assert_int_equal(f.j->commits, 3);
	while (!journal_reached(f.j, mark))
		fixture_turn(&f, 0);
	journal_forget(f.j, b);
	mark = journal_mark(f.j);
	journal_hurry(f.j);
	while (!journal_reached(f.j, mark))
		fixture_turn(&f, 0);
	fixture_destroy(&f);
}

/* No descriptor is ready and no other timer is due: the mark alone makes the loop turn. */
static void a_mark_after_the_turn_is_not_left_lying(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	append_text(&f, 1, "a", NULL);
	fixture_settle(&f);
	pass(&f, 300);

	append_lazy(&f, "b");
	assert_int_not_equal(timers_next_ms(), 0);
	journal_mark(f.j);
	assert_int_equal(timers_next_ms(), 0);
	fixture_destroy(&f);
}

static void lazy_records_cause_no_write(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_lazy(&f, "nobody waits for this"), b = append_lazy(&f, "or this");
	assert_text(&f, a, "nobody waits for this");
	journal_forget(f.j, b); /* neither is this worth a write */
	pass(&f, 3000);
	assert_int_equal(f.j->commits, 0);
	append_text(&f, 1, "somebody waits", NULL);
	fixture_settle(&f);
	assert_int_equal(f.j->commits, 1);
	assert_text(&f, a, "nobody waits for this");
	append_lazy(&f, "the end comes");
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 3);
	assert_string_equal(f.seen[2].start, "the end comes");
	append_lazy(&f, "hurried");
	journal_hurry(f.j);
	fixture_settle(&f);
	assert_int_equal(f.j->commits, 1);
	fixture_destroy(&f);
}

static void the_end_syncs_what_is_left(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_io real = journal_io;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL);
	append_text(&f, 1, "b", NULL);
	fixture_settle(&f);
	journal_io.sync = counted_sync;
	syncs = 0;
	fixture_reopen(&f); /* nothing is left */
	assert_int_equal(syncs, 0);

	append_lazy(&f, "lazy");
	fixture_reopen(&f);
	assert_int_equal(syncs, 1);
	assert_int_equal(f.n_seen, 3);

	/* Written by itself after 20 ms, and not synced. */
	append_text(&f, 1, "opens a file", NULL);
	fixture_settle(&f);
	syncs = 0;
	journal_forget(f.j, a);
	fixture_turn(&f, 2 * FORGET_MS);
	while (!list_empty(&f.j->flights))
		fixture_turn(&f, 0);
	assert_int_equal(syncs, 0);
	fixture_reopen(&f);
	assert_int_equal(syncs, 1);
	assert_int_equal(f.n_seen, 3);
	journal_io = real;
	fixture_destroy(&f);
}

static void many_lazy_records_are_written(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[LAZY_MAX / 4];
	struct span part = { body, sizeof(body) };
	int err;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	for (int i = 0; i < 3; i++)
		assert_true(journal_append_lazy(f.j, 1, &part, 1, &err) > 0);
	pass(&f, 500);
	assert_int_equal(f.j->commits, 0);
	assert_true(journal_append_lazy(f.j, 1, &part, 1, &err) > 0);
	fixture_settle(&f);
	assert_int_equal(f.j->commits, 1);
	fixture_destroy(&f);
}

/* What room_for says is what the append then says. */
static void room_is_told_before(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[JOURNAL_BODY_MAX];
	int err;
	fixture_init(&f, 2 * MB);
	fixture_open(&f);
	assert_int_equal(journal_room_for(f.j, JOURNAL_BODY_MAX + 1), -EMSGSIZE);
	assert_int_equal(journal_room_for(f.j, 1900000), -EMSGSIZE);
	append_bytes(&f, 1, body, 1900000, NULL, &err);
	assert_int_equal(err, -EMSGSIZE);
	do {
		int told = journal_room_for(f.j, 30000);
		append_bytes(&f, 1, body, 30000, NULL, &err);
		assert_int_equal(told, err);
		fixture_turn(&f, 300);
	} while (err == 0);
	assert_int_equal(err, -ENOSPC);
	f.j->error = -EROFS;
	assert_true(journal_failing(f.j));
	assert_int_equal(journal_room_for(f.j, 1), -EIO);
	f.j->error = 0;
	assert_false(journal_failing(f.j));
	fixture_destroy(&f);
}

static void bytes_of_the_day_are_counted(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	append_text(&f, 1, "a", NULL);
	fixture_settle(&f);
	journal_status(f.j, &s);
	assert_true(s.written_bytes > 0);
	assert_int_equal(s.written_last_day, s.written_bytes);
	assert_int_equal(s.written_per_day, s.written_bytes);
	clock_advance(2 * DAY_MS);
	journal_status(f.j, &s);
	assert_int_equal(s.written_last_day, 0);
	assert_true(s.written_bytes / 2 - s.written_per_day <= 1);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mark_is_reached_by_the_sync),
		cmocka_unit_test(a_mark_makes_forgets_be_synced),
		cmocka_unit_test(a_mark_syncs_what_is_already_written),
		cmocka_unit_test(a_mark_waits_for_the_interval_unless_hurried),
		cmocka_unit_test(a_mark_after_the_turn_is_not_left_lying),
		cmocka_unit_test(lazy_records_cause_no_write),
		cmocka_unit_test(the_end_syncs_what_is_left),
		cmocka_unit_test(many_lazy_records_are_written),
		cmocka_unit_test(room_is_told_before),
		cmocka_unit_test(bytes_of_the_day_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
