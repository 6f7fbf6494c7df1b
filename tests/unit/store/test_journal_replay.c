#include "tests/unit/store/journal_fixture.h"

#include "gateway/store/crc32c.h"

#define MB (INT64_C(1) << 20)

static char names[64][32];
static uint8_t image[SEGMENT_FILE_MAX];

/* A closed journal of `n` small records in its first segment. */
static size_t make_journal(struct fixture *f, unsigned n)
{
	char text[32];

	fixture_init(f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(f);
	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "record %u", i);
		append_text(f, 1, text, NULL);
	}
	fixture_settle(f);
	uint32_t used = f->j->current->used;
	fixture_close(f);
	assert_int_equal(segment_files(f, names, 64), 1);
	assert_int_equal(file_get(f, names[0], image, sizeof(image)), MB);
	return used;
}

static void clear_dir(struct fixture *f)
{
	char path[128];
	static char all[64][32];
	unsigned n = segment_files(f, all, 64);

	for (unsigned i = 0; i < n; i++)
		file_drop(f, all[i]);
	snprintf(path, sizeof(path), "%s/quarantine", f->dir);
	fixture_remove(path);
}

static unsigned quarantined(const struct fixture *f)
{
	char path[128];
	struct dirent *d;
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/quarantine", f->dir);
	DIR *dir = opendir(path);
	while (dir && (d = readdir(dir)))
		n += d->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static void a_torn_tail_at_every_octet(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 5);
	size_t last = used - record_size(strlen("record 4"));

	for (size_t cut = last; cut < used; cut++) {
		uint8_t kept = image[cut];
		clear_dir(&f);
		memset(image + cut, 0, 1);
		file_put(&f, names[0], image, cut + 1); /* the file ends there, or zeros follow */
		fixture_open(&f);
		assert_int_equal(f.n_seen, kept == 0 && cut == used - 1 ? 5 : 4);
		uint64_t seq = append_text(&f, 1, "goes on", NULL);
		assert_true(seq > f.seen[f.n_seen - 1].seq + 1);
		fixture_close(&f);
		file_put(&f, "lock", image, 0);
		image[cut] = kept;
	}
	fixture_open(&f);
	assert_string_equal(f.seen[f.n_seen - 1].start, "goes on");
	fixture_close(&f);
	fixture_open(&f); /* the damage was cut off: not reported again */
	assert_int_equal(f.report.bad_records, 0);
	fixture_destroy(&f);
}

static void damage_in_the_middle_is_set_aside_and_left_behind(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 5);

	image[SEGMENT_HEADER + 2 * record_size(8) + RECORD_HEADER] ^= 0x40;
	file_put(&f, names[0], image, used);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 4);
	assert_int_equal(f.report.bad_records, 1);
	assert_int_equal(f.report.bad_bytes, record_size(8));
	assert_int_equal(quarantined(&f), 1);
	fixture_settle(&f); /* the whole records move to another segment */
	char now[4][32];
	assert_int_equal(segment_files(&f, now, 4), 1);
	assert_string_not_equal(now[0], names[0]);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 4);
	assert_int_equal(f.report.bad_records, 0);
	assert_string_equal(f.seen[2].start, "record 3");
	fixture_destroy(&f);
}

static void a_damaged_header_costs_nothing(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 5);

	memset(image, 0xff, SEGMENT_HEADER);
	file_put(&f, names[0], image, used);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 5);
	assert_text(&f, f.seen[0].seq, "record 0");
	fixture_destroy(&f);
}

static void a_renamed_segment_is_still_read(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 5);

	file_drop(&f, names[0]);
	file_put(&f, "00000900-00000000.seg", image, used);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 5);
	assert_text(&f, f.seen[4].seq, "record 4");
	append_text(&f, 1, "next", NULL);
	assert_int_equal(f.j->current->id.number, 0x901);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 6);
	fixture_destroy(&f);
}

static struct journal_io real_io;

static int no_unlink(int dir_fd, const char *name, int flags)
{
	(void)dir_fd;
	(void)name;
	(void)flags;
	errno = EPERM;
	return -1;
}

static void fail_unlinks(void)
{
	real_io = journal_io;
	journal_io.unlink_at = no_unlink;
}

static void allow_unlinks(void)
{
	journal_io = real_io;
}

static void a_segment_copied_twice_is_replayed_once(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 5);

	file_put(&f, "00000900-00000000.seg", image, used);
	fixture_open(&f);
	assert_int_equal(f.n_seen, 5);
	assert_int_equal(f.report.live_records, 5);
	/* A forget is kept for the older copy too, though the index knows the newer only. */
	struct segment *older = list_first(&f.j->segments, struct segment, node);
	assert_true(older->stale);
	assert_int_equal(older->live, 0);
	fail_unlinks();
	journal_forget(f.j, f.seen[0].seq);
	fixture_second(&f);
	assert_true(older->forgets_lo <= f.j->current->order);
	assert_true(older->forgets_hi >= f.j->current->order);
	allow_unlinks();
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 4);
	fixture_destroy(&f);
}

