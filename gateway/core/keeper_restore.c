#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/core/keeper_priv.h"
#include "gateway/core/keeper_record.h"
#include "gateway/core/record.h"
#include "gateway/core/sub_ids.h"

#include <errno.h>
#include <stdlib.h>

/* The replay only notes which records belong to which message; they are read again one message at a
 * time when their owners are there. So what a hostile journal says costs no memory before it is
 * looked at, and never more than a few times its own size. */

static struct count broken = COUNT("keeper.broken");
static struct count incomplete = COUNT("keeper.incomplete");
static struct count unreadable = COUNT("keeper.unreadable");

static struct found *find(const struct keeper *k, uint64_t seq)
{
	size_t lo = 0, hi = k->n_found;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (k->found[mid].seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < k->n_found && k->found[lo].seq == seq ? &k->found[lo] : NULL;
}

static int replay_message(void *arg, uint64_t seq, struct span body)
{
	struct keeper *k = arg;
	struct kept_head head;
	struct reader r;
	int err = kept_head_decode(body, true, &head, &r);

	if (err == -EBADMSG) {
		count_one(&broken);
		return err;
	}
	if (k->n_found == k->cap_found) {
		size_t cap = k->cap_found ? k->cap_found * 2 : 64;
		struct found *f = reallocarray(k->found, cap, sizeof(*f));
		if (!f)
			return 0; /* it stays on disk for the next start */
		k->found = f;
		k->cap_found = cap;
	}
	k->found[k->n_found++] = (struct found){ .seq = seq, .foreign = err < 0 };
	return 0;
}

static int replay_extra(void *arg, uint64_t seq, struct span body, bool ends)
{
	struct keeper *k = arg;
	struct kept_head head;
	struct reader r;
	int err = kept_head_decode(body, false, &head, &r);
	struct found *f = err == -EBADMSG ? NULL : find(k, head.record);

	if (!f) /* its message has ended before */
		return -ENOENT;
	f->foreign |= err < 0;
	struct extra extra = { .seq = seq, .ends = ends ? head.n : 0 };
	if (extra_add(&f->extras, &f->n_extras, &f->cap_extras, &extra) < 0)
		f->foreign = true;
	return 0;
}

static int replay_claim(void *arg, uint64_t seq, struct span body)
{
	return replay_extra(arg, seq, body, false);
}

static int replay_done(void *arg, uint64_t seq, struct span body)
{
	return replay_extra(arg, seq, body, true);
}

void keeper_handlers(struct keeper *k, struct journal_handler *handlers)
{
	handlers[JR_MESSAGE] = (struct journal_handler){ replay_message, k };
	handlers[JR_CLAIM] = (struct journal_handler){ replay_claim, k };
	handlers[JR_DONE] = (struct journal_handler){ replay_done, k };
}

void keeper_on_restore(struct keeper *k, enum claim_kind kind, keeper_restore_fn *fn, void *arg)
{
	k->owners[kind].fn = fn;
	k->owners[kind].arg = arg;
}

/* ---- One message ---- */

struct word { /* what a record says of a claim */
	struct claim c;
	uint32_t order;
	bool end;
};

/* Buffers of the whole restoration. */
struct bench {
	struct keeper *k;
	uint8_t *body, *extra;
	struct word *words;
	size_t n, cap;
	bool chain; /* the last record of the publication went on */
};

static int say(struct bench *b, const struct word *w)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? b->cap * 2 : 16;
		struct word *words = reallocarray(b->words, cap, sizeof(*words));
		if (!words)
			return -ENOMEM;
		b->words = words;
		b->cap = cap;
	}
	b->words[b->n++] = *w;
	return 0;
}

/* Leaves *r behind the claims. */
static int read_claims(struct bench *b, struct reader *r, uint32_t n, uint32_t order)
{
	struct word w = { .order = order };

	for (uint32_t i = 0; i < n; i++) {
		if (claim_decode(r, &w.c) < 0)
			return -EBADMSG;
		if (say(b, &w) < 0) {
			sub_ids_unref(w.c.sub_ids);
			return -ENOMEM;
		}
	}
	return 0;
}

