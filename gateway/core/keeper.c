#include "gateway/core/keeper.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/core/keeper_priv.h"
#include "gateway/core/keeper_record.h"
#include "gateway/core/sub_ids.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

_Static_assert(sizeof(struct kept) <= 48, "one for each message that is SAFE");

struct keeper *keeper_new(void)
{
	struct keeper *k = must_calloc(1, sizeof(*k));

	pool_init(&k->pool, sizeof(struct kept));
	keeper_write_init(k);
	keeper_ends_init(k);
	return k;
}

void keeper_set_conf(struct keeper *k, const struct keeper_conf *conf)
{
	k->conf = *conf;
}

void keeper_attach(struct keeper *k, struct journal *j)
{
	k->journal = j;
}

bool keeper_has_storage(const struct keeper *k)
{
	return k->journal != NULL;
}

struct journal *keeper_journal(const struct keeper *k)
{
	return k->journal;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	timer_disarm(&k->timer);
	for (size_t i = 0; i < k->n_orphans; i++)
		kept_free(k->orphans[i]);
	assert(k->status.messages == 0 && !k->open);
	keeper_restore_free(k);
	keeper_ends_free(k);
	free(k->orphans);
	free(k->buf);
	free(k);
}

/* ---- Bodies ---- */

void kept_hold_body(struct kept *kept, bool hold)
{
	if (kept->counted == hold)
		return;
	kept->counted = hold;
	kept->keeper->status.memory_bytes += hold ? (int64_t)kept->size : -(int64_t)kept->size;
	if (hold)
		message_ref(kept->msg);
	else
		message_unref(kept->msg); /* the last one ends in kept_lost_body() */
}

void kept_lost_body(struct kept *kept)
{
	assert(!kept->counted);
	kept->msg = NULL;
}

static struct message *read_back(struct kept *kept, int *err)
{
	struct journal *j = kept->keeper->journal;
	long len = journal_length(j, kept->seq);
	struct kept_head head;
	struct reader r;
	struct claim c;

	*err = len < 0 ? -ENOENT : -EAGAIN;
	uint8_t *buf = len < 0 ? NULL : malloc((size_t)len + 1);
	if (!buf)
		return NULL;
	long got = journal_read(j, kept->seq, buf, (size_t)len);
	if (got == -ENOENT || got == -EBADMSG)
		*err = (int)got;
	int bad = got < 0 ? -EIO : kept_head_decode(span_of(buf, (size_t)got), true, &head, &r);
	for (uint32_t i = 0; !bad && i < head.n; i++) {
		bad = claim_decode(&r, &c);
		if (!bad)
			sub_ids_unref(c.sub_ids);
	}
	struct message *m = bad ? NULL : message_decode(rd_rest(&r), ORIGIN_GATEWAY);
	free(buf);
	return m;
}

struct message *kept_message(struct kept *kept, int *err)
{
	struct message *m;

	if (kept->msg)
		return message_ref(kept->msg);
	if (!(m = read_back(kept, err)))
		return NULL;
	kept->msg = m;
	m->kept = kept;
	return m;
}

struct message *kept_loaded(const struct kept *kept)
{
	return kept->msg;
}

size_t kept_size(const struct kept *kept)
{
	return kept->size;
}

bool kept_expired(const struct kept *kept)
{
	return kept->expires_ms != 0 && kept->expires_ms <= clock_ms();
}

uint64_t kept_record(const struct kept *kept)
{
	return kept->seq;
}

/* ---- Life ---- */

struct kept *kept_new(struct keeper *k, struct message *m)
{
	struct kept *kept = pool_get(&k->pool);

	if (!kept)
		return NULL;
	kept->keeper = k;
	kept->msg = m;
	kept->size = (uint32_t)message_size(m);
	kept->expires_ms = m->expires_ms;
	m->kept = kept;
	kept_hold_body(kept, true);
	k->status.messages++;
	return kept;
}

struct more *kept_more(struct kept *kept)
{
	struct more *m = kept->more;

