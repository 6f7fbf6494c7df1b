#include "tests/unit/store/journal_fixture.h"

#define MB (INT64_C(1) << 20)

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* A body whose content follows from its number, so that any mix-up shows. */
static size_t make_body(uint64_t key, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)digits[(key * 31 + i * (key % 7 + 1)) % 36];
	return len;
}

static void full_refuses_and_forgetting_makes_room(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	static uint64_t seqs[2000];
	uint8_t body[1000];
	unsigned n = 0;
	int err;
	fixture_init(&f, MB);
	fixture_open(&f);

	for (; n < 2000; n++) {
		seqs[n] = append_bytes(&f, 1, body, make_body(n, body, sizeof(body)), NULL, &err);
		if (!seqs[n])
			break;
		if (n % 50 == 0)
			fixture_settle(&f);
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 700 && n < 800); /* three quarters; the rest is for cleaning */
	fixture_settle(&f);
	journal_status(f.j, &s);
	assert_true(s.full);
	assert_int_equal(s.live_records, n);
	assert_true(s.disk_bytes <= s.max_bytes);

	for (unsigned i = 0; i < n / 2; i++)
		journal_forget(f.j, seqs[i]);
	fixture_second(&f);
	seqs[0] = append_bytes(&f, 1, body, sizeof(body), NULL, &err);
	assert_int_equal(err, 0);
	journal_status(f.j, &s);
	assert_false(s.full);
	assert_true(s.disk_bytes <= s.max_bytes * 3 / 4);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, n - n / 2 + 1);
	fixture_destroy(&f);
}

/* max_bytes was lowered: all that lives is kept, nothing new is taken, what is done with can be
 * forgotten for good, and in the end the bound holds. */
static void a_journal_beyond_its_bound_shrinks(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	static uint8_t body[20000];
	static uint64_t seqs[300];
	int err;
	fixture_init(&f, 16 * MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&f);
	for (int i = 0; i < 300; i++) {
		seqs[i] = append_bytes(&f, 1, body, sizeof(body), NULL, &err);
		assert_true(seqs[i] > 0);
		if (i % 50 == 0)
			fixture_settle(&f);
	}
	fixture_close(&f);
	f.conf.max_bytes = MB;
	fixture_open(&f);
	assert_int_equal(f.n_seen, 300);
	journal_status(f.j, &s);
	assert_true(s.disk_bytes > s.max_bytes);
	assert_int_equal(append_bytes(&f, 1, body, 100, NULL, &err), 0);
	assert_int_equal(err, -ENOSPC);

	/* From everywhere, so that no segment is dead soon. */
	for (int i = 0; i < 300; i++) {
		if (i % 10 == 0)
			continue;
		journal_forget(f.j, seqs[i]);
		uint64_t mark = journal_mark(f.j);
		journal_hurry(f.j);
		fixture_settle(&f);
		assert_true(journal_reached(f.j, mark));
		if (i % 50 == 1)
			fixture_second(&f);
	}
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_true(s.disk_bytes <= s.max_bytes);
	assert_int_equal(f.j->started_bytes, 0);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 30);
	for (int i = 0; i < 300; i += 10)
		journal_forget(f.j, seqs[i]);
	fixture_second(&f);
	assert_true(append_bytes(&f, 1, body, 100, NULL, &err) > 0);
	fixture_destroy(&f);
}

static void a_record_that_never_fits_is_too_large(void **state)
{
	(void)state;
	struct fixture f;
	static uint8_t body[900000];
	int err;
	fixture_init(&f, MB);
	fixture_open(&f);
	assert_int_equal(append_bytes(&f, 1, body, sizeof(body), NULL, &err), 0);
	assert_int_equal(err, -EMSGSIZE);
	assert_true(append_bytes(&f, 1, body, 500000, NULL, &err) > 0);
	fixture_settle(&f);
	fixture_destroy(&f);
}

static void a_drained_backlog_leaves_one_segment(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	static uint64_t seqs[5000];
	uint8_t body[500];
	char names[32][32];
	int err;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	for (unsigned i = 0; i < 5000; i++) {
		seqs[i] = append_bytes(&f, 1, body, make_body(i, body, sizeof(body)), NULL, &err);
		if (i % 500 == 0)
			fixture_settle(&f);
	}
	fixture_settle(&f);
	assert_int_equal(segment_files(&f, names, 32), 3);
	for (unsigned i = 0; i < 5000; i++)
		journal_forget(f.j, seqs[i]);
	assert_int_equal(f.j->pending.n, 1); /* one range, however long */
	fixture_second(&f);
	journal_status(f.j, &s);
	assert_int_equal(s.segments, 1);
	assert_int_equal(s.live_bytes, 0);
	assert_int_equal(segment_files(&f, names, 32), 1);
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 0);
	fixture_settle(&f);
	assert_int_equal(segment_files(&f, names, 32), 1);
	fixture_destroy(&f);
}