static int read_ends(struct bench *b, struct reader *r, uint32_t n, uint32_t order)
{
	struct word w = { .order = order, .end = true };

	for (uint32_t i = 0; i < n; i++) {
		if (claim_end_decode(r, &w.c) < 0)
			return -EBADMSG;
		if (say(b, &w) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int read_extra(struct bench *b, const struct extra *x, uint32_t order)
{
	long len = journal_read(b->k->journal, x->seq, b->extra, JOURNAL_BODY_MAX);
	struct kept_head head;
	struct reader r;

	if (len < 0 || kept_head_decode(span_of(b->extra, (size_t)len), false, &head, &r) < 0)
		return -EBADMSG;
	if (x->ends)
		return read_ends(b, &r, head.n, order);
	if (head.flags & KEPT_CONTINUES)
		b->chain = head.flags & KEPT_GOES_ON;
	return read_claims(b, &r, head.n, order);
}

static int compare_words(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	int d = claim_compare(&x->c, &y->c);

	return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* Of what was said of one claim the last holds. */
static void keep_last(struct bench *b)
{
	size_t kept = 0;

	if (b->n > 1)
		qsort(b->words, b->n, sizeof(*b->words), compare_words);
	for (size_t i = 0; i < b->n; i++) {
		bool last = i + 1 == b->n || claim_compare(&b->words[i].c, &b->words[i + 1].c) != 0;
		if (last && !b->words[i].end)
			b->words[kept++] = b->words[i];
		else
			sub_ids_unref(b->words[i].c.sub_ids);
	}
	b->n = kept;
}

static void forget_words(struct bench *b)
{
	for (size_t i = 0; i < b->n; i++)
		sub_ids_unref(b->words[i].c.sub_ids);
	b->n = 0;
}

/* The claims that live are in b->words; *form is the message. */
static int read_records(struct bench *b, const struct found *f, struct span *form)
{
	long len = journal_read(b->k->journal, f->seq, b->body, JOURNAL_BODY_MAX);
	struct kept_head head;
	struct reader r;

	if (len < 0)
		return -EIO;
	int err = kept_head_decode(span_of(b->body, (size_t)len), true, &head, &r);
	if (!err)
		err = read_claims(b, &r, head.n, 0);
	b->chain = head.flags & KEPT_GOES_ON;
	/* A further record that can't be read says nothing. */
	for (uint32_t i = 0; !err && i < f->n_extras; i++)
		if (read_extra(b, &f->extras[i], i + 1) == -ENOMEM)
			err = -ENOMEM;
	*form = rd_rest(&r);
	keep_last(b);
	return err;
}

static void forget_found(struct keeper *k, const struct found *f)
{
	journal_forget(k->journal, f->seq);
	for (uint32_t i = 0; i < f->n_extras; i++)
		journal_forget(k->journal, f->extras[i].seq);
}

static int adopt_extras(struct kept *kept, struct found *f)
{
	if (f->n_extras == 0)
		return 0;
	struct more *m = kept_more(kept);
	if (!m)
		return -ENOMEM;
	m->extras = f->extras;
	m->n_extras = f->n_extras;
	m->cap_extras = f->cap_extras;
	f->extras = NULL;
	return 0;
}

static void add_orphan(struct keeper *k, struct kept *kept)
{
	struct kept **v = reallocarray(k->orphans, k->n_orphans + 1, sizeof(*v));

	kept->left = true;
	if (!v)
		return;
	k->orphans = v;
	k->orphans[k->n_orphans++] = kept;
}

/* Each claim to its owner. */
static void hand_out(struct bench *b, struct kept *kept, struct message *m)
{
	struct keeper *k = b->k;
	size_t ended = 0, orphans = 0;

	/* Alive while they are told, so that none of them is the last. */
	kept->claims = (uint32_t)b->n & 0x3fffffff;
	for (size_t i = 0; i < b->n; i++) {
		struct claim *c = &b->words[i].c;
		keeper_restore_fn *fn = c->kind < CLAIM_KINDS ? k->owners[c->kind].fn : NULL;
		bool taken = fn && fn(k->owners[c->kind].arg, kept, c, m);
		sub_ids_unref(c->sub_ids);
		c->sub_ids = 0;
		if (taken)
			k->status.claims[c->kind]++;
		else if (fn)
			b->words[ended++].c = *c;
		else
			orphans++;
	}
	kept->claims = (uint32_t)(b->n - ended) & 0x3fffffff;
	if (kept->claims > 0)
		for (size_t i = 0; i < ended; i++)
			kept_write_end(kept, &b->words[i].c);
	if (orphans > 0)
		add_orphan(k, kept);
}

static void restore_one(struct bench *b, struct found *f)
{
	struct keeper *k = b->k;
	struct span form;
	struct kept *kept = NULL;
	int err = read_records(b, f, &form);

	if (err == -EBADMSG || (!err && b->chain))
		count_one(err ? &broken : &incomplete);
	if (err == -EBADMSG || (!err && (b->chain || b->n == 0))) {
		forget_found(k, f);
		return;
	}
	struct message *m = err ? NULL : message_decode(form, ORIGIN_GATEWAY);
	if (m && (kept = kept_new(k, m)))
		kept->seq = f->seq;
	if (!kept || adopt_extras(kept, f) < 0) { /* it stays on disk for the next start */
		if (kept)
			kept_free(kept);
		k->status.unreadable++;
		count_one(&unreadable);
	} else {
		hand_out(b, kept, m);
		if (kept->claims == 0) {
			kept_forget(kept);
			kept_free(kept);
		} else {
			kept_settle(kept);
		}
	}
	message_unref(m);
}

static void found_free(struct found *f)
{
	free(f->extras);
	f->extras = NULL;
}

void keeper_restore_free(struct keeper *k)
{
	for (size_t i = 0; i < k->n_found; i++)
		found_free(&k->found[i]);
	free(k->found);
	k->found = NULL;
	k->n_found = k->cap_found = 0;
}

void keeper_restore(struct keeper *k)
{
	struct bench b = { .k = k };

	if (k->n_found == 0)
		return;
	b.body = malloc(2 * (size_t)JOURNAL_BODY_MAX);
	if (!b.body) {
		log_error(
			"keeper: no memory, %zu messages are left for the next start", k->n_found);
		keeper_restore_free(k);
		return;
	}
	b.extra = b.body + JOURNAL_BODY_MAX;
	for (size_t i = 0; i < k->n_found; i++) {
		if (!k->found[i].foreign)
			restore_one(&b, &k->found[i]);
		forget_words(&b);
		found_free(&k->found[i]);
	}
	log_info("keeper: %llu messages are back, %llu records could not be understood or were "
		 "incomplete, %llu could not be read",
		(unsigned long long)k->status.messages,
		(unsigned long long)(count_value("keeper.broken") +
				     count_value("keeper.incomplete")),
		(unsigned long long)k->status.unreadable);
	free(b.words);
	free(b.body);
	keeper_restore_free(k);
}