	if (m || !(m = calloc(1, sizeof(*m))))
		return m;
	list_init(&m->node);
	list_init(&m->ending);
	m->kept = kept;
	m->since_ms = clock_ms();
	m->origin = kept->msg ? kept->msg->origin : ORIGIN_GATEWAY;
	return kept->more = m;
}

static void more_free(struct kept *kept)
{
	struct more *m = kept->more;

	if (!m)
		return;
	kept_unlist(m);
	list_remove(&m->ending);
	journal_wait_cancel(&m->wait);
	if (receipt_held(&m->receipt)) /* left at the end of the process */
		list_remove(&m->receipt.node);
	for (uint32_t i = 0; i < m->n; i++)
		sub_ids_unref(m->v[i].c.sub_ids);
	free(m->v);
	free(m->extras);
	free(m->ends);
	free(m);
	kept->more = NULL;
}

void kept_free(struct kept *kept)
{
	struct keeper *k = kept->keeper;

	more_free(kept);
	if (kept->msg)
		kept->msg->kept = NULL;
	kept_hold_body(kept, false);
	k->status.messages--;
	pool_put(&k->pool, kept);
}

void kept_settle(struct kept *kept)
{
	const struct keeper *k = kept->keeper;
	struct more *m = kept->more;

	if (m && m->alive == 0) {
		free(m->v);
		m->v = NULL;
		m->n = m->cap = m->hint = 0;
		if (m->n_extras == 0 && m->n_ends == 0)
			more_free(kept);
	}
	if (kept->seq && k->status.memory_bytes > k->conf.memory_bytes)
		kept_hold_body(kept, false);
}

/* ---- Pending claims ---- */

/* They mostly end in the order in which they were made, so the search begins where the last one
 * ended. */
static struct pending *find(const struct kept *kept, const struct claim *c)
{
	struct more *m = kept->more;

	for (uint32_t i = 0; m && i < m->n; i++) {
		uint32_t at = m->hint + i < m->n ? m->hint + i : m->hint + i - m->n;
		if (claim_compare(&m->v[at].c, c) == 0) {
			m->hint = at;
			return &m->v[at];
		}
	}
	return NULL;
}

static int add(struct kept *kept, const struct claim *c, struct claimant *who, enum claim_when when,
	bool stored)
{
	struct more *m = kept_more(kept);

	if (!m)
		return -ENOMEM;
	if (m->n == m->cap) {
		uint32_t cap = m->cap ? m->cap * 2 : 2;
		struct pending *v = reallocarray(m->v, cap, sizeof(*v));
		if (!v)
			return -ENOMEM;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct pending){ *c, who, (uint8_t)when, false, stored };
	sub_ids_ref(c->sub_ids);
	if (m->alive++ == 0)
		m->since_ms = clock_ms();
	m->waiting[when]++;
	m->owed += when != CLAIM_LAZY;
	return 0;
}

/* The slot stays until the next record is written. */
static void drop(struct kept *kept, struct pending *p)
{
	struct more *m = kept->more;

	if (!p->written)
		m->waiting[p->when]--;
	m->owed -= p->when != CLAIM_LAZY;
	m->alive--;
	sub_ids_unref(p->c.sub_ids);
	p->c = (struct claim){ 0 };
}

void keeper_open(struct keeper *k, struct message *m, struct receipt *receipt)
{
	assert(!k->open);
	k->open = m;
	k->open_receipt = receipt;
}

void keeper_close(struct keeper *k)
{
	struct kept *kept = k->open->kept;

	k->open = NULL;
	k->open_receipt = NULL;
	if (kept && kept->more && kept->more->state == MORE_OPEN) {
		kept->more->state = MORE_IDLE;
		kept_place(kept);
	}
}

static void take_receipt(struct keeper *k, struct more *m, enum claim_when when)
{
	if (k->open_receipt && when != CLAIM_LAZY && !receipt_held(&m->receipt))
		receipt_hold(k->open_receipt, &m->receipt);
}

struct kept *keeper_claim(struct keeper *k, struct message *m, const struct claim *c,
	struct claimant *who, enum claim_when when, int *err)
{
	struct kept *kept = m->kept;
	bool fresh = !kept, going = kept && kept->more && kept->more->waiting[CLAIM_NOW] > 0;

