#include "tests/unit/store/journal_fixture.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/uio.h>

/* Every call that the journal makes of the file system fails once, and from there on, one after the
 * other. The functions below take the place of the C library's, for this program only. */
#define MB (INT64_C(1) << 20)

static atomic_int calls;       /* since it was set to 0 */
static atomic_int fail_at;     /* the number of the first call to fail; 0: none */
static atomic_int fail_to;     /* and of the last */
static atomic_int fail_err;    /* with this */
static atomic_bool fail_reads; /* no other call counts */

static bool fails(bool reads)
{
	if (fail_reads && !reads)
		return false;
	int n = atomic_fetch_add(&calls, 1) + 1;

	if (fail_at == 0 || n < fail_at || n > fail_to)
		return false;
	errno = fail_err;
	return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return fails(false) ? -1 : REAL(openat)(dir, path, flags, mode);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
	return fails(false) ? -1 : REAL(pwrite)(fd, p, len, at);
}

ssize_t pread(int fd, void *p, size_t len, off_t at)
{
	return fails(true) ? -1 : REAL(pread)(fd, p, len, at);
}

ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
	return fails(true) ? -1 : REAL(preadv)(fd, v, n, at);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	return fails(false) ? -1 : REAL(fallocate)(fd, mode, at, len);
}

int ftruncate(int fd, off_t len)
{
	return fails(false) ? -1 : REAL(ftruncate)(fd, len);
}

int unlinkat(int dir, const char *path, int flags)
{
	return fails(false) ? -1 : REAL(unlinkat)(dir, path, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	return fails(false) ? -1 : REAL(mkdirat)(dir, path, mode);
}

int fchmod(int fd, mode_t mode)
{
	return fails(false) ? -1 : REAL(fchmod)(fd, mode);
}

int flock(int fd, int how)
{
	return fails(false) ? -1 : REAL(flock)(fd, how);
}

/* Nothing here survives a power cut: the time that a real sync takes would be wasted. */
int fdatasync(int fd)
{
	(void)fd;
	return fails(false) ? -1 : 0;
}

int fsync(int fd)
{
	(void)fd;
	return fails(false) ? -1 : 0;
}

static void faults(int first, int last, int err)
{
	fail_err = err;
	fail_to = last;
	fail_at = first;
	calls = 0;
}

static void no_faults(void)
{
	fail_reads = false;
	fail_at = 0;
}

/* ---- What the callers know ---- */

#define RECORDS 300

struct known {
	uint64_t seq; /* 0: refused, or undone */
	uint32_t len;
	bool forgotten;
	struct waiter w;
};

struct world {
	struct fixture f;
	struct known known[RECORDS];
};

static void fill(uint8_t *body, unsigned i, uint32_t len)
{
	memset(body, (int)(i % 251), len);
	memcpy(body, &i, sizeof(i));
}

/* Every third has nobody who waits for it, every ninth is lazy too. */
static void append_one(struct world *w, unsigned i)
{
	static uint8_t body[16384];
	struct known *k = &w->known[i];
	struct span part = { body, 8 + i * 2654435761u % (i % 5 ? 1000 : 16000) };
	int err, told = journal_room_for(w->f.j, part.len);

	fill(body, i, (uint32_t)part.len);
	k->len = (uint32_t)part.len;
	k->w = (struct waiter){ .wait.done = on_stored };
	if (i % 9 == 0)
		k->seq = journal_append_lazy(w->f.j, 1, &part, 1, &err);
	else
		k->seq = journal_append(w->f.j, 1, &part, 1, i % 3 ? &k->w.wait : NULL, &err);
	assert_int_equal(told, err);
	assert_int_equal(k->seq == 0, err < 0);
}

static void forget_one(struct world *w, unsigned i)
{
	struct known *k = &w->known[i];

	if (k->seq == 0 || k->forgotten || (k->w.fired && k->w.err < 0))
		return;
	journal_wait_cancel(&k->w.wait);
	journal_forget(w->f.j, k->seq);
	k->forgotten = true;
}

/* Fills several segments, forgets so that some are deleted and some copied forward, reads. */
static void work(struct world *w, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		append_one(w, i);
		if (i > 20)
			forget_one(w, i - 20 - i % 3);
		if (i % 16 == 7)
			journal_mark(w->f.j);
		if (i % 4 == 0)
			fixture_turn(&w->f, 130);
		if (i % 32 == 0)
			fixture_second(&w->f);
	}
	fixture_settle(&w->f);
}

