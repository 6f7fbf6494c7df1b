#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/util.h"
#include "gateway/store/journal_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIRST_CAP 1024u
#define FORGET_BODY_MAX 4000u

static void batch_done(void *arg, struct job *job);

static int batch_run(struct commit *c, struct job *job)
{
	struct batch *b = container_of(job, struct batch, job);

	return commit_write(c, &b->chunks, b->sync);
}

static struct batch *batch_new(void)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->job.run = batch_run;
	b->job.done = batch_done;
	list_init(&b->job.mail.node);
	list_init(&b->flight);
	list_init(&b->chunks);
	list_init(&b->waiters);
	return b;
}

static void chunk_free(struct chunk *k)
{
	list_remove(&k->node);
	k->seg->busy--;
	free(k->bytes);
	free(k);
}

static void batch_free(struct batch *b)
{
	list_remove(&b->flight);
	while (!list_empty(&b->chunks))
		chunk_free(list_first(&b->chunks, struct chunk, node));
	seq_ranges_free(&b->forgets);
	free(b->moves);
	free(b);
}

/* ---- Room: the batch, the segment, the chunk ---- */

static int chunk_reserve(struct chunk *k, uint32_t more)
{
	if (k->cap - k->len >= more)
		return 0;
	uint32_t cap = MAX(k->len + more, MIN(k->cap * 2, k->file_size));
	cap = MAX(cap, CHUNK_FIRST_CAP);
	uint8_t *bytes = realloc(k->bytes, cap);
	if (!bytes)
		return -ENOMEM;
	k->bytes = bytes;
	k->cap = cap;
	return 0;
}

static struct chunk *chunk_new(struct journal *j, struct segment *s, bool create)
{
	struct chunk *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->seg = s;
	k->id = s->id;
	k->file_size = s->size;
	k->create = create;
	k->offset = create ? 0 : s->used;
	if (create && chunk_reserve(k, SEGMENT_HEADER) < 0) {
		free(k);
		return NULL;
	}
	if (create) {
		segment_header_encode(s->id, j->next_seq, k->bytes);
		k->len = SEGMENT_HEADER;
	}
	s->busy++;
	list_append(&j->gather->chunks, &k->node);
	return k;
}

/* The caller's records leave room that forgets and copies need to make room. */
static bool within_bounds(const struct journal *j, uint64_t more, enum room_for who)
{
	uint64_t bound = who == ROOM_USER ? (uint64_t)j->conf.max_bytes : journal_bound(j);
	uint64_t reserve = who == ROOM_USER ? RESERVE_FILES * (uint64_t)j->segment_size : 0;

	/* A probe may go past the bound by one file, or a full disk could never be found healed;
	 * what is kept by what its lost places took. */
	return who >= ROOM_PROBE || j->disk_bytes + more + reserve <= bound;
}

void journal_seal(struct journal *j, struct segment *s)
{
	s->sealed = true;
	j->clean.due = true;
	if (j->current == s)
		j->current = NULL;
}

/* At the bound a copy that makes room may itself have less than a whole segment left. */
static uint32_t new_file_size(const struct journal *j, uint32_t record, enum room_for who)
{
	uint64_t max = journal_bound(j);
	uint64_t left = j->disk_bytes < max ? max - j->disk_bytes : 0;
	uint32_t size = j->segment_size;

	if ((who == ROOM_INTERNAL || who == ROOM_PROBE) && left < size)
		size = (uint32_t)left & ~(RECORD_ALIGN - 1);
	return MAX(size, SEGMENT_HEADER + record);
}

static struct chunk *open_segment(struct journal *j, uint32_t size, enum room_for who)
{
	struct segment_id id = { j->next_number, 0 };
	uint32_t file_size = new_file_size(j, size, who);

