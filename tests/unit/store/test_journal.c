#include "tests/unit/store/journal_fixture.h"

#include <sys/wait.h>

#define MB (INT64_C(1) << 20)

static void append_commits_and_tells(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	uint64_t seq = append_text(&f, 1, "first", &w);
	assert_true(journal_wait_pending(&w.wait));
	assert_int_equal(w.wait.seq, seq);
	assert_text(&f, seq, "first"); /* from memory */
	assert_int_equal(w.fired, 0);
	fixture_settle(&f);
	assert_int_equal(w.fired, 1);
	assert_int_equal(w.err, 0);
	assert_false(journal_wait_pending(&w.wait));
	assert_text(&f, seq, "first"); /* from disk */

	struct journal_status s;
	journal_status(f.j, &s);
	assert_int_equal(s.live_records, 1);
	assert_int_equal(s.appended_records, 1);
	assert_int_equal(s.commits, 1);
	assert_int_equal(s.segments, 1);
	assert_int_equal(s.error, 0);
	fixture_destroy(&f);
}

static void replay_gives_all_in_order(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t seqs[300];
	char text[32];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	for (unsigned i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "record %u", i);
		seqs[i] = append_text(&f, (uint8_t)(1 + i % 63), text, NULL);
		assert_true(i == 0 || seqs[i] > seqs[i - 1]);
		if (i % 50 == 0)
			fixture_settle(&f);
	}
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 300);
	assert_int_equal(f.report.live_records, 300);
	assert_int_equal(f.report.bad_records, 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "record %u", i);
		assert_int_equal(f.seen[i].seq, seqs[i]);
		assert_int_equal(f.seen[i].type, 1 + i % 63);
		assert_string_equal(f.seen[i].start, text);
	}
	assert_true(append_text(&f, 1, "later", NULL) > seqs[299]);
	fixture_destroy(&f);
}

static void forgotten_stays_forgotten(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t seqs[20];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	for (unsigned i = 0; i < 20; i++)
		seqs[i] = append_text(&f, 1, "x", NULL);
	fixture_settle(&f);
	for (unsigned i = 0; i < 20; i += 2)
		journal_forget(f.j, seqs[i]);
	journal_forget(f.j, seqs[0]);        /* twice is harmless */
	journal_forget(f.j, seqs[19] + 100); /* so is a stranger */
	assert_int_equal(journal_length(f.j, seqs[0]), -ENOENT);
	assert_int_equal(journal_read(f.j, seqs[0], NULL, 0), -ENOENT);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 10);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(find_seen(&f, seqs[i]) != NULL, i % 2);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 10);
	fixture_destroy(&f);
}

static void forgets_are_written_soon_and_together(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	uint64_t seq = append_text(&f, 1, "x", NULL);
	uint64_t other = append_text(&f, 1, "y", NULL);
	fixture_settle(&f);
	journal_forget(f.j, seq);
	fixture_turn(&f, FORGET_MS / 2);
	journal_status(f.j, &s);
	assert_int_equal(s.commits, 1); /* no commit of its own at once */
	journal_forget(f.j, other);
	fixture_turn(&f, FORGET_MS);
	fixture_settle(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.commits, 2);
	assert_int_equal(f.j->pending.n, 0);
	fixture_destroy(&f);
}

static void a_handler_can_refuse(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	append_text(&f, 1, "a", NULL);
	f.refuse_seq = append_text(&f, 1, "b", NULL);
	append_text(&f, 1, "c", NULL);
	f.handlers[2].fn = NULL;
	uint64_t kept = append_text(&f, 2, "nobody asks", NULL);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 3);
	assert_int_equal(f.report.live_records, 3);
	assert_int_equal(journal_length(f.j, f.refuse_seq), -ENOENT);
	assert_text(&f, kept, "nobody asks");
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 2);
	fixture_destroy(&f);
}

