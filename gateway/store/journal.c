#include "gateway/store/journal.h"

#include "gateway/base/clock.h"
#include "gateway/base/file.h"
#include "gateway/base/log.h"
#include "gateway/base/util.h"
#include "gateway/store/journal_impl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void journal_wait_cancel(struct journal_wait *w)
{
	if (w->node.next)
		list_remove(&w->node);
}

bool journal_wait_pending(const struct journal_wait *w)
{
	return w->node.next && !list_empty(&w->node);
}

/* A file takes whole blocks. */
uint64_t journal_disk_size(const struct segment *s)
{
	return ((uint64_t)s->size + 4095) & ~UINT64_C(4095);
}

struct segment *journal_segment_add(struct journal *j, struct segment_id id, uint32_t size)
{
	struct segment *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->order = ++j->last_order;
	s->id = id;
	s->salt = id.salt;
	s->size = size;
	s->used = SEGMENT_HEADER;
	list_append(&j->segments, &s->node);
	j->n_segments++;
	j->disk_bytes += journal_disk_size(s);
	if (id.number >= j->next_number && id.number < SEGMENT_NUMBER_MAX)
		j->next_number = id.number + 1;
	return s;
}

uint32_t journal_present_order(const struct journal *j)
{
	return j->current ? j->current->order : j->last_order + 1;
}

/* Of a journal that began at its bound or beyond (the bound may have been lowered, files have come
 * back) nothing could be forgotten nor copied together without some room on top. */
uint64_t journal_bound(const struct journal *j)
{
	uint64_t max = (uint64_t)j->conf.max_bytes;
	uint64_t began = j->started_bytes + RESERVE_FILES * (uint64_t)j->segment_size;

	return j->started_bytes ? MAX(max, began) : max;
}

static bool is_open(const struct journal *j, const struct segment *s)
{
	return j->read_fd >= 0 && j->read_id.number == s->id.number &&
	       j->read_id.salt == s->id.salt;
}

void journal_segment_free(struct journal *j, struct segment *s)
{
	assert(s->live == 0 && s->busy == 0 && s != j->current);
	if (is_open(j, s)) {
		close(j->read_fd);
		j->read_fd = -1;
	}
	list_remove(&s->node);
	j->n_segments--;
	j->disk_bytes -= journal_disk_size(s);
	free(s);
	if (j->disk_bytes + j->segment_size <= (uint64_t)j->conf.max_bytes)
		j->started_bytes = 0;
}

void journal_drop_entry(struct journal *j, struct index_entry *e)
{
	uint32_t size = record_size(e->body_len);

	e->seg->live--;
	e->seg->live_bytes -= size;
	j->live_bytes -= size;
	if (e->seg->live == 0 && e->seg->sealed)
		j->clean.due = true;
	index_remove(&j->index, e);
}

void journal_end_record(struct journal *j, struct index_entry *e)
{
	/* Without memory the record comes back after a restart, which the contract allows. */
	seq_ranges_add(&j->pending, e->seq, e->seq);
	e->seg->dirty = true;
	journal_drop_entry(j, e);
}

void journal_forget(struct journal *j, uint64_t seq)
{
	struct index_entry *e = index_find(&j->index, seq);

	if (!e)
		return;
	/* A record that goes to the disk together with its forget is in no hurry. */
	bool on_disk = !j->gather || j->gather->first_seq == 0 || seq < j->gather->first_seq;
	journal_end_record(j, e);
	index_tidy(&j->index);
	if (on_disk) {
		j->forgets_due = true;
		journal_forget_soon(j);
		journal_slow_soon(j);
	}
}

static int total_length(const struct span *parts, unsigned n_parts, size_t *len)
{
	*len = 0;
	for (unsigned i = 0; i < n_parts; i++) {
		if (parts[i].len > JOURNAL_BODY_MAX - *len)
			return -EMSGSIZE;
		*len += parts[i].len;
	}
	return 0;
}

static int check_size(const struct journal *j, size_t body_len)
{
	uint64_t needed = (uint64_t)SEGMENT_HEADER + record_size(body_len);

	needed += RESERVE_FILES * (uint64_t)j->segment_size;
	if (needed > (uint64_t)j->conf.max_bytes)
		return -EMSGSIZE; /* for ever, whatever else */
	if (j->error)
		return j->error == -ENOSPC ? -ENOSPC : -EIO;
	return 0;
}

int journal_room_for(const struct journal *j, size_t body_len)
{
	int err = body_len > JOURNAL_BODY_MAX ? -EMSGSIZE : check_size(j, body_len);

	if (err == 0 && !journal_has_room(j, record_size(body_len)))
		err = -ENOSPC;
	return err;
}

/* Finds a place for the record and enters it in the index. */
static int place(struct journal *j, size_t body_len, struct index_entry *e, uint8_t **out)
{
	int err = check_size(j, body_len);
	if (err < 0)
		return err;

	uint32_t size = record_size(body_len);
	if (index_reserve(&j->index) < 0 || journal_room(j, size, ROOM_USER, e, out) < 0) {
		j->clean.due = true;
		return -ENOSPC;
	}
	e->seq = j->next_seq++;
	e->body_len = (uint32_t)body_len;
	index_push(&j->index, e);
	e->seg->records++;
	e->seg->live++;
	e->seg->live_bytes += size;
	j->live_bytes += size;
	return 0;
}

