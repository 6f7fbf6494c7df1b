#include "gateway/core/keeper_priv.h"
#include "gateway/core/keeper_record.h"
#include "gateway/core/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A message that went to a thousand mailboxes ends a thousand times, and each end but the last is a
 * record. So that they stay few, sixteen of one size are replaced by one: an end is written at most
 * once for each power of sixteen. */
#define MERGE 16

int extra_add(struct extra **v, uint32_t *n, uint32_t *cap, const struct extra *e)
{
	if (*n == *cap) {
		uint32_t more = *cap ? *cap * 2 : 4;
		struct extra *p = reallocarray(*v, more, sizeof(*p));
		if (!p)
			return -ENOMEM;
		*v = p;
		*cap = more;
	}
	(*v)[(*n)++] = *e;
	return 0;
}

/* One record with the `n` ends that are encoded at the beginning of keeper.buf. */
static int append(struct kept *kept, uint32_t n)
{
	struct keeper *k = kept->keeper;
	struct more *m = kept->more;
	uint8_t head[KEPT_HEAD_MAX];
	struct writer w = writer_of(head, sizeof(head));
	struct extra extra = { .ends = n };
	int err = extra_add(&m->extras, &m->n_extras, &m->cap_extras, &extra);

	if (err)
		return err;
	kept_head_encode(&w, &(struct kept_head){ .record = kept->seq, .n = n });
	struct span parts[] = { span_of(head, w.len), span_of(k->buf, (size_t)n * KEPT_END_SIZE) };
	uint64_t seq = journal_append_lazy(k->journal, JR_DONE, parts, 2, &err);
	if (seq)
		m->extras[m->n_extras - 1].seq = seq;
	else
		m->n_extras--;
	return seq ? 0 : err;
}

/* ---- Few records ---- */

static unsigned size_class(uint32_t ends)
{
	unsigned c = 0;

	for (; ends >= MERGE; ends /= MERGE)
		c++;
	return c;
}

/* Where the last MERGE records begin, if they are ends of one size; else their number. What stands
 * before a claim that was made again must stay there. */
static uint32_t mergeable(const struct more *m)
{
	uint32_t from = m->n_extras;
	unsigned c = from ? size_class(m->extras[from - 1].ends) : 0;

	while (from > 0 && m->n_extras - from < MERGE && m->extras[from - 1].ends > 0 &&
		size_class(m->extras[from - 1].ends) == c)
		from--;
	return m->n_extras - from == MERGE ? from : m->n_extras;
}

/* The ends of records `from` and later, one behind the other, into keeper.buf. */
static int collect(struct kept *kept, uint32_t from, uint32_t *n)
{
	struct keeper *k = kept->keeper;
	const struct more *m = kept->more;
	size_t len = 0;

	for (uint32_t i = from; i < m->n_extras; i++) {
		size_t most = KEPT_HEAD_MAX + (size_t)m->extras[i].ends * KEPT_END_SIZE;
		struct kept_head head;
		struct reader r;
		int err = keeper_reserve(k, len + most);
		long got =
			err ? err : journal_read(k->journal, m->extras[i].seq, k->buf + len, most);
		if (got < 0 ||
			kept_head_decode(span_of(k->buf + len, (size_t)got), false, &head, &r) <
				0 ||
			r.left != (size_t)head.n * KEPT_END_SIZE)
			return -EIO;
		memmove(k->buf + len, r.p, r.left);
		len += r.left;
		*n += head.n;
	}
	return len < JOURNAL_BODY_MAX - KEPT_HEAD_MAX ? 0 : -EMSGSIZE;
}

/* The old ones are forgotten when the new one is safe: both say the same. */
static bool merge(struct kept *kept)
{
	struct keeper *k = kept->keeper;
	struct more *m = kept->more;
	uint32_t from = mergeable(m), n = 0;

	if (from == m->n_extras || forget_later_reserve(&k->stale, MERGE) < 0 ||
		collect(kept, from, &n) < 0 || append(kept, n) < 0)
		return false;
	for (uint32_t i = from; i < m->n_extras - 1; i++)
		forget_later_add(&k->stale, m->extras[i].seq);
	m->extras[from] = m->extras[m->n_extras - 1];
	m->n_extras = from + 1;
	return true;
}

static void forget_stale(struct keeper *k)
{
	if (forget_later_turn(&k->stale, k->journal))
		keeper_arm(k);
}

/* ---- Ends ---- */

static int flush(struct kept *kept)
{
	struct more *m = kept->more;
	struct keeper *k = kept->keeper;
	int err = keeper_reserve(k, (size_t)m->n_ends * KEPT_END_SIZE);

	if (err)
		return err;
	struct writer w = writer_of(k->buf, k->buf_cap);
	for (uint32_t i = 0; i < m->n_ends; i++)
		claim_end_encode(&w, &m->ends[i]);
	if ((err = append(kept, m->n_ends)) < 0)
		return err;
	m->n_ends = 0;
	list_remove(&m->ending);
	while (merge(kept))
		;
	forget_stale(k);
	return 0;
}

/* Without memory or storage the claim may come back after a restart: it will be done twice, not
 * lost. */
void kept_write_end(struct kept *kept, const struct claim *c)
{
	struct keeper *k = kept->keeper;
	struct more *m = kept_more(kept);

	if (!m)
		return;
	if (m->n_ends == m->cap_ends) {
		uint32_t cap = m->cap_ends ? m->cap_ends * 2 : 1;
		struct claim *ends = reallocarray(m->ends, cap, sizeof(*ends));
		if (!ends)
			return;
		m->ends = ends;
		m->cap_ends = cap;
	}
	m->ends[m->n_ends++] = *c;
	if (flush(kept) < 0 && list_empty(&m->ending)) {
		list_append(&k->ending, &m->ending);
		keeper_arm(k);
	}
}

bool keeper_ends_due(const struct keeper *k)
{
	return !list_empty(&k->ending) || forget_later_waits(&k->stale);
}

void keeper_retry_ends(struct keeper *k)
{
	if (k->journal)
		forget_stale(k);
	while (!list_empty(&k->ending)) {
		struct more *m = list_first(&k->ending, struct more, ending);
		if (flush(m->kept) < 0)
			return;
	}
}

/* The message first: what says more of it than there is comes to nothing. */
void kept_forget(struct kept *kept)
{
	struct journal *j = kept->keeper->journal;
	const struct more *m = kept->more;

	if (kept->seq == 0)
		return;
	journal_forget(j, kept->seq);
	for (uint32_t i = 0; m && i < m->n_extras; i++)
		journal_forget(j, m->extras[i].seq);
}

void keeper_ends_init(struct keeper *k)
{
	list_init(&k->ending);
}

/* What was stale says the same as what is not. */
void keeper_ends_free(struct keeper *k)
{
	forget_later_free(&k->stale);
}