static void heal(struct world *w)
{
	no_faults();
	for (int i = 0; i < 5; i++)
		fixture_second(&w->f);
	assert_false(journal_failing(w->f.j));
	uint64_t mark = journal_mark(w->f.j);
	fixture_turn(&w->f, 300);
	fixture_settle(&w->f);
	assert_true(journal_reached(w->f.j, mark));
}

static void check_live(struct world *w)
{
	static uint8_t body[16384], back[16384];

	for (unsigned i = 0; i < RECORDS; i++) {
		const struct known *k = &w->known[i];
		bool undone = k->w.fired && k->w.err < 0;
		if (k->seq == 0)
			continue;
		if (k->forgotten || undone) {
			assert_int_equal(journal_length(w->f.j, k->seq), -ENOENT);
			continue;
		}
		fill(body, i, k->len);
		assert_int_equal(journal_read(w->f.j, k->seq, back, sizeof(back)), k->len);
		assert_memory_equal(body, back, k->len);
	}
}

static void check_replayed(struct world *w)
{
	size_t live = 0;

	for (unsigned i = 0; i < RECORDS; i++) {
		const struct known *k = &w->known[i];
		bool lives = k->seq && !k->forgotten && !(k->w.fired && k->w.err < 0);
		live += lives;
		if (lives && !find_seen(&w->f, k->seq))
			fail_msg("record %u is lost", i);
	}
	assert_int_equal(w->f.n_seen, live);
	assert_int_equal(w->f.report.bad_records, 0);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	no_faults();
	fixture_init(&w->f, MB);
	log_set_level((enum log_level) - 1);
	fixture_open(&w->f);
	work(w, 0, 40);
}

/* Returns how many calls it made. */
static int run_with_faults(int first, int last, int err)
{
	static struct world w;
	world_init(&w);
	faults(first, last, err);
	work(&w, 40, RECORDS);
	int n = calls;
	heal(&w);
	check_live(&w);
	fixture_reopen(&w.f);
	check_replayed(&w);
	fixture_destroy(&w.f);
	return n;
}

static const int errors[] = { EIO, ENOSPC, EROFS };

static void any_call_may_fail_once(void **state)
{
	(void)state;
	int n = run_with_faults(0, 0, 0);

	assert_true(n > 30);
	for (int at = 1; at <= n; at += 2)
		run_with_faults(at, at, errors[at % 3]);
}

static void any_call_may_be_the_last_that_works(void **state)
{
	(void)state;
	int n = run_with_faults(0, 0, 0);

	for (int at = 1; at <= n; at += 5)
		run_with_faults(at, INT_MAX, errors[at % 3]);
}

/* A start that can't read may fail or miss something; the next one that can has all of it. */
static int start_with_faults(int first, int last, int err, bool reads)
{
	static struct world w;
	world_init(&w);
	work(&w, 40, 120);
	fixture_close(&w.f);
	fail_reads = reads;
	faults(first, last, err);
	w.f.n_seen = 0;
	int rc = journal_open(w.f.base, &w.f.conf, w.f.handlers, &w.f.j, &w.f.report);
	int n = calls;
	if (rc == 0)
		fixture_settle(&w.f);
	no_faults();
	if (rc == 0)
		fixture_close(&w.f);
	fixture_open(&w.f);
	for (unsigned i = 0; i < RECORDS; i++)
		if (w.known[i].seq && !w.known[i].forgotten)
			assert_non_null(find_seen(&w.f, w.known[i].seq));
	fixture_destroy(&w.f);
	return n;
}

static void a_start_that_fails_loses_nothing(void **state)
{
	(void)state;
	int n = start_with_faults(0, 0, 0, false);

	assert_true(n > 10);
	for (int at = 1; at <= n; at += at < 20 ? 1 : 7)
		for (int i = 0; i < 3; i++)
			start_with_faults(at, i == 2 ? INT_MAX : at, errors[i], false);
}

/* A disk that gives nothing for a while: what can't be read is not what isn't there. */
static void a_start_that_reads_nothing_loses_nothing(void **state)
{
	(void)state;
	for (int at = 1; at < 100; at += 7)
		start_with_faults(at, at + 60, EIO, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_call_may_fail_once),
		cmocka_unit_test(any_call_may_be_the_last_that_works),
		cmocka_unit_test(a_start_that_fails_loses_nothing),
		cmocka_unit_test(a_start_that_reads_nothing_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
