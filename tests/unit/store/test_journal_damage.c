#include "tests/unit/store/journal_fixture.h"

#include <inttypes.h>
#include <sys/random.h>

/* Damaged journals by the thousand: every start succeeds, every whole record that was not forgotten
 * in a whole forget record is replayed, and nothing else.
 *
 *   DAMAGE_SEED=n   the first image's seed (printed; the others' are the next numbers)
 *   DAMAGE_COUNT=n  how many images */
#define KB            1024u
#define MAX_BYTES     (96 * KB)
#define MAX_FILES     40u
#define FILE_CAP      (64 * KB)
#define MAX_KNOWN     2048u
#define IMAGES_OF_ONE 500   /* past */
#define TABLE_SIZE    8192u /* a power of 2, well above MAX_KNOWN */

/* Nothing here survives a power cut: the time that a real sync takes would be wasted. */
int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

int fsync(int fd)
{
	(void)fd;
	return 0;
}

/* ---- Chance ---- */

static uint64_t random_state;

static uint32_t chance(uint32_t limit)
{
	/* splitmix64 */
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ z >> 31) >> 11) % limit;
}

/* ---- A journal in memory ---- */

enum kind { REGULAR, DIRECTORY, SYMLINK, FIFO };

struct file {
	char name[40];
	enum kind kind;
	uint32_t len;
	uint8_t bytes[FILE_CAP];
};

struct image {
	struct file files[MAX_FILES];
	unsigned n;
};

static void image_load(struct image *m, const struct fixture *f)
{
	char names[MAX_FILES][32];

	m->n = segment_files(f, names, MAX_FILES);
	for (unsigned i = 0; i < m->n; i++) {
		struct file *x = &m->files[i];
		x->kind = REGULAR;
		strcpy(x->name, names[i]);
		x->len = (uint32_t)file_get(f, x->name, x->bytes, FILE_CAP);
	}
}

static void file_make(const struct fixture *f, const struct file *x)
{
	char path[128];

	snprintf(path, sizeof(path), "%.63s/%s", f->dir, x->name);
	if (x->kind == REGULAR) {
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, x->bytes, x->len), x->len);
		close(fd);
	} else if (x->kind == DIRECTORY) {
		assert_int_equal(mkdir(path, 0700), 0);
	} else if (x->kind == SYMLINK) {
		assert_int_equal(symlink(x->len ? "/dev/null" : "/nowhere", path), 0);
	} else {
		assert_int_equal(mkfifo(path, 0600), 0);
	}
}

static void empty_dir(const struct fixture *f)
{
	fixture_remove(f->dir);
	assert_int_equal(mkdir(f->dir, 0700), 0);
}

static void image_store(const struct image *m, const struct fixture *f)
{
	empty_dir(f);
	for (unsigned i = 0; i < m->n; i++)
		file_make(f, &m->files[i]);
}

/* ---- What is known of the records ---- */

struct known {
	uint32_t check, salt, len; /* the record's first octets; octets without padding */
	uint64_t seq;
	uint8_t type;
	const uint8_t *bytes;
	bool whole; /* somewhere in the damaged image */
	bool again; /* a copy of another one */
};

static struct known known[MAX_KNOWN];
static unsigned n_known;
static uint16_t table[TABLE_SIZE]; /* index in known[] + 1 by the check */

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void know(const struct record *r, uint32_t salt, const uint8_t *bytes)
{
	struct known *k = &known[n_known++];

	assert_true(n_known < MAX_KNOWN);
	*k = (struct known){ load32(bytes), salt, RECORD_HEADER + (uint32_t)r->body.len, r->seq,
		r->type, bytes, false, false };
	for (unsigned i = 0; i + 1 < n_known; i++)
		if (known[i].seq == r->seq && r->type != RECORD_FORGET)
			k->again = true;
	uint32_t slot = k->check % TABLE_SIZE;
	while (table[slot])
		slot = (slot + 1) % TABLE_SIZE;
	table[slot] = (uint16_t)n_known;
}

static void know_image(const struct image *m)
{
	n_known = 0;
	memset(table, 0, sizeof(table));
	for (unsigned i = 0; i < m->n; i++) {
		const struct file *x = &m->files[i];
		struct segment_scan scan;
		struct segment_id id;
		struct record r;
		assert_true(segment_name_parse(x->name, &id));
		assert_int_equal(segment_scan_init(&scan, span_of(x->bytes, x->len), id), 0);
		while (segment_scan_next(&scan, &r))
			know(&r, scan.salt, x->bytes + r.offset);
	}
}