uint64_t journal_append_lazy(
	struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts, int *err)
{
	struct index_entry e;
	uint8_t *out;
	size_t len;

	assert(type > 0 && type < JOURNAL_TYPES);
	*err = total_length(parts, n_parts, &len);
	if (*err == 0)
		*err = place(j, len, &e, &out);
	if (*err < 0)
		return 0;
	record_encode(e.seg->salt, type, e.seq, parts, n_parts, out);
	struct batch *b = j->gather;
	if (b->first_seq == 0)
		b->first_seq = e.seq;
	b->sync = b->sync || b->bytes + j->soft_bytes >= LAZY_MAX;
	j->appended_records++;
	return e.seq;
}

uint64_t journal_append(struct journal *j, uint8_t type, const struct span *parts, unsigned n_parts,
	struct journal_wait *wait, int *err)
{
	uint64_t seq = journal_append_lazy(j, type, parts, n_parts, err);

	if (seq == 0)
		return 0;
	j->gather->sync = true;
	if (wait) {
		assert(!journal_wait_pending(wait));
		wait->seq = seq;
		list_append(&j->gather->waiters, &wait->node);
	}
	return seq;
}

/* Segments are read in runs (a backlog drains in order), so one descriptor is enough. */
static int read_descriptor(struct journal *j, const struct segment *s)
{
	char name[SEGMENT_NAME_MAX];

	if (is_open(j, s))
		return 0;
	if (j->read_fd >= 0)
		close(j->read_fd);
	j->read_id = s->id;
	j->read_fd =
		openat(j->dir_fd, segment_name(s->id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return j->read_fd < 0 ? -EIO : 0;
}

long journal_pread(
	struct journal *j, const struct index_entry *e, void *buf, size_t cap, uint8_t *type)
{
	uint8_t head[RECORD_HEADER];
	struct iovec parts[] = { { head, sizeof(head) }, { buf, e->body_len } };
	struct record r;
	ssize_t n;

	if (e->body_len > cap)
		return -EMSGSIZE;
	if (read_descriptor(j, e->seg) < 0)
		return -EIO;
	do
		n = preadv(j->read_fd, parts, 2, e->offset);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)(sizeof(head) + e->body_len))
		return n < 0 ? -EIO : -EBADMSG;
	if (record_check(e->seg->salt, head, span_of(buf, e->body_len), &r) < 0 || r.seq != e->seq)
		return -EBADMSG;
	*type = r.type;
	return (long)e->body_len;
}

static const uint8_t *find_in(const struct batch *b, const struct index_entry *e)
{
	const struct list *pos;

	list_for_each(pos, &b->chunks) {
		const struct chunk *k = container_of(pos, const struct chunk, node);
		if (k->seg == e->seg && e->offset >= k->offset && e->offset - k->offset < k->len)
			return k->bytes + (e->offset - k->offset);
	}
	return NULL;
}

/* The record's bytes while they may not be in the file, or NULL. */
static const uint8_t *unwritten(const struct journal *j, const struct index_entry *e)
{
	const struct list *pos;
	const uint8_t *bytes = j->gather ? find_in(j->gather, e) : NULL;

	for (pos = j->flights.next; !bytes && pos != &j->flights; pos = pos->next)
		bytes = find_in(container_of(pos, const struct batch, flight), e);
	return bytes;
}

long journal_read(struct journal *j, uint64_t seq, void *buf, size_t cap)
{
	const struct index_entry *e = index_find(&j->index, seq);
	uint8_t type;

	if (!e)
		return -ENOENT;
	if (e->body_len > cap)
		return -EMSGSIZE;
	const uint8_t *bytes = e->seg->busy ? unwritten(j, e) : NULL;
	if (!bytes)
		return journal_pread(j, e, buf, cap, &type);
	if (e->body_len)
		memcpy(buf, bytes + RECORD_HEADER, e->body_len);
	return (long)e->body_len;
}

long journal_length(struct journal *j, uint64_t seq)
{
	const struct index_entry *e = index_find(&j->index, seq);

	return e ? (long)e->body_len : -ENOENT;
}

void journal_turn(struct journal *j)
{
	if (j->clean.due)
		journal_clean(j);
	journal_commit_when_due(j);
}

void journal_hurry(struct journal *j)
{
	j->hurry = journal_has_unsafe(j);
	journal_commit_when_due(j);
}

void journal_status(const struct journal *j, struct journal_status *s)
{
	*s = (struct journal_status){
		.live_records = index_live(&j->index),
		.live_bytes = j->live_bytes,
		.disk_bytes = j->disk_bytes,
		.max_bytes = (uint64_t)j->conf.max_bytes,
		.appended_records = j->appended_records,
		.written_bytes = j->written.total,
		.written_last_day = day_count_last_day(&j->written, clock_ms()),
		.written_per_day = day_count_per_day(&j->written, clock_ms()),
		.commits = j->commits,
		.segments = j->n_segments,
		.error = j->error,
		.full = j->full,
	};
}

