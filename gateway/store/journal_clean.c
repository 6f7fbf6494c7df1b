#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/util.h"
#include "gateway/store/journal_impl.h"

#include <errno.h>
#include <stdlib.h>

/* One step of walking: what a turn of the loop can spare. */
#define STEP_RECORDS 512u
#define STEP_BYTES   (64u << 10)

/* Restating costs flash writes too: worth it when they are a small part of what becomes free. */
#define RESTATE_GAIN  4u
#define RESTATE_BYTES 4u /* of one range in a forget record, about */
#define RESTATE_FIXED 64u

/* A segment that could not be read is tried again after this. */
#define UNREAD_MS INT64_C(3600000)

static void finish_walk(struct journal *j);

static void on_step(struct timer *t)
{
	struct journal *j = container_of(t, struct journal, clean.step);

	j->clean.due = true;
	journal_clean(j);
}

void journal_clean_init(struct journal *j)
{
	timer_init(&j->clean.step, on_step);
	list_init(&j->clean.job.mail.node);
}

void journal_clean_free(struct journal *j)
{
	free(j->clean.image);
	seq_ranges_free(&j->clean.dead);
}

/* Work goes on in the next turn, also when nothing else makes one. */
static void go_on(struct journal *j)
{
	j->clean.due = true;
	if (!j->closing)
		timer_arm(&j->clean.step, 0);
}

static void become_idle(struct journal *j, bool failed)
{
	j->clean.state = CLEAN_IDLE;
	j->clean.seg = NULL;
	if (!failed) {
		go_on(j);
		return;
	}
	j->clean.rest_until_ms = clock_ms() + SLOW_MS;
	journal_slow_soon(j);
}

/* ---- What to do next ---- */

/* The newest file stays even when it is dead: it alone remembers how far the sequences have come.
 * (What a failed probe left remembers nothing.) */
static bool is_newest(const struct journal *j, const struct segment *s)
{
	const struct list *next = s->node.next;

	while (next != &j->segments && container_of(next, const struct segment, node)->probe)
		next = next->next;
	return next == &j->segments && !s->probe;
}

/* Its file may go, if nothing pins it. */
static bool is_dead(const struct journal *j, const struct segment *s)
{
	return s->sealed && s->live == 0 && s->busy == 0 && !s->unread && !is_newest(j, s);
}

static bool is_readable(const struct segment *s)
{
	return !s->unread && clock_ms() >= s->rest_until_ms;
}

/* Forgets in `b` still keep records of `a` from coming back. */
static bool pins(const struct segment *a, const struct segment *b)
{
	return a != b && b->holds_forgets && (a->records > a->live || a->stale) &&
	       a->forgets_lo != 0 && a->forgets_lo <= b->order && b->order <= a->forgets_hi;
}

static bool is_pinned(const struct journal *j, const struct segment *b)
{
	const struct list *pos;

	list_for_each(pos, &j->segments)
		if (pins(container_of(pos, const struct segment, node), b))
			return true;
	return false;
}

static struct segment *find_deletable(struct journal *j)
{
	struct list *pos;

	list_for_each(pos, &j->segments) {
		struct segment *s = list_entry(pos, struct segment, node);
		if (is_dead(j, s) && !is_pinned(j, s))
			return s;
	}
	return NULL;
}

/* Bytes that may still be written before the bound. */
static uint64_t bytes_left(const struct journal *j)
{
	uint64_t max = journal_bound(j);
	uint64_t left = j->disk_bytes < max ? max - j->disk_bytes : 0;

	return left + (j->current ? j->current->size - j->current->used : 0);
}

/* No more than `files` more segments may be opened for the callers. */
static bool space_is_short(const struct journal *j, unsigned files)
{
	uint64_t wanted = (uint64_t)(files + RESERVE_FILES) * j->segment_size;

	return j->disk_bytes + wanted > (uint64_t)j->conf.max_bytes;
}

static bool pins_a_dead_one(const struct journal *j, const struct segment *a)
{
	const struct list *pos;

	list_for_each(pos, &j->segments) {
		const struct segment *b = container_of(pos, const struct segment, node);
		if (is_dead(j, b) && pins(a, b))
			return true;
	}
	return false;
}