static void find_at(const uint8_t *p, size_t left, uint32_t salt)
{
	uint32_t check = load32(p);

	for (uint32_t slot = check % TABLE_SIZE; table[slot]; slot = (slot + 1) % TABLE_SIZE) {
		struct known *k = &known[table[slot] - 1];
		if (k->check == check && k->salt == salt && k->len <= left &&
			memcmp(k->bytes, p, k->len) == 0)
			k->whole = true;
	}
}

static void find_whole(const struct image *m)
{
	for (unsigned i = 0; i < n_known; i++)
		known[i].whole = false;
	for (unsigned i = 0; i < m->n; i++) {
		const struct file *x = &m->files[i];
		struct segment_id name, inside;
		uint64_t first;
		if (x->kind != REGULAR || !segment_name_parse(x->name, &name))
			continue;
		int err = segment_header_decode(span_of(x->bytes, x->len), &inside, &first);
		uint32_t salt = err == 0 ? inside.salt : name.salt;
		for (uint32_t at = 0; at + RECORD_HEADER <= x->len; at += RECORD_ALIGN)
			find_at(x->bytes + at, x->len - at, salt);
	}
}

static void find_forgotten(struct seq_ranges *dead)
{
	for (unsigned i = 0; i < n_known; i++) {
		const struct known *k = &known[i];
		if (k->type == RECORD_FORGET && k->whole)
			seq_ranges_decode(
				dead, span_of(k->bytes + RECORD_HEADER, k->len - RECORD_HEADER));
	}
	seq_ranges_sort(dead);
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Fills `seqs`, ascending; returns how many. */
static size_t expected(const struct image *m, uint64_t seqs[MAX_KNOWN])
{
	struct seq_ranges dead = { NULL, 0, 0 };
	size_t n = 0, kept = 0;

	find_whole(m);
	find_forgotten(&dead);
	for (unsigned i = 0; i < n_known; i++)
		if (known[i].whole && known[i].type != RECORD_FORGET &&
			!seq_ranges_has(&dead, known[i].seq))
			seqs[n++] = known[i].seq;
	qsort(seqs, n, sizeof(*seqs), by_seq);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || seqs[kept - 1] != seqs[i])
			seqs[kept++] = seqs[i];
	seq_ranges_free(&dead);
	return kept;
}

/* ---- A journal with a past ---- */

/* Until the thread has nothing to do: how fast it was must not show in the image. */
static void rest(struct fixture *f, int64_t ms)
{
	clock_advance(ms);
	do {
		journal_hurry(f->j);
		fixture_turn(f, 0);
	} while (fixture_busy(f));
}

static void build(struct fixture *f)
{
	static uint64_t seqs[500];
	uint8_t body[700];
	int err;

	fixture_open(f);
	for (unsigned i = 0; i < ARRAY_SIZE(seqs); i++) {
		size_t len = chance(3) ? 8 + chance(120) : 8 + chance(690);
		memset(body, (int)chance(256), len);
		memcpy(body, &i, sizeof(i));
		seqs[i] = append_bytes(f, (uint8_t)(1 + chance(63)), body, len, NULL, &err);
		for (unsigned n = chance(2); n > 0 && i > 30; n--)
			journal_forget(f->j, seqs[i - chance(i - 1 < 60 ? i - 1 : 60)]);
		if (chance(12) == 0)
			rest(f, chance(5) ? 10 : 1100);
	}
	fixture_close(f);
}

/* ---- Damage ---- */

static struct file *any_file(struct image *m)
{
	return &m->files[chance(m->n)];
}

static uint32_t any_place(const struct file *x)
{
	return x->len ? chance(x->len) : 0;
}

static uint32_t any_length(const struct file *x, uint32_t at)
{
	uint32_t most = chance(2) ? 64 : chance(2) ? 512 : 8192;
	uint32_t len = 1 + chance(most);

	return MIN(len, x->len - at);
}

static struct file *add_file(struct image *m)
{
	struct file *x = m->n < MAX_FILES ? &m->files[m->n++] : any_file(m);

	x->kind = REGULAR;
	x->len = 0;
	return x;
}

static void set_name(struct image *m, struct file *x, uint32_t number, uint32_t salt)
{
	char name[SEGMENT_NAME_MAX];

	segment_name((struct segment_id){ number, salt }, name);
	for (unsigned i = 0; i < m->n; i++)
		if (&m->files[i] != x && strcmp(m->files[i].name, name) == 0)
			return set_name(m, x, number + 1, salt);
	strcpy(x->name, name);
}