static void sequences_grow_over_restarts_of_an_empty_journal(void **state)
{
	(void)state;
	struct fixture f;
	uint64_t last = 0;
	fixture_init(&f, MB);
	fixture_open(&f);

	for (int i = 0; i < 5; i++) {
		uint64_t seq = append_text(&f, 1, "x", NULL);
		assert_true(seq > last);
		last = seq;
		journal_forget(f.j, seq);
		fixture_second(&f);
		fixture_reopen(&f);
		fixture_second(&f);
		fixture_reopen(&f);
		assert_int_equal(f.n_seen, 0);
	}
	fixture_destroy(&f);
}

/* Old records that live for ever must not make the journal keep all that came and went after them.
 */
static void long_lived_records_do_not_hold_the_disk(void **state)
{
	(void)state;
	struct fixture f;
	struct journal_status s;
	uint8_t body[800];
	uint64_t old[200], most = 0;
	int err;
	fixture_init(&f, 8 * MB);
	fixture_open(&f);

	for (unsigned i = 0; i < 200; i++)
		old[i] = append_bytes(&f, 2, body, make_body(i, body, 200), NULL, &err);
	for (unsigned round = 0; round < 60; round++) {
		uint64_t seqs[250];
		for (unsigned i = 0; i < 250; i++)
			seqs[i] = append_bytes(
				&f, 1, body, make_body(i, body, sizeof(body)), NULL, &err);
		fixture_settle(&f);
		for (unsigned i = 0; i < 250; i++)
			journal_forget(f.j, seqs[i]);
		journal_forget(f.j, old[round]);
		fixture_second(&f);
		journal_status(f.j, &s);
		most = MAX(most, s.disk_bytes);
	}
	assert_true(most <= 5 * (uint64_t)MB); /* 12 MB went through */
	fixture_reopen(&f);
	assert_int_equal(f.n_seen, 140);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(find_seen(&f, old[i]) != NULL, i >= 60);
	fixture_destroy(&f);
}

/* ---- The model ---- */

#define MODEL_MAX 20000

struct model {
	struct fixture *f;
	unsigned seed;
	struct {
		uint64_t seq;
		uint32_t len;
		bool live;
		struct waiter w;
	} r[MODEL_MAX];
	unsigned n, first;
	unsigned refused;
};

static unsigned rnd(struct model *m, unsigned limit)
{
	return (unsigned)rand_r(&m->seed) % limit;
}

static void model_append(struct model *m)
{
	static uint8_t body[8000];
	int err;

	if (m->n == MODEL_MAX)
		return;
	unsigned i = m->n;
	size_t len = rnd(m, 20) == 0 ? rnd(m, sizeof(body)) : rnd(m, 600);
	m->r[i].seq = append_bytes(m->f, 1, body, make_body(i, body, len), &m->r[i].w, &err);
	m->r[i].len = (uint32_t)len;
	m->r[i].live = m->r[i].seq > 0;
	assert_true(err == 0 || err == -ENOSPC);
	m->refused += err < 0;
	m->n += err == 0;
}

static void model_forget(struct model *m)
{
	/* Mostly the old ones, but some stay for long. */
	unsigned i = rnd(m, 3) == 0 ? rnd(m, m->n + 1) : m->first + rnd(m, 20);

	if (i < m->n && m->r[i].live && (i % 37 != 0 || rnd(m, 50) == 0)) {
		m->r[i].live = false;
		journal_forget(m->f->j, m->r[i].seq);
	}
	while (m->first < m->n && (!m->r[m->first].live || m->first % 37 == 0))
		m->first++;
}

static void check_body(struct model *m, struct journal *j, unsigned i)
{
	static uint8_t body[8000], back[8000];

	assert_int_equal(journal_read(j, m->r[i].seq, back, sizeof(back)), m->r[i].len);
	make_body(i, body, m->r[i].len);
	assert_memory_equal(back, body, m->r[i].len);
}

/* Everything live is there and nothing else, but what `pending` says may be. */
static void model_check(struct model *m, struct fixture *f, struct seq_ranges *pending)
{
	uint64_t live = 0;

	for (unsigned i = 0; i < m->n; i++) {
		bool there = journal_length(f->j, m->r[i].seq) >= 0;
		if (m->r[i].live && m->r[i].w.fired)
			assert_true(there);
		if (m->r[i].live && there)
			check_body(m, f->j, i);
		if (!m->r[i].live && there)
			assert_true(pending && seq_ranges_has(pending, m->r[i].seq));
		live += there;
	}
	assert_int_equal(live, index_live(&f->j->index));
}

static void copy_dir(const struct fixture *from, const struct fixture *to)
{
	static uint8_t bytes[SEGMENT_FILE_MAX];
	static char names[256][32];
	unsigned n = segment_files(from, names, 256);

	for (unsigned i = 0; i < n; i++)
		file_put(to, names[i], bytes, file_get(from, names[i], bytes, sizeof(bytes)));
}

/* A copy of the directory as a kill -9 at this moment would leave it, also in the middle of
 * cleaning. */
