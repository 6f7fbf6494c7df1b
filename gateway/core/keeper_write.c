#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/core/keeper_priv.h"
#include "gateway/core/keeper_record.h"
#include "gateway/core/record.h"
#include "gateway/core/sub_ids.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_MS   1000 /* after the journal has failed */
#define LAZY_BURST 64   /* lazy ones that go along with what is written */

static struct log_limit trouble = LOG_LIMIT(1, 60000);

static void write_lazies(struct keeper *k);

/* ---- Lists ---- */

static uint32_t *held_of(struct keeper *k, const struct more *m)
{
	return &k->held_by_origin[m->origin & 0xff];
}

void kept_unlist(struct more *m)
{
	struct keeper *k = m->kept->keeper;

	if (m->state == MORE_HELD) {
		k->status.held--;
		--*held_of(k, m);
	} else if (m->state == MORE_FAILED) {
		k->status.failed--;
	} else if (m->state == MORE_WRITING) {
		k->status.writing--;
	}
	list_remove(&m->node);
	m->state = MORE_IDLE;
}

static void enlist(struct more *m, enum more_state state)
{
	struct keeper *k = m->kept->keeper;

	if (m->state == state)
		return;
	kept_unlist(m);
	m->state = (uint8_t)state;
	if (state == MORE_HELD) {
		list_append(&k->held, &m->node);
		k->status.held++;
		++*held_of(k, m);
	} else if (state == MORE_FAILED) {
		list_append(&k->failed, &m->node);
		k->status.failed++;
	} else if (state == MORE_LAZY) {
		list_append(&k->lazy, &m->node);
	} else {
		k->status.writing++;
	}
}

/* ---- Into the journal ---- */

int keeper_reserve(struct keeper *k, size_t cap)
{
	if (cap <= k->buf_cap)
		return 0;
	cap = MAX(cap, k->buf_cap * 2);
	uint8_t *p = realloc(k->buf, cap);
	if (!p)
		return -ENOMEM;
	k->buf = p;
	k->buf_cap = cap;
	return 0;
}

/* Encodes the claims that are in no record into keeper.buf, as many as `room` and memory allow, and
 * marks them. */
static struct span gather(struct more *m, size_t room, uint32_t *n)
{
	struct keeper *k = m->kept->keeper;
	size_t len = 0;

	*n = 0;
	for (uint32_t i = 0; i < m->n; i++) {
		struct pending *p = &m->v[i];
		if (p->c.kind == 0 || p->written)
			continue;
		size_t most = len + claim_encoded_max(&p->c);
		if (most > room || keeper_reserve(k, most) < 0)
			break;
		struct writer w = writer_of(k->buf + len, k->buf_cap - len);
		claim_encode(&w, &p->c);
		len += w.len;
		p->written = true;
		m->waiting[p->when]--;
		++*n;
	}
	return span_of(k->buf, len);
}

/* A record that failed: its claims wait again, and for nothing any more but for the storage. */
static void ungather(struct more *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		struct pending *p = &m->v[i];
		if (p->c.kind == 0 || !p->written)
			continue;
		p->written = false;
		m->waiting[p->when]++;
	}
}

static bool any_waiting(const struct more *m)
{
	return m->waiting[CLAIM_LAZY] + m->waiting[CLAIM_LATER] + m->waiting[CLAIM_NOW] > 0;
}

static void on_written(struct journal_wait *w, int err);

static uint64_t append(struct kept *kept, struct span claims, uint32_t n, int *err)
{
	struct more *m = kept->more;
	uint8_t bytes[KEPT_HEAD_MAX], scratch[MESSAGE_SCRATCH];
	struct span parts[2 + MESSAGE_PARTS];
	struct writer w = writer_of(bytes, sizeof(bytes));
	bool first = kept->seq == 0, goes_on = any_waiting(m) && (first || m->chain);
	struct kept_head head = { .record = kept->seq, .n = n };

	head.flags = (uint8_t)((goes_on ? KEPT_GOES_ON : 0) | (m->chain ? KEPT_CONTINUES : 0));
	kept_head_encode(&w, &head);
	parts[0] = span_of(bytes, w.len);
	parts[1] = claims;
	m->wait.done = on_written;
	uint64_t seq = journal_append(kept->keeper->journal, first ? JR_MESSAGE : JR_CLAIM, parts,
		2 + (first ? message_encode(kept->msg, scratch, parts + 2) : 0), &m->wait, err);
	if (seq) {
		m->continued = m->chain;
		m->chain = goes_on;
	}
	return seq;
}

static size_t form_size(const struct message *m)
{
	return KEPT_HEAD_MAX + MESSAGE_SCRATCH + message_size(m) - sizeof(*m);
}

