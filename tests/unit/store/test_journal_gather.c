#include "tests/unit/store/journal_fixture.h"

#include <stdatomic.h>

#define MB (INT64_C(1) << 20)

/* A disk that fails on demand. Only the commit thread calls these. */
static struct journal_io real_io;
static atomic_int fail_write, fail_sync, fail_reserve, fail_unlink; /* the errno, 0: works */
static atomic_int short_writes;

static ssize_t bad_write(int fd, const void *p, size_t len, off_t offset)
{
	if (fail_write) {
		/* A part of it reaches the disk. */
		if (len > 1 && real_io.write_at(fd, p, len / 2, offset) < 0)
			return -1;
		errno = fail_write;
		return -1;
	}
	return real_io.write_at(fd, p, short_writes ? MIN(len, 7) : len, offset);
}

static int bad_sync(int fd)
{
	errno = fail_sync;
	return fail_sync ? -1 : real_io.sync(fd);
}

static int bad_reserve(int fd, off_t size)
{
	errno = fail_reserve;
	return fail_reserve ? -1 : real_io.reserve(fd, size);
}

static int bad_unlink(int dir_fd, const char *name, int flags)
{
	errno = fail_unlink;
	return fail_unlink ? -1 : real_io.unlink_at(dir_fd, name, flags);
}

static int setup(void **state)
{
	(void)state;
	fail_write = fail_sync = fail_reserve = fail_unlink = short_writes = 0;
	real_io = journal_io;
	journal_io = (struct journal_io){ bad_write, bad_sync, bad_reserve, bad_unlink };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	journal_io = real_io;
	return 0;
}

/* What was stored stays, what failed is undone and refused, and it recovers by itself. */
static void fails_and_recovers(atomic_int *fault, int fault_err, int append_err)
{
	struct fixture f;
	struct journal_status s;
	struct waiter good, bad, gathered, late;
	int err;
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	uint64_t kept = append_text(&f, 1, "stored before", &good);
	fixture_settle(&f);
	/* A reserve fails only with a new segment. */
	if (fault == &fail_reserve) {
		f.j->current->sealed = true;
		f.j->current = NULL;
	}

	*fault = fault_err;
	uint64_t unwatched = append_text(&f, 1, "nobody waits for this", NULL);
	uint64_t lost = append_text(&f, 1, "fails", &bad);
	fixture_turn(&f, 1000);
	uint64_t lost2 = append_text(&f, 1, "gathered meanwhile", &gathered);
	uint64_t lazy = append_lazy(&f, "nor for this");
	uint64_t mark = journal_mark(f.j);
	while (!bad.fired)
		fixture_turn(&f, 0);
	assert_int_equal(bad.err, -fault_err);
	assert_int_equal(gathered.fired, 1);
	assert_int_equal(gathered.err, -fault_err);
	assert_int_equal(journal_length(f.j, lost), -ENOENT);
	assert_int_equal(journal_length(f.j, lost2), -ENOENT);
	assert_text(&f, kept, "stored before");
	assert_text(&f, unwatched, "nobody waits for this");
	assert_text(&f, lazy, "nor for this");
	journal_status(f.j, &s);
	assert_int_equal(s.error, -fault_err);
	assert_int_equal(s.live_records, 3);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(append_bytes(&f, 1, "x", 1, NULL, &err), 0);
		assert_int_equal(err, append_err);
		fixture_second(&f);
	}
	journal_status(f.j, &s);
	assert_int_equal(s.error, -fault_err);
	assert_true(s.segments <= 4); /* probes don't pile up */
	assert_false(journal_reached(f.j, mark));
	assert_text(&f, unwatched, "nobody waits for this");

	*fault = 0;
	fixture_second(&f);
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.error, 0);
	assert_true(journal_reached(f.j, mark));
	assert_int_equal(journal_length(f.j, lost), -ENOENT);
	uint64_t again = append_text(&f, 1, "again", &late);
	assert_true(again > lost2);
	fixture_settle(&f);
	assert_int_equal(late.fired, 1);
	assert_int_equal(late.err, 0);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 4); /* what its sender was told is lost doesn't come back */
	assert_int_equal(f.seen[0].seq, kept);
	assert_int_equal(f.seen[1].seq, unwatched);
	assert_int_equal(f.seen[2].seq, lazy);
	assert_int_equal(f.seen[3].seq, again);
	fixture_destroy(&f);
}

/* A lazy record was written together with a forget, and the sync that comes later fails: what the
 * page cache holds of it is not to be relied upon. */
static void a_failed_sync_also_concerns_what_was_written_before(void **state)
{
	(void)state;
	struct fixture f;
	char names[2][32];
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL);
	fixture_settle(&f);
	uint64_t lazy = append_lazy(&f, "lazy");
	uint32_t synced = f.j->current->used - record_size(4);
	journal_forget(f.j, a);
	fixture_turn(&f, FORGET_MS * 2);
	fixture_settle(&f);
	assert_int_equal(f.j->commits, 2);
	assert_int_equal(segment_files(&f, names, 2), 1);

	fail_sync = EIO;
	uint64_t mark = journal_mark(f.j);
	while (!journal_failing(f.j))
		fixture_turn(&f, 50);
	assert_text(&f, lazy, "lazy");
	fail_sync = 0;
	fixture_second(&f);
	fixture_second(&f);
	assert_true(journal_reached(f.j, mark));
	fixture_close(&f);
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", f.dir, names[0]);
	assert_true(truncate(path, synced) == 0 || errno == ENOENT);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 1);
	assert_int_equal(f.seen[0].seq, lazy);
	fixture_destroy(&f);
}

