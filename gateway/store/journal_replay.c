#include "gateway/base/file.h"
#include "gateway/base/log.h"
#include "gateway/base/util.h"
#include "gateway/store/journal_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUARANTINE_FILES 64
#define QUARANTINE_BYTES (4u << 20)

/* Sequences jump at each start: one that was lost with a damaged tail is never given out again.
 * More records than this cannot have been appended without one of them being synced. */
#define SEQ_JUMP (UINT64_C(1) << 20)

struct recovery {
	struct journal *j;
	struct journal_report *report;
	struct seq_ranges dead;
	struct segment *seg;   /* being scanned */
	uint32_t end;          /* of its last whole record */
	uint32_t last_forgets; /* order of the last segment that holds forgets */
	uint64_t max_seq;
	bool damage;       /* more than a torn tail */
	bool misnamed;     /* some file's name may not be the one it was given */
	int quarantine_fd; /* -1: not opened, or full */
	bool quarantine_tried;
	unsigned quarantine_files;
	uint64_t quarantine_bytes;
};

/* ---- Quarantine ---- */

static void quarantine_open(struct recovery *r)
{
	struct dirent *d;
	struct stat st;

	r->quarantine_tried = true;
	mkdirat(r->j->dir_fd, "quarantine", 0700);
	r->quarantine_fd =
		openat(r->j->dir_fd, "quarantine", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = r->quarantine_fd < 0 ? NULL : fdopendir(dup(r->quarantine_fd));
	if (!dir)
		return;
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.' || fstatat(r->quarantine_fd, d->d_name, &st, 0) < 0)
			continue;
		r->quarantine_files++;
		r->quarantine_bytes += (uint64_t)st.st_size;
	}
	closedir(dir);
}