/* Whatever stands where the lock file belongs gets another name. */
static bool clear_lock_path(const struct journal *j)
{
	struct stat st;
	char name[32];
	uint32_t tag;

	if (fstatat(j->dir_fd, "lock", &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISREG(st.st_mode))
		return false;
	random_bytes(&tag, sizeof(tag));
	snprintf(name, sizeof(name), "lock-%08x.bad", tag);
	return renameat(j->dir_fd, "lock", j->dir_fd, name) == 0;
}

static int lock_dir(struct journal *j)
{
	char path[PATH_MAX];
	pid_t holder = 0;

	if (snprintf(path, sizeof(path), "%s/lock", j->conf.dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (clear_lock_path(j))
		log_warn("journal %s: lock is no file, renamed", j->conf.dir);
	j->lock_fd = file_lock(path, &holder);
	if (j->lock_fd == -EAGAIN)
		log_error(
			"journal %s: held by another gateway, pid %ld", j->conf.dir, (long)holder);
	else if (j->lock_fd < 0)
		log_error("journal %s: lock: %s", j->conf.dir, strerror(-j->lock_fd));
	return MIN(j->lock_fd, 0);
}

/* Somebody else's could be written by root, and then the gateway that runs as it should could not
 * read what was left there. */
static int check_owner(const struct journal *j)
{
	struct stat st;

	if (fstat(j->dir_fd, &st) < 0) {
		int err = -errno;
		log_error("journal %s: %s", j->conf.dir, strerror(-err));
		return err;
	}
	if (st.st_uid == geteuid())
		return 0;
	log_error("journal %s: belongs to user id %ld, the gateway runs as %ld", j->conf.dir,
		(long)st.st_uid, (long)geteuid());
	return -EPERM;
}

static int open_dir(struct journal *j)
{
	int err = file_make_dir(j->conf.dir, 0700);

	if (err == 0) {
		j->dir_fd = open(j->conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = j->dir_fd < 0 ? -errno : 0;
	}
	if (err < 0) {
		log_error("journal %s: %s", j->conf.dir, strerror(-err));
		return err;
	}
	err = check_owner(j);
	/* Others have no business here. */
	if (err == 0 && fchmod(j->dir_fd, 0700) < 0)
		log_warn("journal %s: chmod: %s", j->conf.dir, strerror(errno));
	return err;
}

static struct journal *journal_new(const struct store_conf *conf)
{
	struct journal *j = must_calloc(1, sizeof(*j));

	j->conf = *conf;
	j->conf.dir = must_strdup(conf->dir);
	j->segment_size =
		(uint32_t)MIN((int64_t)SEGMENT_SIZE, conf->max_bytes / 8) & ~(RECORD_ALIGN - 1);
	j->dir_fd = j->lock_fd = j->read_fd = -1;
	j->next_number = 1;
	j->next_seq = 1;
	list_init(&j->segments);
	journal_gather_init(j);
	journal_clean_init(j);
	return j;
}

static void close_all(struct journal *j)
{
	int fds[] = { j->read_fd, j->lock_fd, j->dir_fd };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void disarm_all(struct journal *j)
{
	timer_disarm(&j->commit_timer);
	timer_disarm(&j->slow_timer);
	timer_disarm(&j->forget_timer);
	timer_disarm(&j->clean.step);
}

static void journal_free(struct journal *j)
{
	disarm_all(j);
	close_all(j);
	journal_gather_free(j);
	journal_clean_free(j);
	while (!list_empty(&j->segments)) {
		struct segment *s = list_first(&j->segments, struct segment, node);
		list_remove(&s->node);
		free(s);
	}
	index_free(&j->index);
	seq_ranges_free(&j->pending);
	seq_ranges_free(&j->unsynced);
	free((char *)j->conf.dir);
	free(j);
}

int journal_open(struct event_base *base, const struct store_conf *conf,
	const struct journal_handler handlers[JOURNAL_TYPES], struct journal **out,
	struct journal_report *report)
{
	struct journal *j = journal_new(conf);
	int err = open_dir(j);

	*report = (struct journal_report){ 0 };
	if (err == 0)
		err = lock_dir(j);
	if (err == 0)
		err = journal_recover(j, handlers, report);
	if (err == 0) {
		err = commit_start(&j->commit, base, j->dir_fd, j);
		if (err < 0)
			log_error("journal %s: thread: %s", conf->dir, strerror(-err));
	}
	if (err < 0) {
		journal_free(j);
		return err;
	}
	*out = j;
	return 0;
}

void journal_close(struct journal *j, int wait_ms)
{
	disarm_all(j);
	journal_hand_over_last(j);
	j->closing = true;
	if (commit_stop(&j->commit, wait_ms) < 0) {
		/* The thread still uses its memory and the lock; the process is about to end. */
		log_error("journal %s: the disk doesn't answer, what is not synced is lost",
			j->conf.dir);
		journal_abandon(j, -EIO);
		return;
	}
	journal_abandon(j, -EIO);
	journal_free(j);
}