static void foreign_files_do_not_stop_the_start(void **state)
{
	(void)state;
	struct fixture f;
	char path[128];
	size_t used = make_journal(&f, 5);
	struct segment_id id = { 0x77, 1 };

	file_put(&f, "00000002-00000000.seg", (const uint8_t *)"not a segment at all", 20);
	file_put(&f, "00000003-00000000.seg", image, 0);
	file_put(&f, "notes.txt", (const uint8_t *)"hello", 5);
	snprintf(path, sizeof(path), "%s/00000004-00000000.seg", f.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/00000005-00000000.seg", f.dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof(path), "%s/00000006-00000000.seg", f.dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	/* From a later release: not for us, but not ours to delete either. */
	segment_header_encode(id, 1, image);
	image[5] = 9;
	uint32_t sum = crc32c(0, image, SEGMENT_HEADER - 4);
	for (int i = 0; i < 4; i++)
		image[28 + i] = (uint8_t)(sum >> (24 - 8 * i));
	file_put(&f, "00000077-00000001.seg", image, used);

	fixture_open(&f);
	assert_int_equal(f.n_seen, 5);
	assert_int_equal(f.report.bad_records, 1);
	append_text(&f, 1, "x", NULL);
	assert_int_equal(f.j->current->id.number, 0x78);
	fixture_settle(&f);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 6);
	snprintf(path, sizeof(path), "%s/00000077-00000001.seg", f.dir);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/00000002-00000000.seg", f.dir);
	assert_int_equal(access(path, F_OK), -1);
	fixture_destroy(&f);
}

/* Each segment in turn is missing, blank or noise: the records of all others are there. */
static void any_segment_may_be_lost(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[60000], saved[SEGMENT_FILE_MAX];
	int err;
	fixture_init(&f, 8 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	for (int i = 0; i < 80; i++) {
		append_bytes(&f, 1, body, sizeof(body), NULL, &err);
		if (i == 40)
			fixture_settle(&f);
	}
	fixture_close(&f);
	unsigned n = segment_files(&f, names, 64);
	assert_int_equal(n, 5);

	for (unsigned victim = 0; victim < n; victim++) {
		size_t len = file_get(&f, names[victim], saved, sizeof(saved));
		for (int how = 0; how < 3; how++) {
			for (size_t i = 0; i < len; i++)
				image[i] = how == 1 ? 0 : (uint8_t)(i * 2654435761u >> 11);
			file_put(&f, names[victim], image, how == 0 ? 0 : len);
			if (how == 0)
				file_drop(&f, names[victim]);
			fixture_open(&f);
			assert_int_equal(f.n_seen, victim == n - 1 ? 80 - 12 : 80 - 17);
			assert_int_equal(f.report.bad_records, how == 2);
			fixture_close(&f);
		}
		file_put(&f, names[victim], saved, len);
	}
	fixture_open(&f);
	assert_int_equal(f.n_seen, 80);
	fixture_destroy(&f);
}

static void the_quarantine_is_bounded(void **state)
{
	(void)state;
	struct fixture f;
	size_t used = make_journal(&f, 400);

	for (size_t at = SEGMENT_HEADER + 8; at + 64 < used; at += 64)
		image[at] ^= 1;
	file_put(&f, names[0], image, used);
	fixture_open(&f);
	assert_true(f.report.bad_records > 100);
	assert_int_equal(quarantined(&f), 64);
	fixture_destroy(&f);
}

static void a_smaller_bound_still_opens(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[60000];
	struct journal_status s;
	int err;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);
	uint64_t seqs[80];
	for (int i = 0; i < 80; i++) {
		seqs[i] = append_bytes(&f, 1, body, sizeof(body), NULL, &err);
		if (i == 40)
			fixture_settle(&f);
	}
	fixture_close(&f);
	f.conf.max_bytes = MB;
	fixture_open(&f);
	assert_int_equal(f.n_seen, 80);
	assert_int_equal(append_bytes(&f, 1, "x", 1, NULL, &err), 0);
	assert_int_equal(err, -ENOSPC);
	for (int i = 0; i < 75; i++)
		journal_forget(f.j, seqs[i]);
	fixture_second(&f);
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_true(s.disk_bytes <= s.max_bytes);
	append_text(&f, 1, "x", NULL);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 6);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_torn_tail_at_every_octet),
		cmocka_unit_test(damage_in_the_middle_is_set_aside_and_left_behind),
		cmocka_unit_test(a_damaged_header_costs_nothing),
		cmocka_unit_test(a_renamed_segment_is_still_read),
		cmocka_unit_test(a_segment_copied_twice_is_replayed_once),
		cmocka_unit_test(foreign_files_do_not_stop_the_start),
		cmocka_unit_test(any_segment_may_be_lost),
		cmocka_unit_test(the_quarantine_is_bounded),
		cmocka_unit_test(a_smaller_bound_still_opens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