/* One record with what is pending. 0, or a negative errno: everything is as it was. */
static int write_record(struct kept *kept)
{
	struct keeper *k = kept->keeper;
	struct more *m = kept->more;
	size_t form = kept->seq ? KEPT_HEAD_MAX : form_size(kept->msg);
	uint32_t n;
	int err = -ENOMEM;
	struct extra extra = { 0 };

	if (form >= JOURNAL_BODY_MAX)
		return -EMSGSIZE;
	struct span claims = gather(m, JOURNAL_BODY_MAX - form, &n);
	if (n == 0)
		return -ENOMEM;
	bool first = kept->seq == 0;
	if (first || extra_add(&m->extras, &m->n_extras, &m->cap_extras, &extra) == 0) {
		uint64_t seq = append(kept, claims, n, &err);
		if (seq && first)
			kept->seq = seq;
		else if (seq)
			m->extras[m->n_extras - 1].seq = seq;
		else if (!first)
			m->n_extras--;
		err = seq ? 0 : err;
	}
	if (err < 0) {
		ungather(m);
		k->status.error = err;
		return err;
	}
	enlist(m, MORE_WRITING);
	return 0;
}

static void fail(struct kept *kept)
{
	struct keeper *k = kept->keeper;

	enlist(kept->more, MORE_FAILED);
	log_limited(&trouble, LOG_LEVEL_ERROR,
		"keeper: the journal takes nothing (%s), trying again; publishers wait",
		k->status.error == -ENOSPC ? "full" : "storage error");
	keeper_arm(k);
}

/* Behind what failed before: a smaller one that still finds room must not pass it. */
static void write_now(struct kept *kept)
{
	struct keeper *k = kept->keeper;

	if ((kept->more->state != MORE_FAILED && !list_empty(&k->failed)) || write_record(kept) < 0)
		fail(kept);
}

void kept_place(struct kept *kept)
{
	struct keeper *k = kept->keeper;
	struct more *m = kept->more;

	if (m->state == MORE_WRITING || (m->state == MORE_FAILED && m->alive > 0))
		return;
	if (m->waiting[CLAIM_NOW] > 0 || m->chain) {
		write_now(kept);
		write_lazies(k);
		return;
	}
	if (m->waiting[CLAIM_LATER] > 0) {
		enlist(m, MORE_HELD);
	} else if (m->waiting[CLAIM_LAZY] > 0) {
		enlist(m, MORE_LAZY);
	} else {
		kept_unlist(m);
		kept_settle(kept);
		return;
	}
	keeper_arm(k);
}

/* ---- What becomes of it ---- */

/* Not from the journal's callback on: none of them may end claims. */
static void tell_safe(struct kept *kept)
{
	struct more *m = kept->more;
	uint32_t kept_n = 0;

	for (uint32_t i = 0; i < m->n; i++) {
		struct pending *p = &m->v[i];
		if (p->c.kind == 0)
			continue;
		if (!p->written) {
			m->v[kept_n++] = *p;
			continue;
		}
		m->alive--;
		m->owed -= p->when != CLAIM_LAZY;
		struct pending safe = *p;
		p->c = (struct claim){ 0 };
		if (safe.who && safe.who->ops->safe)
			safe.who->ops->safe(safe.who, kept, &safe.c);
		sub_ids_unref(safe.c.sub_ids);
	}
	m->n = kept_n;
	m->hint = 0;
}

static void undo(struct kept *kept, uint64_t seq)
{
	struct more *m = kept->more;

	ungather(m);
	m->chain = m->continued;
	if (kept->seq != seq) {
		for (uint32_t i = m->n_extras; i-- > 0;) {
			if (m->extras[i].seq != seq)
				continue;
			memmove(&m->extras[i], &m->extras[i + 1],
				(m->n_extras - i - 1) * sizeof(m->extras[0]));
			m->n_extras--;
		}
		return;
	}
	kept->seq = 0; /* ends of its claims have come to nothing as well */
	for (uint32_t i = 0; i < m->n; i++)
		m->v[i].stored = false;
	for (uint32_t i = 0; i < m->n_extras; i++)
		journal_forget(kept->keeper->journal, m->extras[i].seq);
	m->n_extras = m->n_ends = 0;
	list_remove(&m->ending);
}

static void on_written(struct journal_wait *w, int err)
{
	struct more *m = container_of(w, struct more, wait);
	struct kept *kept = m->kept;
	struct keeper *k = kept->keeper;

	kept_unlist(m);
	if (err) {
		k->status.error = err;
		undo(kept, w->seq);
		if (m->alive > 0)
			fail(kept);
		else
			kept_place(kept);
		return;
	}
	k->status.error = 0;
	if (!m->chain) {
		tell_safe(kept);
		receipt_release(&m->receipt, R_SUCCESS);
	}
	kept_place(kept);
}

/* In order; stops at the first that fails again, unless that is its own fault. */
static void retry(struct keeper *k)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &k->failed) {
		struct more *m = list_entry(pos, struct more, node);
		int err = write_record(m->kept);
		if (err < 0 && err != -EMSGSIZE)
			return;
	}
}