static void groups_within_the_interval(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[4];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	append_text(&f, 1, "at once", &w[0]);
	journal_turn(f.j);
	assert_int_equal(f.j->commits, 1);
	append_text(&f, 1, "while the first is under way", &w[1]);
	while (w[0].fired == 0)
		fixture_turn(&f, 0);
	append_text(&f, 1, "after it", &w[2]);
	fixture_turn(&f, 100);
	assert_int_equal(f.j->commits, 1);
	assert_int_equal(w[1].fired + w[2].fired, 0);
	fixture_turn(&f, 100);
	assert_int_equal(f.j->commits, 1);
	fixture_turn(&f, 60);
	assert_int_equal(f.j->commits, 2);
	while (w[2].fired == 0)
		fixture_turn(&f, 0);
	assert_int_equal(w[1].fired, 1);

	append_text(&f, 1, "hurried", &w[3]);
	journal_turn(f.j);
	assert_int_equal(f.j->commits, 2);
	journal_hurry(f.j);
	assert_int_equal(f.j->commits, 3);
	while (w[3].fired == 0)
		fixture_turn(&f, 0);
	fixture_destroy(&f);
}

static void commit_text(struct fixture *f)
{
	struct waiter w;

	append_text(f, 1, "asks and answers by turns", &w);
	while (w.fired == 0)
		fixture_turn(f, 0);
}

static void a_quiet_time_pays_for_some(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	clock_advance(1000 * f.conf.commit_interval_ms);
	for (int i = 0; i < COMMIT_BURST; i++)
		commit_text(&f);
	commit_text(&f); /* the one that is always free */
	append_text(&f, 1, "later", &w);
	fixture_turn(&f, f.conf.commit_interval_ms - 1);
	assert_int_equal(f.j->commits, COMMIT_BURST + 1);
	fixture_turn(&f, 1);
	assert_int_equal(f.j->commits, COMMIT_BURST + 2);
	while (w.fired == 0)
		fixture_turn(&f, 0);
	fixture_destroy(&f);
}

static void does_not_wait_with_much(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[2];
	char text[1024];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	append_text(&f, 1, "at once", &w[0]);
	while (w[0].fired == 0)
		fixture_turn(&f, 0);
	for (size_t n = 0; n < COMMIT_FULL; n += sizeof(text)) {
		journal_turn(f.j);
		assert_int_equal(f.j->commits, 1);
		append_text(&f, 1, text, n ? NULL : &w[1]);
	}
	journal_turn(f.j);
	assert_int_equal(f.j->commits, 2);
	while (w[1].fired == 0)
		fixture_turn(&f, 0);
	fixture_destroy(&f);
}

static void a_cancelled_waiter_is_not_told(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[3], idle = { 0 };
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	for (int i = 0; i < 3; i++)
		append_text(&f, 1, "x", &w[i]);
	journal_wait_cancel(&idle.wait);
	assert_false(journal_wait_pending(&idle.wait));
	journal_wait_cancel(&w[0].wait);
	assert_false(journal_wait_pending(&w[0].wait));
	journal_turn(f.j);
	journal_wait_cancel(&w[1].wait); /* under way */
	fixture_settle(&f);
	assert_int_equal(w[0].fired, 0);
	assert_int_equal(w[1].fired, 0);
	assert_int_equal(w[2].fired, 1);
	fixture_destroy(&f);
}

static void sizes_and_parts(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t big[JOURNAL_BODY_MAX + 1], back[JOURNAL_BODY_MAX];
	struct span parts[3] = { { (const uint8_t *)"ab", 2 }, { NULL, 0 },
		{ (const uint8_t *)"cde", 3 } };
	int err;
	fixture_init(&f, 16 * MB);
	fixture_open(&f);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 >> 3);

	assert_int_equal(append_bytes(&f, 1, big, sizeof(big), NULL, &err), 0);
	assert_int_equal(err, -EMSGSIZE);
	uint64_t small = journal_append(f.j, 63, parts, 3, NULL, &err);
	uint64_t none = journal_append(f.j, 1, NULL, 0, NULL, &err);
	uint64_t large = append_bytes(&f, 1, big, JOURNAL_BODY_MAX, NULL, &err);
	uint64_t after = append_text(&f, 1, "after", NULL);
	for (int round = 0; round < 3; round++) {
		assert_text(&f, small, "abcde");
		assert_int_equal(journal_read(f.j, none, NULL, 0), 0);
		assert_int_equal(journal_read(f.j, large, back, sizeof(back) - 1), -EMSGSIZE);
		assert_int_equal(journal_read(f.j, large, back, sizeof(back)), JOURNAL_BODY_MAX);
		assert_memory_equal(back, big, JOURNAL_BODY_MAX);
		assert_text(&f, after, "after");
		if (round == 0)
			fixture_settle(&f);
		else
			fixture_reopen(&f);
	}
	fixture_destroy(&f);
}

