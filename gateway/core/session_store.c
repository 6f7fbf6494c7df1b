#include "gateway/core/session_store.h"

#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/record.h"
#include "gateway/core/registry.h"
#include "gateway/core/session_store_priv.h"
#include "gateway/store/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A whole record up to this size is written anew for any change; of a longer one a delta is
 * cheaper. */
#define SMALL_BYTES 512
/* So many sessions with outdated records are not left waiting for the next write. */
#define OUTDATED_MAX 256
#define SWEEP_MS     10000

static struct count too_large = COUNT("session_store.too_large");

static bool is_on(const struct session_store *st)
{
	return st && st->j;
}

static struct session_store *store_of(const struct session *s)
{
	return s->all ? sessions_store(s->all) : NULL;
}

/* Those that will be there after a restart; and those that were to be, which end then. */
static bool is_stored(const struct session *s)
{
	return s->number || s->expiry_s || s->stored;
}

/* ---- What is to be written ---- */

/* The place of the session among the changes. NULL: no memory; it is found again by a look at all
 * of them. */
static struct change *change_of(struct session_store *st, struct session *s)
{
	if (s->changed)
		return s->place ? &st->changes[s->place - 1] : NULL;
	s->changed = true;
	s->place = 0;
	st->due = true;
	if (st->n_changes == st->cap_changes) {
		uint32_t cap = st->cap_changes ? st->cap_changes * 2 : 16;
		struct change *grown = reallocarray(st->changes, cap, sizeof(*grown));
		if (!grown) {
			st->rescan = true;
			return NULL;
		}
		st->changes = grown;
		st->cap_changes = cap;
	}
	struct change *c = &st->changes[st->n_changes++];
	*c = (struct change){ .s = s };
	s->place = st->n_changes;
	return c;
}

static void make_whole(struct change *c)
{
	c->whole = true;
	free(c->items);
	c->items = NULL;
	c->len = c->cap = 0;
}

void session_changed(struct session *s)
{
	struct session_store *st = store_of(s);

	if (!is_on(st) || !is_stored(s))
		return;
	struct change *c = change_of(st, s);
	if (c)
		make_whole(c);
}

void session_changed_lazily(struct session *s)
{
	struct session_store *st = store_of(s);

	if (!is_on(st) || !is_stored(s) || s->changed_lazily)
		return;
	s->changed_lazily = true;
	st->lazies = true;
	if (!timer_armed(&st->lazy) && !st->closing)
		timer_arm(&st->lazy, st->lazy_interval_ms);
}

/* The statement joins the others of this turn. */
static void note(
	struct session *s, void (*put)(struct session_items *, const void *), const void *arg)
{
	struct session_store *st = store_of(s);

	if (!is_on(st) || !is_stored(s))
		return;
	struct change *c = change_of(st, s);
	if (!c || c->whole)
		return;
	if (!s->number || journal_failing(st->j)) {
		make_whole(c);
		return;
	}
	struct session_items items = { c->items, c->len, c->cap, false };
	put(&items, arg);
	c->items = items.p;
	c->len = (uint32_t)items.len;
	c->cap = (uint32_t)items.cap;
	if (items.failed || items.len > JOURNAL_BODY_MAX / 2)
		make_whole(c);
}

struct statement {
	uint8_t type;
	const struct span *parts;
	unsigned n_parts;
	const struct sub_opts *opts;
};

static void put_statement(struct session_items *items, const void *arg)
{
	const struct statement *a = arg;

	if (a->type == SESSION_SUBSCRIBED)
		session_item_subscribed(items, a->parts[0], a->opts);
	else
		session_item_put(items, a->type, a->parts, a->n_parts);
}

void session_note(struct session *s, uint8_t type, const struct span *parts, unsigned n_parts)
{
	assert(type >= SESSION_ADAPTER && type <= SESSION_ITEM_MAX);
	note(s, put_statement, &(struct statement){ type, parts, n_parts, NULL });
}

void session_store_subscribed(struct session *s, struct span filter, const struct sub_opts *opts)
{
	note(s, put_statement, &(struct statement){ SESSION_SUBSCRIBED, &filter, 1, opts });
}

void session_store_unsubscribed(struct session *s, struct span filter)
{
	note(s, put_statement, &(struct statement){ SESSION_UNSUBSCRIBED, &filter, 1, NULL });
}

/* ---- Writing ---- */

