#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/outqueue.h"
#include "gateway/core/record.h"
#include "gateway/core/registry.h"
#include "gateway/core/session_store_priv.h"
#include "gateway/core/will.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <stdlib.h>

/* From records to sessions. Records come in the order in which they were written; a later one of
 * the same session replaces it, and a later session of the same client ends the earlier one: what
 * was forgotten last may come back after a crash. */

static struct count broken_records = COUNT("session_store.broken");
static struct count broken_items = COUNT("session_store.broken_items");

static uint32_t number_hash(uint64_t number)
{
	return (uint32_t)(hash_bytes(&number, sizeof(number)) >> 32);
}

static uint32_t session_number_hash(const void *entry)
{
	const struct session *s = entry;
	return number_hash(s->number);
}

static bool has_number(const void *entry, const void *number)
{
	const struct session *s = entry;
	return s->number == *(const uint64_t *)number;
}

void session_restore_init(struct session_store *st)
{
	ptrtable_init(&st->by_number, session_number_hash);
}

void session_restore_clear(struct session_store *st)
{
	ptrtable_clear(&st->by_number);
	free(st->orphans);
	st->orphans = NULL;
	st->n_orphans = st->cap_orphans = 0;
}

static struct session *find(const struct session_store *st, uint64_t number)
{
	return ptrtable_find(&st->by_number, number_hash(number), has_number, &number);
}

struct session *sessions_by_number(const struct sessions *all, uint64_t number)
{
	const struct session_store *st = sessions_store(all);
	return st ? find(st, number) : NULL;
}

/* During a replay the journal can't be told yet. Without memory the record is found again, and
 * outdated again, at the next start. */
static void orphan(struct session_store *st, uint64_t seq)
{
	if (st->n_orphans == st->cap_orphans) {
		size_t cap = st->cap_orphans ? st->cap_orphans * 2 : 64;
		uint64_t *grown = reallocarray(st->orphans, cap, sizeof(*grown));
		if (!grown)
			return;
		st->orphans = grown;
		st->cap_orphans = cap;
	}
	st->orphans[st->n_orphans++] = seq;
}

void session_restore_ended(struct session_store *st, const struct session *s)
{
	if (find(st, s->number) == s)
		ptrtable_remove(&st->by_number, s);
	if (st->j)
		return;
	const struct trail *t = trail_find(&st->trails, s->number);
	for (uint32_t i = 0; t && i < t->n; i++)
		orphan(st, t->seqs[i]);
	orphan(st, s->record);
}

/* Its will is not due: a later record says what became of it. */
static void discard(struct session *s)
{
	if (!s)
		return;
	will_cancel(s);
	session_end(s, R_SUCCESS, false);
}

static bool read_head(struct span body, uint64_t *number, struct span *items)
{
	struct reader r = reader_of(body);
	uint8_t version = rd_u8(&r);

	*number = rd_u64(&r);
	*items = rd_rest(&r);
	return !r.bad && version == SESSION_RECORD_VERSION;
}

static int broken(struct session_store *st)
{
	st->broken++;
	count_one(&broken_records);
	return -EBADMSG;
}

static void apply(struct session *s, struct span items)
{
	unsigned bad = session_image_apply(s, items);
	if (!bad)
		return;
	static struct log_limit limit = LOG_LIMIT(10, 10000);
	count_add(&broken_items, bad);
	log_limited(&limit, LOG_LEVEL_WARN, "%s %s: %u items of the stored session are of no use",
		s->who.client_id, protocol_name(s->who.protocol), bad);
}

static int replay_session(void *arg, uint64_t seq, struct span body)
{
	struct session_store *st = arg;
	struct saved_identity id;
	struct span items;
	uint64_t number;

	if (!read_head(body, &number, &items) || number > seq ||
		!session_image_identity(items, &id))
		return broken(st);
	if (!number)
		number = seq;
	discard(find(st, number));
	discard(sessions_find(st->all, id.protocol, id.client_id));
	struct session *s = session_make(st->all, id.protocol, id.client_id);
	if (!s)
		return 0; /* no memory: it stays on the disk */
	s->number = number;
	s->record = seq;
	s->sub.max_subscriptions = 0; /* what it has it had been granted */
	if (ptrtable_add(&st->by_number, s) < 0)
		return 0;
	apply(s, items);
	return 0;
}

static int replay_delta(void *arg, uint64_t seq, struct span body)
{
	struct session_store *st = arg;
	struct span items;
	uint64_t number;

	if (!read_head(body, &number, &items) || !session_items_valid(items))
		return broken(st);
	struct session *s = find(st, number);
	if (!s)
		return -ENOENT;
	if (trail_add_delta(&st->trails, number, seq, items.len) < 0)
		return 0;
	apply(s, items);
	return 0;
}

void session_store_handlers(struct session_store *st, struct journal_handler *handlers)
{
	handlers[JR_SESSION] = (struct journal_handler){ replay_session, st };
	handlers[JR_SESSION_DELTA] = (struct journal_handler){ replay_delta, st };
}

static void restored(struct session *s, void *arg)
{
	struct session_store *st = arg;

	s->sub.max_subscriptions = sessions_conf(st->all)->max_subscriptions;
	/* Neither expiry nor an adapter that will ask for it: it was to end with its link. */
	if (!s->expiry_s && !timer_armed(&s->timer))
		timer_arm(&s->timer, 0);
	if (s->was_attached) /* away since now, also for the start after this one */
		session_changed_lazily(s);
	st->restored++;
}

void session_store_attach(struct session_store *st, struct journal *j, int64_t lazy_interval_ms)
{
	st->j = j;
	st->lazy_interval_ms = lazy_interval_ms;
	sessions_each(st->all, restored, st);
	st->n_sessions = st->restored;
	for (size_t i = 0; i < st->n_orphans; i++)
		journal_forget(j, st->orphans[i]);
	if (st->restored || st->broken)
		log_info("store: %llu sessions are back, %llu records were of no use",
			(unsigned long long)st->restored, (unsigned long long)st->broken);
}

void session_store_restored(struct session_store *st)
{
	session_restore_clear(st);
}

bool session_was_attached(const struct session *s)
{
	return s->was_attached;
}

void session_resume(struct session *s, struct link *l, const struct addr *peer)
{
	timer_disarm(&s->timer);
	will_cancel(s);
	if (s->was_attached) /* and is: its record says so */
		s->changed_lazily = false;
	s->was_attached = false;
	s->who.peer = *peer;
	s->link = l;
	l->session = s;
	sessions_attached(s->all, s, true);
	if (s->out)
		outqueue_attached(s->out);
	session_set_keepalive(s, s->keepalive_ms);
}