static void cut(struct image *m)
{
	struct file *x = any_file(m);

	x->len = any_place(x);
}

static void flip(struct image *m)
{
	struct file *x = any_file(m);

	for (unsigned n = 1 + chance(8); n > 0 && x->len > 0; n--)
		x->bytes[chance(4) ? any_place(x) : chance(MIN(x->len, 64))] ^=
			(uint8_t)(1u << chance(8));
}

static void overwrite(struct image *m)
{
	struct file *x = any_file(m);
	uint32_t at = any_place(x), len = any_length(x, at);

	if (chance(2)) {
		memset(x->bytes + at, chance(3) ? 0 : 0xff, len);
		return;
	}
	for (uint32_t i = 0; i < len; i++)
		x->bytes[at + i] = (uint8_t)chance(256);
}

static void zero_blocks(struct image *m)
{
	struct file *x = any_file(m);
	uint32_t block = chance(2) ? 512 : 4096, at = any_place(x) / block * block;

	memset(x->bytes + at, 0, MIN(block * (1 + chance(3)), x->len - at));
}

static void lose(struct image *m)
{
	struct file *x = any_file(m), *last = &m->files[m->n - 1];

	if (x != last)
		*x = *last;
	m->n -= m->n > 1;
}

static void swap(struct image *m)
{
	struct file *a = any_file(m), *b = any_file(m);
	char name[sizeof(a->name)];

	memcpy(name, a->name, sizeof(name));
	memmove(a->name, b->name, sizeof(name));
	memcpy(b->name, name, sizeof(name));
}

static void rename_one(struct image *m)
{
	struct file *x = any_file(m);
	struct segment_id id;

	if (!segment_name_parse(x->name, &id))
		return;
	set_name(m, x, chance(2) ? chance(100) : UINT32_MAX - chance(1000),
		chance(2) ? id.salt : chance(UINT32_MAX));
}

static void duplicate(struct image *m)
{
	struct file *from = any_file(m), *to = add_file(m);
	struct segment_id id = { chance(60), chance(UINT32_MAX) };

	if (to != from)
		*to = *from;
	set_name(m, to, id.number, id.salt);
}

static void copy_block(struct image *m)
{
	struct file *from = any_file(m), *to = any_file(m);
	uint32_t a = any_place(from) & ~3u, b = any_place(to) & ~3u;
	uint32_t len = MIN(any_length(from, a), to->len - b);

	memmove(to->bytes + b, from->bytes + a, len);
}

static void cut_out(struct image *m)
{
	struct file *x = any_file(m);
	uint32_t at = any_place(x) & ~3u, len = any_length(x, at);

	memmove(x->bytes + at, x->bytes + at + len, x->len - at - len);
	x->len -= len;
}

static void insert(struct image *m)
{
	struct file *x = any_file(m);
	uint32_t at = any_place(x), len = MIN(4 * chance(200), FILE_CAP - x->len);

	memmove(x->bytes + at + len, x->bytes + at, x->len - at);
	x->len += len;
}

static void grow(struct image *m)
{
	struct file *x = any_file(m);
	uint32_t len = MIN(chance(8192), FILE_CAP - x->len);

	for (uint32_t i = 0; i < len; i++)
		x->bytes[x->len + i] = chance(2) ? 0 : (uint8_t)chance(256);
	x->len += len;
}

static void foreign(struct image *m)
{
	static const char *const names[] = { "README", "00000001-00000001.seg~",
		"-0000001-00000002.seg", "0000001-00000001.seg", "00000001.seg", ".hidden",
		"00000001-00000001.SEG", "quarantine", "lock", "core" };
	struct file *x = add_file(m);

	x->kind = (enum kind)chance(4);
	if (chance(3))
		strcpy(x->name, names[chance(ARRAY_SIZE(names))]);
	else
		set_name(m, x, chance(UINT32_MAX), chance(UINT32_MAX));
	for (unsigned i = 0; i < m->n; i++)
		if (&m->files[i] != x && strcmp(m->files[i].name, x->name) == 0)
			set_name(m, x, chance(UINT32_MAX), chance(UINT32_MAX));
	x->len = chance(3000);
	for (uint32_t i = 0; i < x->len; i++)
		x->bytes[i] = (uint8_t)chance(256);
}

static void (*const damages[])(struct image *) = { cut, flip, flip, overwrite, zero_blocks, lose,
	swap, rename_one, duplicate, copy_block, cut_out, insert, grow, foreign };

/* ---- One image ---- */

