#include "gateway/base/log.h"
#include "gateway/base/util.h"
#include "gateway/store/journal_impl.h"

#include <errno.h>
#include <string.h>

/* What a failed commit held is in one of three states. What the caller was to be told of is undone:
 * it may stand on the disk all the same, so it is forgotten once storing works again, lest it come
 * back as a message whose sender was told that it is not stored. What nobody waits for is kept: its
 * bytes move to the batch that is tried next. Forgets are pending again. */

/* Nothing more goes into the segments of a batch that is not on the disk. */
static void poison_segments(struct journal *j, struct batch *b, int err)
{
	struct list *pos;

	list_for_each(pos, &b->chunks) {
		struct chunk *k = list_entry(pos, struct chunk, node);
		journal_seal(j, k->seg);
		k->seg->stale = true;
		/* A disk that can't write here may soon not read here either. */
		k->seg->damaged |= err != -ENOSPC && err != -EDQUOT && err != -EROFS;
		if (k->create)
			k->seg->holds_forgets = false; /* all of them are written again */
	}
}

static void undo(struct journal *j, struct index_entry *e)
{
	seq_ranges_add(&j->pending, e->seq, e->seq);
	journal_drop_entry(j, e);
}

static void keep(struct journal *j, struct index_entry *e, const struct record *r)
{
	uint32_t size = record_size(r->body.len);
	struct index_entry at;
	uint8_t *out;

	if (journal_room(j, size, ROOM_KEPT, &at, &out) < 0) {
		log_error("journal %s: a record is lost for want of memory", j->conf.dir);
		undo(j, e);
		return;
	}
	record_encode(at.seg->salt, r->type, r->seq, &r->body, 1, out);
	if (j->gather->first_seq == 0)
		j->gather->first_seq = r->seq;
	j->gather->sync = true;
	e->seg->live--;
	e->seg->live_bytes -= size;
	e->seg = at.seg;
	e->offset = at.offset;
	at.seg->probe = true;
	at.seg->records++;
	at.seg->live++;
	at.seg->live_bytes += size;
}

/* The waiters stand in the order of their records, so *next only moves on. */
static bool is_awaited(const struct batch *b, const struct list **next, uint64_t seq)
{
	for (; *next != &b->waiters; *next = (*next)->next) {
		uint64_t waits = container_of(*next, const struct journal_wait, node)->seq;
		if (waits >= seq)
			return waits == seq;
	}
	return false;
}

static void salvage_chunk(
	struct journal *j, const struct batch *b, const struct chunk *k, const struct list **next)
{
	uint32_t at = k->create ? SEGMENT_HEADER : 0;
	struct record r;

	for (; at < k->len; at += record_size(r.body.len)) {
		if (record_decode(k->seg->salt, k->bytes + at, k->len - at, &r) < 0)
			break; /* our own bytes: never */
		struct index_entry *e =
			r.type == RECORD_FORGET ? NULL : index_find(&j->index, r.seq);
		/* Else it is forgotten, or the cleaner's copy of what lives elsewhere. */
		if (!e || e->seg != k->seg || e->offset != k->offset + at)
			continue;
		if (is_awaited(b, next, r.seq))
			undo(j, e);
		else
			keep(j, e, &r);
	}
}

static void salvage(struct journal *j, const struct batch *b)
{
	const struct list *pos, *next = b->waiters.next;

	list_for_each(pos, &b->chunks)
		salvage_chunk(j, b, container_of(pos, const struct chunk, node), &next);
	seq_ranges_add_all(&j->pending, &b->forgets);
}

void journal_failed(struct journal *j, struct batch *b, struct batch *gathered, int err)
{
	struct list *pos;

	if (!j->error)
		log_error("journal %s: %s; refusing what must be stored, trying again each second",
			j->conf.dir, strerror(-err));
	j->error = err;
	list_for_each(pos, &j->soft)
		poison_segments(j, list_entry(pos, struct batch, flight), err);
	poison_segments(j, b, err);
	if (gathered)
		poison_segments(j, gathered, err);
	/* The thread has closed its file, also when it had nothing to write into it. */
	if (j->current)
		journal_seal(j, j->current);

	list_for_each(pos, &j->soft)
		salvage(j, list_entry(pos, struct batch, flight));
	salvage(j, b);
	if (gathered)
		salvage(j, gathered);
	seq_ranges_add_all(&j->pending, &j->unsynced);
	seq_ranges_free(&j->unsynced);
	list_for_each(pos, &j->segments)
		list_entry(pos, struct segment, node)->dirty = true;
	journal_slow_soon(j);
}

void journal_healed(struct journal *j)
{
	struct list *pos;

	log_notice("journal %s: stores again", j->conf.dir);
	j->error = 0;
	list_for_each(pos, &j->segments)
		list_entry(pos, struct segment, node)->probe = false;
}

static bool probe_is_left(const struct journal *j)
{
	const struct list *pos;

	list_for_each(pos, &j->segments) {
		const struct segment *s = container_of(pos, const struct segment, node);
		if (s->probe && s->busy == 0)
			return true;
	}
	return false;
}

/* What is kept and the forgets of what was undone. The files of one failed probe are gone before
 * the next, or they would pile up. */
void journal_probe(struct journal *j)
{
	struct list *pos;

	if (!list_empty(&j->flights) || probe_is_left(j))
		return;
	journal_gather_pending(j, ROOM_PROBE);
	if (!j->gather || list_empty(&j->gather->chunks))
		return;
	list_for_each(pos, &j->gather->chunks)
		list_entry(pos, struct chunk, node)->seg->probe = true;
	j->gather->sync = true;
	journal_post(j);
}