	if (!within_bounds(j, file_size, who)) {
		j->full |= who == ROOM_USER;
		return NULL;
	}
	random_bytes(&id.salt, sizeof(id.salt));
	struct segment *s = journal_segment_add(j, id, file_size);
	if (!s)
		return NULL;
	struct chunk *k = chunk_new(j, s, true);
	if (!k) {
		journal_segment_free(j, s);
		return NULL;
	}
	if (j->current)
		journal_seal(j, j->current);
	j->current = s;
	return k;
}

static bool fits(const struct segment *s, uint32_t size)
{
	return s && s->size - s->used >= size;
}

bool journal_has_room(const struct journal *j, uint32_t size)
{
	uint32_t more = fits(j->current, size) ? 0 : new_file_size(j, size, ROOM_USER);
	size_t gathered = j->gather ? j->gather->bytes : 0;

	return gathered + size <= GATHER_MAX && within_bounds(j, more, ROOM_USER);
}

static struct chunk *find_chunk(struct journal *j, uint32_t size, enum room_for who)
{
	struct segment *s = j->current;

	if (!fits(s, size))
		return open_segment(j, size, who);
	/* What forgets opened beyond the callers' bound stays theirs. */
	if (!within_bounds(j, 0, who)) {
		j->full = true;
		return NULL;
	}
	struct list *chunks = &j->gather->chunks;
	if (!list_empty(chunks) && list_last(chunks, struct chunk, node)->seg == s)
		return list_last(chunks, struct chunk, node);
	return chunk_new(j, s, false);
}

int journal_room(
	struct journal *j, uint32_t size, enum room_for who, struct index_entry *at, uint8_t **out)
{
	if (!j->gather)
		j->gather = batch_new();
	if (!j->gather)
		return -ENOMEM;
	if (who == ROOM_USER && j->gather->bytes + size > GATHER_MAX)
		return -ENOSPC;
	struct chunk *k = find_chunk(j, size, who);
	if (!k)
		return -ENOSPC;
	if (chunk_reserve(k, size) < 0)
		return -ENOMEM;
	*out = k->bytes + k->len;
	at->seg = k->seg;
	at->offset = k->offset + k->len;
	k->len += size;
	k->seg->used += size;
	j->gather->bytes += size;
	if (who == ROOM_USER)
		j->full = false;
	return 0;
}

/* ---- Forgets ---- */

static void widen(struct segment *s, uint32_t lo, uint32_t hi)
{
	s->forgets_lo = s->forgets_lo ? MIN(s->forgets_lo, lo) : lo;
	s->forgets_hi = MAX(s->forgets_hi, hi);
}

int journal_gather_forgets(struct journal *j, struct seq_ranges *r, size_t *next, enum room_for who)
{
	uint8_t body[FORGET_BODY_MAX], *out;
	struct index_entry at;
	int err = 0;

	seq_ranges_sort(r);
	do {
		size_t end = *next;
		struct span part = { body, seq_ranges_encode(r, &end, body, sizeof(body)) };
		err = journal_room(j, record_size(part.len), who, &at, &out);
		if (err < 0)
			break;
		record_encode(at.seg->salt, RECORD_FORGET, j->next_seq, &part, 1, out);
		at.seg->holds_forgets = true;
		*next = end;
	} while (*next < r->n);
	return err;
}

void journal_gather_pending(struct journal *j, enum room_for who)
{
	uint32_t lo = journal_present_order(j);
	struct list *pos;
	size_t done = 0;

	journal_gather_forgets(j, &j->pending, &done, who);
	if (!j->gather)
		return;
	for (size_t i = 0; i < done; i++)
		seq_ranges_add(&j->gather->forgets, j->pending.v[i].first, j->pending.v[i].last);
	seq_ranges_drop(&j->pending, done);
	list_for_each(pos, &j->segments) {
		struct segment *s = list_entry(pos, struct segment, node);
		if (s->dirty || s->stale)
			widen(s, lo, j->last_order);
		s->dirty = s->dirty && j->pending.n > 0;
	}
	j->forgets_due = j->forgets_due && j->pending.n > 0;
}

/* ---- Handing over ---- */