static void check_quarantine(const struct fixture *f)
{
	char path[128];
	struct dirent *d;
	struct stat st;
	uint64_t bytes = 0;

	snprintf(path, sizeof(path), "%s/quarantine", f->dir);
	DIR *dir = lstat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	while (dir && (d = readdir(dir)))
		if (fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	if (dir)
		closedir(dir);
	assert_true(bytes <= 4u << 20);
}

static void check_replayed(const struct fixture *f, const uint64_t *seqs, size_t n)
{
	for (size_t i = 0; i < n && i < f->n_seen; i++)
		if (f->seen[i].seq != seqs[i])
			fail_msg("%s of sequence %" PRIu64,
				seqs[i] < f->seen[i].seq ? "loss" : "return",
				MIN(seqs[i], f->seen[i].seq));
	assert_int_equal(f->n_seen, n);
	assert_int_equal(f->report.live_records, n);
}

static void check_bodies(const struct fixture *f)
{
	for (size_t i = 0, k = 0; i < f->n_seen; i++) {
		const struct seen *s = &f->seen[i];
		for (; k < n_known && (known[k].seq != s->seq || known[k].type != s->type);)
			k = (k + 1) % n_known;
		assert_int_equal(s->len, known[k].len - RECORD_HEADER);
		assert_memory_equal(s->start, known[k].bytes + RECORD_HEADER,
			MIN(s->len, sizeof(s->start) - 1));
	}
}

/* What is damaged is left behind, what is dead stays dead, and it is full only when it is. */
static void go_on(struct fixture *f, const uint64_t *seqs, size_t n)
{
	for (int i = 0; i < 10 && (i == 0 || journal_room_for(f->j, 7) < 0); i++)
		fixture_second(f);
	bool full = journal_room_for(f->j, 7) < 0;
	if (full)
		assert_true(f->j->live_bytes > MAX_BYTES / 2);
	else
		append_text(f, 1, "goes on", NULL);
	fixture_settle(f);
	fixture_reopen(f);
	f->n_seen -= !full;
	f->report.live_records -= !full;
	check_replayed(f, seqs, n);
}

static void one_image(struct fixture *f, const struct image *base, uint64_t seed)
{
	static struct image m;
	static uint64_t seqs[MAX_KNOWN];

	random_state = seed;
	m.n = base->n;
	for (unsigned i = 0; i < m.n; i++) {
		m.files[i].kind = REGULAR;
		m.files[i].len = base->files[i].len;
		strcpy(m.files[i].name, base->files[i].name);
		memcpy(m.files[i].bytes, base->files[i].bytes, base->files[i].len);
	}
	for (unsigned n = 1 + chance(6); n > 0; n--)
		damages[chance(ARRAY_SIZE(damages))](&m);
	size_t n = expected(&m, seqs);
	image_store(&m, f);
	fixture_open(f);
	check_replayed(f, seqs, n);
	check_bodies(f);
	check_quarantine(f);
	if (seed % 32 == 0)
		go_on(f, seqs, n);
	fixture_close(f);
}

static uint64_t setting(const char *name, uint64_t without)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : without;
}

static void begin(struct fixture *f, struct image *base, uint64_t seed)
{
	random_state = seed;
	empty_dir(f);
	build(f);
	image_load(base, f);
	assert_true(base->n >= 4);
	know_image(base);
}

static uint64_t present_seed;

static int tell_seed(void **state)
{
	(void)state;
	printf("last image: DAMAGE_SEED=%" PRIu64 "\n", present_seed);
	return 0;
}

static void every_damaged_image_starts(void **state)
{
	(void)state;
	static struct image base;
	struct fixture f;
	uint64_t seed = 0;
	if (getrandom(&seed, 6, 0) < 0)
		seed = 1;
	seed = setting("DAMAGE_SEED", seed);
	uint64_t count = setting("DAMAGE_COUNT", 300);

	printf("DAMAGE_SEED=%" PRIu64 " DAMAGE_COUNT=%" PRIu64 "\n", seed, count);
	fixture_init_in(&f, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", MAX_BYTES);
	log_set_level((enum log_level) - 1);
	for (uint64_t i = 0; i < count; i++) {
		if (i == 0 || (seed + i) % IMAGES_OF_ONE == 0)
			begin(&f, &base, (seed + i) / IMAGES_OF_ONE);
		present_seed = seed + i;
		one_image(&f, &base, present_seed);
	}
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_damaged_image_starts),
	};
	return cmocka_run_group_tests(tests, NULL, tell_seed);
}