static void files_are_private(void **state)
{
	(void)state;
	struct fixture f;
	struct stat st;
	char names[4][32], path[128];
	fixture_init(&f, 8 * MB);
	chmod(f.dir, 0755);
	fixture_open(&f);

	append_text(&f, 1, "x", NULL);
	fixture_settle(&f);
	assert_int_equal(stat(f.dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(segment_files(&f, names, 4), 1);
	snprintf(path, sizeof(path), "%s/%s", f.dir, names[0]);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, MB);
	fixture_destroy(&f);
}

static void a_second_opener_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct journal *other;
	struct journal_report report;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	assert_int_equal(journal_open(f.base, &f.conf, f.handlers, &other, &report), -EAGAIN);
	fixture_close(&f);
	fixture_open(&f);
	fixture_destroy(&f);
}

/* SIGSTOP or a suspended machine: the clock jumps while a commit is under way and one gathers. */
static void a_long_stop_breaks_nothing(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[2];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t a = append_text(&f, 1, "a", NULL);
	fixture_settle(&f);
	append_text(&f, 1, "under way", &w[0]);
	journal_hurry(f.j);
	append_text(&f, 1, "gathered", &w[1]);
	journal_forget(f.j, a);
	uint64_t mark = journal_mark(f.j);
	clock_advance(30000);
	fixture_settle(&f);
	assert_int_equal(w[0].fired + w[1].fired, 2);
	assert_int_equal(w[0].err, 0);
	assert_int_equal(w[1].err, 0);
	assert_true(journal_reached(f.j, mark));
	clock_freeze(clock_ms() + 1, clock_wall_ms() - INT64_C(31536000000));
	append_text(&f, 1, "a year earlier", &w[0]);
	fixture_settle(&f);
	fixture_turn(&f, 300);
	fixture_settle(&f);
	assert_int_equal(w[0].fired, 1);
	clock_freeze(clock_ms() + 1, 1000);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 3);
	fixture_destroy(&f);
}

static void bad_directories_are_refused(void **state)
{
	(void)state;
	struct fixture f;
	char path[128];
	fixture_init(&f, 8 * MB);
	snprintf(path, sizeof(path), "%s/no/such", f.dir);
	f.conf.dir = path;
	assert_int_equal(journal_open(f.base, &f.conf, f.handlers, &f.j, &f.report), -ENOENT);
	file_put(&f, "file", (const uint8_t *)"x", 1);
	snprintf(path, sizeof(path), "%s/file", f.dir);
	assert_int_equal(journal_open(f.base, &f.conf, f.handlers, &f.j, &f.report), -ENOTDIR);
	f.j = NULL;
	fixture_destroy(&f);
}

static void somebody_elses_directory_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct stat st;
	if (geteuid() != 0)
		skip();
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	assert_int_equal(chown(f.dir, 12345, 0), 0);
	assert_int_equal(chmod(f.dir, 0777), 0);
	assert_int_equal(journal_open(f.base, &f.conf, f.handlers, &f.j, &f.report), -EPERM);
	f.j = NULL;
	char names[1][32];
	assert_int_equal(segment_files(&f, names, 1), 0);
	assert_int_equal(stat(f.dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0777); /* nor is it changed */
	fixture_destroy(&f);
}