static uint64_t dead_bytes(const struct journal *j)
{
	const struct list *pos;
	uint64_t bytes = 0;

	list_for_each(pos, &j->segments) {
		const struct segment *s = container_of(pos, const struct segment, node);
		if (is_dead(j, s))
			bytes += journal_disk_size(s);
	}
	return bytes;
}

/* The oldest segment that keeps a dead one, if unpinning all of those is worth its price. */
static struct segment *find_to_restate(struct journal *j)
{
	struct segment *first = NULL;
	uint64_t cost = 0, gain = dead_bytes(j);
	struct list *pos;

	if (gain == 0)
		return NULL;
	list_for_each(pos, &j->segments) {
		struct segment *s = list_entry(pos, struct segment, node);
		if (!is_readable(s) || !pins_a_dead_one(j, s))
			continue;
		cost += RESTATE_FIXED + RESTATE_BYTES * MIN(s->records - s->live, s->live + 1);
		first = first ? first : s;
	}
	if (cost > bytes_left(j) || cost * (space_is_short(j, 3) ? 1 : RESTATE_GAIN) > gain)
		return NULL;
	return first;
}

/* The segment to copy the live records from: a damaged one, or when space is short the one that
 * gives most of it back, if enough of it is dead. */
static struct segment *find_victim(struct journal *j)
{
	struct segment *best = NULL;
	uint64_t best_gain = 0;
	unsigned most_files = (unsigned)(2 * (uint64_t)j->conf.max_bytes / j->segment_size) + 16;
	bool tight = space_is_short(j, 1), many = j->n_segments > most_files;
	bool pressure = space_is_short(j, 3);
	struct list *pos;

	list_for_each(pos, &j->segments) {
		struct segment *s = list_entry(pos, struct segment, node);
		uint64_t size = journal_disk_size(s);
		if (!s->sealed || s->busy || s->live == 0 || !is_readable(s) ||
			s->live_bytes + RECORD_HEADER > bytes_left(j))
			continue;
		if (s->damaged)
			return s;
		bool sparse = pressure && s->live_bytes * 4 <= size * (tight ? 3 : 2);
		bool small = many && size <= j->segment_size / 4;
		uint64_t gain = size > s->live_bytes ? size - s->live_bytes : 1;
		if ((sparse || small) && gain > best_gain) {
			best = s;
			best_gain = gain;
		}
	}
	return best;
}

/* ---- Jobs of the thread ---- */

static int unlink_run(struct commit *c, struct job *job)
{
	return commit_unlink(c, container_of(job, struct cleaner, job)->id);
}

static void unlink_done(void *arg, struct job *job)
{
	static struct log_limit limit = LOG_LIMIT(1, 60000);
	struct journal *j = arg;

	if (job->err < 0)
		log_limited(&limit, LOG_LEVEL_ERROR, "journal %s: unlink: %s", j->conf.dir,
			strerror(-job->err));
	else
		journal_segment_free(j, j->clean.seg);
	become_idle(j, job->err < 0);
}

static int read_run(struct commit *c, struct job *job)
{
	struct cleaner *clean = container_of(job, struct cleaner, job);
	char name[SEGMENT_NAME_MAX];

	return segment_load(c->dir_fd, segment_name(clean->id, name), &clean->image,
		&clean->image_len, &clean->unread);
}

static void read_done(void *arg, struct job *job)
{
	struct journal *j = arg;
	struct cleaner *c = &j->clean;
	struct span image = { c->image, c->image_len };

	/* Half of what it holds is not enough to decide by. */
	if (job->err == -EIO || c->unread > 0)
		c->seg->rest_until_ms = clock_ms() + UNREAD_MS;
	if (job->err < 0 || c->unread > 0 || segment_scan_init(&c->scan, image, c->id) < 0) {
		free(c->image);
		c->image = NULL;
		become_idle(j, true);
		return;
	}
	c->state = CLEAN_WALKING;
	c->failed = false;
	/* Every forget that the walk doesn't see in the index will stand here or later. */
	c->from = journal_present_order(j);
	go_on(j);
}

static void start_job(struct journal *j, struct segment *s, enum clean_state state)
{
	struct cleaner *c = &j->clean;

	c->state = state;
	c->seg = s;
	timer_disarm(&c->step);
	c->id = s->id;
	c->job.run = state == CLEAN_UNLINKING ? unlink_run : read_run;
	c->job.done = state == CLEAN_UNLINKING ? unlink_done : read_done;
	commit_post(&j->commit, &c->job);
}