/* Whoever asks session_mark() waits for this. */
static void take_mark(struct session_store *st, struct session *s)
{
	st->due = true;
	st->last_mark = journal_mark(st->j);
	s->mark = (uint32_t)st->last_mark;
}

static uint64_t append(
	struct session_store *st, uint8_t type, uint64_t number, struct span items, int *err)
{
	uint8_t head[SESSION_RECORD_HEAD];
	struct writer w = writer_of(head, sizeof(head));

	wr_u8(&w, SESSION_RECORD_VERSION);
	wr_u64(&w, number);
	struct span parts[] = { span_of(head, w.len), items };
	return journal_append(st->j, type, parts, 2, NULL, err);
}

static int write_whole(struct session_store *st, struct session *s)
{
	int err = journal_room_for(st->j, SESSION_RECORD_HEAD);
	if (err < 0) /* no need to look at it all */
		return err;
	st->buf.len = 0;
	st->buf.failed = false;
	session_image_put(s, &st->buf);
	if (st->buf.failed)
		return -ENOMEM;
	uint64_t seq = append(st, JR_SESSION, s->number, span_of(st->buf.p, st->buf.len), &err);
	if (!seq)
		return err;
	uint64_t old = s->record;
	s->record = seq;
	if (!s->number)
		s->number = seq;
	s->changed_lazily = false;
	take_mark(st, s);
	if (old)
		trail_outdate(&st->trails, st->j, s->number, old, st->last_mark);
	else
		st->n_sessions++;
	return 0;
}

static int write_delta(struct session_store *st, struct session *s, struct span items)
{
	int err;
	uint64_t seq = append(st, JR_SESSION_DELTA, s->number, items, &err);

	if (!seq)
		return err;
	/* Not to be found again, so not to be there when the session is written whole. */
	if (trail_add_delta(&st->trails, s->number, seq, items.len) < 0) {
		journal_forget(st->j, seq);
		return -ENOMEM;
	}
	take_mark(st, s);
	return 0;
}

/* The statements alone are the cheaper record. */
static bool prefers_delta(const struct session_store *st, const struct change *c)
{
	const struct session *s = c->s;

	if (c->whole || !c->len || !s->number)
		return false;
	long whole = journal_length(st->j, s->record);
	const struct trail *t = trail_find(&st->trails, s->number);
	return whole > SMALL_BYTES && (t ? t->delta_bytes : 0) + c->len <= (uint64_t)whole;
}

static int write_change(struct session_store *st, struct change *c)
{
	struct session *s = c->s;
	int err = prefers_delta(st, c) ? write_delta(st, s, span_of(c->items, c->len))
				       : write_whole(st, s);

	if (err == -EMSGSIZE) {
		static struct log_limit limit = LOG_LIMIT(10, 10000);
		count_one(&too_large);
		log_limited(&limit, LOG_LEVEL_WARN,
			"%s %s: session too large to be stored, its last changes do not survive a "
			"restart",
			s->who.client_id, protocol_name(s->who.protocol));
		s->mark = 0;
	} else if (err < 0) {
		return err;
	}
	make_whole(c);
	c->s = NULL;
	s->changed = false;
	return 0;
}

static void find_changed(struct session *s, void *arg)
{
	struct session_store *st = arg;

	if (!s->changed || s->place)
		return;
	s->changed = false;
	session_changed(s);
	if (!s->place)
		st->rescan = true;
}

static void drop_written(struct session_store *st)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < st->n_changes; i++) {
		if (!st->changes[i].s)
			continue;
		if (kept != i)
			st->changes[kept] = st->changes[i];
		st->changes[kept].s->place = kept + 1;
		kept++;
	}
	st->n_changes = kept;
}

/* An idle session is one record, in the end. */
static void sweep_later(struct session_store *st)
{
	if (st->trails.n_outdated && !timer_armed(&st->lazy) && !st->closing)
		timer_arm(&st->lazy, MAX(st->lazy_interval_ms, SWEEP_MS));
}

/* What can't be written stays where it is: while the storage fails, a statement is no cheaper than
 * the whole. */
static void write_changes(struct session_store *st)
{
	uint32_t i = 0;

	if (st->rescan) {
		st->rescan = false;
		sessions_each(st->all, find_changed, st);
	}
	trails_sweep(&st->trails, st->j);
	while (i < st->n_changes && (!st->changes[i].s || write_change(st, &st->changes[i]) == 0))
		i++;
	if (i < st->n_changes)
		for (uint32_t k = i; k < st->n_changes; k++)
			make_whole(&st->changes[k]);
	drop_written(st);
	sweep_later(st);
}