	*err = k->journal ? keeper_fits(k, m, c) : -ENOTSUP;
	if (when == CLAIM_LATER && k->status.memory_bytes > k->conf.memory_bytes)
		when = CLAIM_NOW;
	if (*err == 0 && when == CLAIM_NOW && !going)
		*err = keeper_make_way(k, m);
	if (*err < 0)
		return NULL;
	if ((!kept && !(kept = kept_new(k, m))) || add(kept, c, who, when, false) < 0) {
		*err = -ENOMEM;
		if (kept && fresh)
			kept_free(kept);
		return NULL;
	}
	kept->claims++;
	k->status.claims[c->kind]++;
	if (k->open == m) {
		take_receipt(k, kept->more, when);
		if (kept->more->state < MORE_WRITING) {
			kept_unlist(kept->more);
			kept->more->state = MORE_OPEN;
		}
	} else {
		kept_place(kept);
	}
	return kept;
}

void kept_change(struct kept *kept, const struct claim *c, struct claimant *who)
{
	struct pending *p = find(kept, c);
	bool stored = !p || p->written || p->stored;

	if (p)
		drop(kept, p);
	/* Without memory it is as it was: a restart does once more what was done. */
	if (add(kept, c, who, CLAIM_NOW, stored) == 0 && kept->more->state != MORE_OPEN)
		kept_place(kept);
}

/* ---- Ends ---- */

static void count_end(struct kept *kept, const struct claim *c)
{
	assert(kept->claims > 0);
	kept->claims--;
	kept->keeper->status.claims[c->kind]--;
}

void kept_end(struct kept *kept, const struct claim *c, enum reason reason)
{
	const struct claim ended = {
		.kind = c->kind, .owner = c->owner, .packet_id = c->packet_id
	};
	struct pending *p = find(kept, c);
	bool in_record = !p || p->written || p->stored;

	if (p) {
		drop(kept, p);
		if (kept->more->owed == 0)
			receipt_release(&kept->more->receipt, reason);
	}
	count_end(kept, &ended);
	if (kept->claims == 0 && !kept->left)
		kept_forget(kept);
	else if (in_record)
		kept_write_end(kept, &ended);
	if (kept->claims == 0)
		kept_free(kept);
	else if (p && kept->more && kept->more->state != MORE_OPEN)
		kept_place(kept);
}

void kept_leave(struct kept *kept, const struct claim *c)
{
	struct pending *p = find(kept, c);

	if (p)
		drop(kept, p);
	kept->left = true;
	count_end(kept, c);
	if (kept->claims == 0)
		kept_free(kept);
}

bool kept_safe(const struct kept *kept, const struct claim *c)
{
	return kept->seq != 0 && !find(kept, c);
}

bool kept_failing(const struct kept *kept)
{
	const struct more *m = kept->more;

	return m && m->state == MORE_FAILED && clock_ms() - m->since_ms >= KEEPER_REFUSE_MS;
}

bool keeper_quiet(const struct keeper *k)
{
	return k->status.held + k->status.writing + k->status.failed == 0;
}

void keeper_status(const struct keeper *k, struct keeper_status *s)
{
	*s = k->status;
}

void keeper_dump(const struct keeper *k)
{
	const struct keeper_status *s = &k->status;

	log_notice("kept messages=%llu upstream=%llu mail=%llu exchanges=%llu retained=%llu "
		   "delayed=%llu held=%llu writing=%llu failed=%llu memory_bytes=%lld "
		   "unreadable=%llu",
		(unsigned long long)s->messages, (unsigned long long)s->claims[CLAIM_UPSTREAM],
		(unsigned long long)s->claims[CLAIM_MAIL],
		(unsigned long long)s->claims[CLAIM_EXCHANGE],
		(unsigned long long)s->claims[CLAIM_RETAINED],
		(unsigned long long)s->claims[CLAIM_DELAYED], (unsigned long long)s->held,
		(unsigned long long)s->writing, (unsigned long long)s->failed,
		(long long)s->memory_bytes, (unsigned long long)s->unreadable);
}