/* For whoever wants to know what happened; not being able to keep it is no reason to stop. */
static void set_aside(struct recovery *r, uint32_t offset, struct span bytes)
{
	char name[64];

	if (!r->quarantine_tried)
		quarantine_open(r);
	if (r->quarantine_fd < 0 || r->quarantine_files >= QUARANTINE_FILES ||
		r->quarantine_bytes >= QUARANTINE_BYTES)
		return;
	bytes.len = MIN(bytes.len, QUARANTINE_BYTES - r->quarantine_bytes);
	snprintf(name, sizeof(name), "%08x-%08x-%08x.bad", r->seg->id.number, r->seg->id.salt,
		offset);
	/* A name that exists is damage already set aside by an earlier start. */
	int fd = openat(r->quarantine_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	file_write_all(fd, bytes.p, bytes.len);
	close(fd);
	r->quarantine_files++;
	r->quarantine_bytes += bytes.len;
}

static void on_damage(void *arg, uint32_t offset, struct span bytes, bool torn)
{
	struct recovery *r = arg;

	r->report->bad_records++;
	r->report->bad_bytes += bytes.len;
	r->damage |= !torn || r->seg->unread;
	if (r->seg->unread)
		return;
	set_aside(r, offset, bytes);
	/* A torn tail is cut off below; other damage stays in the file until what lives has moved
	 * away. */
	r->seg->damaged |= !torn;
}

/* ---- Scanning ---- */

/* Numbers that are none of ours come first: what is written from now on comes last. */
static int compare_ids(const void *a, const void *b)
{
	const struct segment_id *x = a, *y = b;
	uint32_t m = x->number + SEGMENT_NUMBER_MAX, n = y->number + SEGMENT_NUMBER_MAX;

	if (m != n)
		return m < n ? -1 : 1;
	return x->salt < y->salt ? -1 : x->salt > y->salt;
}

/* *ids is the caller's. */
static int list_files(struct journal *j, struct segment_id **ids, size_t *n)
{
	int fd = openat(j->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t cap = 0;
	struct dirent *d;

	*ids = NULL;
	*n = 0;
	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		struct segment_id id;
		if (!segment_name_parse(d->d_name, &id))
			continue;
		if (*n == cap) {
			cap = cap ? cap * 2 : 64;
			*ids = realloc(*ids, cap * sizeof(**ids));
			if (!*ids)
				break;
		}
		(*ids)[(*n)++] = id;
	}
	closedir(dir);
	if (*n > 0 && !*ids)
		return -ENOMEM;
	if (*n > 0)
		qsort(*ids, *n, sizeof(**ids), compare_ids);
	return 0;
}

static int take_record(struct recovery *r, const struct record *rec)
{
	struct journal *j = r->j;

	r->max_seq = MAX(r->max_seq, rec->seq);
	r->end = rec->offset + record_size(rec->body.len);
	if (rec->type == RECORD_FORGET) {
		r->seg->holds_forgets = true;
		r->last_forgets = r->seg->order;
		return seq_ranges_decode(&r->dead, rec->body) == -ENOMEM ? -ENOMEM : 0;
	}
	if (index_reserve(&j->index) < 0)
		return -ENOMEM;
	index_push(&j->index,
		&(struct index_entry){ rec->seq, r->seg, rec->offset, (uint32_t)rec->body.len });
	r->seg->records++;
	return 0;
}

/* Gives back what was preallocated and never used, and cuts a torn tail off. */
static void cut_tail(struct recovery *r, const char *name, uint32_t len)
{
	struct segment *s = r->seg;
	int fd = r->end < len ? openat(r->j->dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (fd >= 0 && ftruncate(fd, r->end) == 0) {
		r->j->disk_bytes -= journal_disk_size(s);
		s->size = r->end;
		r->j->disk_bytes += journal_disk_size(s);
	}
	if (fd >= 0)
		close(fd);
}

static int scan_image(
	struct recovery *r, struct span image, struct segment_id id, const char *name, bool unread)
{
	struct segment_id inside = id;
	struct segment_scan scan;
	struct record rec;
	uint64_t first_seq = 0;

	if (segment_scan_init(&scan, image, id) < 0) {
		log_warn("journal %s: %s is of another version, left alone", r->j->conf.dir, name);
		return 0;
	}
	r->seg = journal_segment_add(r->j, id, (uint32_t)image.len);
	if (!r->seg)
		return -ENOMEM;
	int bad = segment_header_decode(image, &inside, &first_seq);
	if (bad == 0 && first_seq <= SEQ_MAX)
		r->max_seq = MAX(r->max_seq, first_seq);
	if (bad < 0 || inside.number != id.number || id.number >= SEGMENT_NUMBER_MAX)
		r->seg->damaged = r->misnamed = true;
	r->seg->salt = scan.salt;
	r->seg->sealed = true;
	r->seg->unread = r->seg->stale = unread;
	r->end = SEGMENT_HEADER;
	scan.damage = on_damage;
	scan.arg = r;
	while (segment_scan_next(&scan, &rec))
		if (take_record(r, &rec) < 0)
			return -ENOMEM;
	r->seg->used = r->end;
	if (!unread)
		cut_tail(r, name, (uint32_t)image.len);
	return 0;
}

static int scan_file(struct recovery *r, struct segment_id id)
{
	char name[SEGMENT_NAME_MAX];
	uint8_t *bytes = NULL;
	uint32_t len = 0, unread = 0;
	int err = segment_load(r->j->dir_fd, segment_name(id, name), &bytes, &len, &unread);

	/* Also the number of a file that can't be used is taken. */
	if (id.number < SEGMENT_NUMBER_MAX)
		r->j->next_number = MAX(r->j->next_number, id.number + 1);
	if (err < 0) {
		log_warn("journal %s: %s: %s, left alone", r->j->conf.dir, name, strerror(-err));
		return err == -ENOMEM ? err : 0;
	}
	if (unread > 0)
		log_warn("journal %s: %s: %u pages can't be read; it is used as it is and kept",
			r->j->conf.dir, name, unread);
	err = scan_image(r, span_of(bytes, len), id, name, unread > 0);
	free(bytes);
	return err;
}

static int scan_files(struct recovery *r)
{
	struct segment_id *ids;
	size_t n;
	int err = list_files(r->j, &ids, &n);

	for (size_t i = 0; err == 0 && i < n; i++)
		err = scan_file(r, ids[i]);
	free(ids);
	return err;
}

/* ---- What lives ---- */

/* By sequence; of copies the newest first. */
static int compare_entries(const void *a, const void *b)
{
	const struct index_entry *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->seg == y->seg ? 0 : -compare_ids(&x->seg->id, &y->seg->id);
}

static void keep_live(struct recovery *r)
{
	struct index *x = &r->j->index;
	size_t kept = 0;

	seq_ranges_sort(&r->dead);
	if (x->n > 0)
		qsort(x->v, x->n, sizeof(*x->v), compare_entries);
	for (size_t i = 0; i < x->n; i++) {
		struct index_entry e = x->v[i];
		uint32_t size = record_size(e.body_len);
		if (kept > 0 && x->v[kept - 1].seq == e.seq) {
			e.seg->stale = true;
			continue;
		}
		if (seq_ranges_has(&r->dead, e.seq))
			continue;
		e.seg->live++;
		e.seg->live_bytes += size;
		r->j->live_bytes += size;
		x->v[kept++] = e;
	}
	r->report->records = x->n;
	x->n = kept;
}

/* Which segment holds whose forgets is not known any more: all from the segment's own on may; all
 * at all, where the names can't be trusted. */
static void assume_pins(struct recovery *r)
{
	struct list *pos;

	list_for_each(pos, &r->j->segments) {
		struct segment *s = list_entry(pos, struct segment, node);
		s->forgets_lo = r->misnamed ? 1 : s->order;
		s->forgets_hi = r->last_forgets;
	}
	r->j->clean.due = true;
}

/* ---- Replay ---- */

static void replay_one(struct recovery *r, const struct journal_handler *handlers,
	struct index_entry *e, uint8_t *buf)
{
	uint8_t type;
	long n = -EIO;

	for (int tries = 0; n < 0 && tries < 3; tries++)
		n = journal_pread(r->j, e, buf, JOURNAL_BODY_MAX, &type);
	if (n < 0) { /* it was whole a moment ago; perhaps the next start can read it */
		r->report->bad_records++;
		r->damage = true;
		return;
	}
	const struct journal_handler *h = &handlers[type];
	if (h->fn && h->fn(h->arg, e->seq, span_of(buf, (size_t)n)) < 0)
		journal_end_record(r->j, e);
}

static int replay(struct recovery *r, const struct journal_handler *handlers)
{
	struct index *x = &r->j->index;
	uint8_t *buf = malloc(JOURNAL_BODY_MAX);

	if (!buf)
		return -ENOMEM;
	for (size_t i = x->head; i < x->n; i++)
		if (x->v[i].seg)
			replay_one(r, handlers, &x->v[i], buf);
	index_tidy(x);
	free(buf);
	r->j->forgets_due = r->j->pending.n > 0;
	if (r->j->forgets_due)
		journal_slow_soon(r->j);
	return 0;
}

static void tell(const struct recovery *r)
{
	const struct journal_report *p = r->report;

	log_line(r->damage ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
		"journal %s: %" PRIu64 " live of %" PRIu64 " records in %u segments; %" PRIu64
		" damaged places, %" PRIu64 " bytes set aside in quarantine",
		r->j->conf.dir, p->live_records, p->records, p->segments, p->bad_records,
		p->bad_bytes);
}

static void check_bound(struct journal *j)
{
	if (j->disk_bytes + j->segment_size > (uint64_t)j->conf.max_bytes)
		j->started_bytes = j->disk_bytes;
	if (j->disk_bytes > (uint64_t)j->conf.max_bytes)
		log_warn("journal %s: %" PRIu64 " bytes, more than max_bytes (%" PRId64
			 "): takes nothing new until enough of it is done with",
			j->conf.dir, j->disk_bytes, j->conf.max_bytes);
}

int journal_recover(
	struct journal *j, const struct journal_handler *handlers, struct journal_report *report)
{
	struct recovery r = { .j = j, .report = report, .quarantine_fd = -1 };
	int err = scan_files(&r);

	if (err == 0) {
		keep_live(&r);
		assume_pins(&r);
		check_bound(j);
		j->next_seq = r.max_seq ? r.max_seq + SEQ_JUMP : 1;
		err = replay(&r, handlers);
	}
	if (err < 0)
		log_error("journal %s: recovery: %s", j->conf.dir, strerror(-err));
	report->live_records = index_live(&j->index);
	report->live_bytes = j->live_bytes;
	report->segments = j->n_segments;
	if (err == 0)
		tell(&r);
	if (r.quarantine_fd >= 0)
		close(r.quarantine_fd);
	seq_ranges_free(&r.dead);
	return err;
}