static void tell_failing(struct keeper *k)
{
	struct list *pos;

	list_for_each(pos, &k->failed) {
		struct more *m = list_entry(pos, struct more, node);
		for (uint32_t i = 0; kept_failing(m->kept) && i < m->n; i++) {
			const struct pending *p = &m->v[i];
			if (p->c.kind && p->who && p->who->ops->failing)
				p->who->ops->failing(p->who, m->kept, &p->c);
		}
	}
}

/* After a crash the journal's order is all we have: what the same publisher sent before goes first.
 */
static void write_earlier(struct keeper *k, uint64_t origin)
{
	struct list *pos, *tmp;

	if (k->held_by_origin[origin & 0xff] == 0)
		return;
	list_for_each_safe(pos, tmp, &k->held) {
		struct more *m = list_entry(pos, struct more, node);
		if (m->origin == origin)
			write_now(m->kept);
	}
}

/* What would fail for ever would also be in the way of all that comes after it. */
int keeper_fits(const struct keeper *k, const struct message *m, const struct claim *c)
{
	bool stored = m->kept && m->kept->seq;
	size_t len = claim_encoded_max(c) + (stored ? KEPT_HEAD_MAX : form_size(m));

	return journal_room_for(k->journal, len) == -EMSGSIZE ? -EMSGSIZE : 0;
}

int keeper_make_way(struct keeper *k, const struct message *m)
{
	bool stored = m->kept && m->kept->seq;

	retry(k);
	if (list_empty(&k->failed) && !stored)
		write_earlier(k, m->origin);
	if (!list_empty(&k->failed))
		return k->status.error ? k->status.error : -EIO;
	int err = journal_room_for(k->journal, stored ? KEPT_HEAD_MAX : form_size(m));
	if (err < 0)
		k->status.error = err;
	return err;
}

/* ---- Time ---- */

/* Nobody was promised them: that they can't be written is no reason to refuse others. */
static void write_lazies(struct keeper *k)
{
	for (unsigned i = 0; i < LAZY_BURST && !list_empty(&k->lazy); i++) {
		struct more *m = list_first(&k->lazy, struct more, node);
		if (!list_empty(&k->failed) || write_record(m->kept) < 0) {
			k->lazy_after_ms = clock_ms() + RETRY_MS;
			return;
		}
	}
}

static int64_t lazies_due_ms(const struct keeper *k)
{
	if (list_empty(&k->lazy))
		return INT64_MAX;
	const struct more *m = list_first(&k->lazy, struct more, node);
	return MAX(m->since_ms + k->conf.lazy_ms, k->lazy_after_ms);
}

static bool claims_kind(const struct more *m, uint32_t kinds)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (kinds & 1u << m->v[i].c.kind)
			return true;
	return false;
}

/* More than the journal gathers at a time are gone on with. */
static void secure_lazies(struct keeper *k)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &k->lazy) {
		struct more *m = list_entry(pos, struct more, node);
		if (!claims_kind(m, k->securing))
			continue;
		if (!list_empty(&k->failed) || write_record(m->kept) < 0)
			return;
	}
	k->securing = 0;
}

void keeper_secure(struct keeper *k, enum claim_kind kind)
{
	uint32_t kinds = kind == CLAIM_KINDS ? (1u << CLAIM_KINDS) - 1 : 1u << kind;
	struct list *pos, *tmp;

	if (!k->journal)
		return;
	retry(k);
	list_for_each_safe(pos, tmp, &k->held) {
		struct more *m = list_entry(pos, struct more, node);
		if (claims_kind(m, kinds))
			write_now(m->kept);
	}
	k->securing |= kinds & ~1u;
	secure_lazies(k);
	keeper_arm(k);
}

void keeper_arm(struct keeper *k)
{
	int64_t due = INT64_MAX;

	if (!list_empty(&k->held))
		due = list_first(&k->held, struct more, node)->since_ms + k->conf.hold_ms;
	due = MIN(due, lazies_due_ms(k));
	if (!list_empty(&k->failed) || keeper_ends_due(k) || k->securing)
		due = MIN(due, clock_ms() + RETRY_MS);
	if (due == INT64_MAX)
		timer_disarm(&k->timer);
	else if (!timer_armed(&k->timer) || k->timer.due_ms > due)
		timer_arm(&k->timer, due - clock_ms());
}

static void on_timer(struct timer *t)
{
	struct keeper *k = container_of(t, struct keeper, timer);

	retry(k);
	keeper_retry_ends(k);
	tell_failing(k);
	while (!list_empty(&k->held)) {
		struct more *m = list_first(&k->held, struct more, node);
		if (m->since_ms + k->conf.hold_ms > clock_ms())
			break;
		write_now(m->kept);
	}
	if (lazies_due_ms(k) <= clock_ms())
		write_lazies(k);
	if (k->securing)
		secure_lazies(k);
	keeper_arm(k);
}

void keeper_write_init(struct keeper *k)
{
	list_init(&k->lazy);
	list_init(&k->held);
	list_init(&k->failed);
	timer_init(&k->timer, on_timer);
}