/* What is synced from here on includes all that happened, if no forget had to stay behind. */
static void give_mark(struct journal *j, struct batch *b)
{
	if (!b->sync || j->pending.n > 0)
		return;
	b->mark = ++j->mark;
	j->marked = false;
}

/* Each commit costs an interval. What a quiet time has saved up pays for a few in a row, so that
 * who asks and answers by turns (QoS 2) need not wait for each step. */
static void pay_interval(struct journal *j)
{
	int64_t now = clock_ms(), interval = j->conf.commit_interval_ms;

	j->paid_ms = MAX(j->paid_ms, now - COMMIT_BURST * interval) + interval;
	j->paid_ms = MIN(j->paid_ms, now + interval); /* hurried ones make no debts */
}

void journal_post(struct journal *j)
{
	struct batch *b = j->gather;

	if (b->sync)
		pay_interval(j);
	give_mark(j, b);
	j->gather = NULL;
	j->hurry = false;
	timer_disarm(&j->commit_timer);
	j->commits++;
	day_count_add(&j->written, clock_ms(), b->bytes);
	list_append(&j->flights, &b->flight);
	commit_post(&j->commit, &b->job);
}

/* With `sync` a batch without bytes may be what syncs those of an earlier one. */
static void hand_over(struct journal *j, bool sync)
{
	if (j->pending.n > 0)
		journal_gather_pending(j, j->error ? ROOM_PROBE : ROOM_INTERNAL);
	if (sync && !j->gather && j->pending.n == 0)
		j->gather = batch_new();
	if (!j->gather)
		return;
	j->gather->sync |= sync;
	if (!list_empty(&j->gather->chunks) || (sync && j->pending.n == 0))
		journal_post(j);
	else
		journal_slow_soon(j);
}

bool journal_has_unsafe(const struct journal *j)
{
	const struct list *pos;

	list_for_each(pos, &j->flights)
		if (container_of(pos, const struct batch, flight)->mark == 0)
			return true;
	return (j->gather && j->gather->bytes > 0) || j->pending.n > 0 || j->unsynced.n > 0 ||
	       !list_empty(&j->soft);
}

/* One commit is under way at a time; what comes meanwhile is the next. */
void journal_commit_when_due(struct journal *j)
{
	bool wanted = j->marked || j->hurry || (j->gather && j->gather->sync);

	if (j->closing || j->error || !list_empty(&j->flights) || !wanted)
		return;
	int64_t wait = j->paid_ms - clock_ms();
	/* Whole blocks are not written cheaper later, and publishers with a window wait for them.
	 */
	bool full = j->gather && j->gather->bytes >= COMMIT_FULL;
	if (j->hurry || full || wait <= 0)
		hand_over(j, true);
	else if (!timer_armed(&j->commit_timer))
		timer_arm(&j->commit_timer, wait);
}

void journal_hand_over_last(struct journal *j)
{
	if (journal_has_unsafe(j)) /* on a failed disk, too: it may be well again */
		hand_over(j, true);
}

/* ---- The end of a commit ---- */

static void apply_moves(struct journal *j, const struct batch *b)
{
	for (size_t i = 0; i < b->n_moves; i++) {
		const struct move *m = &b->moves[i];
		struct index_entry *e = index_find(&j->index, m->seq);
		if (!e) {
			/* Forgotten on the way: its forget may stand anywhere from the copy on. */
			widen(m->to, m->to->order, j->last_order);
			continue;
		}
		uint32_t size = record_size(e->body_len);
		m->from->live--;
		m->from->live_bytes -= size;
		m->from->stale = true;
		m->to->live++;
		m->to->live_bytes += size;
		e->seg = m->to;
		e->offset = m->offset;
	}
	j->clean.due |= b->n_moves > 0;
}

static void free_soft(struct journal *j)
{
	while (!list_empty(&j->soft))
		batch_free(list_first(&j->soft, struct batch, flight));
	j->soft_bytes = 0;
}