static void start(struct journal *j)
{
	struct segment *s = find_deletable(j);

	j->clean.due = false;
	if (s) {
		start_job(j, s, CLEAN_UNLINKING);
		return;
	}
	if (j->error || clock_ms() < j->clean.rest_until_ms)
		return;
	s = find_to_restate(j);
	j->clean.evacuate = !s;
	if (!s)
		s = find_victim(j);
	if (s)
		start_job(j, s, CLEAN_READING);
}

/* ---- Walking through a segment ---- */

/* The batch that gathers now holds work of ours and must be synced. */
static void mark_batch(struct journal *j)
{
	struct batch *b = j->gather;

	b->sync = true;
	if (!b->of_cleaner)
		j->clean.unsettled++;
	b->of_cleaner = true;
}

static int reserve_move(struct batch *b)
{
	if (b->n_moves < b->cap_moves)
		return 0;
	size_t cap = b->cap_moves ? b->cap_moves * 2 : 64;
	struct move *moves = realloc(b->moves, cap * sizeof(*moves));
	if (!moves)
		return -ENOMEM;
	b->moves = moves;
	b->cap_moves = cap;
	return 0;
}

static int copy_forward(struct journal *j, const struct record *r)
{
	struct index_entry at;
	uint8_t *out;
	int err = journal_room(j, record_size(r->body.len), ROOM_INTERNAL, &at, &out);

	if (err < 0)
		return err;
	record_encode(at.seg->salt, r->type, r->seq, &r->body, 1, out);
	at.seg->records++;
	mark_batch(j);
	err = reserve_move(j->gather);
	if (err == 0)
		j->gather->moves[j->gather->n_moves++] =
			(struct move){ r->seq, j->clean.seg, at.seg, at.offset };
	else
		at.seg->stale = true; /* a copy that the index will not know */
	return err;
}

static int visit(struct journal *j, const struct record *r)
{
	struct cleaner *c = &j->clean;
	const struct index_entry *e = index_find(&j->index, r->seq);

	if (r->type == RECORD_FORGET)
		return 0;
	if (!c->evacuate)
		return e ? 0 : seq_ranges_add(&c->dead, r->seq, r->seq);
	if (!e || e->seg != c->seg || e->offset != r->offset)
		return 0;
	return copy_forward(j, r);
}

static void walk(struct journal *j)
{
	struct cleaner *c = &j->clean;
	uint32_t until = c->scan.at + STEP_BYTES;
	struct record r;

	/* The callers' records come first. */
	if (j->gather && j->gather->bytes > GATHER_MAX / 4)
		return;
	for (unsigned n = 0; !c->failed && n < STEP_RECORDS && c->scan.at < until; n++) {
		if (!segment_scan_next(&c->scan, &r)) {
			finish_walk(j);
			return;
		}
		c->failed = visit(j, &r) < 0;
	}
	if (c->failed)
		finish_walk(j);
	else
		go_on(j);
}

static void settle(struct journal *j)
{
	struct cleaner *c = &j->clean;

	if (!c->failed && c->evacuate)
		c->seg->damaged = false;
	if (!c->failed && !c->evacuate) {
		c->seg->forgets_lo = c->from;
		c->seg->forgets_hi = MAX(c->seg->forgets_hi, j->last_order);
	}
	become_idle(j, c->failed);
}

static void finish_walk(struct journal *j)
{
	struct cleaner *c = &j->clean;
	size_t next = 0;

	free(c->image);
	c->image = NULL;
	if (!c->failed && c->dead.n > 0) {
		c->failed = journal_gather_forgets(j, &c->dead, &next, ROOM_INTERNAL) < 0;
		if (j->gather)
			mark_batch(j);
	}
	seq_ranges_free(&c->dead);
	c->state = CLEAN_SETTLING;
	if (c->unsettled == 0)
		settle(j);
}

void journal_clean_settled(struct journal *j, int err)
{
	struct cleaner *c = &j->clean;

	c->unsettled--;
	c->failed = c->failed || err < 0;
	if (c->state == CLEAN_SETTLING && c->unsettled == 0)
		settle(j);
}

void journal_clean(struct journal *j)
{
	if (j->closing)
		return;
	if (j->clean.state == CLEAN_IDLE)
		start(j);
	else if (j->clean.state == CLEAN_WALKING)
		walk(j);
}