/* More than one segment of what nobody waits for, while the bound is near. */
static void much_is_kept_through_a_failure(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	static uint8_t body[50000];
	int err;
	uint64_t n = 0;
	fixture_init(&f, 4 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	fail_write = EIO;
	while (append_bytes(&f, 1, body, sizeof(body), NULL, &err))
		n++;
	assert_true(n > 40);
	fixture_settle(&f);
	uint64_t mark = journal_mark(f.j);
	for (int i = 0; i < 10; i++)
		fixture_second(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.live_records, n);
	assert_true(s.disk_bytes < 12 * MB);
	fail_write = 0;
	for (int i = 0; i < 5; i++)
		fixture_second(&f);
	assert_true(journal_reached(f.j, mark));
	journal_status(f.j, &s);
	assert_true(s.disk_bytes <= 4 * MB);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, n);
	fixture_destroy(&f);
}

static void failing_fdatasync(void **state)
{
	(void)state;
	fails_and_recovers(&fail_sync, EIO, -EIO);
}

static void failing_write(void **state)
{
	(void)state;
	fails_and_recovers(&fail_write, EIO, -EIO);
}

static void full_file_system(void **state)
{
	(void)state;
	fails_and_recovers(&fail_write, ENOSPC, -ENOSPC);
}

static void no_room_for_a_segment(void **state)
{
	(void)state;
	fails_and_recovers(&fail_reserve, ENOSPC, -ENOSPC);
}

static void short_writes_are_continued(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	short_writes = 1;
	uint64_t seq = append_text(&f, 1, "in many pieces, and whole at the end", NULL);
	fixture_settle(&f);
	assert_text(&f, seq, "in many pieces, and whole at the end");
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 1);
	assert_int_equal(f.report.bad_records, 0);
	fixture_destroy(&f);
}

static void forgets_outlive_a_failure(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t seqs[10];
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	for (int i = 0; i < 10; i++)
		seqs[i] = append_text(&f, 1, "x", NULL);
	fixture_settle(&f);
	for (int i = 0; i < 3; i++)
		journal_forget(f.j, seqs[i]);
	uint32_t synced = f.j->current->used;
	fixture_second(&f); /* written, but not synced */
	fail_sync = ENOSPC; /* the disk is not bad: the first segment stays */
	for (int i = 3; i < 6; i++)
		journal_forget(f.j, seqs[i]);
	struct waiter told;
	append_text(&f, 1, "fails", &told);
	while (!told.fired)
		fixture_turn(&f, 0);
	for (int i = 6; i < 9; i++)
		journal_forget(f.j, seqs[i]);
	fixture_second(&f);
	fail_sync = 0;
	fixture_second(&f);
	fixture_second(&f);
	assert_int_equal(f.j->error, 0);
	assert_int_equal(f.j->pending.n, 0);

	/* What was not synced before the failure never reached the disk. */
	char names[8][32], path[128];
	assert_int_equal(segment_files(&f, names, 8), 2);
	snprintf(path, sizeof(path), "%s/%s", f.dir, names[0]);
	fixture_close(&f);
	assert_int_equal(truncate(path, synced), 0);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 1);
	assert_int_equal(f.seen[0].seq, seqs[9]);
	fixture_destroy(&f);
}

static void a_failing_unlink_is_tried_again(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	static uint8_t body[400000];
	uint64_t seqs[6];
	int err;
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	for (int i = 0; i < 6; i++)
		seqs[i] = append_bytes(&f, 1, body, sizeof(body), NULL, &err);
	fixture_settle(&f);
	fail_unlink = EIO;
	for (int i = 0; i < 6; i++)
		journal_forget(f.j, seqs[i]);
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.segments, 3);
	assert_int_equal(s.error, 0);
	fail_unlink = 0;
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.segments, 1);
	fixture_destroy(&f);
}

static void closing_on_a_failed_disk_tells_the_waiters(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[2];
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	fail_sync = EIO;
	append_text(&f, 1, "a", &w[0]);
	journal_turn(f.j);
	append_text(&f, 1, "b", &w[1]);
	fixture_close(&f);
	assert_int_equal(w[0].fired, 1);
	assert_int_equal(w[0].err, -EIO);
	assert_int_equal(w[1].fired, 1);
	assert_int_equal(w[1].err, -EIO);
	fixture_destroy(&f);
}

/* A waiter may append from inside its call, and cancel another of the same commit. */
struct chained {
	struct journal_wait wait;
	struct fixture *f;
	struct waiter *cancel, next;
	uint64_t seq;
};

static void on_chained(struct journal_wait *w, int err)
{
	struct chained *c = container_of(w, struct chained, wait);

	assert_int_equal(err, 0);
	journal_wait_cancel(&c->cancel->wait);
	c->seq = append_text(c->f, 1, "from inside", &c->next);
}

static void waiters_may_append_and_cancel(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter other;
	int err;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	struct chained c = { .wait.done = on_chained, .f = &f, .cancel = &other };
	assert_true(journal_append(f.j, 1, NULL, 0, &c.wait, &err) > 0);
	append_text(&f, 1, "other", &other);
	fixture_settle(&f);
	assert_true(c.seq > 0);
	assert_int_equal(c.next.fired, 1);
	assert_int_equal(other.fired, 0);
	fixture_destroy(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(failing_fdatasync),
		TEST(a_failed_sync_also_concerns_what_was_written_before),
		TEST(much_is_kept_through_a_failure),
		TEST(failing_write),
		TEST(full_file_system),
		TEST(no_room_for_a_segment),
		TEST(short_writes_are_continued),
		TEST(forgets_outlive_a_failure),
		TEST(a_failing_unlink_is_tried_again),
		TEST(closing_on_a_failed_disk_tells_the_waiters),
		TEST(waiters_may_append_and_cancel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