static void commit_succeeded(struct journal *j, struct batch *b)
{
	if (j->error)
		journal_healed(j);
	if (b->sync) {
		seq_ranges_free(&j->unsynced);
		free_soft(j);
	} else {
		seq_ranges_add_all(&j->unsynced, &b->forgets);
	}
	j->reached = MAX(j->reached, b->mark);
	apply_moves(j, b);
}

/* They may append, and cancel one another. */
static void tell_waiters(struct list *waiters, int err)
{
	while (!list_empty(waiters)) {
		struct journal_wait *w = list_first(waiters, struct journal_wait, node);
		list_remove(&w->node);
		w->done(w, err);
	}
}

static void batch_end(struct journal *j, struct batch *b, int err)
{
	struct list waiters = LIST_INIT(waiters);
	bool of_cleaner = b->of_cleaner;

	list_splice(&waiters, &b->waiters);
	/* Until a sync its bytes are the only ones to rely on. */
	if (err == 0 && !b->sync && b->first_seq != 0) {
		list_append(&j->soft, &b->flight);
		j->soft_bytes += b->bytes;
	} else {
		batch_free(b);
	}
	if (of_cleaner)
		journal_clean_settled(j, err);
	tell_waiters(&waiters, err);
}

static void batch_done(void *arg, struct job *job)
{
	struct journal *j = arg;
	struct batch *b = container_of(job, struct batch, job);
	struct batch *also = NULL;
	int err = job->err;

	list_remove(&b->flight);
	if (err < 0) {
		also = j->gather;
		j->gather = NULL;
		journal_failed(j, b, also, err);
		free_soft(j);
	} else {
		commit_succeeded(j, b);
	}
	batch_end(j, b, err);
	if (also)
		batch_end(j, also, err);
	journal_commit_when_due(j);
}

void journal_abandon(struct journal *j, int err)
{
	struct list *pos;

	list_for_each(pos, &j->flights)
		tell_waiters(&list_entry(pos, struct batch, flight)->waiters, err);
	if (j->gather)
		tell_waiters(&j->gather->waiters, err);
}

void journal_gather_free(struct journal *j)
{
	if (j->gather)
		batch_free(j->gather);
	j->gather = NULL;
	free_soft(j);
}

/* ---- Timers ---- */

static void on_commit_timer(struct timer *t)
{
	journal_commit_when_due(container_of(t, struct journal, commit_timer));
}

static void on_slow_timer(struct timer *t)
{
	struct journal *j = container_of(t, struct journal, slow_timer);

	j->clean.due = true;
	journal_clean(j);
	if (j->error)
		journal_probe(j);
	else if (list_empty(&j->flights) && j->forgets_due)
		hand_over(j, false);
	if (j->error || j->forgets_due)
		journal_slow_soon(j);
}

/* Written, not synced: a power cut may bring back more than a crash of the gateway does. */
static void on_forget_timer(struct timer *t)
{
	struct journal *j = container_of(t, struct journal, forget_timer);

	if (j->error || j->marked || (j->gather && j->gather->sync)) /* they go with that */
		return;
	if (list_empty(&j->flights))
		hand_over(j, false);
	else
		journal_forget_soon(j);
}

void journal_forget_soon(struct journal *j)
{
	if (!j->closing && !timer_armed(&j->forget_timer))
		timer_arm(&j->forget_timer, FORGET_MS);
}

void journal_slow_soon(struct journal *j)
{
	if (!j->closing && !timer_armed(&j->slow_timer))
		timer_arm(&j->slow_timer, SLOW_MS);
}

void journal_gather_init(struct journal *j)
{
	list_init(&j->flights);
	list_init(&j->soft);
	timer_init(&j->commit_timer, on_commit_timer);
	timer_init(&j->slow_timer, on_slow_timer);
	timer_init(&j->forget_timer, on_forget_timer);
	j->paid_ms = clock_ms() - COMMIT_BURST * j->conf.commit_interval_ms;
	day_count_init(&j->written, clock_ms());
}