/* In a child, which is not root any more. */
static void a_directory_that_cannot_be_written_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	char path[128];
	int status;
	if (geteuid() != 0)
		skip();
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	assert_int_equal(chmod(f.dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/journal", f.dir);
	f.conf.dir = path;
	pid_t pid = fork();
	if (pid == 0)
		_exit(setuid(12345) == 0 && journal_open(f.base, &f.conf, f.handlers, &f.j,
						    &f.report) == -EACCES
				? 0
				: 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fixture_destroy(&f);
}

/* A child appends, tells each acknowledged sequence through a pipe and is killed in the middle. */
static void child_appends(struct fixture *f, int out)
{
	static struct waiter w[400];
	unsigned told = 0;

	fixture_open(f);
	for (unsigned i = 0; i < 400; i++) {
		append_text(f, 1, "acknowledged", &w[i]);
		fixture_turn(f, 40);
		usleep(100);
		for (; told <= i && w[told].fired; told++)
			if (write(out, &w[told].wait.seq, sizeof(uint64_t)) < 0)
				_exit(1);
	}
	_exit(0); /* nothing is closed */
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t seq;
	unsigned n = 0;
	int fds[2], status;
	fixture_init(&f, 8 * MB);

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0)
		child_appends(&f, fds[1]);
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fixture_open(&f);
	for (; read(fds[0], &seq, sizeof(seq)) == sizeof(seq); n++)
		assert_non_null(find_seen(&f, seq));
	close(fds[0]);
	assert_true(n > 100);
	assert_int_equal(f.report.bad_records, 0);
	fixture_destroy(&f);
}

static void closing_commits_what_is_left(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w[3];
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	append_text(&f, 1, "first", &w[0]);
	journal_turn(f.j);
	append_text(&f, 1, "second", &w[1]);
	append_text(&f, 1, "third", &w[2]);
	fixture_close(&f);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(w[i].fired, 1);
		assert_int_equal(w[i].err, 0);
	}
	fixture_open(&f);
	assert_int_equal(f.n_seen, 3);
	fixture_destroy(&f);
}

static void memory_is_bounded_while_the_disk_is_slow(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[100000];
	int err = 0;
	unsigned n = 0;
	fixture_init(&f, 64 * MB);
	fixture_open(&f);

	for (; err == 0 && n < 1000; n++)
		append_bytes(&f, 1, body, sizeof(body), NULL, &err);
	assert_int_equal(err, -ENOSPC);
	assert_true(f.j->gather->bytes <= GATHER_MAX);
	assert_false(f.j->full); /* not for max_bytes */
	fixture_settle(&f);
	append_text(&f, 1, "again", NULL);
	fixture_destroy(&f);
}

static void many_records_replay_fast(void **state)
{
	(void)state;
	struct fixture f;
	struct timespec a, b;
	uint8_t body[100] = { 0 };
	int err;
	fixture_init(&f, 64 * MB);
	fixture_open(&f);

	for (unsigned i = 0; i < 100000; i++) {
		append_bytes(&f, 1, body, sizeof(body), NULL, &err);
		assert_int_equal(err, 0);
		if (i % 5000 == 0)
			fixture_settle(&f);
	}
	fixture_close(&f);
	clock_gettime(CLOCK_MONOTONIC, &a);
	fixture_open(&f);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_int_equal(f.n_seen, 100000);
	print_message("100 000 records of 100 octets replayed in %.0f ms\n",
		(double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(append_commits_and_tells),
		cmocka_unit_test(replay_gives_all_in_order),
		cmocka_unit_test(forgotten_stays_forgotten),
		cmocka_unit_test(forgets_are_written_soon_and_together),
		cmocka_unit_test(a_handler_can_refuse),
		cmocka_unit_test(groups_within_the_interval),
		cmocka_unit_test(a_quiet_time_pays_for_some),
		cmocka_unit_test(does_not_wait_with_much),
		cmocka_unit_test(a_cancelled_waiter_is_not_told),
		cmocka_unit_test(sizes_and_parts),
		cmocka_unit_test(files_are_private),
		cmocka_unit_test(a_second_opener_is_refused),
		cmocka_unit_test(bad_directories_are_refused),
		cmocka_unit_test(somebody_elses_directory_is_refused),
		cmocka_unit_test(a_directory_that_cannot_be_written_is_refused),
		cmocka_unit_test(a_long_stop_breaks_nothing),
		cmocka_unit_test(what_was_acknowledged_survives_a_kill),
		cmocka_unit_test(closing_commits_what_is_left),
		cmocka_unit_test(memory_is_bounded_while_the_disk_is_slow),
		cmocka_unit_test(many_records_replay_fast),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