static void write_lazy(struct session *s, void *arg)
{
	(void)arg;
	if (s->changed_lazily)
		session_changed(s);
}

static void write_lazies(struct session_store *st)
{
	st->lazies = false;
	sessions_each(st->all, write_lazy, st);
}

static void on_lazy(struct timer *t)
{
	struct session_store *st = container_of(t, struct session_store, lazy);

	write_lazies(st);
	trails_sweep(&st->trails, st->j);
	sweep_later(st);
}

void session_store_turn(struct session_store *st)
{
	if (!st->j)
		return;
	if ((st->n_changes || st->rescan) && !journal_failing(st->j))
		write_changes(st);
	else if (st->trails.n_outdated > OUTDATED_MAX)
		trails_sweep(&st->trails, st->j);
	st->due = false;
}

bool session_store_due(const struct session_store *st)
{
	return st->due;
}

/* ---- Marks ---- */

uint64_t sessions_mark(const struct sessions *all)
{
	const struct session_store *st = sessions_store(all);

	return is_on(st) ? st->last_mark : 0;
}

uint64_t session_mark(struct session *s)
{
	struct session_store *st = store_of(s);

	if (!is_on(st) || journal_failing(st->j))
		return 0;
	if (s->changed) {
		struct change c = { .s = s, .whole = true };
		if (write_change(st, s->place ? &st->changes[s->place - 1] : &c) < 0)
			return 0;
	}
	/* Marks count commits: the last one that has this low half. */
	return s->mark ? st->last_mark - ((uint32_t)st->last_mark - s->mark) : 0;
}

bool session_reached(const struct sessions *all, uint64_t mark)
{
	const struct session_store *st = sessions_store(all);

	return !mark || !is_on(st) || journal_failing(st->j) || journal_reached(st->j, mark);
}

/* ---- The end of a session ---- */

static void forget_change(struct session_store *st, struct session *s)
{
	if (s->changed && s->place) {
		struct change *c = &st->changes[s->place - 1];
		make_whole(c);
		c->s = NULL;
	}
	s->changed = false;
}

void session_store_ended(struct sessions *all, struct session *s)
{
	struct session_store *st = sessions_store(all);

	if (!st)
		return;
	forget_change(st, s);
	if (!s->number || st->closing)
		return;
	session_restore_ended(st, s);
	trail_end(&st->trails, st->j, s->number);
	if (!st->j)
		return;
	journal_forget(st->j, s->record);
	st->n_sessions--;
	st->due = true;
	st->last_mark = journal_mark(st->j);
}

void session_store_replaces(struct session *s)
{
	struct session_store *st = store_of(s);

	if (is_on(st) && !s->changed)
		s->mark = (uint32_t)st->last_mark;
}

bool sessions_closing(const struct sessions *all)
{
	const struct session_store *st = sessions_store(all);

	return is_on(st) && st->closing;
}

/* ---- The process ---- */

struct session_store *session_store_new(struct sessions *all)
{
	struct session_store *st = must_calloc(1, sizeof(*st));

	st->all = all;
	timer_init(&st->lazy, on_lazy);
	trails_init(&st->trails);
	session_restore_init(st);
	sessions_set_store(all, st);
	return st;
}

void session_store_set_interval(struct session_store *st, int64_t lazy_interval_ms)
{
	st->lazy_interval_ms = lazy_interval_ms;
	if (timer_armed(&st->lazy))
		timer_arm(&st->lazy, lazy_interval_ms);
}

void session_store_close(struct session_store *st)
{
	if (!st->j)
		return;
	st->closing = true;
	timer_disarm(&st->lazy);
	write_lazies(st);
	session_store_turn(st);
	trails_sweep(&st->trails, st->j);
}

void session_store_free(struct session_store *st)
{
	if (!st)
		return;
	timer_disarm(&st->lazy);
	for (uint32_t i = 0; i < st->n_changes; i++)
		free(st->changes[i].items);
	free(st->changes);
	free(st->buf.p);
	trails_free(&st->trails);
	session_restore_clear(st);
	free(st);
}

void session_store_status(const struct session_store *st, struct session_store_status *status)
{
	*status = (struct session_store_status){
		.sessions = st->n_sessions,
		.records = st->n_sessions + st->trails.n_records,
		.restored = st->restored,
		.broken = st->broken,
		.changed = st->n_changes,
	};
}