static void model_copy(struct model *m, struct fixture *copy, struct seq_ranges *pending)
{
	struct journal *j = m->f->j;

	for (int i = 0; i < 20000; i++) {
		if (list_empty(&j->flights) && j->clean.state != CLEAN_UNLINKING &&
			j->clean.state != CLEAN_READING)
			break;
		event_base_loop(m->f->base, EVLOOP_NONBLOCK);
		usleep(50);
	}
	assert_true(list_empty(&j->flights));
	int64_t now = clock_ms();
	fixture_init(copy, m->f->conf.max_bytes);
	clock_freeze(now, 1700000000000);
	copy_dir(m->f, copy);
	*pending = (struct seq_ranges){ 0 };
	seq_ranges_add_all(pending, &j->pending);
	seq_ranges_sort(pending);
}

static void model_crash_check(struct model *m)
{
	struct seq_ranges pending;
	struct fixture copy;
	int64_t now = clock_ms();

	model_copy(m, &copy, &pending);
	fixture_open(&copy);
	model_check(m, &copy, &pending);
	fixture_settle(&copy); /* its own cleaning must not bring anything back either */
	fixture_reopen(&copy);
	model_check(m, &copy, &pending);
	seq_ranges_free(&pending);
	fixture_destroy(&copy);
	clock_freeze(now + 60000, 1700000000000);
}

static bool pinned(const struct journal *j, const struct segment *b)
{
	const struct list *pos;

	list_for_each(pos, &j->segments) {
		const struct segment *a = container_of(pos, const struct segment, node);
		if (a != b && (a->records > a->live || a->stale) && a->forgets_lo <= b->order &&
			b->order <= a->forgets_hi)
			return true;
	}
	return false;
}

/* No segment that counts as not pinned holds a forget that is still needed. */
static void model_pin_check(struct model *m, const struct segment *b)
{
	struct seq_ranges pending;
	struct fixture copy;
	char name[SEGMENT_NAME_MAX];
	int64_t now = clock_ms();

	model_copy(m, &copy, &pending);
	file_drop(&copy, segment_name(b->id, name));
	fixture_open(&copy);
	for (unsigned i = 0; i < m->n; i++)
		if (!m->r[i].live && !seq_ranges_has(&pending, m->r[i].seq))
			assert_int_equal(journal_length(copy.j, m->r[i].seq), -ENOENT);
	seq_ranges_free(&pending);
	fixture_destroy(&copy);
	clock_freeze(now + 60000, 1700000000000);
}

static void model_pin_checks(struct model *m)
{
	struct journal *j = m->f->j;
	const struct list *pos;

	list_for_each(pos, &j->segments) {
		const struct segment *s = container_of(pos, const struct segment, node);
		if (!s->holds_forgets || pinned(j, s) || !list_empty(&j->flights) ||
			j->clean.state == CLEAN_UNLINKING)
			continue;
		model_pin_check(m, s);
		return;
	}
}

static void model_run(unsigned seed, int64_t max_bytes, unsigned steps)
{
	static struct model m;
	struct fixture f;
	struct journal_status s;
	memset(&m, 0, sizeof(m));
	m.seed = seed;
	m.f = &f;
	fixture_init(&f, max_bytes);
	fixture_open(&f);

	for (unsigned step = 0; step < steps; step++) {
		for (unsigned i = rnd(&m, 60); i > 0; i--)
			model_append(&m);
		for (unsigned i = rnd(&m, 70); i > 0; i--)
			model_forget(&m);
		fixture_turn(&f, rnd(&m, 300));
		if (rnd(&m, 4) == 0)
			fixture_settle(&f);
		if (rnd(&m, 40) == 0)
			model_crash_check(&m);
		if (rnd(&m, 8) == 0)
			model_pin_checks(&m);
		if (rnd(&m, 50) == 0) {
			fixture_reopen(&f);
			model_check(&m, &f, NULL);
		}
		journal_status(f.j, &s);
		assert_true(s.disk_bytes <= s.max_bytes);
	}
	fixture_second(&f);
	model_check(&m, &f, NULL);
	fixture_reopen(&f);
	model_check(&m, &f, NULL);
	print_message("seed %u: %u records, %u refused\n", seed, m.n, m.refused);
	fixture_destroy(&f);
}

static void random_runs_agree_with_a_model(void **state)
{
	(void)state;
	const char *more = getenv("JOURNAL_MODEL_RUNS");
	unsigned runs = more ? (unsigned)atoi(more) : 4;

	for (unsigned seed = 1; seed <= runs; seed++)
		model_run(seed, seed % 2 ? MB : 3 * MB, 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_refuses_and_forgetting_makes_room),
		cmocka_unit_test(a_journal_beyond_its_bound_shrinks),
		cmocka_unit_test(a_record_that_never_fits_is_too_large),
		cmocka_unit_test(a_drained_backlog_leaves_one_segment),
		cmocka_unit_test(sequences_grow_over_restarts_of_an_empty_journal),
		cmocka_unit_test(long_lived_records_do_not_hold_the_disk),
		cmocka_unit_test(random_runs_agree_with_a_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
